"""relpos_attention on a GPU: every dtype, against float64."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.kernels.relpos_attention import launch, relpos_attention
from saccade.kernels.relpos_attention.cases import BENCHMARKS, ODD, TIMES, Case, inputs
from saccade.kernels.relpos_attention.reference import attend
from saccade.runtime.errors import KernelError

pytestmark = pytest.mark.gpu
SEEN = int(np.random.SeedSequence().entropy % 2**32)  # fresh each run; a failure prints it
EPSILON = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24}
FITS = [case for case in ODD if case.dim <= launch.DEPTHS[-1] and case.grid[1] <= launch.COLUMNS[-1]]


def each_head(arrays, scale, dtype):
    out = np.empty(arrays[0].shape, dtype)
    for at in np.ndindex(out.shape[:2]):
        out[at] = attend(*(a[at].astype(dtype) for a in arrays), scale)
    return out


def on_device(cupy, arrays, dtype, **options):
    """The result as float64 on the host, and the arrays as they were rounded."""
    given = [cupy.asarray(a).astype(dtype) for a in arrays]
    ours = relpos_attention(*given, **options)
    assert ours.dtype.name == dtype
    return (cupy.asnumpy(ours.astype("float64")), [cupy.asnumpy(a.astype("float64")) for a in given])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("case", FITS, ids=lambda case: case.name)
def test_error_is_at_most_twice_that_of_the_plain_form(cupy, usable, real, case, dtype):
    usable("relpos_attention", "triton")
    if dtype == "float32" and case.dim > launch.DEPTHS[0]:
        pytest.skip("no kernel for wide float32 heads")
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed").bfloat16
    ours, rounded = on_device(cupy, inputs(case, SEEN), np.dtype(dtype).name, impl="triton")
    name = np.dtype(dtype).name
    exact, plain = (each_head(rounded, case.dim**-0.5, t) for t in (np.float64, dtype))
    worst = float(np.abs(ours - exact).max(initial=0))
    allowed = TIMES * float(np.abs(plain.astype(np.float64) - exact).max(initial=0))
    assert worst <= allowed + EPSILON[name] * np.abs(exact).max(initial=0), f"seed {SEEN}"


@pytest.mark.parametrize("case", BENCHMARKS, ids=lambda case: case.name)
def test_benchmark_cases(cupy, usable, real, case):
    usable("relpos_attention", "triton")
    few = case._replace(batch=1, heads=2)
    ours, rounded = on_device(cupy, inputs(few, SEEN), "float16", impl="triton")
    exact, plain = (each_head(rounded, case.dim**-0.5, t) for t in (np.float64, np.float16))
    allowed = TIMES * np.abs(plain - exact).max() + EPSILON["float16"] * np.abs(exact).max()
    assert np.abs(ours - exact).max() <= allowed, f"seed {SEEN}"


def test_arrays_off_a_boundary_take_the_general_variant(cupy, usable, real):
    usable("relpos_attention", "triton")
    arrays = inputs(Case("", 1, 2, (14, 14), 64), SEEN, "float16")
    whole = [cupy.zeros(a.size + 1, "float16") for a in arrays]
    shifted = []
    for to, a in zip(whole, arrays, strict=True):
        to[1:] = cupy.asarray(a).ravel()
        shifted.append(to[1:].reshape(a.shape))
    assert shifted[0].data.ptr % 16
    straight = cupy.asnumpy(relpos_attention(*map(cupy.asarray, arrays), impl="triton"))
    np.testing.assert_allclose(cupy.asnumpy(relpos_attention(*shifted, impl="triton")), straight, atol=2e-3)


def test_what_no_kernel_takes_is_said(cupy, usable):
    usable("nms", "cuda")  # a machine that can run something
    arrays = [cupy.asarray(a) for a in inputs(Case("", 1, 1, (2, 65), 16))]
    with pytest.raises(KernelError, match="no kernel for float32 heads of 16 and rows of 65"):
        relpos_attention(*arrays)
