"""Together: several models driven as one, and what a detector can do beside a SAM and a CLIP.

saccade.Together(detector, sam).detect("photo.jpg", "a cat. a dog.")              boxes and masks
saccade.Together(detector, clip).detect("photo.jpg", "[a face (happy, sad)]")     boxes and what they are called
saccade.TwoStage(sam, clip).detect("photo.jpg", ["a mug", "a lamp"])              regions, then words
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from saccade.runtime.call import Graph, Pipeline
from saccade.runtime.detections import Detections
from saccade.runtime.direct import Direct
from saccade.runtime.engines import Engine
from saccade.runtime.errors import InputError
from saccade.runtime.model import Model
from saccade.runtime.pipelines import composed
from saccade.runtime.pipelines.two_stage import two_stage
from saccade.runtime.tree import is_tree, parse

T = TypeVar("T")
DETECTORS = ("grounding", "owl")


class Together:
    """Drives pipelines of several models: each graph by the engines of the model that it belongs to.

    models: loaded models of different bundles; they stay their owner's, who closes them
    """

    def __init__(self, *models: Model):
        self.models = models
        self._engines = {model.bundle.digest: model.engines for model in models}
        self._driver = Direct(self._engine, next((m.cache for m in models if m.cache is not None), None))

    def run(self, pipeline: Pipeline[T]) -> T:
        """Drive a pipeline to its end. Raises what it raises, and Closed if a model of it is closed."""
        return self._driver.run(pipeline)

    def detect(
        self, picture: Any, prompt: str | Sequence[str], *, kinds: Sequence[str] = (), **asked: Any
    ) -> Detections:
        """Detections by the detector, with masks if there is a SAM, and with what a CLIP calls each box.

        prompt: as of the detector's `detect`, or a tree: "[a face [an eye] (happy, sad)]" (runtime/tree.py)
        kinds: what the CLIP may call any box; asked: passed on to `detect`
        Raises InputError where a model is missing, and what the models raise.
        """
        return self.run(self._detect(picture, prompt, tuple(kinds), asked))

    def ground(self, picture: Any, caption: str, spans: Any = None, **asked: Any) -> Detections:
        """Detections of a caption's phrases, as of Grounding.ground, with masks if there is a SAM."""
        return self.run(self._ground(picture, caption, spans, asked))

    def find(self, picture: Any, example: Any, **asked: Any) -> Detections:
        """Detections of what looks like an example, as of Owl.find, with masks if there is a SAM."""
        return self.run(self._find(picture, example, asked))

    def family(self, *names: str) -> Any:
        """The pipeline of the first model of one of these families; None if there is none."""
        return next((m.pipeline for m in self.models if m.bundle.manifest.family in names), None)

    def _detect(self, picture: Any, prompt: Any, kinds: tuple[str, ...], asked: Any) -> Pipeline[Detections]:
        detector, clip = self._needed("a detector", *DETECTORS), self.family("clip")
        items = parse(prompt) if is_tree(prompt) else ()
        if kinds or any(item.classified for item in items):
            clip = self._needed("a CLIP", "clip")
        if items:
            found = yield from composed.tree(detector, clip, picture, items, **asked)
        else:
            found = yield from detector.detect(picture, prompt, **asked)
        if kinds:
            found = yield from composed.classified(clip, found, kinds)
        return (yield from self._masked(found))

    def _ground(self, picture: Any, caption: str, spans: Any, asked: Any) -> Pipeline[Detections]:
        detector = self._needed("a model that grounds", "grounding")
        found = yield from detector.ground(picture, caption, spans, **asked)
        return (yield from self._masked(found))

    def _find(self, picture: Any, example: Any, asked: Any) -> Pipeline[Detections]:
        detector = self._needed("a model that finds by example", "owl")
        found = yield from detector.find(picture, example, **asked)
        return (yield from self._masked(found))

    def _masked(self, found: Detections) -> Pipeline[Detections]:
        sam = self.family("sam")
        return found if sam is None else (yield from composed.masked(sam, found))

    def _needed(self, what: str, *families: str) -> Any:
        found = self.family(*families)
        if found is None:
            raise InputError(f"[together] {what} is missing", hint=f"give a bundle of family {' or '.join(families)}")
        return found

    def _engine(self, graph: Graph) -> Engine:
        return self._engines[graph.bundle.digest](graph)


class TwoStage:
    """Open-vocabulary detection in two stages (ViLD): one model finds regions, a CLIP says what they are.

    proposals: a SAM or a detector; clip: a CLIP; they stay their owner's
    """

    def __init__(self, proposals: Model, clip: Model):
        self._both = Together(proposals, clip)
        self._proposals = proposals.pipeline
        self._clip = self._both._needed("a CLIP", "clip")

    def detect(self, picture: Any, labels: Sequence[str], **asked: Any) -> Detections:
        """Detections of the labels: arguments as of saccade.runtime.pipelines.two_stage.two_stage."""
        return self._both.run(two_stage(self._proposals, self._clip, picture, labels, **asked))
