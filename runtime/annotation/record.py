"""What is kept of a picture: annotations, the prompts that were given or are asked for, and a shard of both."""

from __future__ import annotations

from typing import Any

import msgspec

from saccade.runtime import rle
from saccade.runtime.prompt import Prompt

Point = tuple[float, float]
Box = tuple[float, float, float, float]
Pixels = tuple[int, int, int, int]
OBJECT = "object"
"""The category of a mask that nobody has named."""


class Rle(msgspec.Struct, frozen=True):
    """COCO's run lengths in text form: size is (H, W)."""

    size: tuple[int, int]
    counts: str

    @classmethod
    def of(cls, given: dict[str, Any]) -> Rle:
        """From {"size": [H, W], "counts": bytes or str}."""
        height, width = given["size"]
        counts = given["counts"]
        return cls((int(height), int(width)), counts.decode("ascii") if isinstance(counts, bytes) else counts)

    @property
    def coco(self) -> dict[str, Any]:
        """As pycocotools and saccade.runtime.rle take it."""
        return {"size": list(self.size), "counts": self.counts.encode()}


class Annotation(msgspec.Struct, frozen=True):
    """One mask, with SA-1B's fields.

    bbox: (x, y, width, height) in pixels, area in pixels: both of the run lengths, as pycocotools has them
    crop_box: (x, y, width, height) of the part of the picture that the model saw
    point_coords: (x, y) of the points that asked for it
    """

    segmentation: Rle
    bbox: Pixels
    area: int
    predicted_iou: float
    stability_score: float
    crop_box: Pixels
    point_coords: tuple[Point, ...] = ()
    category: str = ""


class Prompted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is, or might be, one object of a picture: an entry of a prompts file or worklist (docs/annotate.md).

    points, labels, box, mask: as in saccade.Prompt; the mask as run lengths
    accept: True: segment it; False: it is none; None: asked for and not yet decided
    ask: its number among the picture's asks, if the worklist made it; why, region and score: what the worklist knew
    """

    points: tuple[Point, ...] = ()
    labels: tuple[int, ...] = ()
    box: Box | None = None
    mask: Rle | None = None
    category: str = ""
    accept: bool | None = True
    ask: int | None = None
    why: str = ""
    region: Box | None = None
    score: float | None = None
    stability: float | None = None

    def __post_init__(self) -> None:
        if self.points and not self.labels:
            msgspec.structs.force_setattr(self, "labels", (1,) * len(self.points))

    @property
    def prompt(self) -> Prompt:
        """What the model is asked. Raises InputError for a mask that is none."""
        mask = None if self.mask is None else rle.decode(self.mask.coco)
        return Prompt(self.points, self.labels, self.box, mask)


class Shard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One layer of one picture, as it lies on the disk.

    run: digest of the rules and the bundle; size, mtime_ns: of the picture's file; digest: of its pixels
    asks: what the automatic layer was not sure of; prompts: what the prompted layer was given
    replaces: the automatic annotations, by number, that a prompted one takes the place of
    dropped: prompts whose mask did not pass the filters
    """

    run: str
    layer: str
    name: str
    size: int
    mtime_ns: int
    digest: str
    height: int
    width: int
    annotations: tuple[Annotation, ...]
    asks: tuple[Prompted, ...] = ()
    prompts: tuple[Prompted, ...] = ()
    replaces: tuple[int, ...] = ()
    dropped: int = 0


def annotation(
    runs: dict[str, Any],
    score: float,
    stability: float,
    *,
    crop: Pixels | None = None,
    points: tuple[Point, ...] = (),
    category: str = "",
) -> Annotation:
    """An annotation of a mask; box and area are computed from its run lengths."""
    kept = Rle.of(runs)
    left, top, right, bottom = rle.box(kept.coco)
    area, (height, width) = rle.area(kept.coco), kept.size
    bbox = (left, top, right - left + 1, bottom - top + 1) if area else (0, 0, 0, 0)
    whole = crop or (0, 0, width, height)
    return Annotation(kept, bbox, area, round(float(score), 6), round(float(stability), 6), whole, points, category)
