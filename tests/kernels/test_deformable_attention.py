"""deformable_attention: every candidate against float64, the reference against loops; what must not change a bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.kernels import native
from saccade.kernels.deformable_attention import CANDIDATES, MOST_SIDE, cases, deformable_attention
from saccade.runtime.errors import KernelError, SpecError

SEEN = int(np.random.SeedSequence().entropy % 2**32)  # fresh each run; a failure prints it
F = np.float32
SMALL = cases.Case("", 2, 11, 3, 8, ((5, 7), (3, 2)), 3)

each_case = pytest.mark.parametrize("case", cases.ODD, ids=lambda case: case.name)
each_candidate = pytest.mark.parametrize("impl", [candidate.name for candidate in CANDIDATES])
each_native = pytest.mark.parametrize("impl", [c.name for c in CANDIDATES if c.name != "reference"])


def usable(impl: str) -> str:
    reason = next(candidate.unusable() for candidate in CANDIDATES if candidate.name == impl)
    if reason:
        pytest.skip(f"{impl}: {reason}")
    return impl


def exact(arrays):
    """The answer in float64, of the same numbers."""
    value, sizes, locations, weights = arrays
    value, locations, weights = (array.astype(np.float64) for array in (value, locations, weights))
    return deformable_attention(value, sizes, locations, weights, impl="reference")


def near(ours, arrays):
    """Whether the error is at most twice that of the plain form, as a mean; and nowhere far off."""
    expected, plain = exact(arrays), deformable_attention(*arrays, impl="reference")
    ulp = float(np.spacing(np.abs(arrays[0]).max(initial=0)))  # of the largest value: the plain form may be lucky
    mean = rms(ours, expected) <= cases.TIMES * rms(plain, expected) + ulp / 8
    return mean and worst(ours, expected) <= 2 * cases.TIMES * worst(plain, expected) + 2 * ulp * side(arrays)


def side(arrays):
    """The longest side: a coordinate's last bit weighs as many times that of a number near 1."""
    return float(arrays[1].max(initial=1))


def rms(ours, expected):
    return float(np.sqrt(np.mean((ours - expected) ** 2))) if expected.size else 0.0


def worst(ours, expected):
    return float(np.abs(ours - expected).max(initial=0))


def same(a, b):
    return np.array_equal(a, b, equal_nan=True)


def by_loops(value, sizes, locations, weights):
    """One query of one head in Python floats: value (S, D), locations (L, T, 2), weights (L, T)."""
    out, start = [0.0] * value.shape[1], 0
    for level, (height, width) in enumerate(sizes.tolist()):
        for (x, y), weight in zip(locations[level].tolist(), weights[level].tolist(), strict=True):
            x, y = x * width - 0.5, y * height - 0.5
            for row in range(height):
                for column in range(width):
                    share = max(0.0, 1 - abs(x - column)) * max(0.0, 1 - abs(y - row))
                    for d in range(len(out)):
                        out[d] += weight * share * float(value[start + row * width + column, d])
        start += height * width
    return out


@pytest.mark.parametrize("case", [SMALL, *cases.ODD[5:9]], ids=lambda case: case.name)
def test_the_reference_equals_loops(case):
    """Loops over all pixels, by their distance: another formulation, without corners."""
    value, sizes, locations, weights = cases.inputs(case._replace(queries=4, dim=2), SEEN, "float64")
    ours = deformable_attention(value, sizes, locations, weights, impl="reference").reshape(case.batch, 4, -1, 2)
    for b, n, a in np.ndindex(ours.shape[:3]):
        expected = by_loops(value[b, :, a], sizes, locations[b, n, a], weights[b, n, a])
        np.testing.assert_allclose(ours[b, n, a], expected, rtol=1e-12, atol=1e-12, err_msg=f"seed {SEEN}")


