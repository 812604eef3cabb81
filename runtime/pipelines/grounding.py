"""Grounding DINO (arXiv 2303.05499), MM-Grounding-DINO (arXiv 2401.02361), GLIP (arXiv 2112.03857): words to boxes.

prompt ───phrases──▶ text ──▶ features (kept) ─┐
                                               ├─▶ detector ──scores of phrases──▶ Detections
picture ──bucket──▶ pixels, shown ─────────────┘
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.runtime.arguments import listed, share, taken
from saccade.runtime.buckets import Buckets, Size
from saccade.runtime.bundle import Bundle
from saccade.runtime.call import All, Call, Graph, Pipeline, Work
from saccade.runtime.captions import word_caption
from saccade.runtime.detections import Detections
from saccade.runtime.errors import ManifestError, TextError
from saccade.runtime.image import Image, decode
from saccade.runtime.nouns import noun_spans
from saccade.runtime.phrase_scores import Found, boxes_of, merge
from saccade.runtime.phrases import Rules, Wording, word_labels, word_prompt
from saccade.runtime.preprocess import Preprocess
from saccade.runtime.spec import Array
from saccade.runtime.text import Tokenizer, TokenizerSpec

BATCH, RUNS, TEXTS = 4, 8, 16
"""Pictures in one detector run, detector runs asked for at once, texts in one run of the text encoder."""
NMS = {"glip": 0.6}
"""IoU of the suppression within a phrase, for the architectures that need one."""


class Grounding:
    """Detect what words name. Takes a picture as a path, bytes, PIL image or array, or a list of these."""

    def __init__(self, bundle: Bundle):
        manifest = bundle.manifest
        config = manifest.config
        self.architecture = str(config.get("architecture", "grounding_dino"))
        self.text = Graph(bundle, "text")
        self.buckets = Buckets(config.get("sizes"), Preprocess.read(manifest.preprocess))
        self.detectors = _detectors(bundle, self.buckets.sizes)
        self.graphs = (self.text, *dict.fromkeys(self.detectors.values()))
        self.rules = _rules(config)
        self.rule = "mean" if self.architecture == "glip" else "max"
        self.threshold = float(config.get("threshold", 0.3))
        self.nms = config.get("nms", NMS.get(self.architecture))
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
        size: Any = None,
    ) -> Pipeline[Any]:
        """Detections of what the prompt names; of a list of pictures a list, run in batches.

        prompt: labels, or one text with phrases between full stops: "a cat. a remote control."
        threshold: least score, 0 to 1; the bundle's by default
        nms: of boxes of one phrase with a larger IoU the best stays; 1 for none; by default the model's custom (none
            for DETR-like models, 0.6 for GLIP)
        every: a box may be of several phrases, each above the threshold; else it is of the best one
        size: (height, width) of the input, one of the bundle's; by default chosen for each picture
        More labels than one run takes (80, or 256 tokens) are asked in several, and of boxes of two runs on one object
        (IoU above 0.8) the better one stays. Raises TextError, InputError, ImageError, ImageTooLarge.
        """
        word = word_prompt if isinstance(prompt, str) else word_labels
        asked = self._asked(threshold, nms, size)
        wording = yield Work(word, prompt, self.tokenizer, self.rules)
        return (yield from self._find(picture, wording, every, *asked))

    def ground(
        self,
        picture: Any,
        caption: str,
        spans: Sequence[Any] | None = None,
        *,
        threshold: float | None = None,
        nms: float | None = None,
        every: bool = False,
        size: Any = None,
    ) -> Pipeline[Any]:
        """Detections of the phrases of a caption; `spans` of the result are their characters in it.

        spans: (start, end) of each phrase, or a list of such for one in parts; by default noun_spans finds them by a
            rule for English (runtime/nouns.py says which, and what it gets wrong)
        A phrase is scored in its sentence. `every=True` where two phrases may mean one thing. The rest as of `detect`.
        Raises TextError for a caption without a phrase, or spans that do not fit, and what `detect` raises.
        """
        asked = self._asked(threshold, nms, size)
        self.tokenizer.check([caption])
        found = noun_spans(caption) if spans is None else spans
        if not len(found):
            raise TextError(f"[text] no phrase in {caption[:40]!r}", hint="give spans=[(start, end), …] of characters")
        wording = yield Work(word_caption, caption, found, self.tokenizer, self.rules)
        return (yield from self._find(picture, wording, every, *asked))

    def _find(
        self, picture: Any, wording: Wording, every: bool, threshold: float, nms: float | None, size: Size | None
    ) -> Pipeline[Any]:
        images = yield All(*(Work(decode, source) for source in listed(picture)))
        text = yield from self._read(wording)
        places = [size or self.buckets.choose(image.height, image.width) for image in images]
        found: dict[int, Detections] = {}
        for bucket in dict.fromkeys(places):
            members = [i for i, place in enumerate(places) if place == bucket]
            for start in range(0, len(members), BATCH):
                batch = members[start : start + BATCH]
                run = self._look([images[i] for i in batch], bucket, wording, text, threshold, every)
                found |= dict(zip(batch, (yield from run), strict=True))
        made = [d if nms is None else d.nms(nms) for _, d in sorted(found.items())]
        return made if isinstance(picture, list | tuple) else made[0]

    def _read(self, wording: Wording) -> Pipeline[NDArray[np.float32]]:
        """Text features (C, N, E) of each run: kept by a driver that keeps anything."""
        parts = []
        for start in range(0, len(wording), TEXTS):
            rows = slice(start, start + TEXTS)
            given = {"ids": wording.ids[rows], "positions": wording.positions[rows], "attends": wording.attends[rows]}
            given["text_mask"] = wording.mask[rows]
            out = yield Call(self.text, taken(self.text, given), key=given["ids"].tobytes)
            parts.append(out["text"])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _look(
        self, images: list[Image], size: Size, wording: Wording, text: Any, threshold: float, every: bool
    ) -> Pipeline[list[Detections]]:
        """Detections of pictures that share a bucket: one detector run for each run of words."""
        pixels, shown = yield Work(self.buckets.fill, images, size)
        detector = self.detectors[size]
        parts: list[list[Found]] = [[] for _ in images]
        for start in range(0, len(wording), RUNS):
            runs = range(start, min(start + RUNS, len(wording)))
            calls = [Call(detector, taken(detector, self._given(pixels, shown, wording, text, run))) for run in runs]
            outs = yield All(*calls)
            for run, out in zip(runs, outs, strict=True):
                for row, image in enumerate(images):
                    shape = image.height, image.width
                    given = out, row, wording.said[run], shape, self.rule, threshold, every
                    parts[row].append((yield Work(boxes_of, *given)))
        made = [merge(some, every) for some in parts]
        return [
            Detections(f.boxes, f.score, f.label, wording.phrases, (image.height, image.width), wording.spans, image)
            for f, image in zip(made, images, strict=True)
        ]

    def _given(self, pixels: Any, shown: Any, wording: Wording, text: Any, run: int) -> dict[str, Array]:
        said = {"text": text, "text_mask": wording.mask, "positions": wording.positions, "attends": wording.attends}
        repeated = {name: np.repeat(array[run : run + 1], len(pixels), axis=0) for name, array in said.items()}
        return {"pixels": pixels, "shown": shown, **repeated}

    def _asked(self, threshold: Any, nms: Any, size: Any) -> tuple[float, float | None, Size | None]:
        least = share("threshold", threshold, self.threshold)
        most = self.nms if nms is None else share("nms", nms, 1)
        return least, most, None if size is None else self.buckets.named(size)


def _detectors(bundle: Bundle, sizes: Sequence[Size]) -> dict[Size, Graph]:
    """For each bucket its own graph, or the one that takes any size: a handle a graph, as an engine is one a handle."""
    names = {size: f"detector_{size[0]}x{size[1]}" for size in sizes}
    named = {size: name if name in bundle.graphs else "detector" for size, name in names.items()}
    if missing := next((names[size] for size, name in named.items() if name not in bundle.graphs), ""):
        raise ManifestError(f"[bundle] /graphs: no {missing}", pointer="/graphs", hint="export it again")
    handles = {name: Graph(bundle, name) for name in dict.fromkeys(named.values())}
    return {size: handles[name] for size, name in named.items()}


def _rules(config: dict[str, Any]) -> Rules:
    try:
        ids = tuple(int(id) for id in config.get("separators", ()))
        rules = Rules(
            int(config.get("max_tokens", 256)), bool(config.get("blocks", True)), ids, int(config.get("max_labels", 80))
        )
    except (TypeError, ValueError):
        rules = Rules(0)
    if rules.max_tokens < 4 or rules.max_labels < 1:
        raise ManifestError(
            "[bundle] /config: max_tokens, max_labels or separators mean nothing",
            pointer="/config",
            hint="export it again",
        )
    return rules
