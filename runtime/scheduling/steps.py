"""Steps: advances pipelines until there is something to wait for.

    answer ──▶ generator ──yields──▶ Call ──▶ lane          Work ──▶ host thread          All ──▶ several of these
                   └──ends──▶ its request ends, or the All that it is a member of is complete

A generator is advanced by one thread at a time: the one that took it from what it waited for. No method calls itself
through a pipeline, so pipelines may nest and loop as they like.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Protocol

from saccade.runtime import tracing
from saccade.runtime.cache import complete
from saccade.runtime.call import All, Call, Work
from saccade.runtime.scheduling.board import Board
from saccade.runtime.scheduling.flights import Key
from saccade.runtime.scheduling.policy import NEVER
from saccade.runtime.scheduling.request import Chore, Join, Member, Request, Sink, Slot, Task, Ticket
from saccade.runtime.scheduling.runs import Runs
from saccade.runtime.spec import Array

if TYPE_CHECKING:
    from saccade.runtime.scheduling.request import Generated

SHORT_S = 50e-6
"""Work known to be shorter is done where the pipeline is: a change of thread would take longer."""
_WORKS = 4096

Next = tuple[Task, Any, BaseException | None]
"""A pipeline, and the answer to send or the error to throw into it."""


class Ends(Protocol):
    """How a request is ended."""

    def __call__(
        self, request: Request, how: str, result: Any = None, error: BaseException | None = None, /
    ) -> bool: ...


class Steps:
    """Moves pipelines on.

    end: ends a request; close: closes generators that were dropped
    """

    def __init__(self, board: Board, runs: Runs, end: Ends, close: Callable[[list[Generated]], None]):
        self._board, self._runs, self._end, self._close = board, runs, end, close
        self._clock = board.clock
        self._works: dict[str, float] = {}  # seconds that each function took of late

    def advance(self, task: Task, answer: Any, error: BaseException | None) -> None:
        """Send an answer into a pipeline, and go on with all that moves by it until everything waits."""
        moved: Next | None = (task, answer, error)
        todo: list[Next] = []
        while moved is not None or todo:
            task, answer, error = moved or todo.pop()
            if task.dead:
                closed(task.generator)
                moved = None
                continue
            try:
                step = task.generator.send(answer) if error is None else task.generator.throw(error)
            except StopIteration as stop:
                moved = self._returned(task, stop.value, None)
            except BaseException as raised:
                moved = self._returned(task, None, raised)
            else:
                try:
                    if type(step) is Call:
                        moved = self._call(task, step) if not task.request.helped else self._alone(task, step)
                    else:
                        moved = self._step(task, step, todo)
                except Exception as refused:
                    moved = task, None, refused

    def deliver(self, sink: Sink, value: Any, error: BaseException | None) -> None:
        """Hand an answer to whoever waited for it."""
        if isinstance(sink, Slot):
            moved = self._joined(sink.join, sink.index, value, error)
            if moved is not None:
                self.advance(*moved)
        else:
            self.advance(sink, value, error)

    def done(self, function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, BaseException | None]:
        """What a function returns or raises; how long it took is remembered."""
        started = self._clock()
        value = error = None
        try:
            value = function(*args)
        except BaseException as raised:
            error = raised
        seconds = self._clock() - started
        name = getattr(function, "__qualname__", "")
        if name:
            known = self._works.get(name)
            if known is None and len(self._works) >= _WORKS:
                self._works.clear()
            self._works[name] = seconds if known is None else known + 0.2 * (seconds - known)
        return value, error

    def _step(self, sink: Task | Slot, step: Any, todo: list[Next]) -> Next | None:
        """Start what was yielded; what to go on with at once, or None. Raises what the pipeline is to be told."""
        kind = type(step)
        if kind is Call:
            return self._call(sink, step)
        if kind is Work:
            return self._work(sink, step)
        if (kind is All or kind is GeneratorType) and not isinstance(sink, Slot):
            return self._all(sink, step, todo)
        raise TypeError(f"a pipeline yields Call, Work or All, not {kind.__name__}")

    def _call(self, sink: Sink, call: Call) -> Next | None:
        """Let a call wait in its lane. Raises SpecError if its inputs do not fit."""
        board, key = self._board, call.key
        lane = board.lanes.get(call.graph) or board.lane(call.graph)
        shape = lane.shape(call.inputs)
        ticket = Ticket(sink, shape.group, shape, call.inputs, self._clock())
        flights = lane.flights
        with board.lock:
            if sink.dead:
                return _dead(sink)
            if key is None or (flights.empty and call.graph not in board.caches):
                if key is not None:
                    flights.lone, ticket.key = ticket, key
                sink.pending = ticket
                board.push(ticket)
                return None
            chore = Chore(None, self._shared, (ticket, call), ticket.since)
            chore.rank, chore.number = ticket.rank, ticket.number
            sink.pending = chore
            if flights.key_s >= SHORT_S:
                board.chore(chore)
                return None
            chore.taken = True
        kept = self._share(ticket, call)
        return self._moved(sink, kept) if kept is not None else None

    def _alone(self, task: Task, call: Call) -> Next | None:
        """Run a call here and now, if nothing else is open and so nothing could be decided; else let it wait."""
        board, key, request = self._board, call.key, task.request
        lane = board.lanes.get(call.graph) or board.lane(call.graph)
        shape = lane.shape(call.inputs)
        decided = request.deadline != NEVER or shape.group.fill or board.policy.max_delay_ms
        if decided or key is not None or tracing.active is not None:
            return self._call(task, call)
        with board.lock:
            if task.dead:
                return _dead(task)
            if board.running or len(board.requests) > 1:
                return self._call(task, call)
            board.running += 1
        return task, *self._runs.alone(lane, shape, call.inputs, request)

    def _shared(self, ticket: Ticket, call: Call) -> None:
        """`_share` on a host thread."""
        kept = self._share(ticket, call)
        if kept is not None:
            self.deliver(ticket.sink, kept, None)

    def _share(self, ticket: Ticket, call: Call) -> dict[str, Array] | None:
        """What a cache keeps for this call. Else share the run of a call with the same key, or wait for one's own."""
        board, lane, sink = self._board, ticket.group.lane, ticket.sink
        flights, cache = lane.flights, board.caches.get(call.graph)
        lone, started = flights.lone, self._clock()
        own = lones = None
        with contextlib.suppress(Exception):  # without a key a call runs for itself
            own = _named(ticket, call.key)
            lones = _named(lone, lone.key) if lone is not None and callable(lone.key) else None
            key_s = self._clock() - started
            if cache is not None:
                about = self._runs.about(lane)
                name = complete(Call(call.graph, call.inputs, lambda: own[-1]), about, sink.request.tenant)
                ticket.kept = name
            flights.key_s = key_s
        with board.lock:
            if sink.dead:
                return None
            if cache is not None and ticket.kept is not None and (found := cache.find(ticket.kept)) is not None:
                sink.pending = None
                return found
            if lone is not None and flights.lone is lone and lones is not None:
                flights.name(lone, lones)
            leader = flights.board(own, sink) if own is not None else None
            if leader is not None:
                sink.pending = leader
                board.promote(leader, sink.request)
                return None
            if own is not None:
                flights.name(ticket, own)
            sink.pending = ticket
            board.push(ticket)
            return None

    def _work(self, sink: Sink, work: Work) -> Next | None:
        """Do short work here; let other work wait for a host thread."""
        if sink.request.helped or self._works.get(getattr(work.function, "__qualname__", ""), NEVER) < SHORT_S:
            return self._moved(sink, *self.done(work.function, work.args))
        with self._board.lock:
            if sink.dead:
                return _dead(sink)
            sink.pending = Chore(sink, work.function, work.args, self._clock())
            self._board.chore(sink.pending)
        return None

    def _moved(self, sink: Sink, value: Any, error: BaseException | None = None) -> Next | None:
        """Who goes on with an answer that is there at once."""
        if isinstance(sink, Slot):
            return self._joined(sink.join, sink.index, value, error)
        return sink, value, error

    def _all(self, task: Task, step: Any, todo: list[Next]) -> Next | None:
        """Start every member. Whichever ends last, or fails first, moves the pipeline on."""
        single = type(step) is GeneratorType
        members = (step,) if single else step.members
        if not members:
            return task, [], None
        join = Join(task, len(members), single=single)
        sinks: list[Member | Slot] = [
            Member(m, join, i) if type(m) is GeneratorType else Slot(join, i) for i, m in enumerate(members)
        ]
        with self._board.lock:
            if task.dead:
                return _dead(task)  # fresh members need no closing: nothing of theirs has begun
            task.request.helped = False  # several steps at once: the threads may take their share
            join.members, task.pending = sinks, join
        # A failure ends the join, and the members still in `todo` are closed when they come up.
        todo += [(sink, None, None) for sink in reversed(sinks) if isinstance(sink, Member)]
        for sink, member in zip(sinks, members, strict=True):
            if isinstance(sink, Slot) and (moved := self._launched(sink, member, todo)) is not None:
                todo.append(moved)
        return None

    def _launched(self, slot: Slot, member: Any, todo: list[Next]) -> Next | None:
        try:
            if type(member) is All:
                nested = Member(_yielding(member), slot.join, slot.index)
                with self._board.lock:
                    slot.join.members[slot.index] = nested
                return nested, None, None
            return self._step(slot, member, todo)
        except Exception as refused:
            return self._joined(slot.join, slot.index, None, refused)

    def _returned(self, task: Task, value: Any, error: BaseException | None) -> Next | None:
        """A pipeline has ended: so has its request, or the All that it is a member of moves on."""
        if isinstance(task, Request):
            self._end(task, "result" if error is None else "error", value, error)
            return None
        return self._joined(task.join, task.index, value, error)

    def _joined(self, join: Join, index: int, value: Any, error: BaseException | None) -> Next | None:
        """One answer of an All is there; the pipeline that waits for it, if that was the last or an error."""
        closing: list[Generated] = []
        with self._board.lock:
            if join.dead:
                return None
            if error is not None:
                self._board.drop_all(join, closing)
            else:
                join.answers[index] = value
                join.left -= 1
                if join.left:
                    return None
            join.task.pending = None
        self._close(closing)
        return join.task, (join.answers[0] if join.single else join.answers), error


def _named(ticket: Ticket, key: Callable[[], bytes] | Any) -> Key:
    """The key of a call among the calls of its lane: whose it is, its shapes and dtypes, and its content."""
    return ticket.sink.request.tenant, id(ticket.shape), key()


def closed(generator: Generated) -> None:
    """Close a pipeline that nobody wants any more; what it raises then reaches nobody."""
    with contextlib.suppress(Exception):
        generator.close()


def _dead(sink: Sink) -> Next | None:
    """Its request has ended meanwhile: `advance` closes it when it comes up."""
    return None if isinstance(sink, Slot) else (sink, None, None)


def _yielding(step: Any) -> Any:
    """A pipeline of one step."""
    return (yield step)
