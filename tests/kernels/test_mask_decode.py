"""mask_decode: every candidate against the reference; the reference against torch, pycocotools and two plain steps."""

from __future__ import annotations

import time

import numpy as np
import pytest

from saccade.kernels import native
from saccade.kernels.mask_decode import CANDIDATES, mask_decode, reference
from saccade.kernels.mask_decode.cases import BENCHMARKS, NEAR, ODD, TOLERANCE, Case, logits, sam
from saccade.runtime.errors import KernelError, SpecError

SEEN = int(np.random.SeedSequence().entropy % 2**32)  # fresh each run; a failure prints it
SECONDS = 3.0
SIZES = [(1080, 1920), (640, 427), (150, 200), (37, 211)]

each_candidate = pytest.mark.parametrize("impl", [c.name for c in CANDIDATES if c.place == "cpu"])
each_native = pytest.mark.parametrize(
    "impl", [c.name for c in CANDIDATES if c.place == "cpu" and c.name != "reference"]
)
each_odd = pytest.mark.parametrize("case", ODD, ids=lambda case: case.name)
finite = [case for case in ODD if case.kind != "broken" and case.masks]


def usable(impl: str) -> str:
    reason = next(candidate.unusable() for candidate in CANDIDATES if candidate.name == impl)
    if reason:
        pytest.skip(f"{impl}: {reason}")
    return impl


def decode(case: Case, low, impl, **options):
    return mask_decode(low, case.model, case.valid, case.original, impl=impl, **options)


def resampled(case: Case, low):
    """(H, W) float32 by the reference's taps."""
    y, x = (reference.taps(case.low[i], case.model[i], case.valid[i], case.original[i]) for i in (0, 1))
    return reference.resample(low, y, x)


def equal(a, b, what):
    assert a.rle == b.rle, what
    for name in ("boxes", "area", "stability"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=f"{name}: {what}")
        assert getattr(a, name).dtype == getattr(b, name).dtype
    assert (a.dense is None) == (b.dense is None)
    if a.dense is not None:
        assert np.array_equal(a.dense, b.dense), what


@each_native
@each_odd
def test_odd_shapes_equal_the_reference(impl, case):
    low = logits(case, SEEN)
    for options in ({}, {"dense": True}, {"threshold": -0.7, "offset": 0.25}, {"threshold": 2.5, "offset": 0}):
        ours = decode(case, low, usable(impl), **options)
        equal(ours, decode(case, low, "reference", **options), f"seed {SEEN}, {options}")


@each_native
def test_benchmark_shapes_equal_the_reference(impl):
    for case in BENCHMARKS:
        few = case._replace(masks=2)
        low = logits(few, SEEN)
        equal(decode(few, low, usable(impl)), decode(few, low, "reference"), f"seed {SEEN}, {case.name}")


def random_case(rng):
    most = int(rng.choice([4, 20, 90]))
    low = rng.integers(1, most, 2)
    model = low + rng.integers(0, 4 * low + 1)
    valid, original = rng.integers(1, model + 1), rng.integers(1, rng.choice([9, 70, 300]), 2)
    low, model, valid, original = (tuple(map(int, size)) for size in (low, model, valid, original))
    kind = str(rng.choice(["ragged", "noise", "below", "above", "levels", "broken"]))
    return Case("random", kind, int(rng.integers(1, 4)), low, model, valid, original)


@each_native
def test_random_cases_equal_the_reference(impl):
    usable(impl)
    rng = np.random.default_rng(SEEN)
    end, count = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        case = random_case(rng)
        low = logits(case, int(rng.integers(2**32)))
        options = {
            "threshold": float(rng.choice([0, 1, -20, 20, rng.normal()])),
            "offset": float(rng.choice([0, 1, 9])),
        }
        options["dense"] = bool(rng.random() < 0.3)
        what = f"seed {SEEN}, case {count}: {case}, {options}"
        equal(decode(case, low, impl, **options), decode(case, low, "reference", **options), what)
        count += 1
    assert count > 30


@each_native
def test_threads_do_not_change_the_result(impl):
    usable(impl)
    rng = np.random.default_rng(SEEN)
    for _ in range(6):
        case = random_case(rng)._replace(masks=int(rng.integers(1, 9)))
        low = logits(case, int(rng.integers(2**32)))
        expected = decode(case, low, impl, dense=True)
        for threads in (2, 3, 64):
            equal(decode(case, low, impl, dense=True, threads=threads), expected, f"seed {SEEN}, {threads} threads")


@each_candidate
def test_statistics_are_those_of_the_masks_given_out(impl):
    for case in (sam("a", "ragged", 3, (200, 333)), sam("b", "noise", 2, (333, 200)), sam("c", "below", 1, (9, 5))):
        low = logits(case, SEEN)
        ours = decode(case, low, usable(impl), dense=True)
        assert ours.dense.dtype == np.bool_
        assert ours.area.tolist() == ours.dense.sum((1, 2)).tolist()
        for m, mask in enumerate(ours.dense):
            left, top, right, bottom = ours.boxes[m]
            assert (left, top, right, bottom) == reference.box(mask)
            if mask.any():
                assert mask[top : bottom + 1, left : right + 1].sum() == mask.sum()
            full = resampled(case, low[m])
            assert np.array_equal(mask, full > 0)
            union = np.count_nonzero(full > -1)
            assert ours.stability[m] == (np.float32(np.count_nonzero(full > 1)) / np.float32(union) if union else 0)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools, with NumPy 2
