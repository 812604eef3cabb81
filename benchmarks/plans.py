"""What a plan is worth: the engine that it chose against every candidate by hand, and what finding it costs.

    load ──▶ first answer (portable default)      search ──▶ plan ──▶ chosen · each usable candidate, taking turns

`best_share` is the best candidate's median over the chosen one's: 1 says that nothing by hand is faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import saccade
from saccade.benchmarks.rows import compared, interleave
from saccade.runtime.bundle import Bundle
from saccade.runtime.call import Graph
from saccade.runtime.engines import Engine, Engines, Options, open_engine
from saccade.runtime.planned import opener
from saccade.runtime.planner import search
from saccade.runtime.spec import Array


def rows(
    path: Path, *, threads: int = 1, seconds: float = 20.0, hard_links: bool = False, measure_s: float = 20.0
) -> list[dict[str, Any]]:
    """One row for what stands before the first answer and for the search, and one a graph.

    seconds: for the search; measure_s: for the comparison of each graph
    """
    options = Options(threads=threads)
    first = _first_answer(path, options, hard_links)
    bundle = Bundle.open(path, hard_links=hard_links)
    plan = search(bundle, options, seconds=seconds)
    head = {"case": "search", "bundle": bundle.name, "threads": threads}
    made: list[dict[str, Any]] = [{**head, "seconds": plan.seconds, "first_answer_s": first}]
    for graph in bundle.graphs:
        chosen = plan.chosen(graph)[0]
        usable = [row for row in plan.rows if row.graph == graph and row.p50_ms is not None]
        inputs = {t.name: bundle.golden()[f"{graph}.{t.name}"][:1] for t in bundle.graphs[graph].spec.inputs}
        owner = Engines(options, opener(plan, options))
        ours = owner(Graph(bundle, graph))
        peers = {f"{r.backend}-{r.precision}": open_engine(bundle, graph, r.options(options)) for r in usable}
        runs: dict[str, Callable[[], Any]] = {"plan": partial(_run, ours, inputs)}
        runs |= {name: partial(_run, engine, inputs) for name, engine in peers.items()}
        times = interleave(runs, seconds=measure_s, rounds=40, pause_ms=2.0)
        ratios = compared(times["plan"], {name: t for name, t in times.items() if name != "plan"})
        made.append(
            {
                "case": "choice", "bundle": bundle.name, "graph": graph, "threads": threads, "batch": 1,
                "chosen": f"{chosen.backend}-{chosen.precision}", "p50_ms": round(times["plan"].p50_ms, 4),
                "p90_ms": round(times["plan"].p90_ms, 4), "runs": len(times["plan"].rounds_ms),
                "best_share": round(min(p["ratio"] for p in ratios), 3), "baselines": ratios,
            }
        )  # fmt: skip
        for engine in peers.values():
            engine.close()
        owner.close()
    return made


def _run(engine: Engine, inputs: dict[str, Array]) -> Any:
    return engine(**inputs)


def _first_answer(path: Path, options: Options, hard_links: bool) -> float:
    """Seconds from a path to the first answer of every graph, while a search would run behind."""
    begun = time.perf_counter()
    bundle = Bundle.open(path, hard_links=hard_links)
    with saccade.load(bundle, threads=options.threads) as model:
        model.warm_up()
    return round(time.perf_counter() - begun, 3)
