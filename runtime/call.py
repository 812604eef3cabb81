"""What a pipeline yields: a call of a graph, work on the host, or several of them at once.

    pipeline (generator) ──yield Call | Work | All──▶ driver
                         ◀──result, or the error thrown in──

A pipeline says *what* is to be run. Whoever drives it decides when, where, and together with whose.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar

from saccade.runtime.bundle import Bundle
from saccade.runtime.spec import Array, GraphSpec

T = TypeVar("T")


class Graph:
    """A handle: one graph of one bundle. Drivers find the engine by it; pipelines only name it."""

    __slots__ = ("bundle", "name", "spec")

    def __init__(self, bundle: Bundle, name: str):
        self.bundle, self.name = bundle, name
        self.spec: GraphSpec = bundle.graphs[name].spec

    def __repr__(self) -> str:
        return f"Graph({self.bundle.name}.{self.name})"


class Call:
    """Run `graph` on `inputs`; answers with its outputs, a dict of arrays by name.

    key: gives bytes that stand for the inputs' content, if the outputs are worth keeping. Hashing a picture can take
    longer than preparing it, so only a driver that caches asks. It completes the key with the model's and the
    preprocessing's digest, so that equal bytes of another model never meet. Outputs of a call with a key may be shared
    with whoever asks the same, so a driver may make them read-only.
    """

    __slots__ = ("graph", "inputs", "key")

    def __init__(self, graph: Graph, inputs: Mapping[str, Array], key: Callable[[], bytes] | None = None):
        self.graph, self.inputs, self.key = graph, inputs, key


class Work:
    """Run `function(*args)` on the host; it releases the GIL or is short. Answers with what it returns."""

    __slots__ = ("args", "function")

    def __init__(self, function: Callable[..., Any], *args: Any):
        self.function, self.args = function, args


class All:
    """Do several things that do not need each other: Calls, Works or whole pipelines. Answers with a list in order.

    If one fails, the rest is dropped and its error is thrown where the All was yielded.
    """

    __slots__ = ("members",)

    def __init__(self, *members: Call | Work | Pipeline[Any]):
        self.members = members


Step = Call | Work | All
Pipeline = Generator[Step, Any, T]
"""A running pipeline: yields steps, is sent their answers, returns its result."""
