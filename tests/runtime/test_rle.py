"""Run lengths against pixels, and against pycocotools where it is installed."""

import json

import numpy as np
import pytest

from saccade.runtime import rle
from saccade.runtime.errors import InputError

SHAPES = [(1, 1), (1, 17), (17, 1), (5, 7), (64, 33), (211, 130)]


def masks(shape, seed):
    rng = np.random.default_rng(seed)
    yield np.zeros(shape, bool)
    yield np.ones(shape, bool)
    for share in (0.02, 0.5, 0.97):
        yield rng.random(shape) < share
    blob = np.zeros(shape, bool)
    blob[shape[0] // 3 : shape[0] // 2 + 1, shape[1] // 4 : shape[1] // 2 + 1] = True
    yield blob
    line = np.zeros(shape, bool)
    line[:, shape[1] // 2] = True
    yield line


@pytest.mark.parametrize("shape", SHAPES)
def test_there_and_back(shape):
    for mask in masks(shape, 1):
        packed = rle.encode(mask)
        assert np.array_equal(rle.decode(packed), mask)
        assert rle.area(packed) == mask.sum()
        assert np.array_equal(rle.decode({"size": packed["size"], "counts": rle.runs(packed).tolist()}), mask)
        assert np.array_equal(rle.decode(json.loads(json.dumps(rle.text(packed)))), mask)


@pytest.mark.parametrize("shape", SHAPES)
def test_boxes_are_those_of_the_pixels(shape):
    from saccade.kernels.mask_decode.reference import box, compress

    for mask in masks(shape, 2):
        packed = rle.encode(mask)
        assert rle.box(packed) == box(mask)
        assert packed["counts"] == compress(mask)


@pytest.mark.parametrize("shape", SHAPES)
def test_pycocotools_agrees_to_the_byte(shape):
    coco = pytest.importorskip("pycocotools.mask")
    made = list(masks(shape, 3))
    ours, theirs = [rle.encode(m) for m in made], [coco.encode(np.asfortranarray(m, np.uint8)) for m in made]
    assert [r["counts"] for r in ours] == [r["counts"] for r in theirs]
    for mask, packed in zip(made, theirs, strict=True):
        assert np.array_equal(rle.decode(packed), mask)
    full = [i for i, m in enumerate(made) if m.any()]
    left, top, width, height = coco.toBbox([theirs[i] for i in full]).T
    assert [rle.box(ours[i]) for i in full] == [
        tuple(int(n) for n in row) for row in np.stack([left, top, left + width - 1, top + height - 1], 1)
    ]
    want = coco.iou(theirs, theirs, [0] * len(theirs))
    assert np.allclose(rle.iou(ours, ours)[np.ix_(full, full)], np.asarray(want)[np.ix_(full, full)])


def test_long_runs_keep_every_bit():
    for lengths in ([7, 1 << 28, 3, 1, 1 << 27, 5], [0, 1, 0, 2, 0, 70000]):
        packed = rle.pack(lengths, (1, sum(lengths)))
        assert rle.runs(packed).tolist() == lengths


@pytest.mark.parametrize("shape", SHAPES)
def test_intersections_are_counted_pixels(shape):
    one, two = list(masks(shape, 4)), list(masks(shape, 5))
    got = rle.intersections([rle.encode(m) for m in one], [rle.encode(m) for m in two])
    assert got.tolist() == [[int((a & b).sum()) for b in two] for a in one]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("room", [(0, 0, 0, 0), (3, 2, 4, 1), (0, 5, 0, 0), (5, 0, 0, 7)])
def test_a_mask_is_laid_into_a_larger_picture(shape, room):
    left, top, right, bottom = room
    for mask in masks(shape, 6):
        wide = np.pad(mask, ((top, bottom), (left, right)))
        assert rle.place(rle.encode(mask), left, top, wide.shape) == rle.encode(wide)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({}, "not run lengths"),
        ({"size": [4], "counts": b""}, "not run lengths"),
        ({"size": [0, 4], "counts": b""}, "0 x 4"),
        ({"size": [2, 2], "counts": b"5"}, "add up"),
        ({"size": [2, 2], "counts": [5, -1]}, "add up"),
        ({"size": [2, 2], "counts": [1.5, 2.5]}, "whole"),
        ({"size": [2, 2], "counts": [float("nan")]}, "whole"),
        ({"size": [2, 2], "counts": ["a"]}, "whole"),
        ({"size": [2, 2], "counts": 7}, "int"),
        ({"size": [2, 2], "counts": b"T"}, "no run lengths"),
        ({"size": [2, 2], "counts": "é"}, "add up|no run"),
        ({"size": [2, 2], "counts": b" "}, "no run lengths"),
        ({"size": [2, 2], "counts": b"`" * 20 + b"0"}, "60 bits"),
        (None, "None"),
    ],
)
def test_what_is_no_run_lengths_is_refused(bad, says):
    with pytest.raises(InputError, match=says) as caught:
        rle.runs(bad)
    assert caught.value.hint


def test_other_misuse_is_refused():
    packed = rle.encode(np.ones((3, 4), bool))
    with pytest.raises(InputError, match="several sizes"):
        rle.iou([packed], [rle.encode(np.ones((4, 3), bool))])
    with pytest.raises(InputError, match="at"):
        rle.place(packed, 2, 0, (3, 5))
    with pytest.raises(InputError, match="mask"):
        rle.encode(np.zeros((2, 2, 2)))
