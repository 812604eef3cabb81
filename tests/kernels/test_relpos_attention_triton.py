"""relpos_attention in Triton, by its interpreter: odd shapes, in half and single precision, against float64.

bfloat16 is not here: the interpreter multiplies its bits as integers. It is compiled in test_aot.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from saccade.kernels.relpos_attention.cases import ODD, TIMES, Case, inputs
from saccade.kernels.relpos_attention.reference import attend

SEEN = int(np.random.SeedSequence().entropy % 2**32)  # fresh each run; a failure prints it
BM = 128  # queries a program: several programs a head, the last one not full


def power(size: int) -> int:
    return max(16, 1 << (size - 1).bit_length())


def run(interpreted, arrays, grid, scale, bm=BM):
    q = arrays[0]
    batch, heads, tokens, depth = q.shape
    out = np.full(q.shape, np.nan, q.dtype)
    programs = (batch * heads * -(-tokens // bm),)
    constants = {"BM": bm, "BN": power(grid[1]), "BD": power(depth)}
    interpreted("relpos_attention", programs, *arrays, out, tokens, *grid, depth, scale, **constants)
    return out


def each_head(arrays, scale, dtype):
    out = np.empty(arrays[0].shape, dtype)
    for at in np.ndindex(out.shape[:2]):
        out[at] = attend(*(a[at].astype(dtype) for a in arrays), scale)
    return out


def rms(ours, exact):
    return float(np.sqrt(np.mean((ours.astype(np.float64) - exact) ** 2))) if exact.size else 0.0


def worst(ours, exact):
    return float(np.abs(ours.astype(np.float64) - exact).max(initial=0))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("case", ODD, ids=lambda case: case.name)
def test_error_is_at_most_twice_that_of_the_plain_form(interpreted, case, dtype):
    arrays = inputs(case, SEEN, dtype)
    scale = case.dim**-0.5
    exact, plain = (each_head(arrays, scale, t) for t in ("float64", dtype))
    ours = run(interpreted, arrays, case.grid, scale)
    assert np.isfinite(ours).all()
    luck = lucky(arrays, scale, dtype)
    assert rms(ours, exact) <= TIMES * np.nan_to_num(rms(plain, exact)) + luck / 8, f"seed {SEEN}"
    assert worst(ours, exact) <= 2 * TIMES * np.nan_to_num(worst(plain, exact)) + 2 * luck, f"seed {SEEN}"


def lucky(arrays, scale, dtype):
    """What rounding values once and scores in fp32 may cost: the plain form may be right by luck, or overflow."""
    q, k, v, rh, rw = (float(np.abs(a).max(initial=0)) for a in arrays)
    scores = np.spacing(np.float32(scale * q * k * arrays[0].shape[-1] ** 0.5 + rh + rw))
    return float(np.spacing(np.asarray(v, dtype))) + float(scores) * v


def test_a_query_that_may_attend_to_nothing_gives_zeros(interpreted):
    q, k, v, rh, rw = inputs(Case("", 1, 2, (3, 5), 16), SEEN)
    rh[0, 0, 3] = -np.inf
    rw[0, 1, 4] = -np.inf
    rh[0, 1, 7, 0] = rw[0, 1, 7, 2] = -np.inf  # a part of the picture only
    ours = run(interpreted, (q, k, v, rh, rw), (3, 5), 0.25)
    assert not ours[0, 0, 3].any()
    assert not ours[0, 1, 4].any()
    np.testing.assert_allclose(ours, each_head((q, k, v, rh, rw), 0.25, "float64"), atol=1e-5)


def test_nan_goes_where_the_arithmetic_takes_it(interpreted):
    arrays = inputs(Case("", 1, 2, (3, 5), 16), SEEN)
    arrays[0][0, 0, 2, 1] = np.nan  # a query: its own row
    arrays[2][0, 1, 4, 3] = np.nan  # a value: a column of its head
    ours = np.isnan(run(interpreted, arrays, (3, 5), 0.25))
    expected = np.zeros_like(ours)
    expected[0, 0, 2] = expected[0, 1, :, 3] = True
    np.testing.assert_array_equal(ours, expected)


def test_heads_and_batches_do_not_meet(interpreted):
    arrays = inputs(Case("", 3, 2, (4, 7), 24), SEEN, "float16")
    whole = run(interpreted, arrays, (4, 7), 0.2)
    for at in range(3):
        part = run(interpreted, tuple(a[at : at + 1, ::-1].copy() for a in arrays), (4, 7), 0.2)
        np.testing.assert_array_equal(part, whole[at : at + 1, ::-1])
