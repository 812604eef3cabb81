"""decode_boxes: every candidate against the reference; the reference against a loop over all pairs, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays

from saccade.kernels.decode_boxes import CANDIDATES, decode_boxes
from saccade.kernels.decode_boxes.cases import BENCHMARKS, ODD, TOLERANCE, inputs
from saccade.runtime.errors import KernelError, SpecError

SEEN = int(np.random.SeedSequence().entropy % 2**32)  # fresh each run; a failure prints it
F = np.float32
each_candidate = pytest.mark.parametrize("impl", [candidate.name for candidate in CANDIDATES])
USABLE = [candidate.name for candidate in CANDIDATES if not candidate.unusable()]


def usable(impl: str) -> str:
    reason = next(candidate.unusable() for candidate in CANDIDATES if candidate.name == impl)
    if reason:
        pytest.skip(f"{impl}: {reason}")
    return impl


def by_loops(logits, boxes, size, threshold, limit):
    """Pair after pair, in Python's floats but for the box."""
    bar = F(math.log(threshold / (1 - threshold)))
    pairs = [(q, k) for q in range(logits.shape[0]) for k in range(logits.shape[1]) if logits[q, k] > bar]
    pairs.sort(key=lambda pair: -logits[pair])
    out = []
    for q, k in pairs[:limit]:
        x, y, w, h = boxes[q]
        ends = [(x - w * F(0.5)) * F(size[1]), (y - h * F(0.5)) * F(size[0])]
        ends += [(x + w * F(0.5)) * F(size[1]), (y + h * F(0.5)) * F(size[0])]
        ends = [min(max(end, F(0)), F(size[1 - i % 2])) for i, end in enumerate(ends)]
        out.append((ends, 1 / (1 + math.exp(-float(logits[q, k]))), k, q))
    return out


def equal(ours, theirs, what=""):
    for name in ("boxes", "classes", "queries"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=f"{name} {what}")
        assert getattr(ours, name).dtype == getattr(theirs, name).dtype
    assert ours.scores.dtype == F
    np.testing.assert_allclose(ours.scores, theirs.scores, rtol=0, atol=TOLERANCE, err_msg=what)


@each_candidate
@pytest.mark.parametrize("case", [*ODD, *BENCHMARKS], ids=lambda case: case.name)
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_cases_equal_the_reference(impl, case, threshold):
    logits, boxes = inputs(case, SEEN)
    for limit in (case.limit, 0, 1, None):
        options = {"threshold": threshold, "limit": limit}
        ours = decode_boxes(logits, boxes, case.size, **options, impl=usable(impl))
        equal(ours, decode_boxes(logits, boxes, case.size, **options, impl="reference"), f"seed {SEEN}, {options}")


def test_the_reference_equals_the_loops():
    found = 0
    for case in ODD:
        logits, boxes = inputs(case, SEEN)
        for threshold in (0.2, 0.5):
            ours = decode_boxes(logits, boxes, case.size, threshold=threshold, limit=40, impl="reference")
            expected = by_loops(logits, boxes, case.size, threshold, 40)
            assert ours.boxes.tolist() == [list(map(float, ends)) for ends, *_ in expected], f"seed {SEEN}"
            assert list(zip(ours.classes, ours.queries, strict=True)) == [(k, q) for _, _, k, q in expected]
            np.testing.assert_allclose(ours.scores, [score for _, score, *_ in expected], rtol=1e-6)
            found += len(expected)
    assert found > 100


@each_candidate
def test_by_hand(impl):
    logits = np.array([[-9, 2], [np.nan, 0], [2, 1]], F)
    boxes = np.array([[0.5, 0.5, 0.5, 0.25], [0, 0, 1, 1], [0.9, 0.5, 0.4, 3]], F)
    found = decode_boxes(logits, boxes, (80, 160), threshold=0.5, impl=usable(impl))
    assert found.boxes.tolist()[:2] == [[40, 30, 120, 50], [pytest.approx(112), 0, 160, 80]]
    assert found.classes.tolist() == [1, 0, 1]  # 0 is not above log(1) = 0
    assert found.queries.tolist() == [0, 2, 2]
    np.testing.assert_allclose(found.scores, [0.880797, 0.880797, 0.731059], atol=1e-6)


@each_candidate
def test_strange_floats(impl):
    inf, nan = math.inf, math.nan
    logits = np.array([[inf, -inf, 800.0, -800.0, nan, -0.0, 0.0]], F)
    boxes = np.array([[nan, 0.5, inf, 1e38]], F)
    found = decode_boxes(logits, boxes, (10, 10), threshold=0.0, impl=usable(impl))
    assert found.classes.tolist() == [0, 2, 5, 6, 3]  # -inf is not above the logit of 0, which is -inf
    assert found.scores.tolist() == [1, 1, 0.5, 0.5, 0]
    assert np.isnan(found.boxes[:, [0, 2]]).all()
    assert found.boxes[:, [1, 3]].tolist() == [[0, 10]] * 5
    assert not decode_boxes(logits, boxes, (10, 10), threshold=1.0, impl=impl).scores.size


@settings(max_examples=60, deadline=None)
@given(some.data())
def test_properties(data):
    """Boxes lie in the picture, scores descend and pass, a limit cuts the tail off; all candidates agree."""
    shape = data.draw(some.tuples(some.integers(0, 40), some.integers(0, 9)))
    logits = data.draw(arrays(F, shape, elements=some.floats(-20, 20, width=16)))
    boxes = data.draw(arrays(F, (shape[0], 4), elements=some.floats(-2, 2, width=16)))
    threshold, limit = data.draw(some.floats(0.01, 0.99)), data.draw(some.integers(0, 50))
    size = data.draw(some.tuples(some.integers(1, 2000), some.integers(1, 2000)))
    whole = decode_boxes(logits, boxes, size, threshold=threshold, impl="reference")
    assert (whole.scores >= threshold * (1 - 1e-5)).all()
    assert (np.diff(whole.scores) <= 0).all()
    assert ((whole.boxes >= 0) & (whole.boxes <= np.tile(size[::-1], 2))).all()
    for impl in USABLE:
        cut = decode_boxes(logits[:, ::-1][:, ::-1], boxes, size, threshold=threshold, limit=limit, impl=impl)
        equal(cut, type(whole)(*(array[:limit] for array in whole)), impl)


LOGITS, BOXES = np.zeros((3, 2), F), np.zeros((3, 4), F)
WRONG = {
    "logits": [None, [[0.0]], LOGITS.astype(np.float64), LOGITS[0]],
    "boxes": [None, BOXES[:2], BOXES[:, :3], BOXES.astype(np.float16)],
    "size": [(0, 4), (4,), None, (4.5, 4), "ab", (1 << 25, 1)],
    "threshold": [-0.1, 1.1, math.nan, "x", None],
    "limit": [-1, 1.5, "x"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_bad_arguments_are_named(name, value):
    arguments = {"logits": LOGITS, "boxes": BOXES, "size": (4, 4), name: value}
    with pytest.raises(SpecError, match=r"^\[decode_boxes\] .*" + name) as caught:
        decode_boxes(**arguments)
    assert caught.value.hint


def test_an_unknown_candidate_is_refused():
    with pytest.raises(KernelError) as caught:
        decode_boxes(LOGITS, BOXES, (4, 4), impl="sse")
    assert "avx2" in caught.value.hint


def test_the_native_module_was_built():
    assert "base" in USABLE
