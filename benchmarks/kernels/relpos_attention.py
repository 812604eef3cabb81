"""relpos_attention against what an encoder without it runs: the same node's body, and attention with a finished bias.

    onnxruntime-body     the standard operators that the model carries for the op
    onnxruntime-kernel   our kernel as ONNX Runtime runs it in the same file, where the custom-op library was built
    torch-sdpa           scaled_dot_product_attention, the biases summed up to (B, A, N, N) first
    torch-eager          SAM's own steps: scores, two broadcast additions, softmax, product

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
from saccade.kernels.relpos_attention import onnx, reference, relpos_attention
from saccade.kernels.relpos_attention.cases import BENCHMARKS, TIMES, Case, inputs, work

NAMES = ("q", "k", "v", "rh", "rw")
LOOSE = 10.0
Arrays = tuple[np.ndarray, ...]


def problems(quick: bool) -> Iterator[Problem]:
    """SAM's attention over 64 x 64 places, and in windows of 14 x 14."""
    yield from map(_problem, BENCHMARKS[1:2] if quick else BENCHMARKS)


def _problem(case: Case) -> Problem:
    arrays = inputs(case)
    exact = _heads(arrays, np.float64)
    plain = rms(_heads(arrays, np.float32), exact)
    bytes_, flops = work(case)
    return Problem(
        case=case.name,
        shape=dict(zip("BANDHW", (case.batch, case.heads, arrays[0].shape[2], case.dim, *case.grid), strict=True)),
        dtype="fp32",
        run=lambda impl: relpos_attention(*arrays, impl=impl),
        expected=lambda: exact,
        error=_error,
        tolerance=TIMES * plain,
        bytes=bytes_,
        flops=flops,
        peers=tuple(Peer(name, run, _error, LOOSE * plain) for name, run in _peers(arrays).items()),
    )


def _heads(arrays: Arrays, dtype: type) -> np.ndarray:
    """(2, N, D): the first head and the last, by the reference in `dtype`."""
    scale, heads = arrays[0].shape[3] ** -0.5, []
    for place in ((0, 0), (-1, -1)):
        q, k, v, rh, rw = (array[place].astype(dtype) for array in arrays)
        heads.append(reference.attend(q, k, v, rh, rw, scale))
    return np.stack(heads)


def _error(out: np.ndarray, exact: np.ndarray) -> float:
    return rms(np.stack([out[0, 0], out[-1, -1]]), exact)


def rms(ours: np.ndarray, exact: np.ndarray) -> float:
    """The root of the mean square of the differences."""
    return float(np.sqrt(np.mean((ours - exact) ** 2)))


def by_sdpa(arrays: Arrays) -> np.ndarray:
    """torch's fused attention with the bias of every pair in memory."""
    import torch

    q, k, v, rh, rw = (torch.from_numpy(array) for array in arrays)
    with torch.inference_mode():
        bias = (rh[..., :, None] + rw[..., None, :]).flatten(-2)
        out: np.ndarray = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias).numpy()
    return out


def by_eager(arrays: Arrays) -> np.ndarray:
    """torch operation by operation."""
    import torch

    q, k, v, rh, rw = (torch.from_numpy(array) for array in arrays)
    with torch.inference_mode():
        scores = (q * q.shape[3] ** -0.5) @ k.transpose(2, 3)
        scores = scores.unflatten(3, (rh.shape[3], rw.shape[3])) + rh[..., :, None] + rw[..., None, :]
        out: np.ndarray = (scores.flatten(3).softmax(3) @ v).numpy()
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
    feeds = dict(zip(NAMES, arrays, strict=True))
    return lambda: session.run(None, feeds)[0]


def _peers(arrays: Arrays) -> dict[str, Callable[[], Any]]:
    found: dict[str, Callable[[], Any]] = {}
    for name, kernel in (("onnxruntime-body", False), ("onnxruntime-kernel", True)):
        if run := by_onnxruntime(arrays, kernel=kernel):
            found[name] = run
    if find_spec("torch"):
        found |= {"torch-sdpa": partial(by_sdpa, arrays), "torch-eager": partial(by_eager, arrays)}
    return found


def _model(arrays: Arrays) -> bytes:
    """A model of the one node, with its body."""
    from onnx import TensorProto, helper

    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
        for name, array in zip((*NAMES, "out"), (*arrays, arrays[0]), strict=True)
    ]
    scale = arrays[0].shape[3] ** -0.5
    node = helper.make_node(onnx.NAME, NAMES, ["out"], domain=onnx.DOMAIN, scale=scale)
    made = helper.make_model(
        helper.make_graph([node], "g", ends[:5], ends[5:]),
        functions=[onnx.function()],
        opset_imports=[helper.make_opsetid("", onnx.OPSET), helper.make_opsetid(onnx.DOMAIN, onnx.VERSION)],
        ir_version=9,
    )
    data: bytes = made.SerializeToString()
    return data
