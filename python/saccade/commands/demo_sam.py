"""The demo's second half: the shipped SAM cuts things out of the shipped pictures, and the truth says how well."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.commands.show import load, table

if TYPE_CHECKING:
    from saccade import Masks, Model
    from saccade.runtime.draw import Sheet, Tile

NAME = "sam-tiny"
FOUND = 0.75
"""IoU from which a thing counts as found."""
LOOSE = {"grid": 16, "min_score": 0.7, "min_stability": 0.75, "min_region": 30}
"""For everything mode: the defaults are for SAM with ViT-H; this one sees 128 pixels a side, and its masks are soft."""


class Cut(NamedTuple):
    """What came out of one picture. click, box: mean IoU with the things; found: of `things`, by everything mode."""

    picture: Path
    clicks: Masks
    boxes: Masks
    all_masks: Masks
    click: float
    box: float
    found: int
    things: int
    encode_ms: float
    ask_ms: float

    @property
    def row(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "picture": self.picture.name,
            "things": self.things,
            "click_iou": round(self.click, 4),
            "box_iou": round(self.box, 4),
            "found": self.found,
            "everything": len(self.all_masks),
            "encode_ms": self.encode_ms,
            "ask_ms": self.ask_ms,
        }


def cut_all(found: list[Path]) -> tuple[list[Cut], dict[str, Any]]:
    """Each picture asked with clicks, with boxes and for everything; and what the encoder ran on."""
    from saccade.zoo.samples import CHOSEN, draw

    drawn = {f"{name}.png": draw(level, things, seed, noise) for name, level, things, seed, noise in CHOSEN}
    with load(Path(NAME)) as model:
        model.warm_up()
        made = []
        for picture in found:
            shown = drawn[picture.name]
            own = [i for i, thing in enumerate(shown.scene.things) if thing.part_of < 0 and shown.masks[i].any()]
            made.append(_cut(model, picture, np.stack([shown.whole(i) for i in own])))
        return made, model.about["encoder"]


def _cut(model: Model, picture: Path, truth: NDArray[np.bool_]) -> Cut:
    from saccade.runtime import rle

    clicks = np.array([[_inside(mask)] for mask in truth])
    packed = [rle.encode(mask) for mask in truth]
    boxes = np.array([rle.box(mask) for mask in packed])
    start = perf_counter()
    view = model.encode(picture)
    encoded = perf_counter()
    by_click = view.segment(points=clicks).best
    asked = perf_counter()
    by_box, everything = view.segment(boxes=boxes), view.everything(**LOOSE)
    known = type(by_box).from_rle(packed, by_box.size)
    best = known.iou(everything).max(axis=1, initial=0)
    overlap = float(by_click.iou(known).diagonal().mean()), float(by_box.iou(known).diagonal().mean())
    times = round((encoded - start) * 1e3, 2), round((asked - encoded) * 1e3, 2)
    return Cut(picture, by_click, by_box, everything, *overlap, int((best >= FOUND).sum()), len(truth), *times)


def summary(made: list[Cut], about: dict[str, Any]) -> list[Any]:
    """A table and two lines, to be shown."""
    columns = ("picture", "#things", "#click IoU", "#box IoU", "#found by everything", "#encode ms", "#ask ms")
    shown = table(f"cut out: {len(made)} pictures by {NAME}", *columns)
    for cut in made:
        overlap = f"{cut.click:.2f}", f"{cut.box:.2f}"
        times = f"{cut.encode_ms:.1f}", f"{cut.ask_ms:.1f}"
        shown.add_row(cut.picture.name, str(cut.things), *overlap, f"{cut.found} of {cut.things}", *times)
    click, box = (float(np.mean([getattr(cut, name) for cut in made])) for name in ("click", "box"))
    found, things = sum(cut.found for cut in made), sum(cut.things for cut in made)
    mean = f"mean IoU with the truth: {click:.2f} by one click, {box:.2f} by a box; {found} of {things} found unasked"
    return [shown, mean, f"{about['backend']} {about['version']}, {about['precision']}, no torch"]


def sheet(made: list[Cut]) -> Sheet:
    """Three sections: clicks, boxes, everything."""
    from saccade.runtime.draw import Section, Sheet

    sections = [
        Section("one click on each thing: the best of three masks", [_tile(c, c.clicks, c.click, "IoU") for c in made]),
        Section("a box around each thing", [_tile(c, c.boxes, c.box, "IoU") for c in made]),
        Section(
            f"everything, unasked: how many of the things have a mask of IoU {FOUND} or more",
            [_tile(c, c.all_masks, c.found / c.things, "found") for c in made],
        ),
    ]
    return Sheet("saccade: a tiny SAM on the world of shapes", sections, note="pictures not seen in training")


def _tile(cut: Cut, masks: Masks, value: float, name: str) -> Tile:
    from saccade.runtime.draw import RIGHT, WRONG, Row, Tile

    colour = RIGHT if value >= FOUND else WRONG
    drawn = masks.draw(prompts=name == "IoU")
    return Tile(drawn, cut.picture.stem.replace("-", " "), [Row(name, value, f"{value:.2f}", colour)], colour)


def _inside(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """x, y of a pixel as far from the mask's edge as any: where a person would click."""
    left = mask
    while True:
        wide = np.pad(left, 1)
        inner = left & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
        if not inner.any():
            rows, columns = np.nonzero(left)
            return int(columns[len(columns) // 2]), int(rows[len(rows) // 2])
        left = inner
