"""The direct driver: one request, in the caller's thread. No queue, no batch, lowest latency."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import GeneratorType
from typing import Any, TypeVar

from saccade.runtime import tracing
from saccade.runtime.cache import Cache, complete
from saccade.runtime.call import All, Call, Graph, Pipeline, Work
from saccade.runtime.engines import Engine

T = TypeVar("T")


class Direct:
    """Drives pipelines, one step after the other.

    engine_of: gives the engine of a graph handle, opening it at the first call
    cache: keeps the answers of calls that have a key, if there is one
    Safe to use from several threads as far as the engines are; ONNX Runtime sessions are.
    """

    def __init__(self, engine_of: Callable[[Graph], Engine], cache: Cache | None = None):
        self.engine_of, self.cache = engine_of, cache

    def run(self, pipeline: Pipeline[T]) -> T:
        """Drive `pipeline` to its end and return its result.

        An error of a step is raised inside the pipeline where the step was yielded; what the pipeline does not catch
        reaches the caller. The generator is closed on every way out, KeyboardInterrupt included.
        """
        step = self._step if tracing.active is None else self._traced
        try:
            wanted = next(pipeline)
            while True:
                try:
                    answer = step(wanted)
                except Exception as error:
                    wanted = pipeline.throw(error)
                else:
                    wanted = pipeline.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            pipeline.close()

    def _step(self, step: Any) -> Any:
        kind = type(step)
        if kind is Call:
            engine = self.engine_of(step.graph)
            if self.cache is not None and step.key is not None:
                return self.cache.get(complete(step, engine.about), lambda: engine(**step.inputs))
            return engine(**step.inputs)
        if kind is Work:
            return step.function(*step.args)
        if kind is All:
            return self._all(step)
        if kind is GeneratorType:
            return self.run(step)
        raise TypeError(f"a pipeline yields Call, Work or All, not {kind.__name__}")

    def _all(self, step: All) -> list[Any]:
        run = self._step if tracing.active is None else self._traced
        try:
            return [run(member) for member in step.members]
        finally:
            for member in step.members:
                if type(member) is GeneratorType:
                    member.close()

    def _traced(self, step: Any) -> Any:
        """`_step`, noted in the active trace."""
        started, trace = time.monotonic(), tracing.active
        try:
            return self._step(step)
        finally:
            ended = time.monotonic()
            if trace is not None and type(step) is Call:
                trace.span(step.graph.name, "engine", started, ended)
            elif trace is not None and type(step) is Work:
                trace.span(tracing.name_of(step.function), "work", started, ended)
