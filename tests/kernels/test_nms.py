"""nms: every candidate against the reference, index for index; the reference against a second formulation in loops."""

from __future__ import annotations

import time

import numpy as np
import pytest

from saccade.kernels import native
from saccade.kernels.nms import CANDIDATES, nms
from saccade.kernels.nms.cases import BENCHMARKS, ODD, inputs
from saccade.kernels.nms.reference import box_iou
from saccade.runtime.errors import KernelError, SpecError

SEEN = int(np.random.SeedSequence().entropy % 2**32)  # fresh each run; a failure prints it
SECONDS = 2.0
F = np.float32

each_candidate = pytest.mark.parametrize("impl", [c.name for c in CANDIDATES if c.place == "cpu"])
each_native = pytest.mark.parametrize(
    "impl", [c.name for c in CANDIDATES if c.place == "cpu" and c.name != "reference"]
)


def usable(impl: str) -> str:
    reason = next(candidate.unusable() for candidate in CANDIDATES if candidate.name == impl)
    if reason:
        pytest.skip(f"{impl}: {reason}")
    return impl


def by_loops(boxes, scores, classes, iou, limit):
    """Greedy suppression a pair at a time, in float32 scalars."""
    order = sorted((i for i in range(len(boxes)) if scores[i] == scores[i]), key=lambda i: (-scores[i], i))
    kept = []
    for i in order:
        if len(kept) == limit:
            break
        if not any(overlap(boxes[i], boxes[j]) > F(iou) for j in kept if classes is None or classes[i] == classes[j]):
            kept.append(i)
    return kept


def overlap(a, b):
    width = max(min(a[2], b[2]) - max(a[0], b[0]), F(0))
    height = max(min(a[3], b[3]) - max(a[1], b[1]), F(0))
    common = width * height
    whole = ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])) - common
    return common / whole if whole else F("nan")  # common is 0 there


def boxes_of(*rows):
    return np.array(rows, F).reshape(-1, 4)


def descending(count):
    return np.arange(count, 0, -1).astype(F)


@each_candidate
@pytest.mark.parametrize("case", ODD, ids=lambda case: case.name)
@pytest.mark.parametrize("iou", [0.0, 0.3, 0.5, 1.0])
def test_odd_shapes_equal_the_loops(impl, case, iou):
    boxes, scores, classes = inputs(case)
    for of in (None, classes):
        for limit in (None, 0, 1, 7):
            ours = nms(boxes, scores, of, iou=iou, limit=limit, impl=usable(impl))
            assert ours.dtype == np.int64
            if case.boxes <= 40 or limit == 7:  # loops over all pairs take their time
                assert ours.tolist() == by_loops(boxes, scores, of, iou, limit)
            assert ours.tolist() == nms(boxes, scores, of, iou=iou, limit=limit, impl="reference").tolist()


@each_native
@pytest.mark.parametrize("case", BENCHMARKS[:3], ids=lambda case: case.name)
def test_benchmark_cases(impl, case):
    boxes, scores, classes = inputs(case, SEEN)
    ours = nms(boxes, scores, classes, iou=0.5, limit=400, impl=usable(impl))
    expected = nms(boxes, scores, classes, iou=0.5, limit=400, impl="reference")
    assert np.array_equal(ours, expected), f"seed {SEEN}"


def random_case(rng):
    """Boxes on a coarse grid, where touching sides, equal overlaps and equal scores are common; and strange floats."""
    count = int(rng.integers(0, rng.choice([3, 20, 70, 400])))
    corner, size = rng.integers(0, 12, (count, 2)), rng.integers(-1, 7, (count, 2))
    boxes = np.concatenate([corner, corner + size], axis=1).astype(F)
    if rng.random() < 0.5:
        boxes += rng.normal(0, 0.3, boxes.shape).astype(F)
    boxes *= F(rng.choice([1, 1, 1e-22, 1e19]))  # areas that underflow and overflow
    scores = (rng.integers(-4, 5, count) * (0.25 if rng.random() < 0.5 else rng.random(count))).astype(F)
    if rng.random() < 0.4:
        strange = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 3e38], F)
        boxes = np.where(rng.random(boxes.shape) < 0.05, rng.choice(strange, boxes.shape), boxes)
        scores = np.where(rng.random(count) < 0.1, rng.choice(strange, count), scores)
    names = rng.integers(-(2**63), 2**63 - 1, 3) if rng.random() < 0.3 else np.arange(3)
    classes = rng.choice(names, count) if rng.random() < 0.6 else None
    return boxes, scores, classes


