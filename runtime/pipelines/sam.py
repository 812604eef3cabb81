"""Segment Anything (arXiv 2304.02643), its descendants of the same shape, and SAM 2 on pictures (arXiv 2408.00714).

picture ──preprocess──▶ encoder ──▶ View ─┐
                                          ├─▶ decoder ──▶ which masks ──mask_decode──▶ Masks
points, boxes, masks ──────pack──────────┘
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.runtime.bundle import Bundle
from saccade.runtime.call import Call, Graph, Pipeline, Work
from saccade.runtime.errors import ManifestError, SpecError
from saccade.runtime.everything import Everything
from saccade.runtime.frame import Frame
from saccade.runtime.image import Image, decode
from saccade.runtime.masks import Masks
from saccade.runtime.pipelines.everything import segment_everything
from saccade.runtime.preprocess import Preprocess
from saccade.runtime.prompt import Prompt, gather
from saccade.runtime.prompt_pack import BATCH, pack
from saccade.runtime.spec import Array
from saccade.runtime.view import View

STABLE, DELTA = 0.98, 0.05
"""SAM 2's choice of a single mask: the first if its stability at ± DELTA logits is at least STABLE."""


class Sam:
    """Look at a picture once, ask many times. Takes a picture as a path, bytes, PIL image or array, or a View."""

    def __init__(self, bundle: Bundle):
        config = bundle.manifest.config
        self.encoder, self.decoder = Graph(bundle, "encoder"), Graph(bundle, "decoder")
        self.graphs = (self.encoder, self.decoder)
        self.preprocess = Preprocess.read(bundle.manifest.preprocess)
        self.sam2 = config.get("architecture") == "sam2"
        self.single = str(config.get("single", "first"))
        self.threshold = float(config.get("mask_threshold", 0.0))
        self.low = _low(config)
        self.model = bundle.digest

    def encode(self, picture: Any) -> Pipeline[View]:
        """A View of one picture: what the encoder sees in it, kept to be asked.

        Raises ImageError or ImageTooLarge for what is no picture.
        """
        image = yield Work(decode, picture)
        return (yield from self.look(image))

    def look(self, image: Image) -> Pipeline[View]:
        """A View of a decoded picture."""
        pixels, frame = yield Work(self.preprocess, image)
        seen = yield Call(self.encoder, {"pixels": pixels}, key=lambda: image.digest.encode())
        for array in seen.values():
            if isinstance(array, np.ndarray):
                array.flags.writeable = False  # a view is shared among threads
        return View(seen, frame, image, self.model, self)

    def segment(
        self,
        picture: Any,
        *,
        points: Any = None,
        labels: Any = None,
        boxes: Any = None,
        mask: Any = None,
        prompts: Prompt | Sequence[Prompt] | None = None,
        multimask: bool | None = None,
    ) -> Pipeline[Masks]:
        """Masks of the objects that are asked for, in the order of the prompts; `Masks.best` keeps one for each.

        picture: a View, or anything that `encode` takes
        points: (N, 2) x, y in pixels: points of one object; (P, N, 2) of P objects
        labels: (N,) or (P, N), 1 on the object, 0 beside it; all 1 if not given
        boxes: (4,) or (P, 4) left, top, right, bottom, an object each
        mask: (h, w) or (P, h, w) logits of an earlier result (`Masks.low`), or pixels (H, W) bool
        prompts: in place of these, a Prompt or several, of any kind together
        multimask: True for three masks a prompt (whole, part, subpart), False for one; None: three for a single click,
            which is ambiguous, one for all else (arXiv 2304.02643, §3)
        Raises PromptError before anything is encoded, SpecError for a view of another model.
        """
        asked = gather(points, labels, boxes, mask, prompts)
        seen = self.own(picture) if isinstance(picture, View) else None
        image = seen.picture if seen else (yield Work(decode, picture))
        for prompt in asked:
            prompt.check(image.height, image.width, self.low)
        view = seen or (yield from self.look(image))
        many = np.array([prompt.ambiguous if multimask is None else bool(multimask) for prompt in asked])
        parts = []
        for start in range(0, len(asked), BATCH):
            batch = slice(start, start + BATCH)
            packed = yield Work(pack, asked[batch], view.frame, self.low, self.sam2)
            out = yield Call(self.decoder, self.given(view, packed))
            parts.append((yield Work(self._masks, out, start, asked, many[batch], view)))
        return Masks.join(parts)

    def everything(
        self,
        picture: Any,
        *,
        grid: Any = 32,
        crops: int = 0,
        min_score: float = 0.88,
        min_stability: float = 0.95,
        offset: float = 1.0,
        box_nms: float = 0.7,
        crop_nms: float = 0.7,
        overlap: float = 512 / 1500,
        downscale: int = 1,
        min_region: int = 0,
    ) -> Pipeline[Masks]:
        """Masks of everything that a grid of points finds, duplicates removed; best first within each crop.

        The arguments mean what the reference's generator means by (in this order) points_per_side or point_grids,
        crop_n_layers, pred_iou_thresh, stability_score_thresh, stability_score_offset, box_nms_thresh,
        crop_nms_thresh, crop_overlap_ratio, crop_n_points_downscale_factor, min_mask_region_area.
        Raises InputError for values that mean nothing, SpecError for a view of another model.
        """
        wanted = Everything(
            grid, crops, min_score, min_stability, offset, box_nms, crop_nms, overlap, downscale, min_region
        )
        view = self.own(picture) if isinstance(picture, View) else (yield from self.encode(picture))
        return (yield from segment_everything(self, view, wanted))

    def own(self, view: View) -> View:
        """The view itself. Raises SpecError if another bundle made it: its features mean nothing to this one."""
        if view.model != self.model:
            raise SpecError(
                f"[sam] a view of model {view.model[:12]}, asked of {self.model[:12]}",
                hint="encode the picture with the model that you ask",
            )
        return view

    def given(self, view: View, packed: dict[str, Array]) -> dict[str, Array]:
        """Inputs of the decoder: the view's features and the packed prompts."""
        names = {tensor.name for tensor in self.decoder.spec.inputs}
        return {name: array for name, array in {**view.features, **packed}.items() if name in names}

    def window(self, frame: Frame) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """The model's square, the picture in it and the picture as it came: where logits lie, for mask_decode."""
        if self.sam2:  # it stretches pictures to the square and logits straight to the picture
            return self.low, self.low, frame.original
        return frame.size, (frame.window[2], frame.window[3]), frame.original

    def _masks(
        self, out: dict[str, Array], start: int, asked: tuple[Prompt, ...], many: NDArray[np.bool_], view: View
    ) -> Masks:
        low, score, prompt = self._choose(out, many)
        window = self.window(view.frame)
        return Masks.of(low, score, prompt + start, asked, window, threshold=self.threshold, picture=view.picture)

    def _choose(
        self, out: dict[str, Array], many: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Logits, scores and prompt of the masks to return: 1 to 3 where `many`, else one."""
        logits, iou = out["logits"][0], out["iou"][0]
        take = np.repeat(many[:, None], 4, axis=1)
        take[:, 0] = False
        alone = np.flatnonzero(~many)
        first = np.zeros(len(alone), np.int64)
        if self.single == "stable" and len(alone):
            first = np.where(_steady(logits[alone, 0]), 0, 1 + iou[alone, 1:].argmax(axis=1))
        take[alone, first] = True
        return np.ascontiguousarray(logits[take]), iou[take], np.nonzero(take)[0]


def _steady(logits: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(P,) whether the area of (P, h, w) logits hardly depends on the threshold; an empty mask does not."""
    upper = (logits > DELTA).sum(axis=(1, 2))
    lower = (logits > -DELTA).sum(axis=(1, 2))
    steady: NDArray[np.bool_] = upper >= STABLE * lower
    return steady


def _low(config: dict[str, Any]) -> tuple[int, int]:
    low = config.get("low")
    if not isinstance(low, list | tuple) or len(low) != 2 or not all(isinstance(n, int) and n > 0 for n in low):
        raise ManifestError(
            f"[bundle] /config/low: {str(low)[:40]!a} is not the size of the logits",
            pointer="/config/low",
            hint="export the model again",
        )
    return low[0], low[1]
