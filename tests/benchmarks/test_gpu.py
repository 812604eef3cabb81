"""The GPU benchmark's peers compute what they are compared on; without a GPU it says so."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.kernels import gpu
from saccade.kernels.mask_decode import mask_decode, reference
from saccade.kernels.mask_decode.cases import logits, sam
from saccade.kernels.relpos_attention.cases import Case, inputs
from saccade.kernels.relpos_attention.reference import attend

torch = pytest.importorskip("torch", reason="torch is not installed")


def test_without_a_gpu_it_is_one_error(capsys):
    if not gpu.machine():
        pytest.skip("there is a GPU here")
    from saccade.benchmarks.gpu import main

    assert main([]) == 2
    assert "no GPU" in capsys.readouterr().err


def test_sdpa_with_a_bias_is_the_op():
    from saccade.benchmarks.gpu_peers import sdpa

    case = Case("", 2, 3, (4, 5), 16)
    arrays = inputs(case, 3)
    ours = sdpa(*map(torch.from_numpy, arrays)).numpy()
    for at in np.ndindex(2, 3):
        exact = attend(*(a[at].astype(np.float64) for a in arrays), 16**-0.5)
        np.testing.assert_allclose(ours[at], exact, atol=1e-5)


def test_torchs_masks_are_the_ops():
    from saccade.benchmarks.gpu_peers import postprocess

    case = sam("", "ragged", 3, (120, 90))
    low = logits(case, 5)
    low[1] = 20  # full: the first run is of nothing
    stability, area, boxes, runs = postprocess(torch.from_numpy(low), case.model, case.valid, case.original, rle=True)
    ours = mask_decode(low, case.model, case.valid, case.original, dense=True, impl="reference")
    np.testing.assert_allclose(stability.numpy(), ours.stability, atol=1e-4)
    assert np.abs(area.numpy() - ours.area).max() <= 1
    np.testing.assert_array_equal(boxes.numpy(), ours.boxes)
    for m, mask in enumerate(ours.dense):
        pixels = np.repeat(np.arange(len(runs[m])) % 2 == 1, runs[m]).reshape(90, 120).T
        assert np.count_nonzero(pixels != mask) <= 1
        assert sum(runs[m]) == mask.size
    assert reference.box(ours.dense[1]) == (0, 0, 89, 119)
