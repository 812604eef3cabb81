"""deformable_attention against what a detector without it runs: grid_sample a level, in torch and in ONNX Runtime.

    onnxruntime-body     the standard operators that the model carries for the op: GridSample, product, sum
    onnxruntime-kernel   our kernel as ONNX Runtime runs it in the same file, where the custom-op library was built
    torch-grid-sample    Deformable DETR's own PyTorch code: the levels' samples stacked, then weighed and summed

The error is the root of its mean square in the first head and the last, against the reference in float64. Candidates
are held to twice that of the reference in float32, the plain form; peers to ten times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from saccade.benchmarks.kernels.problem import Peer, Problem
from saccade.kernels.deformable_attention import deformable_attention, onnx, reference
from saccade.kernels.deformable_attention.cases import BENCHMARKS, TIMES, Case, inputs, work

LOOSE = 10.0
Arrays = tuple[np.ndarray, ...]


def problems(quick: bool) -> Iterator[Problem]:
    """An encoder's layer: a query a pixel, looking around itself or anywhere; and a decoder's with few queries."""
    yield from map(_problem, BENCHMARKS[:1] if quick else BENCHMARKS)


def _problem(case: Case) -> Problem:
    arrays = inputs(case)
    exact = _heads(arrays, np.float64)
    plain = rms(_heads(arrays, np.float32), exact)
    bytes_, flops = work(case)
    sizes = (case.batch, arrays[2].shape[1], case.places, case.heads, case.dim, len(case.sizes), case.points)
    return Problem(
        case=case.name,
        shape=dict(zip("BNSADLT", sizes, strict=True)),
        dtype="fp32",
        run=lambda impl: deformable_attention(*arrays, impl=impl),
        expected=lambda: exact,
        error=_error,
        tolerance=TIMES * plain,
        bytes=bytes_,
        flops=flops,
        peers=tuple(Peer(name, run, _error, LOOSE * plain) for name, run in _peers(arrays).items()),
    )


def _heads(arrays: Arrays, dtype: type) -> np.ndarray:
    """(2, N, D): the first head and the last, by the reference in `dtype`."""
    value, sizes, locations, weights = arrays
    heads = []
    for a in (0, -1):
        one: list[np.ndarray] = [array[0, :, a].astype(dtype) for array in (value, locations, weights)]
        heads.append(reference.attend(one[0], sizes, one[1], one[2]))
    return np.stack(heads)


def _error(out: np.ndarray, exact: np.ndarray) -> float:
    dim = exact.shape[2]
    return rms(np.stack([out[0, :, :dim], out[0, :, -dim:]]), exact)


def rms(ours: np.ndarray, exact: np.ndarray) -> float:
    """The root of the mean square of the differences."""
    return float(np.sqrt(np.mean((ours - exact) ** 2)))


def by_grid_sample(arrays: Arrays) -> np.ndarray:
    """torch, as Deformable DETR computes it where it has no kernel of its own."""
    import torch

    value, sizes, locations, weights = map(torch.from_numpy, arrays)
    (batch, _, heads, dim), (queries, levels, points) = value.shape, (locations.shape[i] for i in (1, 3, 4))
    with torch.inference_mode():
        grids, sampled = 2 * locations - 1, []
        for level, source in enumerate(value.split([int(h * w) for h, w in sizes], 1)):
            picture = source.flatten(2).transpose(1, 2).reshape(batch * heads, dim, *sizes[level].tolist())
            grid = grids[:, :, :, level].transpose(1, 2).flatten(0, 1)
            sampled.append(torch.nn.functional.grid_sample(picture, grid, "bilinear", "zeros", align_corners=False))
        shares = weights.transpose(1, 2).reshape(batch * heads, 1, queries, levels * points)
        summed = (torch.stack(sampled, -2).flatten(-2) * shares).sum(-1)
        out: np.ndarray = summed.view(batch, heads * dim, queries).transpose(1, 2).contiguous().numpy()
    return out


def by_onnxruntime(arrays: Arrays, *, kernel: bool) -> Callable[[], np.ndarray] | None:
    """The node in ONNX Runtime, as our kernel or as its body; None where that is not to be had."""
    if not find_spec("onnxruntime") or not find_spec("onnx"):
        return None
    import onnxruntime

    from saccade.runtime.engines import Options, custom_ops, onnx_runtime

    options = onnx_runtime.session_options(Options(threads=1))
    if kernel:
        chosen = custom_ops.choose(frozenset([onnx.NAME]), "cpu", "")
        if any(chosen.values()):
            return None
        custom_ops.register(options, chosen)
    session = onnxruntime.InferenceSession(_model(arrays), options, providers=["CPUExecutionProvider"])
    feeds = dict(zip(onnx.INPUTS, arrays, strict=True))
    return lambda: session.run(None, feeds)[0]


def _peers(arrays: Arrays) -> dict[str, Callable[[], Any]]:
    found: dict[str, Callable[[], Any]] = {}
    for name, kernel in (("onnxruntime-body", False), ("onnxruntime-kernel", True)):
        if run := by_onnxruntime(arrays, kernel=kernel):
            found[name] = run
    if find_spec("torch"):
        found["torch-grid-sample"] = partial(by_grid_sample, arrays)
    return found


def _model(arrays: Arrays) -> bytes:
    """A model of the one node, with its body."""
    from onnx import helper

    value, sizes, locations, _ = arrays
    shapes = [*(array.shape for array in arrays), (value.shape[0], locations.shape[1], value.shape[2] * value.shape[3])]
    ends = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape)
        for name, array, shape in zip((*onnx.INPUTS, "out"), (*arrays, value), shapes, strict=True)
    ]
    node = helper.make_node(onnx.NAME, onnx.INPUTS, ["out"], domain=onnx.DOMAIN)
    made = helper.make_model(
        helper.make_graph([node], "g", ends[:4], ends[4:]),
        functions=[onnx.function(len(sizes))],
        opset_imports=[helper.make_opsetid("", onnx.OPSET), helper.make_opsetid(onnx.DOMAIN, onnx.VERSION)],
        ir_version=9,
    )
    data: bytes = made.SerializeToString()
    return data
