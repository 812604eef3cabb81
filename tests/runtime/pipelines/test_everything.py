"""Everything mode against the reference's procedure, written out in torch and OpenCV, on the same engine."""

import math

import numpy as np
import pytest

import saccade
from saccade.runtime.call import Call
from saccade.runtime.errors import Closed, InputError
from saccade.runtime.everything import Everything

MATCH = 0.99


@pytest.fixture(scope="module")
def sam(toy_sam):
    with saccade.load(toy_sam, threads=1) as model:
        yield model


def picture(height, width, seed=3):
    """Soft blobs: a picture whose embedding is not the same everywhere."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    layers = [np.sin(rng.uniform(2, 9) * x + rng.uniform(2, 9) * y + rng.uniform(0, 6)) for _ in range(3)]
    return (127 + 120 * np.stack(layers, axis=-1)).astype(np.uint8)


class Reference:
    """The generator of segment-anything as its parameters and paper describe it: dense masks, two interpolations."""

    def __init__(self, sam, pixels, *, side=32, layers=0, score=0.88, steady=0.95, iou=0.7, crop_iou=0.7, least=0):
        self.sam, self.pixels, self.side, self.layers = sam, pixels, side, layers
        self.score, self.steady, self.iou, self.crop_iou, self.least = score, steady, iou, crop_iou, least

    def masks(self):
        """(M, H, W) bool, (M,) predicted IoU, (M, 4) boxes, the last inclusive."""
        found = [self.crop(box, layer) for box, layer in self.crops()]
        masks, scores, boxes = (np.concatenate([f[i] for f in found]) for i in range(3))
        if self.layers:
            sizes = np.concatenate([np.full(len(f[0]), 1 / f[3]) for f in found])
            kept = greedy(boxes, sizes, self.crop_iou)
            masks, scores, boxes = masks[kept], scores[kept], boxes[kept]
        if self.least:
            masks, scores, boxes = self.clean(masks, scores)
        return masks, scores, boxes

    def crops(self):
        height, width = self.pixels.shape[:2]
        yield (0, 0, width, height), 0
        for layer in range(self.layers):
            count = 2 ** (layer + 1)
            overlap = int(512 / 1500 * min(height, width) * (2 / count))
            w = int(math.ceil((overlap * (count - 1) + width) / count))
            h = int(math.ceil((overlap * (count - 1) + height) / count))
            for i in range(count):
                for j in range(count):
                    x, y = i * (w - overlap), j * (h - overlap)
                    yield (x, y, min(x + w, width), min(y + h, height)), layer + 1

    def crop(self, box, layer):
        import torch

        x0, y0, x1, y1 = box
        part = np.ascontiguousarray(self.pixels[y0:y1, x0:x1])
        view = self.sam.encode(part)
        first = 1 / (2 * self.side)
        line = np.linspace(first, 1 - first, self.side)
        points = [(x * (x1 - x0), y * (y1 - y0)) for y in line for x in line]
        logits, scores = self.decode(view, np.array(points))
        good = scores > self.score
        logits, scores = logits[good], scores[good]
        low = torch.from_numpy(logits)[:, None]
        square = torch.nn.functional.interpolate(low, view.frame.size, mode="bilinear", align_corners=False)
        square = square[..., : view.frame.resized[0], : view.frame.resized[1]]
        full = torch.nn.functional.interpolate(square, (y1 - y0, x1 - x0), mode="bilinear", align_corners=False)
        full = full[:, 0].numpy()
        upper, lower = (full > 1).sum((1, 2)), (full > -1).sum((1, 2))
        keep = upper >= self.steady * np.maximum(lower, 1)
        full, scores = full[keep] > 0, scores[keep]
        boxes = np.array([bounds(m) for m in full]).reshape(-1, 4)
        there, height, width = boxes + (x0, y0, x0, y0), *self.pixels.shape[:2]
        at_crop, at_whole = abs(there - box) <= 20, abs(there - (0, 0, width, height)) <= 20
        inside = ~(at_crop & ~at_whole).any(axis=1)
        full, scores, there = full[inside], scores[inside], there[inside]
        kept = greedy(there, scores, self.iou)
        room = ((0, 0), (y0, height - y1), (x0, width - x1))
        return np.pad(full[kept], room), scores[kept], there[kept], (x1 - x0) * (y1 - y0)

    def decode(self, view, points):
        """Logits and IoU of the three masks of single clicks, in one run."""
        tokens = np.zeros((1, len(points), 2, 2), np.float32)
        tokens[0, :, 0] = points * (view.frame.resized[1] / view.frame.original[1], view.frame.scale[0])
        inputs = {
            "embedding": view.features["embedding"],
            "points": tokens,
            "labels": np.tile(np.array([1, -1]), (1, len(points), 1)),
            "mask": np.zeros((1, len(points), 32, 32), np.float32),
            "has_mask": np.zeros((1, len(points)), np.float32),
        }

        def one():
            return (yield Call(self.sam.pipeline.decoder, inputs))

        out = self.sam.run(one())
        return out["logits"][0, :, 1:].reshape(-1, 32, 32), out["iou"][0, :, 1:].ravel()

    def clean(self, masks, scores):
        import cv2

        made, untouched = [], []
        for mask in masks:
            changed = False
            for inside in (False, True):
                count, where, stats, _ = cv2.connectedComponentsWithStats((mask == inside).astype(np.uint8), None, 8)
                small = [i for i in range(1, count) if stats[i, -1] < self.least]
                if not small:
                    continue
                changed = True
                if inside and len(small) == count - 1:
                    mask = where == 1 + stats[1:, -1].argmax()
                else:
                    mask = np.where(np.isin(where, small), not inside, mask)
            made.append(mask)
            untouched.append(not changed)
        made = np.array(made)
        boxes = np.array([bounds(m) for m in made])
        kept = greedy(boxes, np.array(untouched, float), max(self.iou, self.crop_iou))
        return made[kept], scores[kept], boxes[kept]


def bounds(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [columns[0], rows[0], columns[-1], rows[-1]] if len(rows) else [0, 0, 0, 0]


def greedy(boxes, scores, iou):
    """Plain non-maximum suppression; of equal scores the first wins."""
    left, kept = np.argsort(-scores, kind="stable").tolist(), []
    boxes = boxes.astype(np.float64)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while left:
        best, *left = left
        kept.append(best)
        if not left:
            break
        others = boxes[left]
        sides = np.minimum(others[:, 2:], boxes[best, 2:]) - np.maximum(others[:, :2], boxes[best, :2])
        shared = np.maximum(sides, 0).prod(axis=1)
        with np.errstate(invalid="ignore"):
            over = shared / (area[left] + area[best] - shared) > iou
        left = [i for i, gone in zip(left, over, strict=True) if not gone]
    return np.array(kept, np.int64)


CASES = {
    "defaults": ((90, 141), {}, {}),
    "portrait": ((150, 61), {"grid": 17}, {"side": 17}),
    "crops": ((170, 260), {"grid": 9, "crops": 1}, {"side": 9, "layers": 1}),
    "two layers": ((200, 180), {"grid": 5, "crops": 2}, {"side": 5, "layers": 2}),
    "loose": ((90, 90), {"grid": 8, "min_score": 0.4, "min_stability": 0.5}, {"side": 8, "score": 0.4, "steady": 0.5}),
    "regions": ((120, 120), {"grid": 10, "min_region": 90}, {"side": 10, "least": 90}),
    "tight": ((90, 120), {"grid": 12, "box_nms": 0.3}, {"side": 12, "iou": 0.3}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [3, 4])
def test_masks_are_those_of_the_references_procedure(sam, name, seed):
    pytest.importorskip("torch")
    (height, width), ours, theirs = CASES[name]
    if "least" in theirs:
        pytest.importorskip("cv2")
    pixels = picture(height, width, seed)
    if "least" in theirs:  # islands: what the encoder sees is noise
        pixels = np.random.default_rng(seed).integers(0, 2, (height, width, 1), np.uint8).repeat(3, axis=2) * 255
    got = sam.everything(pixels, **ours)
    masks, scores, boxes = Reference(sam, pixels, **theirs).masks()
    assert len(got) == len(masks) > 3
    dense = got.dense()
    shared = np.einsum("mhw,nhw->mn", dense.astype(np.float32), masks.astype(np.float32))
    union = dense.sum((1, 2))[:, None] + masks.sum((1, 2)) - shared
    best = (shared / np.maximum(union, 1)).diagonal()  # in the same order, too
    assert best.min() >= MATCH
    assert np.allclose(got.score, scores, atol=1e-5)
    assert (abs(got.boxes - boxes) <= 1).all()


def test_what_comes_back_says_where_it_was_found(sam):
    pixels = picture(170, 260)
    got = sam.everything(pixels, grid=9, crops=1)
    assert got.size == (170, 260)
    assert {tuple(c) for c in got.crops.tolist()} > {(0, 0, 260, 170)}
    assert set(got.prompt.tolist()) == set(range(len(got.prompts)))
    for mask in got:
        x, y = got.prompts[int(mask.prompt[0])].points[0]
        left, top, right, bottom = mask.crops[0]
        assert left <= x <= right
        assert top <= y <= bottom
        inside = mask.at(0)
        assert inside.sum() == mask.area[0]
        assert not inside[:, : max(left, 0)].any()
        assert not inside[:, right:].any()
    assert got.logits is None
    with pytest.raises(InputError, match="not kept"):
        got.low  # noqa: B018


def test_a_grid_of_ones_own(sam):
    pixels = picture(90, 141)
    same = sam.everything(pixels, grid=8)
    line = (np.arange(8) + 0.5) / 8
    own = np.array([(x, y) for y in line for x in line])
    assert sam.everything(pixels, grid=[own]).rle == same.rle
    assert np.allclose(Everything(8).points(0), own)


def test_nothing_good_enough_is_an_empty_result(sam):
    got = sam.everything(picture(60, 60), grid=4, min_score=5.0, crops=1, min_region=10)
    assert len(got) == len(got.prompts) == 0
    assert got.size == (60, 60)


@pytest.mark.parametrize(
    "bad",
    [
        {"grid": 0},
        {"grid": 129},
        {"grid": "many"},
        {"grid": []},
        {"grid": [[(0.5, 1.5)]]},
        {"grid": [[(0.5, float("nan"))]]},
        {"grid": 4, "crops": 3, "downscale": 2},
        {"grid": [[(0.5, 0.5)]], "crops": 1},
        {"crops": -1},
        {"crops": 9},
        {"crops": 1.5},
        {"min_score": -1},
        {"min_score": float("nan")},
        {"min_stability": 1.5},
        {"offset": None},
        {"box_nms": 2},
        {"overlap": 1.0},
        {"downscale": 0},
        {"min_region": -5},
    ],
)
def test_values_that_mean_nothing_are_refused_before_any_work(bad):
    with pytest.raises(InputError, match="everything") as caught:
        Everything(**bad)
    assert caught.value.hint


def test_more_layers_than_the_picture_has_pixels(sam):
    with pytest.raises(InputError, match="crops"):
        sam.everything(np.zeros((3, 3, 3), np.uint8), grid=16, crops=4)


def test_a_closed_model_answers_nothing(toy_sam):
    model = saccade.load(toy_sam)
    view = model.encode(picture(50, 60))
    model.close()
    with pytest.raises(Closed):
        view.everything(grid=2)
