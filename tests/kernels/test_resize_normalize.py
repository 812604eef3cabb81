"""resize_normalize: every candidate, byte for byte, against Pillow; floats, bit for bit, against NumPy."""

from __future__ import annotations

import time

import numpy as np
import PIL
import pytest
from PIL import Image

from saccade.kernels import native
from saccade.kernels.resize_normalize import CANDIDATES, resize_normalize
from saccade.kernels.resize_normalize.cases import BENCHMARKS, IMAGENET, ODD, picture
from saccade.runtime.errors import KernelError, SpecError

FILTERS = {
    name: getattr(Image.Resampling, name.upper())
    for name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
}
HOST = [candidate.name for candidate in CANDIDATES if candidate.place == "cpu"]
NATIVE = HOST[:-1]
SEEN = int(np.random.SeedSequence().entropy % 2**32)  # fresh each run; a failure prints it
SECONDS = 6.0

each_candidate = pytest.mark.parametrize("impl", HOST)


def usable(impl: str) -> str:
    reason = next(candidate.unusable() for candidate in CANDIDATES if candidate.name == impl)
    if reason:
        pytest.skip(f"{impl}: {reason}")
    return impl


def pillow(image, size, filter="bicubic", region=None, crop=None):
    """What Pillow makes of it; its rule for the order of the passes is that of version 13."""
    vertical = image.shape[0] - size[0]
    if int(PIL.__version__.split(".")[0]) < 13 and vertical > 0 and vertical > 2 * (image.shape[1] - size[1]):
        pytest.skip("Pillow before 13 always resamples horizontally first")
    out = Image.fromarray(image).resize(size[::-1], FILTERS[filter], region)
    if crop is not None:
        top, left, height, width = crop
        out = out.crop((left, top, left + width, top + height))
    return np.asarray(out)


def normal(pixels, scale=1 / 255, mean=(0, 0, 0), std=(1, 1, 1)):
    floats = pixels.astype(np.float32) * np.float32(scale)
    return ((floats - np.float32(mean)) / np.float32(std)).transpose(2, 0, 1)