@each_candidate
def test_run_lengths_are_those_of_pycocotools(impl):
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    for case in (*ODD, sam("large", "noise", 1, (700, 900))):
        ours = decode(case, logits(case, SEEN), usable(impl), dense=True)
        for m, mask in enumerate(ours.dense):
            assert coco.encode(np.asfortranarray(mask.view(np.uint8))) == ours.rle[m], (SEEN, case.name)
            assert np.array_equal(coco.decode(ours.rle[m]), mask)
            assert coco.area(ours.rle[m]) == ours.area[m]


def two_steps(case: Case, low):
    """(H, W) float64: interpolate, cut, interpolate, with torch's weights but without its rounding."""
    square = interpolated(interpolated(low.astype(float), case.model[0]).T, case.model[1]).T
    cut = square[: case.valid[0], : case.valid[1]]
    return interpolated(interpolated(cut, case.original[0]).T, case.original[1]).T


def interpolated(rows, target):
    at, after, near, far = reference.interpolation(len(rows), target)
    return rows[at] * near[:, None].astype(float) + rows[after] * far[:, None].astype(float)


@pytest.mark.parametrize("case", finite, ids=lambda case: case.name)
def test_taps_are_both_steps_in_one(case):
    low = logits(case, SEEN)
    for mask in low:
        np.testing.assert_allclose(resampled(case, mask), two_steps(case, mask), rtol=0, atol=3e-6 * np.abs(low).max())
    for axis in (0, 1):
        index, weights = reference.taps(case.low[axis], case.model[axis], case.valid[axis], case.original[axis])
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.sum(1, dtype=float), 1, atol=2e-7)
        assert (np.diff(index, axis=1) <= 1).all()
        assert index.max() < case.low[axis]


@pytest.mark.parametrize(
    ("source", "target"), [(256, 1024), (1024, 1920), (576, 1080), (768, 3000), (683, 427), (1, 9), (97, 150), (5, 5)]
)
def test_interpolation_is_torchs_to_the_bit(source, target):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    unit = torch.eye(source)[:, None, None]
    theirs = torch.nn.functional.interpolate(unit, (1, target), mode="bilinear", align_corners=False)[:, 0, 0].numpy()
    at, after, near, far = reference.interpolation(source, target)
    ours, place = np.zeros((source, target), np.float32), np.arange(target)
    ours[at, place] += near
    ours[after, place] += far
    np.testing.assert_array_equal(ours, theirs)


@each_candidate
@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_torchs_but_for_rounding(impl, size):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from torch.nn.functional import interpolate

    pixels = different = 0
    for kind in ("noise", "ragged"):
        case = sam("", kind, 1, size)
        low = logits(case, SEEN)
        square = interpolate(torch.from_numpy(low)[:, None], case.model, mode="bilinear", align_corners=False)
        cut = square[..., : case.valid[0], : case.valid[1]]
        theirs = interpolate(cut, case.original, mode="bilinear", align_corners=False)[0, 0].numpy() > 0
        ours = decode(case, low, usable(impl), dense=True).dense[0]
        pixels, different = pixels + ours.size, different + np.count_nonzero(ours != theirs)
        assert (np.abs(two_steps(case, low[0])[ours != theirs]) < NEAR).all(), SEEN
    assert different <= TOLERANCE * pixels + 1, SEEN  # one pixel of a small picture is more than a millionth


@each_candidate
def test_empty_and_full(impl):
    case = sam("", "below", 1, (50, 70))
    empty = decode(case, np.full((1, 256, 256), -9, np.float32), usable(impl), dense=True)
    assert empty.rle == [{"size": [50, 70], "counts": reference.compress(np.zeros((50, 70), bool))}]
    assert (empty.boxes.tolist(), empty.area.tolist(), empty.stability.tolist()) == ([[0, 0, 0, 0]], [0], [0])
    assert not empty.dense.any()
    full = decode(case, np.full((1, 256, 256), 9, np.float32), impl, dense=True)
    assert full.rle == [{"size": [50, 70], "counts": reference.compress(np.ones((50, 70), bool))}]
    assert full.rle[0]["counts"].startswith(b"0")  # the first run is of 0 and empty
    assert (full.boxes.tolist(), full.area.tolist(), full.stability.tolist()) == ([[0, 0, 69, 49]], [3500], [1])
    assert full.dense.all()
    nan = decode(case, np.full((1, 256, 256), np.nan, np.float32), impl)
    equal(nan, decode(case, np.full((1, 256, 256), -9, np.float32), impl), "nan belongs to no mask")


