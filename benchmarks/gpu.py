"""Kernels on a GPU against named peers: `python -m saccade.benchmarks.gpu --json FILE`. Needs CuPy and torch with CUDA.

    relpos_attention   torch-sdpa: scaled_dot_product_attention with the bias made for it; torch-flex: FlexAttention
    mask_decode        torch: SAM's postprocessing on the device, without run lengths; torch+rle: with SAM's own
    nms                torchvision where it is installed; saccade-host: our best CPU kernel, copies there and back

Wall time of a call with its result awaited; candidates take turns in one process. Where nothing is waited for,
`device_ms` is the time of a call in a queue of many, by events. Nothing is timed before it equals the reference, or for
attention errs at most twice as much as SDPA in the same dtype. Written without a GPU: it has not run yet.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from saccade.benchmarks.gpu_peers import flex_attention, postprocess, sdpa
from saccade.benchmarks.rows import Timing, commit, compared, interleave, machine, versions
from saccade.kernels import gpu, mask_decode, nms, relpos_attention
from saccade.kernels.mask_decode import launch as masks_on_gpu
from saccade.kernels.mask_decode.cases import BENCHMARKS as MASKS
from saccade.kernels.mask_decode.cases import logits
from saccade.kernels.mask_decode.request import check as mask_request
from saccade.kernels.nms import launch as nms_on_gpu
from saccade.kernels.nms.cases import BENCHMARKS as BOXES
from saccade.kernels.nms.cases import inputs as boxes_of
from saccade.kernels.relpos_attention.cases import BENCHMARKS as ATTENTION
from saccade.kernels.relpos_attention.cases import Case, inputs, work
from saccade.kernels.relpos_attention.reference import attend
from saccade.runtime.errors import KernelError, SaccadeError

Run = Callable[[], Any]
OPS = ("relpos_attention", "mask_decode", "nms")
QUEUED = 20  # calls between two events
TIMES = 2.0  # of SDPA's error


def rows(rounds: int = 30, seconds: float = 5.0, ops: tuple[str, ...] = OPS) -> list[dict[str, Any]]:
    """One row a case and candidate that can run, times in ms; ratios are baseline over candidate.

    Raises KernelError where there is no GPU, ValueError where a candidate is wrong.
    """
    if reason := gpu.machine():
        raise KernelError(f"[benchmark] no GPU: {reason}", hint="run this where there is one")
    homes = {"relpos_attention": _attention, "mask_decode": _masks, "nms": _boxes}
    return [row for op in ops for row in homes[op](rounds, seconds)]


def _row(op: str, case: str, ours: dict[str, Run], peers: dict[str, Run], **measured: Any) -> Iterator[dict[str, Any]]:
    """Times all in turn; `queued` in `measured` are the runs that wait for nothing."""
    queued: dict[str, Run] = measured.pop("queued", {})
    rounds, seconds = measured.pop("rounds"), measured.pop("seconds")
    runs = {name: partial(_awaited, run) for name, run in {**ours, **peers}.items()}
    times: dict[str, Timing] = interleave(runs, seconds=seconds, rounds=rounds)
    for name in ours:
        row = {
            "op": op,
            "case": case,
            "impl": name,
            "backend": "gpu",
            **measured,
            "p50_ms": round(times[name].p50_ms, 4),
            "p90_ms": round(times[name].p90_ms, 4),
            "runs": len(times[name].rounds_ms),
            "baselines": compared(times[name], {peer: times[peer] for peer in peers}),
        }
        device = {who: round(_queued(run), 4) for who, run in queued.items() if who == name or who in peers}
        yield {**row, "device_ms": device} if device else row


def _awaited(run: Run) -> None:
    run()
    gpu.cupy().cuda.Device().synchronize()


def _queued(run: Run) -> float:
    """Milliseconds of one call among many, by events on CuPy's and torch's common default stream."""
    cupy = gpu.cupy()
    times = []
    for _ in range(5):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        for _ in range(QUEUED):
            run()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, end) / QUEUED)
    return float(np.median(times))


def _usable(op: Any, names: tuple[str, ...] = ("cuda", "triton")) -> list[str]:
    return [c.name for c in op.CANDIDATES if c.name in names and not c.unusable()]


def _attention(rounds: int, seconds: float) -> Iterator[dict[str, Any]]:
    import torch

    for case in ATTENTION:
        for dtype in ("float16", "float32"):
            if dtype == "float32" and case.dim > relpos_attention.launch.DEPTHS[0]:
                continue
            arrays = [gpu.cupy().asarray(a) for a in inputs(case, 0, dtype)]
            tensors = [torch.from_dlpack(a) for a in arrays]
            peers: dict[str, Run] = {"torch-sdpa": partial(sdpa, *tensors)}
            if flex := flex_attention(*tensors):
                peers["torch-flex"] = flex
            ours: dict[str, Run] = {
                name: partial(relpos_attention.relpos_attention, *arrays, impl=name)
                for name in _usable(relpos_attention)
            }
            errors = _errors(case, arrays, {**ours, **peers})
            for name in ours:
                if not errors[name] <= TIMES * errors["torch-sdpa"]:
                    raise ValueError(
                        f"[benchmark] {case.name} {dtype}: {name} errs by {errors[name]:.1e}, not {errors}"
                    )
            for row in _row("relpos_attention", case.name, ours, peers, queued={**ours, **peers}, dtype=dtype,
                            rounds=rounds, seconds=seconds):  # fmt: skip
                tflops = work(case)[1] / row["device_ms"][row["impl"]] / 1e9
                yield {**row, "errors": errors, "achieved": {"tflops": round(tflops, 1)}}


def _errors(case: Case, arrays: list[Any], runs: dict[str, Run]) -> dict[str, float]:
    """Worst difference of each to the reference in float64, over the first head."""
    q, k, v, rh, rw = (gpu.cupy().asnumpy(a[0, 0]).astype(np.float64) for a in arrays)
    exact = attend(q, k, v, rh, rw, case.dim**-0.5)
    cupy = gpu.cupy()
    return {
        name: float(np.abs(cupy.asnumpy(cupy.asarray(run())[0, 0]).astype(np.float64) - exact).max())
        for name, run in runs.items()
    }


def _masks(rounds: int, seconds: float) -> Iterator[dict[str, Any]]:
    import torch

    for case in MASKS:
        host = logits(case)
        low = gpu.cupy().asarray(host)
        decode = partial(mask_decode.mask_decode, low, case.model, case.valid, case.original)
        expected = mask_decode.mask_decode(host, case.model, case.valid, case.original)
        ours: dict[str, Run] = {name: partial(decode, impl=name) for name in _usable(mask_decode)}
        for name, run in ours.items():
            made = run()
            if made.rle != expected.rle or not np.array_equal(made.boxes, expected.boxes):
                raise ValueError(f"[benchmark] {case.name}: {name} differs from the host's")
        tensor = torch.from_dlpack(low)
        sizes = (case.model, case.valid, case.original)
        peers: dict[str, Run] = {"torch": partial(postprocess, tensor, *sizes)}
        peers["torch+rle"] = partial(postprocess, tensor, *sizes, rle=True)
        areas = peers["torch"]()[1].cpu().numpy()
        if np.abs(areas - expected.area).max() > 1e-4 * case.original[0] * case.original[1]:
            raise ValueError(f"[benchmark] {case.name}: torch is too far from ours")
        request = mask_request(low, *sizes, 0.0, 1.0, False, 1)
        loaded = {"cuda": masks_on_gpu.cuda, "triton": masks_on_gpu.triton}
        queued = {name: partial(masks_on_gpu.sums, loaded[name](gpu.capability(0)), request) for name in ours}
        yield from _row("mask_decode", case.name, ours, peers, queued={**queued, "torch": peers["torch"]},
                        rounds=rounds, seconds=seconds)  # fmt: skip


def _boxes(rounds: int, seconds: float) -> Iterator[dict[str, Any]]:
    import torch

    for case in BOXES:
        boxes, scores, classes = boxes_of(case)
        host = (boxes, scores, classes if case.classes > 1 else None)
        given: list[Any] = [None if a is None else gpu.cupy().asarray(a) for a in host]
        expected = nms.nms(*host)
        ours: dict[str, Run] = {name: partial(nms.nms, *given, impl=name) for name in _usable(nms)}
        for name, run in ours.items():
            if not np.array_equal(gpu.cupy().asnumpy(run()), expected):
                raise ValueError(f"[benchmark] {case.name}: {name} keeps other boxes than the host")
        peers: dict[str, Run] = {"saccade-host": partial(_there_and_back, given)}
        if find_spec("torchvision"):
            from torchvision.ops import batched_nms
            from torchvision.ops import nms as plain

            tensors = [None if a is None else torch.from_dlpack(a) for a in given]
            of = (plain, tensors[:2]) if case.classes == 1 else (batched_nms, tensors)
            peers["torchvision"] = partial(of[0], *of[1], 0.5)
        request = nms.Request(given[0], given[1], given[2], np.float32(0.5), case.boxes)
        loaded = {"cuda": nms_on_gpu.cuda, "triton": nms_on_gpu.triton}
        queued = {name: partial(nms_on_gpu.suppress, loaded[name](gpu.capability(0)), request) for name in ours}
        yield from _row("nms", case.name, ours, peers, queued=queued, kept=len(expected), rounds=rounds,
                        seconds=seconds)  # fmt: skip


def _there_and_back(given: list[Any]) -> Any:
    cupy = gpu.cupy()
    host: list[Any] = [None if a is None else cupy.asnumpy(a) for a in given]
    return cupy.asarray(nms.nms(*host))


def about() -> dict[str, Any]:
    """The GPU, its driver and the versions, for each row."""
    cupy = gpu.cupy()
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"]
    driver = cupy.cuda.runtime.driverGetVersion()
    return {
        "machine": machine(),
        "gpu": name.decode() if isinstance(name, bytes) else str(name),
        "driver": driver,
        "versions": versions(),
        "commit": commit(),
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line of this module; prints a line a row and writes them all as JSON lines."""
    parser = argparse.ArgumentParser(prog="python -m saccade.benchmarks.gpu")
    parser.add_argument("--json", type=Path, help="write the rows here, one JSON object a line")
    parser.add_argument("--op", action="append", choices=OPS)
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each case")
    given = parser.parse_args(arguments)
    try:
        made = rows(seconds=given.seconds, ops=tuple(given.op or OPS))
    except SaccadeError as error:
        sys.stderr.write(f"error: {error}\n hint: {error.hint}\n")
        return error.exit_code
    full = [{**row, **about()} for row in made]
    for row in made:
        peers = ", ".join(f"{p['name']} {p['ratio']:.2f}" for p in row["baselines"])
        sys.stdout.write(
            f"{row['op']} {row['case']} {row.get('dtype', '')} {row['impl']}: {row['p50_ms']:.3f} ms; {peers}\n"
        )
    if given.json:
        given.json.write_text("".join(json.dumps(row) + "\n" for row in full))
    return 0


if __name__ == "__main__":
    sys.exit(main())