def at(*points, size=(2, 2), value=(1.0, 2.0, 4.0, 8.0)):
    """The samples of one level of one head at these (x, y), each alone, by the reference in float64."""
    places = np.array(points, np.float64).reshape(1, len(points), 1, 1, 1, 2)
    source = np.array(value, np.float64).reshape(1, -1, 1, 1)
    weights = np.ones((1, len(points), 1, 1, 1))
    return deformable_attention(source, [size], places, weights, impl="reference").ravel().tolist()


def test_by_hand():
    """A picture of 2 x 2: its centres, its middle, its edges (half), its corners (a quarter), and beyond."""
    assert at((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)) == [1, 2, 4, 8]
    assert at((0.5, 0.5), (0.5, 0.25), (0.25, 0.5)) == [3.75, 1.5, 2.5]
    assert at((0.0, 0.25), (1.0, 0.75), (0.25, 0.0), (0.0, 0.0), (1.0, 1.0)) == [0.5, 4, 0.5, 0.25, 2]
    assert at((-0.25, 0.25), (1.25, 0.5), (0.5, 7.0), (-3e9, 0.5), (math.nan, 0.5), (0.5, math.inf)) == [0] * 6


@each_native
@each_case
def test_error_is_at_most_twice_that_of_the_plain_form(impl, case):
    arrays = cases.inputs(case, SEEN)
    ours = deformable_attention(*arrays, impl=usable(impl))
    assert ours.shape == (case.batch, arrays[2].shape[1], case.heads * case.dim)
    assert ours.dtype == F
    assert near(ours, arrays), f"seed {SEEN}"


@each_native
@each_case
def test_half_precision_is_rounded_once(impl, case):
    """Computed in float32, whatever comes in: half an ulp of the result, and what float32 itself loses."""
    arrays = cases.inputs(case, SEEN, "float16")
    ours, expected = deformable_attention(*arrays, impl=usable(impl)), exact(arrays)
    assert ours.dtype == np.float16
    ulp = np.spacing(np.abs(expected).astype(np.float16)).astype(np.float64)
    assert (np.abs(ours - expected) <= 0.5 * ulp + 2e-5).all(), f"seed {SEEN}"


@each_native
def test_every_half_comes_and_goes_unchanged(impl):
    """Pixels looked at right at their centres pass through both conversions; NaN stays NaN."""
    value = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(1, 1024, 1, 64)
    middle = np.full((1, 1, 1, 1024, 1, 2), 0.5, np.float16)
    ours = np.empty((1024, 64), np.float16)
    for i in range(0, 1024, 32):
        pixels, one = value[:, i : i + 32], np.ones((1, 1, 1, 1, 1), np.float16)
        for j in range(32):
            arrays = (pixels[:, j : j + 1], [(1, 1)], middle[:, :, :, :1], one)
            ours[i + j] = deformable_attention(*arrays, impl=usable(impl))
    nan = np.isnan(value[0, :, 0])
    assert np.isnan(ours[nan]).all()
    assert np.array_equal(ours[~nan], value[0, :, 0][~nan])


@each_native
def test_a_large_map(impl):
    """Sides of hundreds, where a coordinate's rounding shows; points near the far edge among them."""
    arrays = cases.inputs(cases.Case("", 1, 400, 1, 4, ((300, 500), (2, 700)), 4), SEEN)
    assert near(deformable_attention(*arrays, impl=usable(impl)), arrays), f"seed {SEEN}"


@each_candidate
def test_edges_to_the_last_bit(impl):
    """Coordinates that are exact in float32, on and about every edge: each corner counts or does not, no two ways."""
    steps = np.arange(-1.5, 9.75, 0.25, F) / 8
    x, y = (axis.ravel() for axis in np.meshgrid(steps, steps))
    locations = np.stack([x, y], -1).reshape(1, -1, 1, 1, 1, 2)
    value = np.random.default_rng(SEEN).integers(-8, 8, (1, 64, 1, 3)).astype(F)
    arrays = (value, np.array([[8, 8]]), locations, np.ones((1, len(x), 1, 1, 1), F))
    assert np.array_equal(deformable_attention(*arrays, impl=usable(impl)), exact(arrays)), f"seed {SEEN}"


