"""null: right shapes and no work. Every driver, scheduler and pipeline test runs anywhere on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from saccade.runtime.errors import Closed
from saccade.runtime.spec import Array, zeros

if TYPE_CHECKING:
    from saccade.runtime.bundle import Bundle
    from saccade.runtime.engines import Options
    from saccade.runtime.manifest import GraphEntry, Variant


def unusable(entry: GraphEntry, variant: Variant, options: Options) -> str:
    """Never a reason: it needs nothing."""
    return ""


class Engine:
    """Answers with zeros; a named dim that no input has is 1."""

    def __init__(self, bundle: Bundle, graph: str, variant: Variant, options: Options):
        self.spec = bundle.graphs[graph].spec
        self.graph = graph
        self.about: dict[str, Any] = {"backend": "null", "device": "cpu", "precision": variant.precision}
        self._closed = False

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """Check the inputs as a real engine would, then give zeros."""
        if self._closed:
            raise Closed(f"[{self.graph}] the engine is closed", hint="load the model again")
        return zeros(self.spec.outputs, self.spec.check(inputs, self.graph))

    def close(self) -> None:
        """Refuse further calls."""
        self._closed = True
