"""mask_decode on a GPU: every number, byte and pixel the reference's."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.kernels.mask_decode import mask_decode
from saccade.kernels.mask_decode.cases import BENCHMARKS, ODD, Case, logits

pytestmark = pytest.mark.gpu
SEEN = int(np.random.SeedSequence().entropy % 2**32)  # fresh each run; a failure prints it
each = pytest.mark.parametrize("impl", ["cuda", "triton"])


def equal(cupy, case, low, impl, expected_from="reference", **options):
    ours = mask_decode(cupy.asarray(low), case.model, case.valid, case.original, impl=impl, **options)
    expected = mask_decode(low, case.model, case.valid, case.original, impl=expected_from, **options)
    assert ours.rle == expected.rle, f"seed {SEEN}"
    for name in ("boxes", "area", "stability"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(expected, name), err_msg=f"{name}, seed {SEEN}")
        assert getattr(ours, name).dtype == getattr(expected, name).dtype
    assert (ours.dense is None) == (expected.dense is None)
    if ours.dense is not None:
        assert hasattr(ours.dense, "__cuda_array_interface__")
        np.testing.assert_array_equal(cupy.asnumpy(ours.dense), expected.dense)


@each
@pytest.mark.parametrize("case", ODD, ids=lambda case: case.name)
def test_odd_shapes(cupy, usable, impl, case):
    if getattr(cupy, "EMULATED", False) and case.original[0] * case.original[1] > 50_000:
        case = case._replace(masks=1)
    low = logits(case, SEEN)
    equal(cupy, case, low, usable("mask_decode", impl), dense=True)
    equal(cupy, case, low, impl, threshold=-0.7, offset=0.25)
    equal(cupy, case, low, impl, threshold=2.5, offset=0, dense=list(range(case.masks))[::-2])


@each
def test_what_is_not_finite_in_a_full_mask(cupy, usable, impl):
    """Where all is above the highest threshold nothing is computed; but 0 · inf is NaN, which is above nothing."""
    case = Case("", "above", 2, (40, 70), (40, 70), (40, 70), (40, 70))
    low = logits(case, SEEN)
    low[0, 5, 9] = low[1, 39, 69] = np.inf
    low[0, 20, 33], low[1, 7, 7] = np.nan, 3.2e38
    equal(cupy, case, low, usable("mask_decode", impl), dense=True)


@each
@pytest.mark.parametrize("case", BENCHMARKS, ids=lambda case: case.name)
def test_benchmark_cases(cupy, usable, real, impl, case):
    equal(cupy, case, logits(case, SEEN), usable("mask_decode", impl), expected_from="base", dense=[0])
