"""What the direct driver adds to a request: pipelines on the null engine, which does no work of its own.

Four figures, each the median over batches of requests, in µs a request:

    null-engine    calling the engine by hand: check of the inputs and allocation of the outputs
    one-call       a pipeline of one Call; the driver's share is this minus null-engine
    three-calls    a pipeline of three Calls and one Work
    model          the same one Call through a loaded Model's method
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from saccade.runtime import bundle as bundles
from saccade.runtime.call import Call, Graph, Pipeline, Work
from saccade.runtime.direct import Direct
from saccade.runtime.engines import Engines, Options
from saccade.runtime.manifest import GraphEntry, Manifest, Source, Variant
from saccade.runtime.spec import GraphSpec, TensorSpec

BATCH, ROUNDS = 2000, 15


def rows() -> list[dict[str, Any]]:
    """Measure; one row a case: {"case", "p50_us", "p90_us", "runs"}."""
    with tempfile.TemporaryDirectory() as folder:
        graph = Graph(null_bundle(Path(folder, "null.bundle")), "graph")
        engines = Engines(Options(backend="null"))
        engine, driver, x = engines(graph), Direct(engines), np.zeros((1, 8), np.float32)
        cases: dict[str, Callable[[], Any]] = {
            "null-engine": lambda: engine(x=x),
            "one-call": lambda: driver.run(_calls(graph, x, 1)),
            "three-calls": lambda: driver.run(_calls(graph, x, 3)),
        }
        measured = _measure(cases)
        engines.close()
    made = [
        {"case": name, "p50_us": p50, "p90_us": p90, "runs": BATCH * ROUNDS} for name, (p50, p90) in measured.items()
    ]
    share = measured["one-call"][0] - measured["null-engine"][0]
    return [*made, {"case": "driver", "p50_us": round(share, 3), "p90_us": None, "runs": BATCH * ROUNDS}]


def _calls(graph: Graph, x: np.ndarray, count: int) -> Pipeline[Any]:
    x = yield Work(np.asarray, x)
    out: Any = {}
    for _ in range(count):
        out = yield Call(graph, {"x": x})
    return out["y"]


def _measure(cases: dict[str, Callable[[], Any]]) -> dict[str, tuple[float, float]]:
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, run in cases.items():
            start = time.perf_counter()
            for _ in range(BATCH):
                run()
            taken[name].append((time.perf_counter() - start) / BATCH * 1e6)
    return {n: (round(float(np.median(t)), 3), round(float(np.percentile(t, 90)), 3)) for n, t in taken.items()}


def null_bundle(target: Path) -> bundles.Bundle:
    """A bundle of one graph, x (B, 8) → y (B, 8), for the null engine."""
    spec = GraphSpec(
        inputs=(TensorSpec("x", "float32", ("B", 8)),), outputs=(TensorSpec("y", "float32", ("B", 8)),), batch="B"
    )
    entry = GraphEntry(spec, (Variant("fp32", "graph.onnx"),))
    manifest = Manifest("", 1, "null", "null", Source("made by the benchmark"), {"graph": entry}, {})
    bundles.write(target, manifest, {"graph.onnx": b""})
    return bundles.Bundle.open(target, remember=False)
