"""Engines by plan: what the plan names is opened, proven on the golden set, and only then used.

plan ──row of the graph──▶ engine ──golden check──▶ taken
                                    └─ failed ────▶ the portable default, and `about` says why
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from saccade.runtime import engines as listed
from saccade.runtime.admission import admits, budgets_of
from saccade.runtime.bundle import Bundle
from saccade.runtime.call import Graph
from saccade.runtime.candidates import file_of
from saccade.runtime.engines import Engine, Engines, Opener, Options, open_engine
from saccade.runtime.errors import Closed, SaccadeError
from saccade.runtime.plan import Plan, Row, read_file
from saccade.runtime.planner import known, plan_of
from saccade.runtime.precision import golden_check, golden_passes
from saccade.runtime.spec import Array, GraphSpec

MODES = ("cached", "now", "measure")


class Routed:
    """Several engines of one graph, each for batches up to a size; the last takes what is larger."""

    def __init__(self, engines: Sequence[tuple[int, Engine]]):
        self.engines = engines
        self.spec: GraphSpec = engines[0][1].spec
        self.about: dict[str, Any] = {
            **engines[0][1].about,
            "batches": {str(limit): f"{e.about['backend']} {e.about.get('precision')}" for limit, e in engines},
        }

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """Run once, on the engine that was measured to be fastest for this batch size."""
        size = self._size(inputs)
        return next((e for limit, e in self.engines if size <= limit), self.engines[-1][1])(**inputs)

    def close(self) -> None:
        """Close all."""
        for _, engine in self.engines:
            engine.close()  # one that stands for two sizes is closed twice, which does no harm

    def _size(self, inputs: dict[str, Array]) -> int:
        for tensor in self.spec.inputs:
            if self.spec.batch in tensor.dims and tensor.name in inputs:
                return int(inputs[tensor.name].shape[tensor.dims.index(self.spec.batch)])
        return 1


def opener(plan: Plan | None, options: Options, why: str = "") -> Opener:
    """Opens engines by `plan`; without one, or where it says nothing, the portable default. why: there is no plan."""

    def open_graph(graph: Graph) -> Engine:
        rows = plan.chosen(graph.name) if plan is not None else ()
        if not rows:
            return _default(graph, options, why or "the plan does not name this graph")
        made: dict[Options, Engine] = {}
        for row in rows:
            wanted = row.options(options)
            if wanted in made:
                continue
            engine, reason = proven(graph.bundle, graph.name, wanted)
            if engine is None:
                for other in made.values():
                    other.close()
                return _default(graph, options, reason)
            engine.about["plan"] = _said(row)
            made[wanted] = engine
        if len(made) == 1:
            return next(iter(made.values()))
        return Routed([(row.batch, made[row.options(options)]) for row in rows])

    return open_graph


def proven(bundle: Bundle, graph: str, options: Options) -> tuple[Engine | None, str]:
    """The engine that these options name if it passes the golden check here, else None and why."""
    if options.backend not in listed.AUTOMATIC:
        return None, f"no back end {options.backend[:32]!a}"
    try:
        variant = file_of(bundle, graph, options)
        if not admits(bundle, bundle.graphs[graph], variant, options):
            return None, f"{options.backend} {options.precision}: its measured error is outside the budget"
        engine = open_engine(bundle, graph, options)
    except SaccadeError as error:
        return None, error.message
    try:
        found = golden_check(bundle, graph, engine)
    except SaccadeError as error:
        engine.close()
        return None, error.message
    if golden_passes(found, variant, budgets_of(bundle, options)):
        return engine, ""
    engine.close()
    return None, f"{options.backend} {options.precision} failed the golden check: {found.metric} {found.worst:.5f}"


def apply(
    engines: Engines, bundle: Bundle, plan: str | Plan, *, seconds: float | None = None, batches: Sequence[int] = (1,)
) -> Callable[[], None]:
    """Make `engines` follow a plan; gives a function that ends what runs behind.

    plan: "cached" (the one that was made before, if there is one), "now" (search first), "measure" (answer at once on
        the portable default, search behind, then swap), a Plan, or the path of one
    A plan of another bundle or machine, or one that cannot be read, is ignored: `about` says why.
    """
    options = engines.options
    if plan == "measure":
        return _behind(engines, bundle, seconds, batches)
    why = ""
    if isinstance(plan, Plan):
        found: Plan | None = plan
    elif plan == "now":
        found = plan_of(bundle, options, seconds=seconds, batches=batches)
    elif plan == "cached":
        found, why = known(bundle, options, batches), "no plan was made yet: `saccade plan BUNDLE` makes one"
    else:
        found, why = read_file(plan)
    if found is not None and (foreign := found.foreign(bundle.digest)):
        found, why = None, f"the plan is ignored: {foreign}"
    engines.reopen(opener(found, options, why))
    return lambda: None


def _behind(engines: Engines, bundle: Bundle, seconds: float | None, batches: Sequence[int]) -> Callable[[], None]:
    ended = threading.Event()
    engines.reopen(opener(None, engines.options, "the search still runs"))

    def clock() -> float:
        if ended.is_set():
            raise Closed("[plan] the model was closed", hint="load it again")
        return time.perf_counter()

    def search() -> None:
        try:
            plan = plan_of(bundle, engines.options, seconds=seconds, batches=batches, clock=clock)
            engines.reopen(opener(plan, engines.options))
        except SaccadeError as error:
            if not ended.is_set():
                engines.opener = opener(None, engines.options, f"the search failed: {error.message}")

    worker = threading.Thread(target=search, name="saccade-plan", daemon=True)
    worker.start()

    def end() -> None:
        ended.set()
        worker.join(timeout=60)

    return end


def _default(graph: Graph, options: Options, why: str) -> Engine:
    engine = open_engine(graph.bundle, graph.name, options)
    engine.about["plan"] = f"portable default: {why}"
    return engine


def _said(row: Row) -> str:
    return (
        f"{row.p50_ms} ms at batch {row.batch} on {row.threads} threads, {row.metric} {row.worst}"
        if row.p50_ms is not None
        else "default"
    )
