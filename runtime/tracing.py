"""trace: what happened when, as Chrome trace JSON, which ui.perfetto.dev and chrome://tracing open.

    with saccade.trace("trace.json"):
        …

A row for each thread with its batches and work, and one for each open request with its waits. While no trace is
active, a program pays for one test of an attribute where something would be noted.
https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saccade.runtime.errors import SettingsError

if TYPE_CHECKING:
    from saccade.runtime.scheduling.board import Batch
    from saccade.runtime.scheduling.request import Chore, Request

MOST = 1_000_000
"""Events kept; later ones are counted only."""

active: Trace | None = None
"""The trace that is being written, for the whole process."""


class Trace:
    """Events in memory until it is written. Any thread may add; times are seconds of the scheduler's clock."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []
        self._threads: dict[int, str] = {}
        self.lost = 0

    def span(self, name: str, category: str, start: float, end: float, **args: Any) -> None:
        """Something this thread did."""
        thread = threading.get_ident()
        if thread not in self._threads:
            self._threads[thread] = threading.current_thread().name
        self._add("X", name, category, start, dur=round((end - start) * 1e6, 3), tid=thread % (1 << 31), args=args)

    def wait(self, name: str, category: str, number: int, start: float, end: float, **args: Any) -> None:
        """Something that lasted beside others, for request `number`."""
        for phase, when in (("b", start), ("e", end)):
            self._add(phase, name, category, when, tid=0, id=number, args=args if phase == "b" else {})

    def request(self, request: Request, now: float) -> None:
        """A request ended."""
        about = {"how": request.ended, "stream": request.stream, "served_ms": round(request.served_s * 1e3, 3)}
        name = request.generator.gi_code.co_name
        self.wait(name, "request", request.number, request.sent, now, **about)

    def batch(self, batch: Batch, start: float, end: float) -> None:
        """An engine run, and the waits before it."""
        graph, tickets = batch.group.lane.graph, batch.tickets
        numbers = [ticket.number for ticket in tickets]
        self.span(graph.name, "engine", start, end, rows=sum(t.rows for t in tickets), requests=numbers)
        for ticket in tickets:
            self.wait(f"queue {graph.name}", "queue", ticket.number, ticket.since, start)

    def chore(self, chore: Chore, start: float, end: float) -> None:
        """Work on a host thread, and the wait before it."""
        name = "start" if chore.function is None else name_of(chore.function)
        self.span(name, "work", start, end, request=chore.number)
        self.wait(f"queue {name}", "queue", chore.number, chore.since, start)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write what there is. Raises NoSpace or InputError."""
        from saccade.runtime.files import write_file

        threads = [
            {"ph": "M", "name": "thread_name", "pid": 1, "tid": thread % (1 << 31), "args": {"name": name}}
            for thread, name in self._threads.items()
        ]
        about = {"traceEvents": [*threads, *self._events], "displayTimeUnit": "ms", "otherData": {"lost": self.lost}}
        write_file(Path(path), json.dumps(about).encode())

    def _add(self, phase: str, name: str, category: str, when: float, **more: Any) -> None:
        if len(self._events) >= MOST:
            self.lost += 1
            return
        event = {"ph": phase, "name": name, "cat": category, "ts": round(when * 1e6, 3), "pid": 1}
        self._events.append({**event, **more})


def name_of(function: Any) -> str:
    """What a piece of work is called."""
    name: str = getattr(function, "__qualname__", type(function).__name__)
    return name


@contextlib.contextmanager
def trace(path: str | os.PathLike[str]) -> Iterator[Trace]:
    """Note every request, wait, engine run and piece of work in the block, and write them to `path` at its end.

    Raises SettingsError if a trace is active already; NoSpace or InputError if it cannot be written.
    """
    global active
    if active is not None:
        raise SettingsError("[trace] one is being written", hint="end it first: there is one trace in a process")
    active = made = Trace()
    try:
        yield made
    finally:
        active = None
        made.write(path)