@each_candidate
@pytest.mark.parametrize("case", ODD, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_odd_shapes_equal_pillow_and_numpy(impl, case, dtype):
    image = picture(*case.source)
    bytes_ = pillow(image, case.size, **case.options)
    ours = resize_normalize(image, case.size, **case.options, **IMAGENET, dtype=dtype, impl=usable(impl))
    assert ours.dtype == dtype
    assert ours.flags.c_contiguous
    np.testing.assert_array_equal(ours, normal(bytes_, **IMAGENET).astype(dtype))
    np.testing.assert_array_equal(resize_normalize(image, case.size, **case.options, raw=True, impl=impl), bytes_)


@each_candidate
@pytest.mark.parametrize("case", BENCHMARKS, ids=lambda case: case.name)
def test_benchmark_cases(impl, case):
    image = picture(*case.source)
    options = {name: value for name, value in case.options.items() if name != "pad_to"}
    expected = normal(pillow(image, case.size, **options), **IMAGENET)
    ours = resize_normalize(image, case.size, **case.options, **IMAGENET, impl=usable(impl))
    height, width = expected.shape[1:]
    np.testing.assert_array_equal(ours[:, :height, :width], expected)
    assert not ours[:, height:].any()
    assert not ours[:, :, width:].any()


def random_case(rng):
    most = rng.choice([8, 40, 130, 400])
    height, width, *size = (int(n) for n in rng.integers(1, most, 4))
    size = (height if rng.random() < 0.15 else size[0], width if rng.random() < 0.15 else size[1])
    options = {"filter": str(rng.choice(list(FILTERS)))}
    if rng.random() < 0.4:
        left, right = np.sort(rng.random(2).astype(np.float32)) * np.float32(width)
        top, bottom = np.sort(rng.random(2).astype(np.float32)) * np.float32(height)
        if rng.random() < 0.3:
            left, top, right, bottom = np.floor((left, top, right + 1, bottom + 1))
        region = tuple(map(float, (left, top, min(right, width), min(bottom, height))))
        options["region"] = region if region[0] < region[2] and region[1] < region[3] else None
    if rng.random() < 0.6:
        top, left = (int(rng.integers(-n // 2 - 1, n + 3)) for n in size)
        options["crop"] = (top, left, *(int(rng.integers(1, n + 9)) for n in size))
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    return (image if rng.random() < 0.7 else image // 128 * 255).astype(np.uint8), size, options


@each_candidate
def test_random_cases_equal_pillow(impl):
    usable(impl)
    rng = np.random.default_rng(SEEN)
    end, count = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        image, size, options = random_case(rng)
        ours = resize_normalize(image, size, **options, raw=True, impl=impl)
        if int(PIL.__version__.split(".")[0]) >= 13 or image.shape[0] <= size[0]:
            theirs = pillow(image, size, **options)
            assert np.array_equal(ours, theirs), f"seed {SEEN}, case {count}: {image.shape} to {size}, {options}"
        count += 1
    assert count > 100


@each_candidate
def test_threads_do_not_change_the_result(impl):
    usable(impl)
    rng = np.random.default_rng(SEEN)
    for _ in range(40 if impl != "reference" else 1):
        image, size, options = random_case(rng)
        height, width = options.get("crop", (0, 0, *size))[2:]
        for more in ({"raw": True}, {"pad_to": (height + 3, width + 2), "pad_value": -1.0}):
            expected = resize_normalize(image, size, **options, **more, impl=impl)
            for threads in (2, 5):
                ours = resize_normalize(image, size, **options, **more, impl=impl, threads=threads)
                assert ours.tobytes() == expected.tobytes(), f"seed {SEEN}: {image.shape} to {size}, {options}"


@each_candidate
def test_normalisation_is_bitwise_numpy(impl):
    usable(impl)
    rng = np.random.default_rng(SEEN)
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    for trial in range(100):
        scale = float(rng.choice([1 / 255, 1.0, 2 / 255, 1 / 256, rng.random() * 10 ** rng.uniform(-30, 20)]))
        mean = tuple(rng.standard_normal(3) * rng.choice([0, 1, 100]))
        std = tuple(rng.choice([-1, 1], 3) * 10.0 ** rng.uniform(-3, 3, 3))
        for dtype in (np.float32, np.float16):
            with np.errstate(over="ignore", under="ignore"):
                expected = normal(image, scale, mean, std).astype(dtype)
            ours = resize_normalize(image, (16, 16), scale=scale, mean=mean, std=std, dtype=dtype, impl=impl)
            assert ours.tobytes() == np.ascontiguousarray(expected).tobytes(), (SEEN, trial, scale, mean, std)


@each_candidate
def test_strides_are_followed_or_copied_never_misread(impl):
    usable(impl)
    base = picture(60, 90)
    views = {
        "upside down": base[::-1],
        "mirrored": base[:, ::-1],
        "BGR": base[..., ::-1],
        "every third column": base[:, ::3],
        "every other row, from the end": base[::-2],
        "a part": base[5:50, 7:81],
        "Fortran order": np.asfortranarray(base),
        "transposed": base.transpose(1, 0, 2),
        "one row many times": np.broadcast_to(base[:1], base.shape),
        "alpha left out": np.dstack([base, base[..., :1]])[..., :3],
        "empty axis in the middle": base[:, None, :, :].reshape(60, 90, 3)[10:11],
    }
    for name, view in views.items():
        ours = resize_normalize(view, (31, 44), raw=True, impl=impl)
        assert np.array_equal(ours, pillow(np.ascontiguousarray(view), (31, 44))), name


@each_candidate
def test_no_read_beyond_the_picture(impl):
    """The last row of the array is the last of its memory page, and the one behind cannot be read."""
    import ctypes
    import mmap

    usable(impl)
    libc, page = ctypes.CDLL(None), mmap.PAGESIZE
    memory = mmap.mmap(-1, 4 * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    whole = np.frombuffer(memory, np.uint8)
    protect = lambda at, mode: libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(page), mode)  # noqa: E731
    assert protect(address, 0) == protect(address + 3 * page, 0) == 0
    try:
        for height, width, size in (
            (7, 33, (5, 20)),
            (7, 33, (7, 20)),
            (7, 33, (3, 33)),
            (30, 9, (4, 20)),
            (2, 400, (2, 9)),
        ):
            count = height * width * 3
            for at in (page, 3 * page - count):  # at the very begin and at the very end of what is readable
                image = whole[at : at + count].reshape(height, width, 3)
                image[:] = picture(height, width)
                for view in (image, image[::-1]):
                    ours = resize_normalize(view, size, raw=True, impl=impl)
                    assert np.array_equal(ours, pillow(np.ascontiguousarray(view), size))
                    resize_normalize(view, size, impl=impl)
                    resize_normalize(view, (height, width), impl=impl)
    finally:
        protect(address, 3)
        protect(address + 3 * page, 3)


@each_candidate
def test_out_may_be_a_slice_of_a_batch(impl):
    batch = np.full((3, 3, 24, 40), 7, np.float32)
    image = picture(50, 70)
    slice_ = batch[1]
    result = resize_normalize(image, (20, 30), out=slice_, pad_to=(24, 40), pad_value=-1.5, impl=usable(impl))
    assert result is slice_
    np.testing.assert_array_equal(batch[1, :, :20, :30], resize_normalize(image, (20, 30), impl=impl))
    assert (batch[1, :, 20:] == -1.5).all()
    assert (batch[1, :, :, 30:] == -1.5).all()
    assert (batch[[0, 2]] == 7).all()


@each_candidate
def test_black_beside_the_crop_is_normalised_and_padding_is_not(impl):
    image = picture(10, 10)
    ours = resize_normalize(
        image, (8, 8), crop=(-2, -3, 12, 13), pad_to=(14, 15), pad_value=9.0, mean=(1, 2, 3), impl=usable(impl)
    )
    assert (ours[:, 12:] == 9).all()
    assert (ours[:, :, 13:] == 9).all()
    assert (ours[:, :2, :13].transpose(1, 2, 0) == (-1, -2, -3)).all()
    assert (ours[:, 2:10, :3].transpose(1, 2, 0) == (-1, -2, -3)).all()
    np.testing.assert_array_equal(ours[:, 2:10, 3:11], resize_normalize(image, (8, 8), mean=(1, 2, 3), impl=impl))


def test_a_crop_costs_what_it_shows():
    image = picture(40, 40)
    ours = resize_normalize(image, (1 << 22, 1 << 22), crop=(1 << 21, 1 << 21, 4, 4), raw=True, filter="bilinear")
    assert ours.shape == (4, 4, 3)


GOOD = picture(6, 7)
WRONG = {
    "image": [
        None,
        [[1]],
        GOOD[..., 0],
        GOOD.astype(np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
    ],
    "size": [(0, 4), (4, -1), (4,), (4, 4, 4), (4.5, 4), None, "ab", (1 << 25, 4)],
    "filter": ["cubic", None, 3, ""],
    "region": [(0, 0, 8, 6), (-1, 0, 7, 6), (3, 3, 3, 5), (0, 0, 7), (0, 0, float("nan"), 6), ("a", 0, 7, 6)],
    "crop": [(0, 0, 0, 4), (0, 0, 4), (0.5, 0, 4, 4), (0, 0, 4, -4), (1 << 30, 0, 4, 4)],
    "scale": [float("nan"), float("inf"), "x"],
    "threads": [0, -1, 1.5, "two", None, 1 << 40],
    "mean": [(0, 0), 0.5, (0, 0, float("nan"))],
    "std": [(1, 1, 0), (1, 1), (1, 1, float("inf")), (1, 1, 1e-60)],
    "out": [np.zeros((3, 4, 5)), np.zeros((3, 5, 4), np.float32), np.zeros((3, 4, 10), np.float32)[..., ::2], [1]],
    "dtype": [np.float64, np.int32],
    "pad_to": [(3, 5), (4,), (4, 4), (4.5, 5)],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_bad_arguments_are_named(name, value):
    arguments = {"image": GOOD, "size": (4, 5), name: value}
    with pytest.raises(SpecError, match=r"^\[resize_normalize\] .*" + name) as caught:
        resize_normalize(arguments.pop("image"), arguments.pop("size"), **arguments)
    assert caught.value.hint


def test_out_may_not_be_read_only_or_the_image():
    frozen = np.zeros((3, 4, 5), np.float32)
    frozen.flags.writeable = False
    with pytest.raises(SpecError, match="out"):
        resize_normalize(GOOD, (4, 5), out=frozen)
    with pytest.raises(SpecError, match="memory of the image"):
        resize_normalize(GOOD, GOOD.shape[:2], out=GOOD, raw=True)
    with pytest.raises(SpecError, match="pad_to"):
        resize_normalize(GOOD, (4, 5), pad_to=(9, 9), raw=True)


def test_an_unknown_candidate_is_refused():
    with pytest.raises(KernelError) as caught:
        resize_normalize(GOOD, (4, 5), impl="sse")
    assert "avx2" in caught.value.hint


def test_without_the_native_module_the_reference_runs(monkeypatch):

    expected = resize_normalize(GOOD, (4, 5))
    monkeypatch.setattr(native, "module", None)
    assert {candidate.unusable() for candidate in CANDIDATES[:-1]} == {
        "the native module was not built; build saccade where there is a C++ compiler"
    }
    np.testing.assert_array_equal(resize_normalize(GOOD, (4, 5)), expected)


def test_the_native_module_was_built():
    """`make test` must notice a build that fell back to pure Python."""
    assert "base" in [candidate.name for candidate in CANDIDATES if not candidate.unusable()]
