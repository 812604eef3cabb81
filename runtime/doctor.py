"""What this machine can run, shown by running it. For `saccade doctor`.

back end ──missing? what brings it──▶ usable ──golden graph──▶ right or wrong, and how long it took
kernel candidate ──usable?──▶ a small case ──against the reference──▶ right or wrong
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from saccade.runtime.admission import budgets_of
from saccade.runtime.bundle import Bundle
from saccade.runtime.candidates import candidates, file_of
from saccade.runtime.engines import AUTOMATIC, Options, open_engine
from saccade.runtime.errors import SaccadeError
from saccade.runtime.hardware import cpu_quota, machine, memory_limit
from saccade.runtime.precision import golden_check, golden_passes

LIBRARIES = ("saccade", "numpy", "pillow", "tokenizers", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt",
             "cupy-cuda13x", "triton", "torch")  # fmt: skip


def examination(bundle: Bundle, clock: Callable[[], float] = time.perf_counter) -> dict[str, Any]:
    """Processor, limits, libraries, each back end and precision run on `bundle`'s golden set, each kernel candidate.

    Names no folder, host or user, so that it can be put into a bug report.
    """
    engines = [row for graph in bundle.graphs for row in _engines(bundle, graph, clock)]
    quota, limit = cpu_quota(), memory_limit()
    return {
        "machine": machine(),
        "limits": {"cpu_quota": quota, "memory_gb": None if limit is None else round(limit / 2**30, 2)},
        "libraries": {name: _version(name) for name in LIBRARIES},
        "golden": bundle.name,
        "engines": engines,
        "kernels": kernels(),
        "works": any(row["verdict"] == "right" for row in engines),
    }


def kernels() -> list[dict[str, Any]]:
    """Each kernel candidate, whether it can run, and whether it agrees with the reference on one small case."""
    dispatch = import_module("saccade.kernels.dispatch")
    agrees = import_module("saccade.kernels.proof").agrees
    rows = []
    for op in import_module("saccade.kernels").OPS:
        for name, reason in dispatch.explain(op):
            verdict = ""
            if not reason and dispatch.place(op, name) == "cpu":
                verdict = "right" if agrees(op, name) else "WRONG"
            rows.append({"op": op, "candidate": name, "unusable": reason, "verdict": verdict})
    return rows


def _engines(bundle: Bundle, graph: str, clock: Callable[[], float]) -> list[dict[str, Any]]:
    rows = []
    for backend in AUTOMATIC:
        for options, reason in candidates(bundle, graph, Options(backend=backend)):
            row = {"graph": graph, "backend": backend, "provider": options.provider, "precision": options.precision,
                   "unusable": reason, "verdict": ""}  # fmt: skip
            rows.append(row if reason else row | _run(bundle, graph, options, clock))
    return rows


def _run(bundle: Bundle, graph: str, options: Options, clock: Callable[[], float]) -> dict[str, Any]:
    begun = clock()
    try:
        engine = open_engine(bundle, graph, options)
        try:
            found = golden_check(bundle, graph, engine)
            about = engine.about
        finally:
            engine.close()
    except SaccadeError as error:
        return {"unusable": error.message, "verdict": "failed"}
    passed = golden_passes(found, file_of(bundle, graph, options), budgets_of(bundle, options))
    return {
        "verdict": "right" if passed else "WRONG",
        "metric": found.metric,
        "worst": found.worst,
        "ms": round((clock() - begun) * 1e3, 1),
        "device": about.get("device", ""),
        "version": about.get("version", ""),
    }


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
