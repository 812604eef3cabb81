"""The search behind a plan: every candidate is proven on the golden set, then the fastest few take turns.

    candidates ──open, golden check──▶ proven ──quick look──▶ finalists ──interleaved rounds──▶ best
    best × threads, kernels ──golden check──▶ against the best, interleaved ──▶ chosen

The portable default is measured first and is kept unless another is faster by more than a candidate varies by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from saccade.runtime.admission import budgets_of
from saccade.runtime.bundle import Bundle
from saccade.runtime.candidates import candidates, file_of, refinements
from saccade.runtime.engines import Engine, Options, open_engine
from saccade.runtime.errors import SaccadeError, SettingsError
from saccade.runtime.plan import SCHEMA, Plan, Row, cached, fingerprint, keep, one_search
from saccade.runtime.precision import golden_check, golden_passes
from saccade.runtime.spec import Array

SECONDS = 20.0
"""For a search, unless said otherwise; graphs of which one run takes longer than SLOW_S get more, at most MOST_S."""
SLOW_S = 2.0
MOST_S = 240.0
PROVING = 0.6
"""The share of a graph's time in which candidates are opened; the rest is for their rounds."""
LOOK = 3
NEAR = 1.5
"""After LOOK rounds only those go on whose median is at most this many times the best one's."""
PAUSE_S = 0.003
"""Between two engines' runs: idle threads of one that still spin would slow the next."""
PROMISING = ("int8", "bf16", "fp16", "fp32")
"""Behind the default, so that what may win most is measured if the time is short."""
ROUNDS = 15
MARGIN = 0.97
"""Another candidate replaces the default only if it needs less than this share of its time."""
UP = "not measured: the time was up"
Clock = Callable[[], float]


def plan_of(
    bundle: Bundle,
    options: Options = Options(),  # noqa: B008  a frozen value
    *,
    seconds: float | None = None,
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
    seconds: float | None = None,
    batches: Sequence[int] = (1,),
    clock: Clock = time.perf_counter,
) -> Plan:
    """Measure the candidates of each graph. What does not fit into `seconds` stays unmeasured, and says so.

    seconds: for all graphs together, the portable default's own run in any case; None for SECONDS, and for a slow graph
        as long as it takes to prove each candidate and run it a few times
    """
    if not batches or any(size < 1 for size in batches):
        raise SettingsError(f"[plan] batches: got {list(batches)}", hint="give sizes of at least 1, such as 1,8")
    if seconds is not None and not seconds > 0:
        raise SettingsError(f"[plan] seconds: got {seconds}", hint="give a time above 0, such as 20")
    golden, started, rows = bundle.golden(), clock(), []
    names, spare = list(bundle.graphs), seconds or SECONDS
    for at, graph in enumerate(names):
        begun = clock()
        share = max(0.0, spare) / (len(names) - at)
        rows += _Search(bundle, graph, golden, options, clock, share, seconds is None).rows(sorted(set(batches)))
        spare -= min(clock() - begun, share if seconds is None else np.inf)  # a slow graph takes nobody else's time
    return Plan(SCHEMA, bundle.digest, fingerprint(), tuple(rows), round(clock() - started, 2))