@each_native
def test_random_cases_equal_the_reference(impl):
    usable(impl)
    rng = np.random.default_rng(SEEN)
    end, count = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        boxes, scores, classes = random_case(rng)
        iou = float(rng.choice([0, 1 / 3, 0.5, 0.7, 1, rng.random()]))
        limit = None if rng.random() < 0.6 else int(rng.integers(0, 30))
        ours = nms(boxes, scores, classes, iou=iou, limit=limit, impl=impl)
        expected = nms(boxes, scores, classes, iou=iou, limit=limit, impl="reference")
        assert np.array_equal(ours, expected), f"seed {SEEN}, case {count}"
        count += 1
    assert count > 50


def test_the_reference_equals_the_loops():
    rng = np.random.default_rng(SEEN)
    with np.errstate(all="ignore"):
        for count in range(60):
            boxes, scores, classes = random_case(rng)
            boxes, scores = boxes[:40], scores[:40]
            classes = None if classes is None else classes[:40]
            if not np.isfinite(boxes).all() or not np.isfinite((boxes[:, 2:] - boxes[:, :2]).prod(1) * 2).all():
                continue  # min and max of Python differ on NaN
            ours = nms(boxes, scores, classes, iou=0.4, impl="reference").tolist()
            assert ours == by_loops(boxes, scores, classes, 0.4, None), f"seed {SEEN}, case {count}"


@each_candidate
def test_equal_to_the_threshold_stays(impl):
    boxes = boxes_of((0, 0, 2, 1), (0, 0, 1, 1), (0, 0, 2, 1))  # overlaps 1/2 and 1
    assert nms(boxes, descending(3), iou=0.5, impl=usable(impl)).tolist() == [0, 1]
    assert nms(boxes, descending(3), iou=np.nextafter(F(0.5), F(0)), impl=impl).tolist() == [0]
    assert nms(boxes, descending(3), iou=1.0, impl=impl).tolist() == [0, 1, 2]
    touching = boxes_of((0, 0, 1, 1), (1, 0, 2, 1))
    assert nms(touching, descending(2), iou=0.0, impl=impl).tolist() == [0, 1]


@each_candidate
def test_boxes_without_area_stay(impl):
    point = boxes_of((3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 9), (3, 3, 3, 9), (5, 5, 1, 1), (5, 5, 1, 1))
    assert nms(point, descending(6), iou=0.0, impl=usable(impl)).tolist() == list(range(6))


@each_candidate
def test_nan_scores_are_dropped_and_nan_boxes_stay(impl):
    nan = float("nan")
    boxes = boxes_of((0, 0, 4, 4), (0, 0, 4, 4), (0, nan, 4, 4), (0, 0, 4, nan), (0, 0, 4, 4))
    scores = np.array([1, nan, 2, 0.5, 0.25], F)
    assert nms(boxes, scores, impl=usable(impl)).tolist() == [2, 0, 3]
    assert nms(boxes, np.full(5, nan, F), impl=impl).tolist() == []


@each_candidate
def test_infinite_scores_and_boxes(impl):
    inf = float("inf")
    boxes = boxes_of((0, 0, 4, 4), (0, 0, 4, 4), (-inf, -inf, inf, inf), (-inf, -inf, inf, inf))
    scores = np.array([-inf, inf, 0, 1], F)  # inf / inf is NaN: nothing goes by it
    assert nms(boxes, scores, impl=usable(impl)).tolist() == [1, 3, 2]


