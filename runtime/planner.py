"""The search behind a plan: every candidate is proven on the golden set, then the fastest few take turns.

    candidates ──open, golden check──▶ proven ──quick look──▶ finalists ──interleaved rounds──▶ chosen

The portable default is measured first and is kept unless another is faster by more than a candidate varies by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import msgspec
import numpy as np

from saccade.runtime import engines as listed
from saccade.runtime.bundle import Bundle
from saccade.runtime.engines import Engine, Options, choose, file_precision, open_engine
from saccade.runtime.errors import SaccadeError, SettingsError
from saccade.runtime.manifest import GraphEntry
from saccade.runtime.plan import SCHEMA, Plan, Row, cached, fingerprint, keep, one_search
from saccade.runtime.precision import golden_check, golden_passes
from saccade.runtime.spec import Array

PRECISIONS = ("fp32", "bf16", "int8", "fp16")
LOOK = 3
NEAR = 1.5
"""After LOOK rounds only those go on whose median is at most this many times the best one's."""
PAUSE_S = 0.003
"""Between two engines' runs: idle threads of one that still spin would slow the next."""
ROUNDS = 15
MARGIN = 0.97
"""Another candidate replaces the default only if it needs less than this share of its time."""
Clock = Callable[[], float]


def plan_of(
    bundle: Bundle,
    options: Options = Options(),  # noqa: B008  a frozen value
    *,
    seconds: float = 20.0,
    batches: Sequence[int] = (1,),
    again: bool = False,
    clock: Clock = time.perf_counter,
) -> Plan:
    """This machine's plan of the bundle: the cached one, unless `again`, or a new search. Two processes search once."""
    key = _key(options, batches)
    with one_search(bundle.digest, key):
        found = None if again else cached(bundle.digest, key)
        if found is None:
            found = search(bundle, options, seconds=seconds, batches=batches, clock=clock)
            keep(found, key)
        return found


def known(bundle: Bundle, options: Options, batches: Sequence[int] = (1,)) -> Plan | None:
    """The plan that `plan_of` has made before, without a search."""
    return cached(bundle.digest, _key(options, batches))


def search(
    bundle: Bundle,
    options: Options,
    *,
    seconds: float = 20.0,
    batches: Sequence[int] = (1,),
    clock: Clock = time.perf_counter,
) -> Plan:
    """Measure the candidates of each graph. What does not fit into `seconds` stays unmeasured, and says so."""
    if not batches or any(size < 1 for size in batches):
        raise SettingsError(f"[plan] batches: got {list(batches)}", hint="give sizes of at least 1, such as 1,8")
    golden, started, rows = bundle.golden(), clock(), []
    names = list(bundle.graphs)
    for at, graph in enumerate(names):
        share = (seconds - (clock() - started)) / (len(names) - at)
        rows += _graph_rows(bundle, graph, golden, options, sorted(set(batches)), share, clock)
    return Plan(SCHEMA, bundle.digest, fingerprint(), tuple(rows), round(clock() - started, 2))


def candidates(bundle: Bundle, graph: str, options: Options) -> list[tuple[Options, str]]:
    """Every way to run `graph` here in order of preference, the portable default first, and why it cannot be run."""
    entry, found = bundle.graphs[graph], []
    for name in [options.backend] if options.backend else listed.AUTOMATIC:
        backend = import_module(f"saccade.runtime.engines.{name}")
        for precision in [options.precision] if options.precision else PRECISIONS:
            if not entry.variant(file_precision(entry, backend, precision)):
                continue
            made = msgspec.structs.replace(options, backend=name, precision=precision)
            found.append((made, _reason(entry, graph, backend, made)))
    return found


def _reason(entry: GraphEntry, graph: str, backend: Any, options: Options) -> str:
    variant = choose(entry, graph, file_precision(entry, backend, options.precision))
    if not variant.within_budget and entry.variants != (variant,):
        return "its measured error is outside the budget"
    if reason := backend.unusable(entry, variant, options):
        return str(reason)
    if options.precision == "fp16" and getattr(backend, "device", lambda _: "cpu")(options) == "cpu":
        return "a CPU computes fp16 by way of fp32, which is slower than fp32"
    return ""


