"""saccade.benchmarks.kernels: each op against its peers, as a share of what the machine can do.

    problem.py    what is measured: inputs, candidates, peers, tolerance, counted work
    harness.py    how: the gate, warm-up, rounds, rows            peaks.py      what the machine reaches
    <op>.py       the problems of one op                          roofline.py   the rows as a picture

To add an op: a module here of the op's name in saccade.kernels.OPS with one function,

    def problems(quick: bool) -> Iterator[Problem]

which takes inputs, tolerance and counted work from the op's cases.py and yields one Problem a case, the cheapest alone
if `quick`. Candidates are the op's CANDIDATES; peers whose library is missing are left out. nms.py is the shortest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from saccade.benchmarks.kernels.harness import Report, measure, one_thread
from saccade.kernels import OPS
from saccade.runtime.errors import KernelError, SettingsError


def measured() -> list[str]:
    """The ops that have a module here, in the order of OPS."""
    return [op for op in OPS if find_spec(f"{__name__}.{op}")]


def module(op: str) -> ModuleType:
    """The module of an op. Raises SettingsError."""
    if op not in measured():
        raise SettingsError(f"no benchmark for {op[:64]!r}", hint=f"there is {', '.join(measured())}")
    return import_module(f"{__name__}.{op}")


def run(
    ops: Sequence[tuple[str, ModuleType]],
    peaks: Mapping[str, Any],
    *,
    impl: str | None = None,
    quick: bool = False,
    said: Callable[[str], None] = lambda _: None,
) -> Report:
    """Measure ops with their modules here, one after the other. Raises KernelError if none of them knows `impl`."""
    every = Report()
    known = {op: import_module(f"saccade.kernels.{op}").CANDIDATES for op, _ in ops}
    if impl is not None and not any(candidate.name == impl for all_ in known.values() for candidate in all_):
        names = dict.fromkeys(candidate.name for all_ in known.values() for candidate in all_)
        raise KernelError(f"[bench] no op here has a candidate {impl[:64]!r}", hint=f"known: {', '.join(names)}")
    with one_thread():
        for op, benchmark in ops:
            problems = benchmark.problems(quick)
            report = measure(op, problems, known[op], peaks, impl=impl, quick=quick, said=said)
            every.rows += report.rows
            every.failures += report.failures
    return every
