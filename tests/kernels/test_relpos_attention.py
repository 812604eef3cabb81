"""relpos_attention: every candidate against float64, the reference against loops; what must not change a bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.kernels import native
from saccade.kernels.relpos_attention import CANDIDATES, cases, relpos_attention
from saccade.runtime.errors import KernelError, SpecError

SEEN = int(np.random.SeedSequence().entropy % 2**32)  # fresh each run; a failure prints it
F = np.float32

each_case = pytest.mark.parametrize("case", cases.ODD, ids=lambda case: case.name)
each_candidate = pytest.mark.parametrize("impl", [candidate.name for candidate in CANDIDATES])
each_native = pytest.mark.parametrize("impl", [c.name for c in CANDIDATES if c.name != "reference"])


def usable(impl: str) -> str:
    reason = next(candidate.unusable() for candidate in CANDIDATES if candidate.name == impl)
    if reason:
        pytest.skip(f"{impl}: {reason}")
    return impl


def exact(arrays, **more):
    """The answer in float64."""
    return relpos_attention(*(array.astype(np.float64) for array in arrays), impl="reference", **more)


def rms(ours, expected):
    return float(np.sqrt(np.mean((ours - expected) ** 2))) if expected.size else 0.0


def worst(ours, expected):
    return float(np.abs(ours - expected).max(initial=0))


def close(ours, arrays, **more):
    """Whether the error is at most twice that of the plain form, as a mean; and nowhere far off."""
    expected, plain = exact(arrays, **more), relpos_attention(*arrays, impl="reference", **more)
    mean = rms(ours, expected) <= cases.TIMES * rms(plain, expected) + ulp_of(arrays[2]) / 8
    return mean and near(ours, plain, expected, arrays, **more)


def near(ours, plain, expected, arrays, scale=None):
    luck = ulp_of(arrays[2]) + of_scores(arrays, scale)
    return worst(ours, expected) <= 2 * cases.TIMES * worst(plain, expected) + 2 * luck


def of_scores(arrays, scale):
    """What rounding the scores in fp32 once may cost: a softmax turns it into a share of the values."""
    q, k, v, rh, rw = (float(np.abs(a[np.isfinite(a)].astype(np.float64)).max(initial=0)) for a in arrays)
    width = arrays[0].shape[-1] ** 0.5
    scores = q * k * (width * abs(scale) if scale else 1.0) + rh + rw
    return float(np.spacing(np.float32(scores))) * v


def ulp_of(v):
    """Of the largest value: the plain form may be right by luck, where values cancel."""
    return float(np.spacing(np.abs(v).max(initial=0)))


def by_loops(q, k, v, rh, rw, scale):
    """One head in Python floats."""
    width, out = rw.shape[1], np.zeros(v.shape)
    for n in range(len(q)):
        scores = [scale * math.fsum(q[n] * k[m]) + rh[n, m // width] + rw[n, m % width] for m in range(len(k))]
        weights = [math.exp(score - max(scores)) for score in scores]
        for d in range(v.shape[1]):
            out[n, d] = math.fsum(w * v[m, d] for m, w in enumerate(weights)) / math.fsum(weights)
    return out


@pytest.mark.parametrize("case", cases.ODD[2:7], ids=lambda case: case.name)
def test_the_reference_equals_loops(case):
    arrays = [array.astype(np.float64) for array in cases.inputs(case, SEEN)]
    ours = relpos_attention(*arrays, scale=0.3, impl="reference")
    for place in np.ndindex(case.batch, case.heads):
        expected = by_loops(*(array[place] for array in arrays), 0.3)
        np.testing.assert_allclose(ours[place], expected, rtol=1e-12, atol=1e-12, err_msg=f"seed {SEEN}")


def test_by_hand():
    """Two places in a row: logits 0 and ln 3, from k, from rw, then from both."""
    zero, v = np.zeros((1, 1, 2, 1)), np.array([4.0, 8.0]).reshape(1, 1, 2, 1)
    step = np.broadcast_to([0.0, math.log(3)], (1, 1, 2, 2))
    assert np.allclose(relpos_attention(zero, zero, v, zero, step), 7)
    one, k = np.ones((1, 1, 2, 1)), np.array([0.0, math.log(3) / 2]).reshape(1, 1, 2, 1)
    assert np.allclose(relpos_attention(one, k, v, zero, np.zeros((1, 1, 2, 2)), scale=2), 7)
    assert np.allclose(relpos_attention(one, k, v, step, zero, scale=-2), 6)  # rows instead of columns


@each_native
@each_case
def test_error_is_at_most_twice_that_of_the_plain_form(impl, case):
    arrays = cases.inputs(case, SEEN)
    ours = relpos_attention(*arrays, impl=usable(impl))
    assert ours.shape == arrays[0].shape
    assert ours.dtype == F
    assert close(ours, arrays), f"seed {SEEN}"


@each_native
def test_the_error_does_not_grow_with_the_picture(impl):
    """Thousands of weights added one after the other lose bits that sums of sums keep."""
    arrays = cases.inputs(cases.Case("", 1, 1, (40, 64), 64), SEEN)
    expected = exact(arrays)
    plain = relpos_attention(*arrays, impl="reference")
    assert rms(relpos_attention(*arrays, impl=usable(impl)), expected) <= 1.3 * rms(plain, expected), f"seed {SEEN}"


@each_native
@pytest.mark.parametrize("case", [c for c in cases.ODD if c.spread == 1 and c.bias == 1], ids=lambda case: case.name)
def test_half_precision_is_rounded_once(impl, case):
    """Computed in float32, whatever comes in: half an ulp of the result, and what float32 itself loses."""
    arrays = cases.inputs(case, SEEN, "float16")
    ours, expected = relpos_attention(*arrays, impl=usable(impl)), exact(arrays)
    assert ours.dtype == np.float16
    ulp = np.spacing(np.abs(expected).astype(np.float16)).astype(np.float64)
    assert (np.abs(ours - expected) <= 0.5 * ulp + 1e-5).all(), f"seed {SEEN}"


@each_native
def test_every_half_comes_and_goes_unchanged(impl):
    """One place attends itself alone, so values pass through both conversions; NaN stays NaN."""
    v = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    one = np.zeros((1, v.size // 64, 1, 1), np.float16)
    q = np.zeros((1, v.size // 64, 1, 64), np.float16)
    ours = relpos_attention(q, q, v.reshape(q.shape), one, one, impl=usable(impl)).ravel()
    nan = np.isnan(v)
    assert np.isnan(ours[nan]).all()
    assert np.array_equal(ours[~nan], v[~nan])


@each_native
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, -0.7, 1e4])
def test_scales(impl, scale):
    arrays = cases.inputs(cases.Case("", 1, 2, (5, 14), 32), SEEN)
    assert close(relpos_attention(*arrays, scale=scale, impl=usable(impl)), arrays, scale=scale), f"seed {SEEN}"


@each_candidate
def test_logits_of_any_size(impl):
    """One key wins by far: its value comes out as it is, wherever the running maximum was."""
    rng, (rows, columns, dim) = np.random.default_rng(SEEN), (6, 70, 8)
    q, k = np.zeros((1, 1, rows * columns, dim), F), np.zeros((1, 1, rows * columns, dim), F)
    v = rng.standard_normal(q.shape, F)
    rh, rw = np.zeros((1, 1, len(v[0, 0]), rows), F), np.zeros((1, 1, len(v[0, 0]), columns), F)
    q[..., 0], k[0, 0, :, 0] = 1, rng.permutation(rows * columns) * F(1e30)
    ours = relpos_attention(q, k, v, rh, rw, scale=1, impl=usable(impl))
    assert np.array_equal(ours, np.broadcast_to(v[0, 0, k[0, 0, :, 0].argmax()], v.shape)), f"seed {SEEN}"


@each_candidate
def test_masked_rows_and_columns(impl):
    """-inf in a bias masks; a query of which nothing is left gives zeros, though a value is NaN."""
    rng = np.random.default_rng(SEEN)
    q, k, v, rh, rw = cases.inputs(cases.Case("", 1, 2, (7, 14), 24), SEEN)
    rh[rng.random(rh.shape) < 0.4] = -np.inf
    rw[rng.random(rw.shape) < 0.4] = -np.inf
    rh[0, 0, 3], rw[0, 1, 5] = -np.inf, -np.inf
    ours = relpos_attention(q, k, v, rh, rw, impl=usable(impl))
    assert worst(ours, exact((q, k, v, rh, rw))) < 1e-5, f"seed {SEEN}"
    assert not ours[0, 0, 3].any()
    assert not ours[0, 1, 5].any()
    v[0, 0, 8, 2] = np.nan
    assert not relpos_attention(q, k, v, rh, rw, impl=impl)[0, 0, 3].any()


@each_candidate
def test_nan_and_infinity_go_where_the_arithmetic_takes_them(impl):
    q, k, v, rh, rw = cases.inputs(cases.Case("", 1, 5, (3, 21), 40), SEEN)
    v[0, 0, 9, 4], q[0, 2, 7, 3], rh[0, 3, 1, 2] = [np.nan] * 3
    v[0, 1, 9, 4], rw[0, 4, 0, 20] = [np.inf] * 2
    ours = relpos_attention(q, k, v, rh, rw, impl=usable(impl))
    expected = exact((q, k, v, rh, rw))
    assert np.array_equal(np.isnan(ours), np.isnan(expected)), f"seed {SEEN}"
    assert np.array_equal(np.isposinf(ours), np.isposinf(expected))
    assert np.isnan(ours[0, 0, :, 4]).all()
    assert np.isposinf(ours[0, 1, :, 4]).all()
    assert np.isnan(ours[0, 2, 7]).all()
    assert np.isnan(ours).sum() == 63 + 3 * 40


@st.composite
def problems(draw):
    """Any small shape, of any magnitude, some biases masked."""
    size = st.integers(0, 3)
    grid = draw(st.tuples(st.integers(0, 9), st.sampled_from([0, 1, 2, 7, 14, 15, 16, 17, 31, 33, 63, 64, 65, 80])))
    case = cases.Case("", draw(size), draw(size), grid, draw(st.sampled_from([1, 2, 7, 8, 16, 24, 31, 33, 64, 80])),
                      draw(st.sampled_from([0, 1e-3, 1, 4])), draw(st.sampled_from([0, 1, 30])))  # fmt: skip
    rng, arrays = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), cases.inputs(case, draw(st.integers(0, 99)))
    if draw(st.booleans()):
        for bias in arrays[3:]:
            bias[rng.random(bias.shape) < 0.2] = -np.inf
    return arrays


@each_native
@settings(deadline=None, max_examples=40)
@given(arrays=problems())
def test_any_problem(impl, arrays):
    """A mean over so few numbers says little, so the largest error is held."""
    ours, plain = relpos_attention(*arrays, impl=usable(impl)), relpos_attention(*arrays, impl="reference")
    assert near(ours, plain, exact(arrays), arrays)


@each_candidate
@settings(deadline=None, max_examples=15)
@given(arrays=problems(), threads=st.integers(2, 5))
def test_what_must_not_change_a_bit(impl, arrays, threads):
    """Threads, the order of heads, a batch split in two, and how arrays lie in memory."""
    whole = relpos_attention(*arrays, impl=usable(impl))
    assert same(relpos_attention(*arrays, threads=threads, impl=impl), whole)
    backwards = relpos_attention(*(array[:, ::-1] for array in arrays), impl=impl)
    assert same(backwards[:, ::-1], whole)
    parts = [relpos_attention(*(array[b : b + 1] for array in arrays), impl=impl) for b in range(len(whole))]
    assert same(np.concatenate([whole[:0], *parts]), whole)
    tokens_first = [np.ascontiguousarray(array.swapaxes(1, 2)).swapaxes(1, 2) for array in arrays]
    assert same(relpos_attention(*tokens_first, impl=impl), whole)
    strided = [np.repeat(array, 2, axis=3)[..., ::2] for array in arrays]
    assert same(relpos_attention(*strided, impl=impl), whole)


def same(a, b):
    return np.array_equal(a, b, equal_nan=True)


@each_native
def test_threads_share_one_head(impl):
    """More blocks of queries than one, so that one head is shared out; and more threads than tasks."""
    arrays = cases.inputs(cases.Case("", 1, 1, (32, 64), 16), SEEN)
    whole = relpos_attention(*arrays, impl=usable(impl))
    for threads in (2, 3, 64):
        assert np.array_equal(relpos_attention(*arrays, threads=threads, impl=impl), whole), f"seed {SEEN}"


@pytest.mark.parametrize("grid", [(0, 0), (0, 4), (4, 0)])
def test_no_places(grid):
    assert relpos_attention(*cases.inputs(cases.Case("", 2, 2, grid, 8))).shape == (2, 2, 0, 8)


def test_float64_is_for_the_reference():
    arrays = [array.astype(np.float64) for array in cases.inputs(cases.ODD[6])]
    assert relpos_attention(*arrays).dtype == np.float64
    with pytest.raises(KernelError, match="float64 is for the reference alone"):
        relpos_attention(*arrays, impl="base")


Q = np.zeros((1, 2, 6, 4), F)
GOOD = {"q": Q, "k": Q, "v": Q, "rh": np.zeros((1, 2, 6, 2), F), "rw": np.zeros((1, 2, 6, 3), F)}
WRONG = {
    "q": [None, [[1.0]], Q[0], Q.astype(np.int32), Q.astype(">f4"), Q.astype(np.complex64), Q[..., :0]],
    "k": [Q[:, :1], Q[:, :, :5], Q[..., :3], Q.astype(np.float16), None],
    "v": [Q[0], np.repeat(Q, 2, axis=0), Q.tolist()],
    "rh": [Q[..., :3], Q[:, :, :3, :2], np.zeros((1, 2, 6, 2), np.float64), 1.0],
    "rw": [Q[..., :2], Q[:, :1, :, :3], Q[..., :0]],
    "scale": [float("nan"), float("inf"), "x"],
    "threads": [0, -1, 1.5, "x", 1 << 20],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_bad_arguments_are_named(name, value):
    with pytest.raises(SpecError, match=r"^\[relpos_attention\] ") as caught:
        relpos_attention(**{**GOOD, name: value})
    assert caught.value.hint


def test_an_unknown_candidate_is_refused():
    with pytest.raises(KernelError) as caught:
        relpos_attention(**GOOD, impl="sse")
    assert "avx2" in caught.value.hint


def test_without_the_native_module_the_reference_runs(monkeypatch):
    monkeypatch.setattr(native, "module", None)
    assert all("not built" in candidate.unusable() for candidate in CANDIDATES[:-1])
    assert relpos_attention(**GOOD).shape == Q.shape


def test_the_native_module_was_built():
    """`make test` must notice a build that fell back to pure Python."""
    assert "base" in [candidate.name for candidate in CANDIDATES if not candidate.unusable()]
