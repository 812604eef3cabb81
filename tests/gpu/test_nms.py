"""nms on a GPU: index for index what the reference keeps."""

from __future__ import annotations

import time

import numpy as np
import pytest

from saccade.kernels.nms import launch, nms
from saccade.kernels.nms.cases import BENCHMARKS, ODD, Case, inputs
from saccade.runtime.errors import KernelError, SpecError

pytestmark = pytest.mark.gpu
SEEN = int(np.random.SeedSequence().entropy % 2**32)  # fresh each run; a failure prints it
SECONDS = 3.0
each = pytest.mark.parametrize("impl", ["cuda", "triton"])


def on_device(cupy, boxes, scores, classes, **options):
    arrays = [None if array is None else cupy.asarray(array) for array in (boxes, scores, classes)]
    kept = nms(*arrays, **options)
    assert hasattr(kept, "__cuda_array_interface__")
    return cupy.asnumpy(kept)


@each
@pytest.mark.parametrize("case", ODD, ids=lambda case: case.name)
def test_odd_shapes(cupy, usable, impl, case):
    boxes, scores, classes = inputs(case, SEEN)
    for of, iou, limit in ((None, 0.5, None), (classes, 0.3, None), (classes, 0.0, 7), (None, 1.0, 0)):
        ours = on_device(cupy, boxes, scores, of, iou=iou, limit=limit, impl=usable("nms", impl))
        expected = nms(boxes, scores, of, iou=iou, limit=limit, impl="reference")
        assert ours.dtype == np.int64
        np.testing.assert_array_equal(ours, expected, err_msg=f"seed {SEEN}")


@each
def test_strange_floats_ties_and_classes(cupy, usable, impl):
    """Boxes on a coarse grid, where touching sides, equal overlaps and equal scores are common."""
    usable("nms", impl)
    rng = np.random.default_rng(SEEN)
    strange = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 3e38], np.float32)
    end, rounds = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        count = int(rng.choice([1, 31, 33, 300, 1100]))
        corner, size = rng.integers(0, 12, (count, 2)), rng.integers(-1, 7, (count, 2))
        boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
        boxes *= np.float32(rng.choice([1, 1, 1e-22, 1e19]))  # areas that underflow and overflow
        scores = (rng.integers(-4, 5, count) * 0.25).astype(np.float32)
        if rng.random() < 0.5:
            boxes = np.where(rng.random(boxes.shape) < 0.05, rng.choice(strange, boxes.shape), boxes)
            scores = np.where(rng.random(count) < 0.1, rng.choice(strange, count), scores)
        classes = rng.integers(-(2**62), 2**62, 3)[rng.integers(0, 3, count)]
        iou = float(rng.choice([0, 0.5, rng.random()]))
        ours = on_device(cupy, boxes, scores, classes, iou=iou, impl=impl)
        expected = nms(boxes, scores, classes, iou=iou, impl="reference")
        np.testing.assert_array_equal(ours, expected, err_msg=f"seed {SEEN}, round {rounds}")
        rounds += 1
    assert rounds > 3


@each
def test_a_long_chain_and_several_panels(cupy, usable, impl, monkeypatch):
    """Each of forty boxes overlaps the next only: every other one stays, and that is known from the first on."""
    monkeypatch.setattr(launch, "PANEL_WORDS", 1)  # the smallest panels
    count = 2100
    left = np.arange(count, dtype=np.float32) + 5 * (np.arange(count, dtype=np.float32) // 40)
    boxes = np.stack([left, left * 0, left + 1.9, left * 0 + 1], axis=1)
    scores = -np.arange(count, dtype=np.float32)
    ours = on_device(cupy, boxes, scores, None, iou=0.3, impl=usable("nms", impl))
    np.testing.assert_array_equal(ours, np.arange(0, count, 2))
    assert launch.panels(count)[0] == launch.STEP
    few = on_device(cupy, boxes, scores, None, iou=0.3, limit=1030, impl=impl)
    np.testing.assert_array_equal(few, np.arange(0, 2060, 2))


@each
def test_nan_scores_everywhere(cupy, usable, impl):
    boxes, scores, _ = inputs(Case("", 40, 3), SEEN)
    assert on_device(cupy, boxes, scores * np.float32("nan"), None, impl=usable("nms", impl)).tolist() == []


def test_arrays_on_two_sides_are_refused(cupy, usable):
    boxes, scores, _ = inputs(ODD[2])
    usable("nms", "cuda")
    with pytest.raises(SpecError, match="another side"):
        nms(cupy.asarray(boxes), scores)
    with pytest.raises(KernelError, match="the arrays are on the host"):
        nms(boxes, scores, impl="cuda")
    with pytest.raises(KernelError, match="the arrays are on the device"):
        nms(cupy.asarray(boxes), cupy.asarray(scores), impl="reference")


@each
@pytest.mark.parametrize("case", BENCHMARKS, ids=lambda case: case.name)
def test_benchmark_cases(cupy, usable, real, impl, case):
    boxes, scores, classes = inputs(case, SEEN)
    ours = on_device(cupy, boxes, scores, classes, impl=usable("nms", impl))
    np.testing.assert_array_equal(ours, nms(boxes, scores, classes, impl="base"), err_msg=f"seed {SEEN}")