@each_candidate
def test_one_corner_pixel(impl):
    for corner, box in (((0, 0), [0, 0, 0, 0]), ((-1, -1), [46, 32, 46, 32])):
        low = np.full((1, 33, 47), -5, np.float32)
        low[0][corner] = 5
        ours = mask_decode(low, (33, 47), (33, 47), (33, 47), impl=usable(impl))
        assert ours.boxes.tolist() == [box]
        assert ours.area.tolist() == [1]


@each_candidate
def test_no_masks(impl):
    ours = mask_decode(np.zeros((0, 8, 8), np.float32), (32, 32), (32, 20), (64, 40), impl=usable(impl), dense=True)
    assert ours.rle == []
    assert [a.shape for a in ours[1:]] == [(0, 4), (0,), (0,), (0, 64, 40)]


@each_candidate
def test_dense_masks_of_chosen_indices(impl):
    case = sam("", "ragged", 5, (60, 90))
    low = logits(case)
    every = decode(case, low, usable(impl), dense=True)
    some = decode(case, low, impl, dense=[3, 0])
    assert np.array_equal(some.dense, every.dense[[3, 0]])
    assert some.rle == every.rle
    assert decode(case, low, impl).dense is None
    assert decode(case, low, impl, dense=[]).dense.shape == (0, 60, 90)


@each_candidate
def test_strides_are_copied_and_arrays_are_the_callers(impl):
    case = sam("", "noise", 2, (60, 90))
    low = logits(case)
    ours = decode(case, np.repeat(low, 2, axis=2)[:, :, ::2], usable(impl))
    turned = decode(case, np.asfortranarray(low), impl)
    equal(ours, decode(case, low, impl), "strides")
    equal(turned, ours, "Fortran order")
    assert all(array.flags.owndata and array.flags.writeable for array in ours[1:4])


def test_compressed_runs_by_hand():
    column = np.zeros((100, 1), bool)
    column[3:5] = column[40:42] = column[70] = True  # runs 3 2 35, then 2 28 1 29 less the ones two before: 0 -7 -1 1
    assert reference.compress(column) == b"32S10IO1"


LOW = np.zeros((2, 8, 9), np.float32)
GOOD = {"low": LOW, "model": (32, 36), "valid": (30, 36), "original": (50, 60)}
WRONG = {
    "low": [None, LOW[0], LOW.astype(np.float64), [[[1.0]]], LOW[:, :0], np.zeros((1, 40, 9), np.float32)],
    "model": [(0, 36), (32,), (32.5, 36), None, "ab", (1 << 16, 36)],
    "valid": [(33, 36), (30, 37), (0, 3), None],
    "original": [(0, 5), (5, -1), (65_535, 65_535), (5, 5, 5)],
    "threshold": [float("nan"), float("inf"), "x", None],
    "offset": [-1, float("nan"), float("inf"), "x"],
    "threads": [0, -1, 1.5, "two", None, 1 << 40],
    "dense": [[2], [-1], [0, 0], 1.5, [0.5], None],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_bad_arguments_are_named(name, value):
    with pytest.raises(SpecError, match=r"^\[mask_decode\] .*" + name) as caught:
        mask_decode(**{**GOOD, name: value})
    assert caught.value.hint


def test_an_unknown_candidate_is_refused():
    with pytest.raises(KernelError) as caught:
        mask_decode(**GOOD, impl="sse")
    assert "avx2" in caught.value.hint


def test_without_the_native_module_the_reference_runs(monkeypatch):

    expected = mask_decode(**GOOD)
    monkeypatch.setattr(native, "module", None)
    assert {candidate.unusable() for candidate in CANDIDATES[:-1]} == {
        "the native module was not built; build saccade where there is a C++ compiler"
    }
    equal(mask_decode(**GOOD), expected, "without the native module")


def test_the_native_module_was_built():
    """`make test` must notice a build that fell back to pure Python."""
    assert "base" in [candidate.name for candidate in CANDIDATES if not candidate.unusable()]


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda c: c.name)
def test_a_mask_does_not_depend_on_the_one_before(candidate):
    """-inf among logits that are surely outside: its neighbours are computed, from rows that must have been, too."""
    if reason := candidate.unusable():
        pytest.skip(f"{candidate.name}: {reason}")
    rng = np.random.default_rng()
    low = np.full((2, 74, 120), 40.0, np.float32)
    low[1, 37:] = -3 - rng.random((37, 120))
    low[1, 37:][rng.random((37, 120)) < 0.03] = -np.inf
    low[1, 37:][rng.random((37, 120)) < 0.02] = np.nan
    sizes = (172, 580), (156, 569), (348, 203)
    together = mask_decode(low, *sizes, offset=0.5, impl=candidate.name)
    alone = mask_decode(low[1:], *sizes, offset=0.5, impl=candidate.name)
    exact = mask_decode(low, *sizes, offset=0.5, impl="reference")
    for found, place in ((together, 1), (alone, 0)):
        assert found.rle[place] == exact.rle[1]
        assert (found.area[place], found.stability[place]) == (exact.area[1], exact.stability[1])