@each_candidate
@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e10, -1e10, 2.0**31, 600.0])
def test_coordinates_that_are_nowhere_add_nothing(impl, strange):
    value, sizes, locations, weights = cases.inputs(SMALL._replace(points=21), SEEN)
    rest = weights.copy()
    for axis in (0, 1):
        locations[:, axis::3, :, :, ::2, axis] = strange
        rest[:, axis::3, :, :, ::2] = 0
    ours = deformable_attention(value, sizes, locations, weights, impl=usable(impl))
    good = np.where(np.isfinite(locations), locations, 0)
    assert worst(ours, exact((value, sizes, good, rest))) < 1e-5, f"seed {SEEN}"


@each_candidate
def test_nan_reaches_those_who_look_at_it(impl):
    """A pixel of NaN or inf shows in queries with a corner there, and in no others: not in those that look outside,
    whatever their weight is, though a masked load may come from the same place.
    """
    value, sizes, locations, weights = cases.inputs(SMALL._replace(queries=200, points=2), SEEN)
    for place in (0, 6, 34, 35, 40):  # corners of both levels
        value[0, place, 0, 1], value[0, place, 1, 2] = np.nan, np.inf
    outside = (np.abs(locations - 0.5) > 0.6).any(-1)  # more than half a pixel beyond an edge
    locations[:, :100][outside[:, :100]] += np.sign(locations[:, :100][outside[:, :100]] - 0.5)
    locations[1, ::7] = -0.6
    weights[1, ::7] = np.nan
    arrays = (value, sizes, locations, weights)
    ours, expected = deformable_attention(*arrays, impl=usable(impl)), exact(arrays)
    assert np.isnan(expected[0]).any()
    assert not np.isnan(expected[1]).any()
    assert np.array_equal(np.isnan(ours), np.isnan(expected)), f"seed {SEEN}"
    np.testing.assert_allclose(ours, expected, atol=1e-5, err_msg=f"seed {SEEN}")


@each_candidate
def test_a_weight_of_nan_goes_where_it_counts(impl):
    value, sizes, locations, weights = cases.inputs(SMALL, SEEN)
    locations[0, 4, 1], weights[0, 4, 1, 1, 2] = 0.5, np.nan
    ours = deformable_attention(value, sizes, locations, weights, impl=usable(impl))
    assert np.isnan(ours[0, 4, 8:16]).all()
    assert np.isnan(ours).sum() == 8


@st.composite
def problems(draw):
    """Any small shape, points within and without, and NaN among them now and then."""
    size, side = st.integers(0, 3), st.sampled_from([0, 1, 1, 2, 5, 16])
    sizes = draw(st.lists(st.tuples(side, side), max_size=4).map(tuple))
    case = cases.Case("", draw(size), draw(st.integers(0, 9)), draw(size), draw(st.sampled_from([1, 3, 8, 15, 16, 17, 31,
                      32, 33, 64, 70, 130])), sizes, draw(st.sampled_from([0, 1, 2, 4, 5, 9, 17])),
                      draw(st.sampled_from([0, 2]) if any(h * w for h, w in sizes) else st.just(0)))  # fmt: skip
    rng, arrays = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), cases.inputs(case, draw(st.integers(0, 99)))
    if draw(st.booleans()):
        arrays[2][rng.random(arrays[2].shape) < 0.1] = np.nan
    return arrays


@each_native
@settings(deadline=None, max_examples=40)
@given(arrays=problems())
def test_any_problem(impl, arrays):
    """A mean over so few numbers says little, so the largest error is held, by what float32 can do at all."""
    ours = deformable_attention(*arrays, impl=usable(impl))
    assert worst(ours, exact(arrays)) <= 4e-6 * side(arrays)


