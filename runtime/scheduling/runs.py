"""Runs: one batch through its engine, merged if it can be, alone where that fails.

tickets ── gather ──▶ engine ──▶ check ── split ──▶ an answer for each        a run that fails: each alone, once
                                                                              (no memory: in halves, see faults.py)
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from typing import Any

from saccade.runtime import tracing
from saccade.runtime.cache import Cache, frozen
from saccade.runtime.call import Graph
from saccade.runtime.engines import Engine
from saccade.runtime.errors import OutOfMemory
from saccade.runtime.scheduling.board import Batch, Board
from saccade.runtime.scheduling.faults import Distrust, Faults, make_room, without_memory
from saccade.runtime.scheduling.lane import Lane, Shape
from saccade.runtime.scheduling.merge import Outputs, refuse_bad
from saccade.runtime.scheduling.policy import Policy
from saccade.runtime.scheduling.request import Request, Sink, Ticket
from saccade.runtime.scheduling.times import Times
from saccade.runtime.spec import Array

Answered = tuple[Sink, Any, BaseException | None]


class Runs:
    """Runs batches. Safe from several threads as far as the engines are."""

    def __init__(self, engine_of: Callable[[Graph], Engine], policy: Policy, board: Board, distrust: Distrust):
        self._engine_of, self._policy, self._board = engine_of, policy, board
        self._faults = Faults(board, policy, distrust)
        self.since: dict[int, float] = {}  # for each thread in an engine run, when that began

    def __call__(self, batch: Batch) -> list[Answered]:
        """Run a batch: for each sink that still wants one, its answer or error. The sinks are the caller's to move."""
        board, lane = self._board, batch.group.lane
        started = ended = self.since[threading.get_ident()] = board.clock()
        answers: list[Outputs | BaseException] = []
        try:
            if batch.tickets:
                engine = self._engine(lane)
                started = board.clock()
                answers = self._answers(engine, lane, batch.tickets, joined=batch.joined)
        except BaseException as error:  # no engine: not the calls' fault, and no reason to try each
            answers = [error] * len(batch.tickets)
        finally:
            ended = board.clock()
            self.since.pop(threading.get_ident(), None)
            with board.lock:
                rows, lone = sum([ticket.rows for ticket in batch.tickets]), len(batch.tickets) == 1
                board.finished(batch.group, rows, ended - started, joined=batch.joined, lone=lone)
                claimed = []
                if answers:
                    cache = board.caches.get(lane.graph)
                    claimed = _claimed(lane, batch.tickets, answers, ended - started, cache)
        trace = tracing.active
        if trace is not None and batch.tickets:
            trace.batch(batch, started, ended)
        return claimed

    def alone(
        self, lane: Lane, shape: Shape, inputs: Mapping[str, Array], request: Request
    ) -> tuple[Outputs | None, BaseException | None]:
        """Run one call that nothing else is open beside: (outputs, error). `board.running` counts it already."""
        board, outputs, error, engine = self._board, None, None, None
        started = ended = self.since[threading.get_ident()] = board.clock()
        try:
            engine = self._engine(lane)
            started = board.clock()
            outputs = engine(**inputs)
            refuse_bad(lane.graph.name, lane.graph.spec, outputs, shape.sizes, nan=self._policy.nan)
        except BaseException as raised:
            outputs, error = None, without_memory(raised, lane.graph.name)
        finally:
            ended = board.clock()
            self.since.pop(threading.get_ident(), None)
            with board.lock:
                board.finished(shape.group, shape.rows, ended - started)
        request.served_s += ended - started
        if request.trail is not None:
            request.trail.append((lane.graph, request.served_s))
        if error is not None and engine is not None:
            self._faults.note(lane, engine, error, inputs)
            if isinstance(error, OutOfMemory) and make_room(engine):
                with board.lock:
                    board.running += 1
                return self.alone(lane, shape, inputs, request)
        return outputs, error

    def measure(self, lane: Lane, inputs: Mapping[str, Array], seconds: float) -> None:
        """Time runs of one such call, of two, of four …, each twice, as long as more of them pay and time is left."""
        shape, engine = lane.shape(inputs), self._engine(lane)
        group = shape.group
        kinds = [(group.times, False)]
        if not lane.refusal and group.joined.cap > 1:
            kinds.append((group.joined, True))
        for times, joined in kinds:
            self._climb(engine, lane, shape, inputs, times, seconds / len(kinds), joined=joined)

    def _climb(
        self,
        engine: Engine,
        lane: Lane,
        shape: Shape,
        inputs: Mapping[str, Array],
        times: Times,
        seconds: float,
        *,
        joined: bool,
    ) -> None:
        board, group, count, end = self._board, shape.group, 1, None
        fill = 0 if lane.refusal else group.fill
        most = 1 if lane.refusal or fill else times.cap // max(shape.rows, 1)
        while count <= most or count == 1:
            rows, given, parts = count * shape.rows, inputs, [(inputs, shape.sizes)] * count
            if joined:
                given = lane.layout.join(parts, {})
            elif count > 1 or fill:
                given = lane.layout.gather(parts, max(rows, fill), group.to if fill else {})
            for _ in range(2):
                started = board.clock()
                engine(**given)
                with board.lock:
                    times.add(rows, board.clock() - started)
            end = end or board.clock() + seconds
            if board.clock() > end or times.best(times.cap, shape.rows) < rows:
                return
            count *= 2

    def about(self, lane: Lane) -> Mapping[str, Any]:
        """What runs a graph, for the name of an answer in a cache. May open the engine."""
        return getattr(self._engine(lane), "about", {})

    def _engine(self, lane: Lane) -> Engine:
        engine = self._engine_of(lane.graph)
        if engine is not lane.engine or getattr(engine, "opened", 0) != lane.opened:
            about = getattr(engine, "about", {})  # which may open it, and take seconds
            with self._board.lock:
                lane.uses(engine, about)
        if lane.refused is not None:
            raise copy.copy(lane.refused)
        return engine

    def _answers(
        self, engine: Engine, lane: Lane, tickets: list[Ticket], *, joined: bool
    ) -> list[Outputs | BaseException]:
        if lane.refusal and len(tickets) > 1:  # put together before the engine was swapped for one that does not merge
            return self._each(engine, lane, tickets)
        try:
            return [*self._run(engine, lane, tickets, joined=joined)]
        except BaseException as raised:
            error = without_memory(raised, lane.graph.name)
        self._faults.note(lane, engine, error, tickets[0].inputs if len(tickets) == 1 else None)
        if isinstance(error, OutOfMemory) and make_room(engine):
            return self._answers(engine, lane, tickets, joined=joined)
        if len(tickets) == 1 or not isinstance(error, Exception):
            return [error] * len(tickets)
        times, rows = tickets[0].group.joined if joined else tickets[0].group.times, sum(t.rows for t in tickets)
        if isinstance(error, OutOfMemory):
            times.fail(rows)
            half = len(tickets) // 2
            parts = (tickets[:half], tickets[half:])
            return [answer for part in parts for answer in self._answers(engine, lane, part, joined=joined)]
        answers = self._each(engine, lane, tickets)
        if not any(isinstance(answer, BaseException) for answer in answers):  # none was poisoned: it was the size
            times.fail(rows)
        return answers

    def _each(self, engine: Engine, lane: Lane, tickets: list[Ticket]) -> list[Outputs | BaseException]:
        return [answer for ticket in tickets for answer in self._answers(engine, lane, [ticket], joined=False)]

    def _run(self, engine: Engine, lane: Lane, tickets: list[Ticket], *, joined: bool) -> list[Outputs]:
        """One engine run. Raises what the engine raises, or BadOutput."""
        group, name, spec, nan = tickets[0].group, lane.graph.name, lane.graph.spec, self._policy.nan
        fill = 0 if lane.refusal else group.fill
        if len(tickets) == 1 and not fill:
            only = tickets[0]
            outputs = engine(**only.inputs)
            refuse_bad(name, spec, outputs, only.shape.sizes, nan=nan)
            return [outputs]
        sizes, parts = [ticket.shape.sizes for ticket in tickets], [(t.inputs, t.shape.sizes) for t in tickets]
        to = group.to if fill or not group.to else {dim: max(s[dim] for s in sizes) for dim in group.to}
        if joined:
            to = {dim: size for dim, size in to.items() if dim != spec.items}
            outputs = engine(**lane.layout.join(parts, to))
            items = sum(s[spec.items] for s in sizes)
            refuse_bad(name, spec, outputs, {**sizes[0], **to, spec.items: items}, nan=nan)
            return lane.layout.part(outputs, sizes)
        rows = fill or sum(ticket.rows for ticket in tickets)
        outputs = engine(**lane.layout.gather(parts, rows, to))
        refuse_bad(name, spec, outputs, {**sizes[0], **to, spec.batch: rows}, nan=nan)
        return lane.layout.split(outputs, sizes, to)


def _claimed(
    lane: Lane, tickets: list[Ticket], answers: list[Any], seconds: float, cache: Cache | None
) -> list[Answered]:
    """Whom the answers go to: those whose request has not ended meanwhile. Called with the lock."""
    claimed: list[Answered] = []
    for ticket, answer in zip(tickets, answers, strict=True):
        failed = isinstance(answer, BaseException)
        if ticket.key is not None:
            lane.flights.leave(ticket)
            if not failed:
                answer = frozen(answer)
                if cache is not None and ticket.kept is not None:
                    cache.keep(ticket.kept, answer)
        for sink in ticket.sinks() if ticket.others is not None else (ticket.sink,):
            if sink.pending is not ticket or sink.dead:
                continue
            sink.pending = None
            request = sink.request
            request.served_s += seconds
            if request.trail is not None:
                request.trail.append((lane.graph, request.served_s))
            own = answer if ticket.others is None else _own(answer)
            claimed.append((sink, None, own) if failed else (sink, own, None))
    return claimed


def _own(answer: Any) -> Any:
    """For each of those that share a run: an error of their own, or a dict of the same arrays, which are read-only."""
    if isinstance(answer, BaseException):
        try:
            return copy.copy(answer)
        except Exception:
            return answer
    return dict(answer)
