"""What a plan is worth: the engine that it chose against every candidate by hand, and what finding it costs.

    load ──▶ first answer (portable default)      search ──▶ plan ──▶ chosen · each usable candidate, taking turns

`best_share` is the best candidate's median over the chosen one's, 1 where nothing by hand is faster. The chosen one is
also opened by hand: both its medians count, and their ratio, `twin`, says how far two equal engines differ here.
`over_ort` is ONNX Runtime with the fp32 file, as it runs without a plan, over the chosen one. The search proves each
engine on the golden set before anything is timed: those that fail are no candidates by hand either.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import saccade
from saccade.benchmarks.rows import compared, interleave
from saccade.runtime.bundle import Bundle
from saccade.runtime.call import Graph
from saccade.runtime.engines import Engine, Engines, Options, open_engine
from saccade.runtime.errors import EngineError
from saccade.runtime.plan import Plan, Row
from saccade.runtime.planned import opener
from saccade.runtime.planner import search
from saccade.runtime.spec import Array

ASKED = {"clip": {"image": 3.0, "text": 3.0}, "sam": {"encoder": 2.2, "decoder": 1.9}}
"""The least `over_ort` that is asked of real sizes, by family and graph."""


def rows(
    paths: Sequence[tuple[Path, bool]], *, threads: int = 0, seconds: float | None = None, measure_s: float = 20.0
) -> list[dict[str, Any]]:
    """For each bundle one row for the search and one a graph, and one row over all graphs.

    paths: folders, and whether each came with saccade (its files may be hard-linked)
    seconds: for a search; measure_s: for the comparison of each graph
    """
    made: list[dict[str, Any]] = []
    for path, shipped in paths:
        options = Options(threads=threads)
        first = _first_answer(path, options, shipped)
        bundle = Bundle.open(path, hard_links=shipped)
        plan = search(bundle, options, seconds=seconds)
        made.append(
            {
                "case": "search",
                "bundle": bundle.name,
                "threads": threads,
                "seconds": plan.seconds,
                "first_answer_s": first,
            }
        )
        made += [_choice(bundle, graph, plan, options, measure_s) for graph in bundle.graphs]
    shares = [row["best_share"] for row in made if row["case"] == "choice"]
    mean = math.exp(sum(map(math.log, shares)) / len(shares))
    return [*made, {"case": "all", "graphs": len(shares), "best_share": round(mean, 3), "least": min(shares)}]


def _choice(bundle: Bundle, graph: str, plan: Plan, options: Options, measure_s: float) -> dict[str, Any]:
    chosen = plan.chosen(graph)[0]
    inputs = {t.name: bundle.golden()[f"{graph}.{t.name}"][:1] for t in bundle.graphs[graph].spec.inputs}
    usable = [row for row in plan.rows if row.graph == graph and row.p50_ms is not None]
    owner = Engines(options, opener(plan, options))
    ours = owner(Graph(bundle, graph))
    if ours.about["plan"].startswith("portable default"):  # it turned wrong since, or cannot be opened any more
        raise EngineError(f"[{graph}] {ours.about['plan']}", hint="`saccade plan --again`")
    peers = {_name(row): open_engine(bundle, graph, row.options(options)) for row in usable}
    try:
        runs: dict[str, Callable[[], Any]] = {"plan": partial(_run, ours, inputs)}
        runs |= {name: partial(_run, engine, inputs) for name, engine in peers.items()}
        times = interleave(runs, seconds=measure_s, rounds=40, pause_ms=2.0)
    finally:
        for engine in peers.values():
            engine.close()
        owner.close()
    ratios = compared(times["plan"], {name: t for name, t in times.items() if name != "plan"})
    twin = next(p for p in ratios if p["name"] == _name(chosen))
    ours_ms = np.median([*times["plan"].rounds_ms, *times[twin["name"]].rounds_ms])
    best_ms = min(p["p50_ms"] for p in ratios if p is not twin) if len(ratios) > 1 else ours_ms
    plain = next((p for p in ratios if p["name"].startswith("onnx_runtime-fp32-t")), None)
    return {
        "case": "choice", "bundle": bundle.name, "graph": graph, "threads": chosen.threads, "batch": 1,
        "chosen": _name(chosen), "p50_ms": round(times["plan"].p50_ms, 4), "p90_ms": round(times["plan"].p90_ms, 4),
        "first_ms": round(times["plan"].first_ms, 4), "runs": len(times["plan"].rounds_ms),
        "best_share": round(min(1.0, float(best_ms / ours_ms)), 3), "twin": twin["ratio"], "over_ort": plain,
        "asked": ASKED.get(bundle.manifest.family, {}).get(graph), "baselines": ratios,
    }  # fmt: skip


def _name(row: Row) -> str:
    return "-".join(
        filter(None, (row.backend, row.provider.replace("cpu", ""), row.precision, f"t{row.threads}", row.kernels))
    )


def _run(engine: Engine, inputs: dict[str, Array]) -> Any:
    return engine(**inputs)


def _first_answer(path: Path, options: Options, hard_links: bool) -> float:
    """Seconds from a path to the first answer of every graph, while a search would run behind."""
    begun = time.perf_counter()
    bundle = Bundle.open(path, hard_links=hard_links)
    with saccade.load(bundle, threads=options.threads) as model:
        model.warm_up()
    return round(time.perf_counter() - begun, 3)
