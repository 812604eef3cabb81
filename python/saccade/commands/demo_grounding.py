"""The demo's third part: words to boxes by the shipped detector, boxes to masks by the shipped SAM."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from saccade.commands import demo_sam
from saccade.commands.show import load, table

if TYPE_CHECKING:
    from saccade import Detections, Together
    from saccade.runtime.draw import Sheet, Tile
    from saccade.zoo.shipped import Truth

NAME = "grounding-tiny"
NEAR = 0.5
"""IoU from which a box counts as the thing's, as in AP50."""
ABSENT = 3
"""Labels of other pictures that are asked for besides a picture's own."""


class Found(NamedTuple):
    """What words found in one picture: `right` of `things`, and how many boxes are no such thing."""

    picture: Path
    asked: tuple[str, ...]
    boxes: Detections
    right: int
    things: int
    wrong: int
    ms: float

    @property
    def row(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "picture": self.picture.name,
            "asked": list(self.asked),
            "things": self.things,
            "right": self.right,
            "wrong": self.wrong,
            "ms": self.ms,
        }


def find_all(pictures: list[Path], known: dict[str, Truth]) -> tuple[list[Found], dict[str, Any]]:
    """Each picture asked for what it shows and for some things that it does not; and what the detector ran on."""
    from saccade import Together

    every = sorted({label for truth in known.values() for label in truth.labels})
    with load(Path(NAME)) as detector, load(Path(demo_sam.NAME)) as sam:
        both = Together(detector, sam)
        made = [_find(both, picture, known[picture.name], every) for picture in pictures]
        return made, next(about for name, about in detector.about.items() if name.startswith("detector"))


def _find(both: Together, picture: Path, known: Truth, every: list[str]) -> Found:
    own = sorted(set(known.labels))
    others = [label for label in every if label not in own]
    step = max(1, len(others) // ABSENT)
    asked = tuple(own + others[len(picture.stem) % step :: step][:ABSENT])
    both.detect(picture, asked)  # the first run is not counted
    start = perf_counter()
    boxes = both.detect(picture, asked)
    ms = round((perf_counter() - start) * 1e3, 2)
    right, wrong = _judged(boxes, known)
    return Found(picture, asked, boxes, right, len(known.labels), wrong, ms)


def _judged(boxes: Detections, known: Truth) -> tuple[int, int]:
    """Things that a box of their name lies on, and boxes that lie on no thing of theirs."""
    met: set[int] = set()
    wrong = 0
    for box, name in zip(boxes.boxes, boxes.names, strict=True):
        on = [i for i, label in enumerate(known.labels) if label == name and _iou(box, known.boxes[i]) >= NEAR]
        met.update(on)
        wrong += not on
    return len(met), wrong


def _iou(a: Any, b: Any) -> float:
    a, b = np.asarray(a, float), np.asarray(b, float)
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    return shared / max(float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared, 1e-9)


def summary(made: list[Found], about: dict[str, Any]) -> list[Any]:
    """A table and two lines, to be shown."""
    shown = table(f"found by words: {len(made)} pictures by {NAME}", "picture", "asked for", "#right", "#wrong", "#ms")
    for found in made:
        counts = f"{found.right} of {found.things}", str(found.wrong), f"{found.ms:.1f}"
        shown.add_row(found.picture.name, ", ".join(found.asked), *counts)
    right, things, wrong = (sum(getattr(found, name) for found in made) for name in ("right", "things", "wrong"))
    mean = f"{right} of {things} things found by their words, {wrong} boxes wrong; masks by {demo_sam.NAME}"
    return [shown, mean, f"{about['backend']} {about['version']}, {about['precision']}, no torch"]


def sheet(made: list[Found]) -> Sheet:
    """One section: boxes with their words and masks."""
    from saccade.runtime.draw import Section, Sheet

    heading = f"asked for what is there and for {ABSENT} things that are not; green: all found, and nothing else"
    return Sheet(
        "saccade: words to boxes, boxes to masks",
        [Section(heading, [_tile(found) for found in made])],
        columns=4,
        note="a tiny Grounding DINO and a tiny SAM; pictures not seen in training",
    )


def _tile(found: Found) -> Tile:
    from saccade.runtime.draw import RIGHT, WRONG, Row, Tile

    colour = RIGHT if found.right == found.things and not found.wrong else WRONG
    told = Row("found", found.right / max(found.things, 1), f"{found.right} of {found.things}", colour)
    return Tile(found.boxes.draw(), ", ".join(found.asked), [told], colour)
