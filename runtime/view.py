"""View: a picture that a model has looked at. Prompts are asked of it, many times, without encoding it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from saccade.runtime.call import Pipeline
from saccade.runtime.errors import InputError
from saccade.runtime.frame import Frame
from saccade.runtime.image import Image
from saccade.runtime.spec import Array

if TYPE_CHECKING:
    from saccade.runtime.masks import Masks


class Segmenter(Protocol):
    """The pipeline that made a view: what answers its questions."""

    def segment(self, picture: Any, *args: Any, **asked: Any) -> Pipeline[Masks]: ...

    def everything(self, picture: Any, *args: Any, **asked: Any) -> Pipeline[Masks]: ...


@dataclass(frozen=True, eq=False, repr=False)
class View:
    """A value: nothing in it changes, so several threads may ask it at once.

    features: what the encoder gave, by name, read-only
    frame: where the picture lies in the model's input
    picture: what was encoded
    model: digest of the bundle that made it; another's models cannot be asked
    """

    features: Mapping[str, Array]
    frame: Frame
    picture: Image
    model: str
    pipeline: Segmenter
    run: Callable[[Pipeline[Any]], Any] | None = None

    def bind(self, run: Callable[[Pipeline[Any]], Any]) -> View:
        """The same view, whose questions are answered by `run`. A Model binds what it returns to itself."""
        return replace(self, run=run)

    def segment(self, **asked: Any) -> Masks:
        """Masks of what is asked: points, labels, boxes, mask, prompts, multimask as of Sam.segment. Raises Closed."""
        found: Masks = self._runner(self.pipeline.segment(self, **asked))
        return found

    def everything(self, **asked: Any) -> Masks:
        """Masks of all there is: grid, crops and the rest as of Sam.everything. Raises Closed."""
        found: Masks = self._runner(self.pipeline.everything(self, **asked))
        return found

    @property
    def nbytes(self) -> int:
        """Bytes held: features and picture."""
        return sum(int(array.nbytes) for array in self.features.values()) + self.picture.pixels.nbytes

    def __repr__(self) -> str:
        return f"View({self.picture!r}, {self.nbytes / 1e6:.1f} MB, model={self.model[:12]!r})"

    @property
    def _runner(self) -> Callable[[Pipeline[Any]], Any]:
        if self.run is None:
            raise InputError(
                "[view] nothing drives it: it was not made by a Model",
                hint="yield from pipeline.segment(view, ...), or view.bind(model.run)",
            )
        return self.run
