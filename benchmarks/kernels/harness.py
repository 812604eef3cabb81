"""How kernels are measured: the gate, warm-up, rounds in turn, one row a candidate.

problem ──gate──▶ runs that are right ──settle──▶ warm ──rounds──▶ times ──row──▶ one JSON line a candidate

Everything takes its turn within one process and on one thread, so that a noisy neighbour meets all alike; the clock is
the thread's own. A candidate or peer that fails the gate is reported and leaves no figure behind.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from saccade.benchmarks.kernels.problem import Peer, Problem
from saccade.benchmarks.rows import Timing, compared
from saccade.kernels.dispatch import Candidate
from saccade.runtime.errors import KernelError

ROUNDS, QUICK = 20, 5
AGREE = 0.05  # two medians that are this near end the warm-up
Clock = Callable[[], float]


@dataclass
class Report:
    """Rows, and a line for each run that failed the gate."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def measure(
    op: str,
    problems: Iterable[Problem],
    candidates: Sequence[Candidate],
    peaks: Mapping[str, Any],
    *,
    impl: str | None = None,
    quick: bool = False,
    clock: Clock = time.thread_time,
    said: Callable[[str], None] = lambda _: None,
) -> Report:
    """Measure the usable candidates of an op, or `impl` alone, on each problem.

    peaks: as peaks.measure gives them; said: hears what is measured next
    Raises KernelError if `impl` cannot run here.
    """
    names, report = chosen(op, candidates, impl), Report()
    for problem in problems:
        said(f"{op}: {problem.case}")
        runs, errors = gate(op, problem, names, report)
        ours = [name for name in names if name in errors]
        if not ours:
            continue
        times = rounds(runs, QUICK if quick else ROUNDS, clock)
        peers = {name: timing for name, timing in times.items() if name not in ours}
        report.rows += [row(op, problem, name, times[name], errors[name], peers, peaks) for name in ours]
    return report


def chosen(op: str, candidates: Sequence[Candidate], impl: str | None) -> list[str]:
    """The candidates to measure: all usable ones but the reference, or `impl`; none if the op does not know `impl`.

    Those of a GPU, whose `place` is not the CPU, need another clock and are left out.
    """
    candidates = [c for c in candidates if getattr(c, "place", "cpu") == "cpu"]
    if impl is None:
        return [c.name for c in candidates if c.name != "reference" and not c.unusable()]
    for candidate in candidates:
        if candidate.name == impl and (reason := candidate.unusable()):
            raise KernelError(f"[{op}] {impl} was asked for and cannot run: {reason}", hint="leave --impl out")
    return [c.name for c in candidates if c.name == impl]


def gate(
    op: str, problem: Problem, names: Sequence[str], report: Report
) -> tuple[dict[str, Callable[[], Any]], dict[str, float]]:
    """The runs whose results are right, ours first and then the peers, and the errors of ours."""
    if not names:
        return {}, {}
    expected = problem.expected()
    ours = [Peer(name, partial(problem.run, name), problem.error, problem.tolerance) for name in names]
    runs: dict[str, Callable[[], Any]] = {}
    errors = {}
    for one in [*ours, *problem.peers]:
        off = float(one.error(one.run(), expected))
        if math.isnan(off) or off > one.tolerance:
            report.failures.append(f"[{op}] {problem.case}: {one.name}: error {off:.3g}, allowed {one.tolerance:.3g}")
            continue
        runs[one.name] = one.run
        if one.name in names:
            errors[one.name] = off
    return runs, errors


def rounds(runs: Mapping[str, Callable[[], Any]], count: int, clock: Clock) -> dict[str, Timing]:
    """`count` rounds in which each run has its turn, in an order that turns from round to round."""
    first = {name: settle(run, clock) for name, run in runs.items()}
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(count):
        for name in order(list(runs), turn):
            taken[name].append(_ms(runs[name], clock))
    return {name: Timing(first[name], taken[name]) for name in runs}


def order(names: list[str], turn: int) -> list[str]:
    """Over 2 n rounds each of n names stands at each place, and right after each other one, equally often.

    Whoever follows a peer that has emptied the cache pays for it, so it must not always be the same. Source: Williams,
    Experimental designs balanced for the estimation of residual effects of treatments (1949).
    """
    count = len(names)
    zigzag = [(i + 1) // 2 if i % 2 else count - i // 2 for i in range(count)]
    row = [names[(place + turn) % count] for place in zigzag]
    return row[::-1] if turn // count % 2 else row


def settle(run: Callable[[], Any], clock: Clock, *, most: int = 8, enough_ms: float = 3000.0) -> float:
    """Run until two medians of three agree within AGREE, or long enough. Returns the first time in ms."""
    first = _ms(run, clock)
    spent, before = first, math.inf
    for _ in range(most):
        if spent > enough_ms:
            break
        three = [_ms(run, clock) for _ in range(3)]
        spent, median = spent + sum(three), float(np.median(three))
        if abs(median - before) <= AGREE * median:
            break
        before = median
    return first


def row(
    op: str,
    problem: Problem,
    name: str,
    timing: Timing,
    error: float,
    peers: Mapping[str, Timing],
    peaks: Mapping[str, Any],
) -> dict[str, Any]:
    """One JSON line, without what `rows.save` adds; docs/benchmarks.md says what each field means."""
    return {
        "op": op,
        "case": problem.case,
        "shape": dict(problem.shape),
        "dtype": problem.dtype,
        "impl": name,
        "backend": "cpu",
        "p50_ms": round(timing.p50_ms, 5),
        "p90_ms": round(timing.p90_ms, 5),
        "runs": len(timing.rounds_ms),
        "error": error,
        "tolerance": problem.tolerance,
        "work": {"bytes": problem.bytes, "flops": problem.flops},
        "achieved": achieved(problem, timing.p50_ms, peaks),
        "baselines": compared(timing, peers),
        **problem.facts,
    }


def achieved(problem: Problem, ms: float, peaks: Mapping[str, Any]) -> dict[str, float]:
    """GB/s, GFLOP/s, and the larger share of what this machine reaches; without peaks, no share."""
    gbps, gflops = problem.bytes / ms / 1e6, problem.flops / ms / 1e6
    made = {"gbps": round(gbps, 3), "gflops": round(gflops, 3)}
    memory = max((peaks[name] for name in ("read_gbps", "write_gbps", "triad_gbps") if name in peaks), default=0.0)
    arithmetic = peaks.get(problem.roof, 0.0)
    if memory and arithmetic:
        made["of_peak"] = round(max(gbps / memory, gflops / arithmetic), 4)
    return made


@contextmanager
def one_thread() -> Iterator[None]:
    """The peers' thread pools at one thread, and back."""
    before: list[Callable[[], Any]] = []
    if find_spec("cv2"):
        import cv2

        before.append(partial(cv2.setNumThreads, cv2.getNumThreads()))
        cv2.setNumThreads(1)
    if find_spec("torch"):
        import torch

        before.append(partial(torch.set_num_threads, torch.get_num_threads()))
        torch.set_num_threads(1)
    try:
        yield
    finally:
        for restore in before:
            restore()


def _ms(run: Callable[[], Any], clock: Clock) -> float:
    start = clock()
    run()
    return (clock() - start) * 1e3
