"""Prompt: what is asked of a picture, one object each: points, a box, a mask, or several of these together.

x and y count pixels of the original picture, as SAM's predictor takes them: (0, 0) is the middle of the first pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.runtime import rle
from saccade.runtime.errors import InputError, PromptError

MOST = 1024
"""Prompts in one request, and points in one prompt: what bounds the memory that a caller can ask for."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """One object.

    points: (N, 2) x, y
    labels: (N,) 1 for a point on the object, 0 for one beside it; all 1 if not given
    box: (4,) left, top, right, bottom, or None
    mask: (h, w) float32 logits as `Masks.low` has them, or (H, W) bool pixels of the picture, or None
    Raises PromptError for NaN, other labels, a box without area, or nothing at all.
    """

    points: Any = ()
    labels: Any = None
    box: Any = None
    mask: Any = None

    def __post_init__(self) -> None:
        points = _numbers("points", self.points, "(N, 2) x, y").astype(np.float64)
        points = points.reshape(-1, 2) if points.size in (0, 2) and points.ndim < 3 else points
        if points.ndim != 2 or points.shape[1] != 2:
            raise _bad(f"points {points.shape}", "points are (N, 2): x, y for each")
        if len(points) > MOST:
            raise _bad(f"{len(points):,} points", f"at most {MOST:,} for one object")
        labels = np.ones(len(points), np.int64) if self.labels is None else _labels(self.labels)
        if labels.shape != (len(points),):
            raise _bad(f"{labels.size} labels for {len(points)} points", "one label for each point")
        box = None if self.box is None else _box(self.box)
        mask = None if self.mask is None else _mask(self.mask)
        if not len(points) and box is None and mask is None:
            raise _bad("an empty prompt", "give points, a box or a mask")
        for name, value in (("points", points), ("labels", labels), ("box", box), ("mask", mask)):
            if value is not None:
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    @classmethod
    def read(cls, fields: Any) -> Prompt:
        """The prompt of a JSON object: points, labels, box, and mask as run lengths or rows of logits.

        Raises PromptError.
        """
        if not isinstance(fields, Mapping) or not set(fields) <= {"points", "labels", "box", "mask"}:
            raise _bad(f"not a prompt: {str(fields)[:60]!a}", "an object with points, labels, box or mask")
        mask = fields.get("mask")
        try:
            pixels = rle.decode(dict(mask)) if isinstance(mask, Mapping) else mask
        except InputError as error:
            raise _bad(f"mask: {error.message}", error.hint) from None
        return cls(fields.get("points") or (), fields.get("labels"), fields.get("box"), pixels)

    def fields(self) -> dict[str, Any]:
        """What `read` takes, fit for JSON."""
        made: dict[str, Any] = {}
        if len(self.points):
            made |= {"points": self.points.tolist(), "labels": self.labels.tolist()}
        if self.box is not None:
            made["box"] = self.box.tolist()
        if self.mask is not None:
            made["mask"] = rle.text(rle.encode(self.mask)) if self.mask.dtype == bool else self.mask.tolist()
        return made

    @property
    def ambiguous(self) -> bool:
        """A single click: it may mean a part or the whole, so the model is asked for three masks."""
        return len(self.points) == 1 and self.box is None and self.mask is None

    def check(self, height: int, width: int, low: tuple[int, int]) -> None:
        """Raise PromptError unless it fits a picture of height x width and a model whose logits are `low`."""
        most = (width, height)
        outside = (self.points < 0) | (self.points > most)
        if outside.any():
            x, y = self.points[outside.any(axis=1)][0]
            raise _bad(f"a point ({x:g}, {y:g}) outside the picture", f"x is 0 to {width}, y is 0 to {height}")
        if self.box is not None and ((self.box < 0) | (self.box > most * 2)).any():
            text = ", ".join(f"{n:g}" for n in self.box)
            raise _bad(f"a box ({text}) that sticks out of the picture", f"clip it to 0, 0, {width}, {height}")
        wanted = low if self.mask is not None and self.mask.dtype != bool else (height, width)
        if self.mask is not None and self.mask.shape != wanted:
            hint = f"logits are {low[0]} x {low[1]} float32, as Masks.low; pixels are {height} x {width} bool"
            raise _bad(f"a mask {self.mask.shape} {self.mask.dtype}", hint)

    def __repr__(self) -> str:
        parts = [f"{len(self.points)} points"] if len(self.points) else []
        parts += [f"box={self.box.tolist()}"] if self.box is not None else []
        parts += [f"mask {self.mask.shape}"] if self.mask is not None else []
        return f"Prompt({', '.join(parts)})"


def gather(points: Any, labels: Any, boxes: Any, mask: Any, prompts: Any) -> tuple[Prompt, ...]:
    """The prompts that these arguments mean, one an object.

    points: (N, 2) are the points of one object; (P, N, 2) of P objects; labels: (N,) or (P, N)
    boxes: (4,) or (P, 4), each with the points and the mask of the same place if there are any
    mask: (h, w) or (P, h, w)
    prompts: a Prompt or several, in place of all of these
    Raises PromptError.
    """
    loose = [value for value in (points, labels, boxes, mask) if value is not None]
    if prompts is not None:
        if loose:
            raise _bad("prompts and points, boxes or a mask", "put everything into the prompts")
        made = (prompts,) if isinstance(prompts, Prompt) else tuple(prompts)
        if not all(isinstance(prompt, Prompt) for prompt in made):
            raise _bad("prompts that are no Prompt", "saccade.Prompt(points=[(x, y)])")
        return _counted(made)
    columns = [_points(points), _each(labels, 1), _each(boxes, 1), _each(mask, 2)]
    counts = {len(column) for column in columns if column is not None}
    if not counts:
        raise _bad("no prompt", "give points, boxes, a mask or prompts; everything() needs none")
    if labels is not None and points is None:
        raise _bad("labels without points", "one label for each point")
    if len(counts) > 1:
        raise _bad(f"{' and '.join(map(str, sorted(counts)))} objects", "points, boxes and masks of as many objects")
    (count,) = counts
    _refuse_many(count)
    rows = zip(*(column if column is not None else [None] * count for column in columns), strict=True)
    return _counted(tuple(Prompt(p if p is not None else (), la, b, m) for p, la, b, m in rows))


def _points(points: Any) -> Any:
    if points is None:
        return None
    made = _numbers("points", points, "(N, 2) or (P, N, 2) x, y")
    return made if made.ndim == 3 else made[None]


def _each(values: Any, depth: int) -> Any:
    """Rows of `values`, each of `depth` dims; a lone row is made one of a list."""
    if values is None:
        return None
    made = (
        np.asarray(values) if isinstance(values, np.ndarray) else _numbers("labels, boxes or mask", values, "numbers")
    )
    return made if made.ndim > depth else made[None]


def _counted(made: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
    if not made:
        raise _bad("no prompt", "give at least one object")
    _refuse_many(len(made))
    return made


def _refuse_many(count: int) -> None:
    if count > MOST:
        raise _bad(f"{count:,} prompts", f"at most {MOST:,} in one request: ask in several")


def _numbers(name: str, values: Any, allowed: str) -> NDArray[Any]:
    try:
        made = np.array(values)
        if made.size == 0:
            made = made.astype(np.float64)
        if made.dtype.kind not in "biuf":
            raise ValueError
    except (TypeError, ValueError):
        raise _bad(f"{name} that are no numbers", f"give {allowed}") from None
    if not np.isfinite(made).all():
        raise _bad(f"{name} with NaN or infinity", f"give {allowed}")
    return made


def _labels(labels: Any) -> NDArray[np.int64]:
    made = _numbers("labels", labels, "(N,) of 0 and 1")
    if made.ndim != 1 or not np.isin(made, (0, 1)).all():
        raise _bad(f"labels {str(made.tolist())[:40]}", "1 for a point on the object, 0 for one beside it")
    return made.astype(np.int64)


def _box(box: Any) -> NDArray[np.float64]:
    made = _numbers("box", box, "left, top, right, bottom").astype(np.float64)
    if made.shape != (4,):
        raise _bad(f"a box {made.shape}", "left, top, right, bottom")
    if made[0] >= made[2] or made[1] >= made[3]:
        raise _bad(f"a box {tuple(made.tolist())}", "left < right and top < bottom: x0, y0, x1, y1, not a width")
    return made


def _mask(mask: Any) -> NDArray[Any]:
    made = _numbers("mask", mask, "(h, w) logits or (H, W) bool")
    made = made[0] if made.ndim == 3 and len(made) == 1 else made  # as SAM's predictor takes it
    if made.ndim != 2 or made.dtype.kind not in "bf":
        raise _bad(f"a mask {made.shape} {made.dtype}", "(h, w) float logits, or (H, W) bool pixels: mask > 0")
    return made if made.dtype == bool else made.astype(np.float32)


def _bad(what: str, allowed: str) -> PromptError:
    return PromptError(f"[prompt] {what}", hint=allowed)


Prompts = Prompt | Sequence[Prompt]
