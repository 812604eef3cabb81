"""OWL-ViT (arXiv 2205.06230) and OWLv2 (arXiv 2306.09683): a picture is seen once, then asked by words or by example.

picture ──preprocess──▶ image ──▶ classes, boxes (kept) ─┐
labels ───tokenizer───▶ text ──▶ queries ────────────────┼─▶ query ──▶ Detections
example ──▶ image ──▶ class of its own box ──────────────┘
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.runtime.arguments import listed, share, taken
from saccade.runtime.bundle import Bundle
from saccade.runtime.call import All, Call, Graph, Pipeline, Work
from saccade.runtime.detections import Detections
from saccade.runtime.errors import BadOutput, PromptError, TextError
from saccade.runtime.frame import Frame
from saccade.runtime.image import Image, decode
from saccade.runtime.phrase_scores import decode as boxes_above
from saccade.runtime.phrases import label_list
from saccade.runtime.preprocess import Preprocess
from saccade.runtime.results import normalise
from saccade.runtime.spec import Array
from saccade.runtime.text import Tokenizer, TokenizerSpec

TEXTS, QUERIES = 64, 512
"""Texts in one run of the text encoder, queries in one run of the scores."""
EXAMPLE, EXAMPLE_NMS = 0.6, 0.3
"""Least score, and IoU of the suppression, when the query is a picture; the reference suppresses only there."""
Seen = Mapping[str, Array]


class Owl:
    """Detect by words or by example. Takes a picture as a path, bytes, PIL image or array, or a list of these."""

    def __init__(self, bundle: Bundle):
        manifest = bundle.manifest
        self.image, self.text, self.query = (Graph(bundle, name) for name in ("image", "text", "query"))
        self.graphs = (self.image, self.text, self.query)
        self.preprocess = Preprocess.read(manifest.preprocess)
        config = manifest.config
        self.threshold = float(config.get("threshold", 0.1))
        self.templates = tuple(config.get("templates", ("{}",)))
        self._bundle = bundle

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The checkpoint's own tokenizer."""
        spec = TokenizerSpec.of(self._bundle.manifest.tokenizer)
        return Tokenizer(self._bundle.read(spec.file), spec)

    def detect(
        self,
        picture: Any,
        prompt: str | Sequence[str],
        *,
        threshold: float | None = None,
        nms: float | None = None,
        every: bool = False,
    ) -> Pipeline[Any]:
        """Detections of what the labels name; of a list of pictures a list.

        prompt: labels, or one text with labels between full stops. A label longer than the model reads (16 tokens) is
            cut as in training.
        threshold, nms, every: as of Grounding.detect; no suppression by default, as the reference
        Labels do not see each other, so any number of them scores as one alone. Raises TextError, InputError,
        ImageError, ImageTooLarge.
        """
        names = label_list(_parts(prompt) if isinstance(prompt, str) else prompt)
        least, most = share("threshold", threshold, self.threshold), None if nms is None else share("nms", nms, 1)
        sources = listed(picture)
        queries = yield from self._say(names)
        made = yield All(*(self._one(source, queries, tuple(names), least, most, every) for source in sources))
        return made if isinstance(picture, list | tuple) else made[0]

    def find(
        self,
        picture: Any,
        example: Any,
        *,
        box: Any = None,
        threshold: float = EXAMPLE,
        nms: float | None = EXAMPLE_NMS,
        name: str = "example",
    ) -> Pipeline[Any]:
        """Detections of what looks like the example (arXiv 2205.06230, §4.4); of a list of pictures a list.

        example: a picture of the thing: a crop, or any picture with the thing at `box`
        box: left, top, right, bottom in pixels of `example`; without it the thing fills the example
        name: the phrase of what is found
        The query is the class embedding of the example's own box: with `box`, or without objectness (OWL-ViT), of those
        that overlap it at least 0.8 times as much as the best the one that is least like the mean of all embeddings,
        which stands for background; with objectness (OWLv2) the most object-like. transformers does the same, except
        that its mean is of vectors that are not yet of unit length.
        Raises PromptError for a box without area or beside the picture, and as `detect`.
        """
        least, most = share("threshold", threshold, EXAMPLE), None if nms is None else share("nms", nms, 1)
        sources = listed(picture)
        shown = yield Work(decode, example)
        place = _place(box, shown)
        seen, frame = yield from self._see(shown)
        query = yield Work(self._query_of, seen, frame, place)
        made = yield All(*(self._one(source, query, (name,), least, most, False) for source in sources))
        return made if isinstance(picture, list | tuple) else made[0]

    def _say(self, names: Sequence[str]) -> Pipeline[NDArray[np.float32]]:
        """Queries (K, E): of each label the mean of its templates' unit vectors."""
        texts = [_said(template, name) for name in names for template in self.templates]
        vectors = []
        for start in range(0, len(texts), TEXTS):
            ids = yield Work(self.tokenizer.encode, texts[start : start + TEXTS])
            given = {"ids": ids, "text_mask": self._mask(ids)}
            vectors.append((yield Call(self.text, taken(self.text, given), key=ids.tobytes))["queries"])
        many = np.concatenate(vectors)
        return normalise(many.reshape(len(names), len(self.templates), -1).mean(axis=1))

    def _mask(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """True up to the end token; where that is also what pads, the first of them is it."""
        pad = self.tokenizer.spec.pad_id
        filled = np.cumsum((ids != pad)[:, ::-1], axis=1)[:, ::-1] > 0
        if self.tokenizer.end == pad:
            filled[:, 1:] |= filled[:, :-1].copy()
        return filled

    def _see(self, image: Image) -> Pipeline[tuple[Seen, Frame]]:
        pixels, frame = yield Work(self.preprocess, image)
        seen = yield Call(self.image, {"pixels": pixels}, key=lambda: image.digest.encode())
        return seen, frame

    def _one(
        self,
        picture: Any,
        queries: NDArray[np.float32],
        names: tuple[str, ...],
        least: float,
        nms: float | None,
        every: bool,
    ) -> Pipeline[Detections]:
        image = yield Work(decode, picture)
        seen, frame = yield from self._see(image)
        parts = []
        for start in range(0, len(queries), QUERIES):
            given = {**seen, "queries": queries[start : start + QUERIES]}
            parts.append((yield Call(self.query, taken(self.query, given)))["logits"])
        logits = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        found: Detections = yield Work(_found, logits, seen, frame, image, names, least, every)
        return found if nms is None else found.nms(nms)

    def _query_of(self, seen: Seen, frame: Frame, place: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """(1, E): the class embedding of the box that shows the example."""
        classes = np.asarray(seen["classes"][0], np.float32)
        if place is None and "objectness" in seen:
            return classes[[int(np.argmax(seen["objectness"][0]))]]
        wanted = frame.apply_boxes(place if place is not None else [0, 0, frame.original[1], frame.original[0]])
        wanted = wanted / np.tile(frame.size[::-1], 2)
        overlap = _overlap(np.asarray(seen["boxes"][0], np.float64), wanted)
        near = np.flatnonzero(overlap >= overlap.max() * (0.8 if overlap.max() > 0 else 1.25))
        likeness = classes[near] @ classes.mean(axis=0)
        return classes[[near[int(np.argmin(likeness))]]]


def _found(
    logits: Any, seen: Seen, frame: Frame, image: Image, names: tuple[str, ...], least: float, every: bool
) -> Detections:
    scores, corners = np.asarray(logits[0], np.float32), np.asarray(seen["boxes"][0], np.float32)
    if np.isnan(scores).any() or not np.isfinite(corners).all():
        raise BadOutput("[query] NaN among logits or boxes", hint="run another precision or back end")
    found = boxes_above(scores, corners, frame.size, least, every)
    boxes = frame.restore_boxes(found.boxes)
    real = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # not those in the padding
    size = image.height, image.width
    return Detections(boxes[real], found.score[real], found.label[real], names, size, None, image)


def _overlap(boxes: NDArray[np.float64], wanted: NDArray[Any]) -> NDArray[np.float64]:
    """(Q,) IoU with one box; where none overlaps, generalised IoU (arXiv 1902.09630), which is negative."""
    low, high = np.maximum(boxes[:, :2], wanted[:2]), np.minimum(boxes[:, 2:], wanted[2:])
    both = np.maximum(high - low, 0).prod(axis=1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (wanted[2:] - wanted[:2]).prod() - both
    iou: NDArray[np.float64] = both / np.maximum(union, 1e-12)
    if iou.max() > 0:
        return iou
    around = (np.maximum(boxes[:, 2:], wanted[2:]) - np.minimum(boxes[:, :2], wanted[:2])).prod(axis=1)
    general: NDArray[np.float64] = iou - (around - union) / np.maximum(around, 1e-12)
    return general


def _said(template: str, name: str) -> str:
    """The label in its template: "a cat" in "a photo of a {}" has one article, and a whole prompt stays as it is."""
    before = template.partition("{}")[0]
    if before and name.lower().startswith(before.lower()):
        return name
    if name.lower().startswith(("a ", "an ", "the ")):
        template = template.replace(" a {}", " {}").replace(" the {}", " {}")
    return template.replace("{}", name)


def _parts(prompt: str) -> list[str]:
    parts = [part.strip() for part in prompt.replace("\n", ".").split(".")]
    if not any(parts):
        raise TextError(f"[text] the prompt {prompt[:40]!a} says nothing", hint='such as "a cat. a remote control."')
    return [part for part in parts if part]


def _place(box: Any, example: Image) -> NDArray[np.float32] | None:
    if box is None:
        return None
    try:
        place = np.asarray(box, np.float32).reshape(4)
    except (TypeError, ValueError):
        place = np.full(4, np.nan, np.float32)
    inside = (place >= 0).all() and place[2] <= example.width and place[3] <= example.height
    if not inside or place[2] <= place[0] or place[3] <= place[1]:
        raise PromptError(
            f"[find] a box without area or beside the example: {str(box)[:60]}",
            hint=f"left, top, right, bottom within {example.width} x {example.height}",
        )
    return place
