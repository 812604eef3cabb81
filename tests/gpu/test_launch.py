"""The launcher on a real GPU: every file that there is loads; streams and graphs."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.kernels import cubins, deformable_attention, gpu, mask_decode, nms, relpos_attention
from saccade.kernels.mask_decode import launch as masks
from saccade.kernels.mask_decode.cases import logits, sam
from saccade.kernels.mask_decode.request import check
from saccade.kernels.nms import launch as boxes
from saccade.kernels.nms.cases import ODD, inputs
from saccade.kernels.resize_normalize import launch as pictures
from saccade.runtime.errors import KernelError

pytestmark = pytest.mark.gpu


def test_every_shipped_kernel_loads(cupy, real):
    """Those for this GPU, and the PTX, which the driver compiles."""
    arch, loaded = gpu.capability(0), 0
    shipped = (("nms", boxes), ("mask_decode", masks), ("resize_normalize", pictures))
    for op, functions in ((op, launch.FUNCTIONS) for op, launch in shipped):
        try:
            kernels = cubins.cuda(op, functions)
        except KernelError:
            continue
        for kernel in kernels.values():
            kernel.load(0)
            loaded += 1
    for folder in cubins.folders():
        for home in {f"sm_{arch}", "ptx_80"}:
            for file in sorted(folder.glob(f"*/{home}/*.aligned.json")):
                op, variant = file.parent.parent.name, file.name.removesuffix(".aligned.json")
                contracts = [(file.with_name(f"{variant}.{a}.json")) for a in cubins.ALIGNMENTS]
                cubins.open_files(contracts, cubins.source_digest(op))[0].load(0)
                loaded += 1
    if not loaded:
        pytest.skip("no code for GPUs here: " + cubins.BUILD)


def test_two_streams_do_not_meet(cupy, usable, real):
    usable("nms", "cuda")
    given = [inputs(ODD[-1], seed) for seed in range(8)]
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in given]
    arrays = [tuple(map(cupy.asarray, arrays)) for arrays in given]
    cupy.cuda.Device().synchronize()
    kept = []
    for stream, of in zip(streams, arrays, strict=True):
        with stream:
            kept.append(nms.nms(*of, impl="cuda"))
    for ours, host in zip(kept, given, strict=True):
        np.testing.assert_array_equal(cupy.asnumpy(ours), nms.nms(*host, impl="reference"))


def test_launches_are_captured_in_a_graph(cupy, usable, real):
    """Sums of mask_decode: no sort, no wait, so nothing but launches."""
    usable("mask_decode", "cuda")
    case = sam("", "ragged", 3, (200, 333))
    low = cupy.asarray(logits(case, 1))
    request = check(low, case.model, case.valid, case.original, 0.0, 1.0, False, 1)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        kernels = masks.cuda()
        masks.sums(kernels, request)  # loads the code, makes the axes and the pool's memory
        stream.synchronize()
        stream.begin_capture()
        bits, places, stats = masks.sums(kernels, request)
        graph = stream.end_capture()
        low[...] = cupy.asarray(logits(case, 2))
        graph.launch(stream)
        stream.synchronize()
    expected = mask_decode.mask_decode(logits(case, 2), case.model, case.valid, case.original, impl="reference")
    np.testing.assert_array_equal(cupy.asnumpy(stats)[:, 1], expected.area)
    del bits, places


def test_explain_says_why_each_can_or_cannot_run(cupy):
    for op in (nms, mask_decode, relpos_attention, deformable_attention):
        for candidate in op.CANDIDATES:
            assert isinstance(candidate.unusable(), str)