@each_candidate
@settings(deadline=None, max_examples=15)
@given(arrays=problems(), threads=st.integers(2, 5))
def test_what_must_not_change_a_bit(impl, arrays, threads):
    """Threads, the order of heads and of queries, a batch split in two, and how arrays lie in memory."""
    value, sizes, locations, weights = arrays
    whole = deformable_attention(*arrays, impl=usable(impl))
    assert same(deformable_attention(*arrays, threads=threads, impl=impl), whole)
    heads = deformable_attention(value[:, :, ::-1], sizes, locations[:, :, ::-1], weights[:, :, ::-1], impl=impl)
    apart = (*whole.shape[:2], value.shape[2], value.shape[3])
    assert same(heads.reshape(apart)[:, :, ::-1], whole.reshape(apart))
    turned = deformable_attention(value, sizes, locations[:, ::-1], weights[:, ::-1], impl=impl)
    assert same(turned[:, ::-1], whole)
    parts = [deformable_attention(*(a[b : b + 1] for a in (value,)), sizes, locations[b : b + 1], weights[b : b + 1],
                                  impl=impl) for b in range(len(whole))]  # fmt: skip
    assert same(np.concatenate([whole[:0], *parts]), whole)
    strided = [np.repeat(array, 2, axis=-1)[..., ::2] for array in (value, weights)]
    assert same(deformable_attention(strided[0], sizes, locations, strided[1], impl=impl), whole)
    heads_first = [np.ascontiguousarray(array.swapaxes(1, 2)).swapaxes(1, 2) for array in (value, locations, weights)]
    assert same(deformable_attention(heads_first[0], sizes, *heads_first[1:], impl=impl), whole)


def test_float64_is_for_the_reference():
    arrays = cases.inputs(SMALL, dtype="float64")
    assert deformable_attention(*arrays).dtype == np.float64
    with pytest.raises(KernelError, match="float64 is for the reference alone"):
        deformable_attention(*arrays, impl="base")


GOOD = dict(zip(("value", "sizes", "locations", "weights"), cases.inputs(SMALL), strict=True))
V, X, W = GOOD["value"], GOOD["locations"], GOOD["weights"]
WRONG = {
    "value": [None, [[1.0]], V[0], V.astype(np.int32), V.astype(">f4"), V[..., :0], V[:, :40], V[:1], V[:, :, :2]],
    "sizes": [None, "x", [5, 7], [(5, 7)], [(5.0, 7.0), (3.0, 2.0)], [(5, 8), (3, 2)], [(-5, -7), (3, 2)],
              [(5, 7, 1)], [(MOST_SIDE + 1, 0), (41, 1)], [[5, 7], [3]], [(5, 7), (3, 2), (0, 0)]],
    "locations": [X[..., :1], X[0], X.astype(np.float16), X[:, :, :, :1], X[:1], X.tolist(), X[:, :, :2], X[..., :2, :]],
    "weights": [W[:, :10], W[..., :2], W[0], W.astype(np.float64), None, 1.0],
    "threads": [0, -1, 1.5, "x", 1 << 20],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_bad_arguments_are_named(name, value):
    with pytest.raises(SpecError, match=r"^\[deformable_attention\] ") as caught:
        deformable_attention(**{**GOOD, name: value})
    assert caught.value.hint


def test_an_unknown_candidate_is_refused():
    with pytest.raises(KernelError) as caught:
        deformable_attention(**GOOD, impl="sse")
    assert "avx2" in caught.value.hint


def test_without_the_native_module_the_reference_runs(monkeypatch):
    monkeypatch.setattr(native, "module", None)
    assert all("not built" in candidate.unusable() for candidate in CANDIDATES[:-1])
    assert deformable_attention(**GOOD).shape == (2, 11, 24)


def test_the_native_module_was_built():
    """`make test` must notice a build that fell back to pure Python."""
    assert "base" in [candidate.name for candidate in CANDIDATES if not candidate.unusable()]
