"""deformable_attention on a GPU: every dtype, against float64."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.kernels.deformable_attention import deformable_attention, launch
from saccade.kernels.deformable_attention.cases import BENCHMARKS, ODD, Case, inputs
from saccade.runtime.errors import KernelError

pytestmark = pytest.mark.gpu
SEEN = int(np.random.SeedSequence().entropy % 2**32)  # fresh each run; a failure prints it
EPSILON = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24}
FITS = [case for case in ODD if case.dim <= launch.DEPTHS[-1]]
SMALL = Case("", 2, 11, 3, 32, ((5, 7), (3, 2)), 3)


def on_device(cupy, arrays, dtype, **options):
    """The result as float64 on the host, and the float64 answer for the arrays as they were rounded."""
    value, sizes, locations, weights = arrays
    rounded = [a.astype(dtype) for a in (value, locations, weights)]  # on the host: CuPy compiles its casts
    v, x, w = map(cupy.asarray, rounded)
    ours = deformable_attention(v, sizes, x, w, **options)
    assert ours.dtype == np.dtype(dtype)
    v, x, w = (a.astype(np.float64) for a in rounded)
    return cupy.asnumpy(ours).astype(np.float64), deformable_attention(v, sizes, x, w, impl="reference")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("case", [*FITS, *BENCHMARKS[:1]], ids=lambda case: case.name)
def test_the_error_is_that_of_float32_and_one_rounding(cupy, usable, real, case, dtype):
    usable("deformable_attention", "triton")
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed").bfloat16
    ours, exact = on_device(cupy, inputs(case, SEEN), dtype, impl="triton")
    allowed = EPSILON[np.dtype(dtype).name] * np.abs(exact) + 2e-5
    assert (np.abs(ours - exact) <= allowed).all(), f"seed {SEEN}"


def test_nan_and_infinity(cupy, usable, real):
    usable("deformable_attention", "triton")
    value, sizes, locations, weights = inputs(SMALL._replace(queries=60), SEEN)
    value[0, ::6, 0, 1], value[0, 34, 1, 2] = np.nan, np.inf
    locations[:, ::5, :, :, 0, 1], locations[:, ::7, :, :, 1, 0] = np.nan, -np.inf
    locations[1, ::9], weights[1, ::9] = -0.6, np.nan
    ours, exact = on_device(cupy, (value, sizes, locations, weights), "float32", impl="triton")
    assert np.isnan(exact).any()
    np.testing.assert_allclose(ours, exact, atol=1e-5, err_msg=f"seed {SEEN}")


def test_arrays_off_a_boundary_take_the_general_variant(cupy, usable, real):
    usable("deformable_attention", "triton")
    value, sizes, locations, weights = inputs(SMALL, SEEN, "float16")
    whole = cupy.zeros(value.size + 1, "float16")
    whole[1:] = cupy.asarray(value).ravel()
    shifted = whole[1:].reshape(value.shape)
    assert shifted.data.ptr % 16
    x, w = cupy.asarray(locations), cupy.asarray(weights)
    straight = cupy.asnumpy(deformable_attention(cupy.asarray(value), sizes, x, w, impl="triton"))
    np.testing.assert_array_equal(cupy.asnumpy(deformable_attention(shifted, sizes, x, w, impl="triton")), straight)


def test_what_no_kernel_takes_is_said(cupy, usable):
    usable("nms", "cuda")  # a machine that can run something
    value, sizes, locations, weights = inputs(SMALL._replace(dim=129))
    with pytest.raises(KernelError, match="no kernel for float32 heads of 129"):
        deformable_attention(*map(cupy.asarray, (value,)), sizes, cupy.asarray(locations), cupy.asarray(weights))
