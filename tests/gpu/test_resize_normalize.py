"""resize_normalize on a GPU: every byte and every float the reference's."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.kernels.resize_normalize import resize_normalize
from saccade.kernels.resize_normalize.cases import BENCHMARKS, IMAGENET, ODD, picture
from saccade.runtime.errors import SpecError

pytestmark = pytest.mark.gpu
SEEN = int(np.random.SeedSequence().entropy % 2**32)  # fresh each run; a failure prints it


def equal(cupy, image, size, expected_from="reference", **options):
    ours = resize_normalize(cupy.asarray(image), size, impl="cuda", **options)
    expected = resize_normalize(image, size, impl=expected_from, **options)
    assert hasattr(ours, "__cuda_array_interface__")
    np.testing.assert_array_equal(cupy.asnumpy(ours), expected, err_msg=f"seed {SEEN}, {options}", strict=True)


@pytest.mark.parametrize("case", ODD, ids=lambda case: case.name)
def test_odd_shapes(cupy, usable, case):
    usable("resize_normalize", "cuda")
    image = picture(*case.source, SEEN)
    height, width = case.options.get("crop", (0, 0, *case.size))[2:]
    equal(cupy, image, case.size, raw=True, **case.options)
    equal(cupy, image, case.size, **case.options, **IMAGENET)
    equal(cupy, image, case.size, dtype=np.float16, **case.options, **IMAGENET)
    padding = {"pad_to": (height + 3, width + 5), "pad_value": -1.5}
    equal(cupy, image, case.size, **case.options, **padding)


@pytest.mark.parametrize("scale", [1e-9, 3e-8, 1e-6, 2.5e-7, 1.0, 3e2, 1e9, -1e-5])
def test_halves_are_rounded_as_numpys(cupy, usable, scale):
    """Subnormal, normal and beyond the range, ties among them."""
    usable("resize_normalize", "cuda")
    image = np.arange(256 * 3, dtype=np.uint32).astype(np.uint8).reshape(16, 16, 3)
    equal(cupy, image, (16, 16), dtype=np.float16, scale=scale)
    equal(cupy, image, (16, 16), dtype=np.float16, scale=scale, mean=(0.0, 1e-7, 2.0**-25))


@pytest.mark.parametrize("case", BENCHMARKS, ids=lambda case: case.name)
def test_benchmark_cases(cupy, usable, real, case):
    usable("resize_normalize", "cuda")
    equal(cupy, picture(*case.source, SEEN), case.size, expected_from="base", **case.options, **IMAGENET)


def test_a_place_in_a_batch(cupy, usable):
    usable("resize_normalize", "cuda")
    image = picture(20, 30, SEEN)
    batch = cupy.zeros((2, 3, 8, 9), "float32")
    resize_normalize(cupy.asarray(image), (8, 9), out=batch[1])
    expected = resize_normalize(image, (8, 9), impl="reference")
    np.testing.assert_array_equal(cupy.asnumpy(batch), np.stack([expected * 0, expected]))
    with pytest.raises(SpecError, match="out"):
        resize_normalize(cupy.asarray(image), (8, 9), out=np.zeros((3, 8, 9), np.float32))
