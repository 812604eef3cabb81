"""How good a promptable segmenter is on the world: mean IoU after clicks and boxes, for any encoder and decoder.

    target_pictures -> encode, decode (yours) -> one_click, three_clicks, boxed -> a Score each: true and predicted IoU

Nothing here knows torch or an engine, so a trained checkpoint and its exported int8 bundle are measured by one metric.
The prompts are those of a careful person: a click in the middle of the target, then one in the middle of the larger
mistake, the mask so far fed back. Masks are judged at the picture's own size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from saccade.zoo.clicks import correction, deepest
from saccade.zoo.evaluate import evaluation_rng
from saccade.zoo.world import Rendered, render, sample_scene

Floats = NDArray[np.float32]
Encode = Callable[[NDArray[np.uint8]], Any]
"""(K, S, S, 3) pictures -> embeddings of whatever kind the decoder takes."""
Decode = Callable[[Any, NDArray[np.int64], Floats, NDArray[np.int64], Floats, Floats], tuple[Floats, Floats]]
"""(embeddings, picture (M,), points (M, N, 2), labels (M, N), mask (M, h, w), has_mask (M,)) -> logits (M, 4, h, w),
predicted IoU (M, 4). Labels as in the sam family's decoder graph: 1, 0, 2 and 3 for a box's corners, -1 for "not a
point"; has_mask is 0 or 1, and the mask (M, 1, 1) where there is none."""

LEAST_AREA = 40  # pixels of a target, of 128 x 128
CHUNK = 64  # targets a decoder run


@dataclass(frozen=True, eq=False)
class Targets:
    """pixels: (K, S, S, 3) uint8; picture: (M,) which of them each target is in; masks: (M, S, S) bool;
    part: (M,) bool, whether the target is a part on a thing rather than a whole thing"""

    pixels: NDArray[np.uint8]
    picture: NDArray[np.int64]
    masks: NDArray[np.bool_]
    part: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.picture)

    def only(self, kept: slice) -> Targets:
        """Some of the targets and the pictures that they are in."""
        shown, picture = np.unique(self.picture[kept], return_inverse=True)
        return Targets(self.pixels[shown], picture.astype(np.int64), self.masks[kept], self.part[kept])


@dataclass(frozen=True, eq=False)
class Score:
    """What one way of prompting gave, of M targets, in their order.

    single, picked, best: (M,) true IoU of the single-mask token, of that of the three which the model prefers, of the
    best of the three; error: (M, 4) |predicted - true| IoU of every mask; chosen: (M,) the one of 1..3 that it prefers
    """

    single: NDArray[np.float64]
    picked: NDArray[np.float64]
    best: NDArray[np.float64]
    error: NDArray[np.float64]
    chosen: NDArray[np.int64]


def target_pictures(
    n: int,
    level: str = "middle",
    seed: int = 0,
    *,
    parts: bool | None = None,
    pairs: str = "any",
    size: int = 128,
    finer: int = 1,
) -> Targets:
    """At least n targets in pictures that no training draws; every target of a picture comes with it.

    parts: whether large things carry parts; the level's own chance if None (in the middle level: never)
    finer: draw the pictures this many times as large and resize them, as a photo of a user would be
    """
    rng = evaluation_rng(seed)
    pixels: list[NDArray[np.uint8]] = []
    masks: list[NDArray[np.bool_]] = []
    picture, part = [], []
    while len(masks) < n:
        drawn = render(sample_scene(rng, level, pairs=pairs, parts=parts), size * finer)
        for mask, is_part in targets_of(drawn):
            picture.append(len(pixels))
            masks.append(_shrunk(mask, finer))
            part.append(is_part)
        resized = Image.fromarray(drawn.pixels).resize((size, size), Image.Resampling.BILINEAR)
        pixels.append(np.asarray(resized) if finer > 1 else drawn.pixels)
    return Targets(np.stack(pixels), np.array(picture, np.int64), np.stack(masks), np.array(part, bool))


