"""relpos_attention against what an encoder without it runs: the same node's body, and attention with a finished bias.

    onnxruntime-body   the standard operators that the model carries for the op
    torch-sdpa         scaled_dot_product_attention with the biases summed up to (B, A, N, N) first, as SAM 2 and others
    torch-eager        SAM's own code: scores, two broadcast additions, softmax, product

One thread, one process; the clock is the thread's own. Nothing is timed before the error of every candidate against
float64 is at most twice that of the plain form in float32; the peers are held to ten times. onnxruntime-kernel is our
kernel as ONNX Runtime runs it in the same file, where the custom-op library was built.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from saccade.benchmarks.rows import compared, interleave, one_thread
from saccade.kernels.relpos_attention import CANDIDATES, onnx, reference, relpos_attention
from saccade.kernels.relpos_attention.cases import BENCHMARKS, TIMES, Case, inputs

NAMES = ("q", "k", "v", "rh", "rw")
LOOSE = 5 * TIMES  # the peers' error, over that of the plain form
Arrays = tuple[np.ndarray, ...]


def by_onnxruntime(arrays: Arrays, *, kernel: bool) -> Callable[[], np.ndarray] | None:
    """The node in ONNX Runtime, as our kernel or as its body; None where that is not to be had."""
    if not find_spec("onnxruntime") or not find_spec("onnx"):
        return None
    import onnxruntime

    from saccade.runtime.engines import Options, custom_ops, onnx_runtime

    options = onnx_runtime.session_options(Options(threads=1))
    if kernel:
        chosen = custom_ops.choose(frozenset([onnx.NAME]), "cpu", "relpos_attention:")
        if any(chosen.values()):
            return None
        custom_ops.register(options, chosen)
    session = onnxruntime.InferenceSession(_model(arrays), options, providers=["CPUExecutionProvider"])
    feeds = dict(zip(NAMES, arrays, strict=True))
    return lambda: session.run(None, feeds)[0]


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


def rows(rounds: int = 20, seconds: float = 60.0) -> list[dict[str, Any]]:
    """One row a case and usable candidate, times in ms; ratios are baseline over candidate, 10th to 90th percentile.

    seconds: how long a case may take once five rounds are done
    Raises ValueError if a candidate or a peer is less exact than it must be.
    """
    with one_thread():
        return [row for case in BENCHMARKS for row in _case_rows(case, rounds, seconds)]


def _case_rows(case: Case, rounds: int, seconds: float) -> list[dict[str, Any]]:
    arrays = inputs(case)
    ours = [c.name for c in CANDIDATES if c.name != "reference" and not c.unusable()]
    runs: dict[str, Callable[[], Any]] = {name: partial(relpos_attention, *arrays, impl=name) for name in ours}
    peers = _peers(arrays)
    errors, plain = _errors(case, arrays, {**runs, **peers})
    for name, error in errors.items():
        if error > (TIMES if name in ours else LOOSE) * plain:
            raise ValueError(f"[benchmark] {case.name}: the error of {name} is {error:.1e}, plain float32's {plain:.1e}")
    slow = "base" if len(ours) > 1 else ""  # a tenth of the others' speed, and not what anybody runs here
    timed = {name: run for name, run in {**runs, **peers}.items() if name != slow}
    times = interleave(timed, seconds=seconds, rounds=rounds, clock=time.thread_time)
    return [
        {
            "op": "relpos_attention",
            "case": case.name,
            "shape": dict(zip("BANDHW", (case.batch, case.heads, arrays[0].shape[2], case.dim, *case.grid), strict=True)),
            "impl": name,
            "p50_ms": round(times[name].p50_ms, 4),
            "p90_ms": round(times[name].p90_ms, 4),
            "runs": len(times[name].rounds_ms),
            "error": errors[name],
            "tolerance": TIMES * plain,
            "gflops": round(case.flop / times[name].p50_ms / 1e6, 1),
            "baselines": compared(times[name], {peer: times[peer] for peer in peers}),
        }
        for name in ours
        if name in timed
    ]


def _errors(case: Case, arrays: Arrays, runs: dict[str, Callable[[], Any]]) -> tuple[dict[str, float], float]:
    """Root of the mean square of what each is away from float64, in some heads; and the same of the plain form."""
    heads = [(0, 0), (case.batch - 1, case.heads - 1)]
    scale = case.dim**-0.5
    exact = [reference.attend(*(array[head].astype(np.float64) for array in arrays), scale) for head in heads]
    plain = [reference.attend(*(array[head] for array in arrays), scale) for head in heads]
    found = {name: run() for name, run in runs.items()}
    return {name: _rms([out[head] for head in heads], exact) for name, out in found.items()}, _rms(plain, exact)


def _rms(ours: list[np.ndarray], exact: list[np.ndarray]) -> float:
    return float(np.sqrt(np.mean([(a - b) ** 2 for a, b in zip(ours, exact, strict=True)])))


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
