"""Board: everything that waits, under one lock. It decides what is next and runs nothing.

    requests ── tickets ──▶ lanes ── groups ──▶ ready ──▶ next_batch
             └─ chores  ──▶ line ─────────────────────▶ next_chore
             └─ deadlines ────────────────────────────▶ next_late

Methods are called with the lock, unless they say otherwise.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from saccade.runtime.cache import Cache
from saccade.runtime.call import Graph
from saccade.runtime.scheduling.crew import Crew
from saccade.runtime.scheduling.foresight import Foresight
from saccade.runtime.scheduling.journal import Journal
from saccade.runtime.scheduling.lane import Choice, Group, Lane
from saccade.runtime.scheduling.line import Line
from saccade.runtime.scheduling.policy import NEVER, Policy
from saccade.runtime.scheduling.request import Chore, Join, Member, Pending, Request, Sink, Ticket
from saccade.runtime.scheduling.streams import Streams
from saccade.runtime.scheduling.times import Times

if TYPE_CHECKING:
    from saccade.runtime.scheduling.request import Generated

_NOTHING = Choice(1, Times(1), [])
_GRAIN_S = 0.002  # deadlines are looked at no more often


class Batch:
    """One engine run to be.

    joined: its calls share inputs and run along their items
    late: requests found hopeless while it was put together
    """

    __slots__ = ("group", "joined", "late", "tickets")

    def __init__(self, group: Group, tickets: list[Ticket], late: list[Request], *, joined: bool = False):
        self.group, self.tickets, self.late, self.joined = group, tickets, late, joined


class Late(list[Request]):
    """Requests whose deadline has passed."""


class Board:
    """The scheduler's state. running: engine runs under way; caches: what keeps the answers of calls with a key."""

    def __init__(self, policy: Policy, clock: Callable[[], float], run: Callable[[Any], None]):
        self.policy, self.clock = policy, clock
        self.lock = threading.RLock()  # a forgotten scheduler may be collected, and so stopped, while it is held
        self.calm = threading.Condition(self.lock)  # told when the last request ends while closing
        self.requests: dict[int, Request] = {}
        self.journal, self.foresight, self.streams = Journal(), Foresight(), Streams()
        self.running = self.number = 0
        self.closing = False
        self.lanes: dict[Graph, Lane] = {}
        self.caches: dict[Graph, Cache] = {}
        self._ready: list[tuple[float, int, int, Group]] = []
        self._posts = 0
        self._chores: Line[Chore] = Line()
        self._deadlines: list[tuple[float, int, Request]] = []
        self._delay_s = policy.max_delay_ms / 1e3
        self.engines = Crew("saccade-engine", policy.workers, self.lock, self.next_batch, run)
        self.hosts = Crew("saccade-host", policy.hosts, self.lock, self.next_chore, run)
        self.timer = Crew("saccade-timer", 1, self.lock, self.next_late, run)

    def lane(self, graph: Graph) -> Lane:
        """The lane of a graph. Called without the lock."""
        with self.lock:
            return self.lanes.setdefault(graph, Lane(graph, self.policy))

    def push(self, ticket: Ticket) -> None:
        """Let a call wait for its engine."""
        group = ticket.group
        group.line.push(ticket)
        group.meet(ticket)
        posted = group.posted
        if posted is None:
            group.since = ticket.since
            self._post(group, ticket.rank, ticket.number)
        elif ticket.rank < posted[0]:
            self._post(group, ticket.rank, ticket.number)
        elif not self._delay_s or not group.full():
            return
        if not ticket.sink.request.helped:
            self.engines.wake()

    def chore(self, chore: Chore) -> None:
        """Let something wait for a host thread."""
        chore.taken = False
        self._chores.push(chore)
        if chore.sink is None or not chore.sink.request.helped:
            self.hosts.wake()

    def promote(self, ticket: Ticket, by: Request) -> None:
        """Another request shares a call that waits: it goes as early as the more urgent of them."""
        if not ticket.taken and (by.rank, by.number) < (ticket.rank, ticket.number):
            ticket.rank, ticket.number = by.rank, by.number
            group = ticket.group
            group.line.promote(ticket, by.rank, by.number)
            if group.posted is None or (by.rank, by.number) < group.posted:
                self._post(group, by.rank, by.number)

    def due(self, request: Request) -> None:
        """Watch a request's deadline."""
        heap = self._deadlines
        heapq.heappush(heap, (request.deadline, request.number, request))
        if heap[0][2] is request:
            self.timer.wake()
        if len(heap) > 64 + 4 * len(self.requests):  # ended ones hold their results
            self._deadlines = [entry for entry in heap if not entry[2].ended]
            heapq.heapify(self._deadlines)

    def next_batch(self) -> tuple[Batch | None, float | None]:
        """What an engine should run now; else how long to wait until that may change without a new call."""
        if self.running >= self.policy.workers:
            return None, None
        now, delayed, soon = self.clock(), [], NEVER
        batch = None
        while batch is None and self._ready:
            rank, number, _, group = heapq.heappop(self._ready)
            if group.posted != (rank, number):
                continue
            group.posted = None
            head = group.line.head()
            if head is None:
                continue
            if (head.rank, head.number) > (rank, number):  # who was posted has been dropped
                self._post(group, head.rank, head.number)
            elif self._delay_s and (wait := self._wait(group, head, now)) > 0:
                delayed.append((group, head))
                soon = min(soon, wait)
            else:
                batch = self._fill(group, now)
        for group, head in delayed:
            self._post(group, head.rank, head.number)
        if batch is None:
            return None, (soon if soon != NEVER else None)
        self.running += 1
        if self._ready:
            self.engines.wake()
        return batch, None

    def next_chore(self) -> tuple[Chore | None, None]:
        """What a host thread should do now."""
        chore = self._chores.pop()
        if chore is not None and self._chores.count:
            self.hosts.wake()
        return chore, None

    def next_late(self) -> tuple[Late | None, float | None]:
        """Requests whose deadline has passed; else how long until the next one does."""
        heap, now, late = self._deadlines, self.clock(), Late()
        while heap and (heap[0][0] <= now or heap[0][2].ended):
            request = heapq.heappop(heap)[2]
            if not request.ended:
                late.append(request)
        if late:
            return late, None
        return None, (max(heap[0][0] - now, _GRAIN_S) if heap else None)

    def drop(self, sink: Sink, closing: list[Generated]) -> None:
        """Nobody wants this sink's answer any more: forget what it waits for; `closing` gets generators to close."""
        pending, sink.pending = sink.pending, None
        if not isinstance(sink, Request | Member):
            if pending is not None:
                self._forget(pending, sink, closing)
            return
        sink.dead = True
        if pending is not None:  # else a thread drives it, and closes it when it next comes by here
            self._forget(pending, sink, closing)
            closing.append(sink.generator)

    def drop_all(self, join: Join, closing: list[Generated]) -> None:
        """The same for every member of an All."""
        join.dead = True
        for member in join.members:
            self.drop(member, closing)

    def finished(self, group: Group, rows: int, seconds: float, *, joined: bool = False, lone: bool = True) -> None:
        """An engine run of so many rows is over. lone: of one call, the smallest of either kind."""
        self.running -= 1
        if rows:
            if not joined:
                group.times.add(rows, seconds)
            if joined or (lone and group.joined.cap > 1):
                group.joined.add(rows, seconds)
            self.journal.runs += 1
            self.journal.rows += rows
            self.journal.busy_s += seconds
        if self._ready:
            self.engines.wake()

    def _post(self, group: Group, rank: float, number: int) -> None:
        group.posted = (rank, number)
        self._posts += 1
        heapq.heappush(self._ready, (rank, number, self._posts, group))

    def _wait(self, group: Group, head: Ticket, now: float) -> float:
        """Seconds that the group's next run should still wait for company."""
        if group.full() or self.closing:
            return 0.0
        until = group.since + self._delay_s
        expected = group.times.expected(group.line.rows)
        if head.deadline != NEVER and expected is not None:
            until = min(until, head.deadline - 2 * expected[1])
        return until - now

    def _fill(self, group: Group, now: float) -> Batch | None:
        """The group's next run, without those that cannot be in time."""
        line, late = group.line, []
        batch: list[Ticket] = []
        chosen = _NOTHING
        while (head := line.head()) is not None:
            chosen = group.next(head)
            if head.deadline == NEVER:
                break
            line.pop()
            fits = self._fitting(group, head, chosen, now)
            if fits:
                batch, chosen = [head], chosen._replace(rows=fits)
                break
            group.lane.flights.leave(head)  # or another call could still come on board
            group.part(head)
            late += [sink.request for sink in head.sinks()]
        joined = self._join(group, chosen, batch)
        if not joined:
            line.take(chosen.rows, batch)
        for ticket in batch:
            group.part(ticket)
        if (head := line.head()) is not None:
            group.since = min(now, head.since)
            self._post(group, head.rank, head.number)
        return Batch(group, batch, late, joined=joined) if batch or late else None

    def _join(self, group: Group, chosen: Choice, batch: list[Ticket]) -> bool:
        """Take the calls that share the first one's inputs, as many as should run together; False if none does."""
        if not chosen.mates:
            return False
        if not batch and (head := group.line.pop()) is not None:
            batch.append(head)
        left = chosen.rows - sum([ticket.rows for ticket in batch])
        for mate in chosen.mates:
            if mate.rows <= left:
                group.line.claim(mate)
                batch.append(mate)
                left -= mate.rows
        return len(batch) > 1

    def _fitting(self, group: Group, ticket: Ticket, chosen: Choice, now: float) -> int:
        """The largest run, up to the chosen one, that is done in time for the call that would lead it; 0 if none is."""
        want, times = chosen.rows, chosen.times
        slack, following = ticket.deadline - now, group.line.head()
        if slack <= 0:
            return 0
        request = ticket.sink.request
        at_best, to_be_safe = self.foresight.left(request, group.lane.graph)
        # With a full run of others waiting, a smaller one for the sake of this call would cost them more.
        crowded = following is not None and following.sink.request.priority <= request.priority
        crowded = crowded and group.line.rows >= want
        rows = max(want, ticket.rows)
        while (expected := times.expected(rows)) is not None and expected[1] + to_be_safe > slack:
            if rows == ticket.rows or crowded:
                hopeless = expected[0] + at_best > slack
                return 0 if hopeless or following is not None else rows
            rows = max(rows // 2, ticket.rows)
        return rows

    def _forget(self, pending: Pending, sink: Sink, closing: list[Generated]) -> None:
        if isinstance(pending, Join):
            self.drop_all(pending, closing)
        elif isinstance(pending, Chore):
            if not pending.taken:
                self._chores.drop(pending)
        elif pending.others is not None:
            if pending.sink is sink:
                pending.sink = pending.others.pop(0)
            else:
                pending.others.remove(sink)
            pending.others = pending.others or None
        else:
            pending.group.lane.flights.leave(pending)
            if not pending.taken:
                pending.group.line.drop(pending)
                pending.group.part(pending)
                pending.inputs = None
