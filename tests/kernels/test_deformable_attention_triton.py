"""deformable_attention in Triton, by its interpreter: odd shapes, in half and single precision, against float64.

bfloat16 is not here: NumPy has none. It is compiled in test_aot.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from saccade.kernels import deformable_attention as house
from saccade.kernels.deformable_attention import cases

SEEN = int(np.random.SeedSequence().entropy % 2**32)  # fresh each run; a failure prints it
SMALL = cases.Case("", 2, 11, 3, 8, ((5, 7), (3, 2)), 3)
QB = 8  # queries a program: several programs a head, the last one not full


def few(case: cases.Case) -> cases.Case:
    """The interpreter takes its time: what makes the kernel differ stays, what only makes it longer does not."""
    least = {"batch": 1, "heads": 1, "points": 5, "queries": 9}
    now = {name: most if (have := getattr(case, name)) is None else min(have, most) for name, most in least.items()}
    return case._replace(**now)


def power(size: int) -> int:
    return max(32, 1 << (size - 1).bit_length())


def run(interpreted, arrays, qb=QB):
    value, sizes, locations, weights = arrays
    batch, places, heads, dim = value.shape
    queries, levels, points = (locations.shape[i] for i in (1, 3, 4))
    out = np.full((batch, queries, heads * dim), np.nan, value.dtype)
    whole = (places, queries, heads, dim, levels, points)
    # An array without memory has no pointer for the interpreter to take.
    given = [a if a.size else np.zeros(1, a.dtype) for a in (value, sizes.astype(np.int32), locations, weights)]
    programs = (batch * heads * -(-queries // qb),)
    interpreted("deformable_attention", programs, *given, out, *whole, QB=qb, BD=power(dim))
    return out


def exact(arrays):
    value, sizes, locations, weights = arrays
    value, locations, weights = (array.astype(np.float64) for array in (value, locations, weights))
    return house.deformable_attention(value, sizes, locations, weights, impl="reference")


DTYPES = [("float16", "float32")[i % 2] for i in range(len(cases.ODD))]


@pytest.mark.parametrize(
    ("case", "dtype"),
    list(zip(cases.ODD, DTYPES, strict=True)),
    ids=lambda value: getattr(value, "name", value),
)
def test_the_error_is_that_of_float32_and_one_rounding(interpreted, case, dtype):
    arrays = cases.inputs(few(case), SEEN, dtype)
    ours, expected = run(interpreted, arrays), exact(arrays)
    assert np.isfinite(ours).all()
    ulp = np.spacing(np.abs(expected).astype(dtype)).astype(np.float64)
    assert (np.abs(ours - expected) <= 0.5 * ulp + 2e-5).all(), f"seed {SEEN}"


def test_coordinates_that_are_nowhere_add_nothing(interpreted):
    value, sizes, locations, weights = cases.inputs(SMALL._replace(points=9, heads=1), SEEN)
    for i, strange in enumerate([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e10, -1e10, 2.0**31]):
        locations[:, i, :, :, i, i % 2] = strange
    ours = run(interpreted, (value, sizes, locations, weights), 16)
    np.testing.assert_allclose(ours, exact((value, sizes, locations, weights)), atol=1e-5, err_msg=f"seed {SEEN}")


def test_nan_reaches_those_who_look_at_it(interpreted):
    """And nobody else: a corner that is outside has no share, whatever its weight, and loads nothing."""
    value, sizes, locations, weights = cases.inputs(SMALL._replace(queries=60, heads=2), SEEN)
    value[0, ::6, 0, 1], value[0, 34, 1, 2] = np.nan, np.inf
    locations[1, ::7] = -0.6
    weights[1, ::7] = np.nan
    arrays = (value, sizes, locations, weights)
    ours, expected = run(interpreted, arrays, 64), exact(arrays)
    assert np.isnan(expected[0]).any()
    assert not np.isnan(expected[1]).any()
    np.testing.assert_allclose(ours, expected, atol=1e-5, err_msg=f"seed {SEEN}")


def test_heads_and_batches_do_not_meet(interpreted):
    value, sizes, locations, weights = cases.inputs(SMALL, SEEN, "float16")
    whole = run(interpreted, (value, sizes, locations, weights), 16).reshape(2, 11, 3, 8)
    for b in range(2):
        part = [array[b : b + 1, :, ::-1].copy() for array in (value, locations, weights)]
        turned = run(interpreted, (part[0], sizes, *part[1:]), 16).reshape(1, 11, 3, 8)
        np.testing.assert_array_equal(turned[:, :, ::-1], whole[b : b + 1], err_msg=f"seed {SEEN}")