def _graph_rows(
    bundle: Bundle,
    graph: str,
    golden: dict[str, Any],
    options: Options,
    batches: list[int],
    seconds: float,
    clock: Clock,
) -> list[Row]:
    ends = clock() + seconds
    inputs = _inputs(bundle, graph, golden)
    rows: list[Row] = []
    opened: list[tuple[Row, Engine]] = []
    for made, reason in candidates(bundle, graph, options):
        row = Row(graph, batches[0], made.backend, made.precision, made.device, made.threads, reason)
        if not reason and inputs is None and opened:
            row = msgspec.structs.replace(row, reason="the bundle has no golden set to prove it with")
        elif not reason and clock() > ends and opened:
            row = msgspec.structs.replace(row, reason="not measured: the time was up")
        elif not reason:
            row, engine = _proven(bundle, graph, made, row, clock)
            if engine is not None:
                opened.append((row, engine))
                continue
        rows.append(row)
    measured = _measured(opened, inputs, batches, ends, clock) if inputs is not None else _unmeasured(opened)
    for _, engine in opened:
        engine.close()
    return measured + rows


def _proven(bundle: Bundle, graph: str, made: Options, row: Row, clock: Clock) -> tuple[Row, Engine | None]:
    """The row with the golden check's verdict, and the engine if it passed."""
    begun = clock()
    try:
        engine = open_engine(bundle, graph, made)
    except SaccadeError as error:
        return msgspec.structs.replace(row, reason=error.message), None
    try:
        found = golden_check(bundle, graph, engine)
    except SaccadeError as error:
        if not bundle.golden():  # nothing to prove it with, so only the portable default comes this far
            return row, engine
        engine.close()
        return msgspec.structs.replace(row, reason=error.message), None
    entry = bundle.graphs[graph]
    backend = import_module(f"saccade.runtime.engines.{made.backend}")
    variant = choose(entry, graph, file_precision(entry, backend, made.precision))
    passed = golden_passes(found, variant, bundle.manifest.budgets)
    row = msgspec.structs.replace(
        row, metric=found.metric, worst=found.worst, passed=passed, first_ms=round((clock() - begun) * 1e3, 3)
    )
    if passed:
        return row, engine
    engine.close()
    return msgspec.structs.replace(row, reason=f"the golden check failed: {found.metric} {found.worst:.5f}"), None


def _measured(
    opened: list[tuple[Row, Engine]], inputs: dict[str, Array], batches: list[int], ends: float, clock: Clock
) -> list[Row]:
    rows: list[Row] = []
    for at, batch in enumerate(batches):
        fed = {name: np.repeat(array, batch, axis=0) for name, array in inputs.items()}
        share = clock() + max(0.0, (ends - clock()) / (len(batches) - at))
        medians = _rounds([engine for _, engine in opened], fed, share, clock)
        best = min(range(len(opened)), key=medians.__getitem__, default=0)
        taken = best if opened and medians[best] < MARGIN * medians[0] else 0
        for i, (row, _) in enumerate(opened):
            rows.append(msgspec.structs.replace(row, batch=batch, p50_ms=round(medians[i], 4), chosen=i == taken))
    return rows


def _rounds(engines: list[Engine], inputs: dict[str, Array], ends: float, clock: Clock) -> list[float]:
    """Median ms of each engine. All take part in the first rounds, in later ones those that may still win."""
    for engine in engines:
        engine(**inputs)  # this batch size for the first time
    times: list[list[float]] = [[] for _ in engines]
    running = list(range(len(engines)))
    for turn in range(ROUNDS):
        for i in running[turn % len(running) :] + running[: turn % len(running)]:
            time.sleep(PAUSE_S)
            times[i].append(_run_ms(engines[i], inputs, clock))
        if turn + 1 >= LOOK:
            medians = [float(np.median(t)) for t in times]
            running = [i for i in running if i == 0 or medians[i] <= NEAR * min(medians)]
            if clock() > ends:
                break
    return [float(np.median(t)) for t in times]


def _unmeasured(opened: list[tuple[Row, Engine]]) -> list[Row]:
    return [msgspec.structs.replace(row, chosen=i == 0) for i, (row, _) in enumerate(opened)]


def _run_ms(engine: Engine, inputs: dict[str, Array], clock: Clock) -> float:
    begun = clock()
    engine(**inputs)
    return (clock() - begun) * 1e3


def _inputs(bundle: Bundle, graph: str, golden: dict[str, Any]) -> dict[str, Array] | None:
    """One golden sample of the graph, to be repeated to any batch; None without a golden set."""
    names = [t.name for t in bundle.graphs[graph].spec.inputs]
    if any(f"{graph}.{name}" not in golden for name in names):
        return None
    return {name: golden[f"{graph}.{name}"][:1] for name in names}


def _key(options: Options, batches: Sequence[int]) -> Options:
    """Options that also tell the batch sizes apart; only ever hashed."""
    return msgspec.structs.replace(options, backend=f"{options.backend}|{sorted(set(batches))}")