def _shrunk(mask: NDArray[np.bool_], finer: int) -> NDArray[np.bool_]:
    height, width = mask.shape
    blocks = mask.reshape(height // finer, finer, width // finer, finer)
    return np.asarray(blocks.mean((1, 3)) >= 0.5)


def targets_of(picture: Rendered, least: float = LEAST_AREA / 128**2) -> list[tuple[NDArray[np.bool_], bool]]:
    """(mask, is it a part) of everything that a click can mean: each thing with the parts on it, and each part.

    least: share of the picture below which a target is left out
    """
    things = picture.scene.things
    found = [(picture.masks[i], True) if t.part_of >= 0 else (picture.whole(i), False) for i, t in enumerate(things)]
    return [(mask, part) for mask, part in found if mask.mean() >= least]


@dataclass(frozen=True, eq=False)
class Trace:
    """The last prompt of a way of prompting and its answer: points (M, N, 2), labels (M, N), logits (M, 4, h, w),
    predicted IoU (M, 4)"""

    points: Floats
    labels: NDArray[np.int64]
    logits: Floats
    predicted: Floats


def one_click(encode: Encode, decode: Decode, targets: Targets) -> Score:
    """A click in the middle of each target."""
    return _score(encode, decode, targets, "click")


def three_clicks(encode: Encode, decode: Decode, targets: Targets, *, feed_back: bool = True) -> Score:
    """A click in the middle, then two where the mask is most wrong.

    feed_back: give the mask so far as a prompt too, as SAM is used; without it the points alone
    """
    return _score(encode, decode, targets, "clicks" if feed_back else "points")


def boxed(encode: Encode, decode: Decode, targets: Targets) -> Score:
    """The tight box of each target."""
    return _score(encode, decode, targets, "box")


def trace(encode: Encode, decode: Decode, targets: Targets, way: str) -> Trace:
    """Prompt for every target at once, which should be few: what a picture of the answers is drawn from.

    way: "click", "clicks" (three, the mask fed back), "points" (three, it is not) or "box"
    """
    embeddings = encode(targets.pixels)

    def ask(points: Floats, labels: NDArray[np.int64], mask: Floats | None = None) -> Trace:
        low = np.zeros((len(points), 1, 1), np.float32) if mask is None else mask
        given = np.full(len(points), float(mask is not None), np.float32)
        return Trace(points, labels, *decode(embeddings, targets.picture, points, labels, low, given))

    return WAYS[way](ask, targets.masks)


def clicks_on_nothing(
    encode: Encode, decode: Decode, n: int, level: str = "middle", seed: int = 0, *, size: int = 128
) -> NDArray[np.float64]:
    """(n,) the predicted IoU of the preferred mask for a click anywhere on the backdrop of each of n pictures.

    A model that is sure of a mask there puts it among the automatic masks of a picture.
    """
    rng = evaluation_rng(seed)
    sure = []
    for _ in range(n):
        drawn = render(sample_scene(rng, level), size)
        rows, columns = np.nonzero(~drawn.masks.any(0))
        at = int(rng.integers(len(rows)))
        points = np.array([[[columns[at], rows[at]], [0, 0]]], np.float32)
        labels, none = np.array([[1, -1]], np.int64), np.zeros((1, 1, 1), np.float32)
        embeddings = encode(drawn.pixels[None])
        _, predicted = decode(embeddings, np.zeros(1, np.int64), points, labels, none, np.zeros(1, np.float32))
        sure.append(float(predicted[0, 1:].max()))
    return np.array(sure)


Ask = Callable[..., Trace]


def _refined(ask: Ask, wanted: NDArray[np.bool_], feed_back: bool, clicks: int = 3) -> Trace:
    said = ask(*_first_click(wanted))
    choice = said.predicted[:, 1:].argmax(1) + 1  # of a single click the best of the three, then the single mask
    for _ in range(clicks - 1):
        mask = said.logits[np.arange(len(choice)), choice]
        point, label = correction(wanted, upsample(mask, wanted.shape[1:]) > 0)
        points = np.concatenate([point[:, None].astype(np.float32), said.points], 1)
        said = ask(points, np.concatenate([label[:, None], said.labels], 1), mask if feed_back else None)
        choice = np.zeros_like(choice)
    return said


WAYS: dict[str, Callable[[Ask, NDArray[np.bool_]], Trace]] = {
    "click": lambda ask, wanted: ask(*_first_click(wanted)),
    "clicks": lambda ask, wanted: _refined(ask, wanted, True),
    "points": lambda ask, wanted: _refined(ask, wanted, False),
    "box": lambda ask, wanted: ask(*_corners(wanted)),
}


def _score(encode: Encode, decode: Decode, targets: Targets, way: str) -> Score:
    rows: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    for start in range(0, len(targets), CHUNK):
        chunk = targets.only(slice(start, start + CHUNK))
        said = trace(encode, decode, chunk, way)
        found = upsample(said.logits, chunk.masks.shape[1:]) > 0
        rows.append((iou(found, chunk.masks[:, None]), said.predicted.astype(np.float64)))
    true, predicted = (np.concatenate(column) for column in zip(*rows, strict=True))
    chosen = predicted[:, 1:].argmax(1) + 1
    picked = true[np.arange(len(true)), chosen]
    return Score(true[:, 0], picked, true[:, 1:].max(1), np.abs(predicted - true), chosen)


def _first_click(wanted: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.int64]]:
    """A click and SAM's "not a point", which goes with clicks that have no box."""
    points = np.zeros((len(wanted), 2, 2), np.float32)
    points[:, 0] = deepest(wanted)
    return points, np.tile(np.array([1, -1], np.int64), (len(wanted), 1))


def _corners(wanted: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.int64]]:
    corners = np.zeros((len(wanted), 2, 2), np.float32)
    for corner, mask in zip(corners, wanted, strict=True):
        columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        corner[:] = [[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]]
    return corners, np.tile(np.array([2, 3], np.int64), (len(wanted), 1))


def iou(found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Intersection over union of the last two axes, which broadcast otherwise; 0 where both are empty."""
    both = (found & wanted).sum((-2, -1))
    either = (found | wanted).sum((-2, -1))
    return np.asarray(both / np.maximum(either, 1), np.float64)


def upsample(maps: Floats, shape: tuple[int, ...]) -> Floats:
    """(..., h, w) to (..., H, W), bilinear with pixel centres at halves (align_corners=False)."""
    rows, columns = _weights(maps.shape[-2], shape[0]), _weights(maps.shape[-1], shape[1])
    return np.asarray(rows @ maps @ columns.T, np.float32)


def _weights(short: int, long: int) -> Floats:
    """(long, short): row i holds the weights of the short side's samples at the long side's pixel i."""
    at: NDArray[np.float64] = np.clip((np.arange(long) + 0.5) * short / long - 0.5, 0, short - 1)
    below = np.minimum(np.floor(at).astype(np.int64), max(short - 2, 0))
    weights = np.zeros((long, short), np.float32)
    weights[np.arange(long), below] = 1 - (at - below)
    if short > 1:
        weights[np.arange(long), below + 1] = at - below
    return weights