@each_candidate
def test_ties_go_by_index_and_zeros_are_equal(impl):
    boxes = boxes_of((0, 0, 1, 1), (5, 0, 6, 1), (9, 0, 10, 1), (0, 5, 1, 6))
    assert nms(boxes, np.array([0.0, -0.0, 0.5, 0.0], F), impl=usable(impl)).tolist() == [2, 0, 1, 3]
    same = np.repeat(boxes[:1], 70, axis=0)
    assert nms(same, np.full(70, 0.5, F), impl=impl).tolist() == [0]


@each_candidate
def test_classes_do_not_move_boxes(impl):
    """Adding class · offset would round these coordinates to one another."""
    boxes = boxes_of((0, 0, 1, 1), (0.25, 0, 1.25, 1), (0.5, 0, 1.5, 1))
    classes = np.full(3, 2**40)
    assert nms(boxes, descending(3), classes, iou=0.5, impl=usable(impl)).tolist() == [0, 2]
    assert nms(boxes, descending(3), np.array([0, -1, 2**62]), iou=0.0, impl=impl).tolist() == [0, 1, 2]
    assert nms(boxes, descending(3), np.array([255, 1, 255], np.uint8), iou=0.0, impl=impl).tolist() == [0, 1]


@each_candidate
def test_strides_are_followed_or_copied(impl):
    boxes, scores, classes = inputs(ODD[-1])
    wide, double = np.zeros((len(boxes), 7), F), np.repeat(scores, 2)
    wide[:, 2:6] = boxes
    ours = nms(wide[:, 2:6], double[::2], classes.astype(np.int16), impl=usable(impl))
    assert np.array_equal(ours, nms(boxes, scores, classes, impl="reference"))
    backwards = nms(boxes[::-1], scores[::-1], classes[::-1], impl=impl)
    assert np.array_equal(backwards, nms(boxes[::-1].copy(), scores[::-1].copy(), classes[::-1].copy(), impl=impl))


def test_iou_by_hand():
    ours = box_iou(boxes_of((0, 0, 2, 2))[0], boxes_of((0, 0, 2, 2), (1, 1, 3, 3), (2, 0, 3, 1), (1, 1, 1, 1)))
    assert ours.dtype == F
    np.testing.assert_array_equal(ours, np.array([1, F(1) / F(7), 0, 0], F))
    assert np.isnan(box_iou(boxes_of((1, 1, 1, 1))[0], boxes_of((1, 1, 1, 1)))).all()


BOXES, SCORES = boxes_of((0, 0, 1, 1), (2, 2, 3, 3)), np.array([1, 2], F)
WRONG = {
    "boxes": [None, [[0, 0, 1, 1]], BOXES.astype(np.float64), BOXES[0], BOXES[:, :3], BOXES.astype(np.int64)],
    "scores": [None, SCORES[:1], SCORES.astype(np.float64), SCORES[:, None], [1.0, 2.0]],
    "classes": [[0, 1], SCORES, np.array([1]), np.array([[1, 2]]), np.array([True, False])],
    "iou": [-0.1, 1.5, float("nan"), "x", None],
    "limit": [-1, 1.5, "x"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_bad_arguments_are_named(name, value):
    arguments = {"boxes": BOXES, "scores": SCORES, name: value}
    with pytest.raises(SpecError, match=r"^\[nms\] .*" + name) as caught:
        nms(**arguments)
    assert caught.value.hint


def test_an_unknown_candidate_is_refused():
    with pytest.raises(KernelError) as caught:
        nms(BOXES, SCORES, impl="sse")
    assert "avx2" in caught.value.hint


def test_without_the_native_module_the_reference_runs(monkeypatch):

    monkeypatch.setattr(native, "module", None)
    assert {candidate.unusable() for candidate in CANDIDATES[:-1]} == {
        "the native module was not built; build saccade where there is a C++ compiler"
    }
    assert nms(BOXES, SCORES).tolist() == [1, 0]


def test_the_native_module_was_built():
    """`make test` must notice a build that fell back to pure Python."""
    assert "base" in [candidate.name for candidate in CANDIDATES if not candidate.unusable()]