class _Search:
    """The search for one graph.

    soft: when no further round begins; hard: when nothing does, later than that for a slow graph
    """

    def __init__(
        self, bundle: Bundle, graph: str, golden: dict[str, Any], asked: Options, clock: Clock, share: float, more: bool
    ):
        self.bundle, self.graph, self.asked, self.clock, self.more = bundle, graph, asked, clock, more
        self.inputs = _inputs(bundle, graph, golden)
        self.soft = self.hard = clock() + share
        self.opens = clock() + PROVING * share
        self.run_s = 0.0  # of the first candidate, for one sample
        self.found: list[tuple[Row, Engine]] = []
        self.out: list[Row] = []

    def rows(self, batches: list[int]) -> list[Row]:
        """Every candidate, measured or not."""
        try:
            waiting = candidates(self.bundle, self.graph, self.asked)
            waiting[1:] = sorted(waiting[1:], key=lambda c: PROMISING.index(c[0].precision))
            for at, (made, reason) in enumerate(waiting):
                self._admit(made, batches[0], reason)
                if at == 0 and self.found and self.more:
                    self._extend(sum(not reason for _, reason in waiting))
            if self.inputs is None:
                measured = [msgspec.structs.replace(row, chosen=i == 0) for i, (row, _) in enumerate(self.found)]
            else:
                measured = self._measured(batches, self.inputs)
        finally:
            for _, engine in self.found:
                engine.close()
        return measured + self.out

    def _extend(self, usable: int) -> None:
        if self.run_s > SLOW_S:
            first_s = (self.found[0][0].first_ms or 0.0) / 1e3
            self.hard = self.clock() + min(MOST_S, usable * (first_s + 5 * self.run_s))
            self.opens = self.hard

    def _admit(self, made: Options, batch: int, reason: str, like: Row | None = None) -> bool:
        """Open and prove a candidate that there is time for; `out` has those that are not taken, and why."""
        row = Row.of(self.graph, batch, made, reason)
        engine, first = None, like or (self.found[0][0] if self.found else None)
        if not reason and first is not None:
            opening = (first.first_ms or 0.0) / 1e3
            runs = 2 * (3 if like else len(self.found) + 1)  # to come: each once to warm up and once for its time
            opened = self.clock() + opening
            if self.inputs is None:
                row = msgspec.structs.replace(row, reason="the bundle has no golden set to prove it with")
            elif opened > (self.hard if like else self.opens) or opened + runs * self.run_s > self.hard:
                row = msgspec.structs.replace(row, reason=UP)
        if not row.reason:
            row, engine = self._proven(made, row)
        if engine is None:
            self.out.append(row)
            return False
        self.found.append((row, engine))
        return True

    def _proven(self, made: Options, row: Row) -> tuple[Row, Engine | None]:
        """The row with the golden check's verdict, and the engine if it passed."""
        begun = self.clock()
        try:
            engine = open_engine(self.bundle, self.graph, made)
        except SaccadeError as error:
            return msgspec.structs.replace(row, reason=error.message), None
        opened = self.clock()
        try:
            found = golden_check(self.bundle, self.graph, engine)
        except SaccadeError as error:
            if not self.bundle.golden():  # nothing to prove it with, so only the portable default comes this far
                return row, engine
            engine.close()
            return msgspec.structs.replace(row, reason=error.message), None
        now = self.clock()
        self.run_s = self.run_s or (now - opened) / max(1, found.samples)
        passed = golden_passes(found, file_of(self.bundle, self.graph, made), budgets_of(self.bundle, made))
        first_ms = round((now - begun) * 1e3, 3)
        row = msgspec.structs.replace(row, metric=found.metric, worst=found.worst, passed=passed, first_ms=first_ms)
        if passed:
            return row, engine
        engine.close()
        return msgspec.structs.replace(row, reason=f"the golden check failed: {found.metric} {found.worst:.5f}"), None

    def _measured(self, batches: list[int], inputs: dict[str, Array]) -> list[Row]:
        if not self.found:
            return []
        rows: list[Row] = []
        for at, batch in enumerate(batches):
            fed = {name: np.repeat(array, batch, axis=0) for name, array in inputs.items()}
            soft = self.clock() + max(0.0, (self.soft - self.clock()) / (len(batches) - at))
            medians = self._rounds([engine for _, engine in self.found], fed, soft)
            taken = best_of(medians)
            if at == 0:
                taken = self._refine(taken, medians, batch, fed)
            for i, (row, _) in enumerate(self.found):
                rows.append(msgspec.structs.replace(row, batch=batch, p50_ms=round(medians[i], 4), chosen=i == taken))
        return rows

    def _refine(self, best: int, medians: list[float], batch: int, inputs: dict[str, Array]) -> int:
        """Fewer threads, or bodies in place of kernels, for the best candidate only; what is chosen in the end."""
        row, engine = self.found[best]
        known = len(self.found)
        for made in refinements(self.asked, row.options(self.asked), engine.about):
            self._admit(made, batch, "", like=row)
        if len(self.found) == known:
            return best
        heat = [best, *range(known, len(self.found))]
        again = self._rounds([self.found[i][1] for i in heat], inputs, self.soft)
        medians += again[1:]
        medians[best] = again[0]
        taken = min(heat, key=lambda i: (medians[i], self.found[i][0].threads))
        kernels = self.found[taken][0].kernels
        return best if kernels and medians[taken] >= MARGIN * medians[best] else taken

    def _rounds(self, engines: list[Engine], inputs: dict[str, Array], soft: float) -> list[float]:
        """Median ms of each engine. All take part in the first rounds, in later ones those that may still win."""
        for engine in engines:
            engine(**inputs)  # this batch size for the first time
        times: list[list[float]] = [[] for _ in engines]
        running = list(range(len(engines)))
        for turn in range(ROUNDS):
            begun = self.clock()
            for i in running[turn % len(running) :] + running[: turn % len(running)]:
                time.sleep(PAUSE_S)
                times[i].append(_run_ms(engines[i], inputs, self.clock))
            medians = [float(np.median(t)) for t in times]
            ends = soft if turn + 1 >= LOOK else self.hard
            if 2 * self.clock() - begun > ends:  # another round would end too late
                break
            if turn + 1 >= LOOK:
                running = [i for i in running if i == 0 or medians[i] <= NEAR * min(medians)]
        return medians


def best_of(medians: list[float]) -> int:
    """The fastest; the first, which is the portable default, unless another is faster by MARGIN."""
    best = min(range(len(medians)), key=medians.__getitem__)
    return best if medians[best] < MARGIN * medians[0] else 0


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
