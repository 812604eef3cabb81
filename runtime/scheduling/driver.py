"""Driver: begins and ends requests, and does the jobs that the board gives out.

    begin ──▶ steps ──▶ board ──▶ run: Batch ──▶ runs  ─┐
                ▲                      Chore ──▶ work  ─┤
                └────────────── answers ◀───────────────┘

Any thread may do any of it: the one that submits, one that waits for a result, or a crew's.
"""

from __future__ import annotations

from asyncio import _get_running_loop  # what asyncio.get_running_loop calls, without an exception where there is none
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from saccade.runtime import tracing
from saccade.runtime.call import Graph
from saccade.runtime.engines import Engine
from saccade.runtime.errors import DeadlineExceeded
from saccade.runtime.scheduling.answer import Answer
from saccade.runtime.scheduling.board import Batch, Board, Late
from saccade.runtime.scheduling.faults import Distrust
from saccade.runtime.scheduling.policy import Policy
from saccade.runtime.scheduling.request import Chore, Join, Request, Slot, Ticket
from saccade.runtime.scheduling.runs import Runs
from saccade.runtime.scheduling.steps import Steps, closed
from saccade.runtime.spec import Array

if TYPE_CHECKING:
    from saccade.runtime.scheduling.request import Generated


class Driver:
    """Moves requests on. It owns the board, and through it the threads."""

    def __init__(
        self, engine_of: Callable[[Graph], Engine], distrust: Distrust, policy: Policy, clock: Callable[[], float]
    ):
        self.board = Board(policy, clock, self.run)
        self._clock, self._policy = clock, policy
        self._runs = Runs(engine_of, policy, self.board, distrust)
        self._steps = Steps(self.board, self._runs, self.end, self._close)

    def run(self, job: Batch | Chore | Late) -> None:
        """Do what the board gave out."""
        if type(job) is Batch:
            self._run_batch(job)
        elif type(job) is Chore:
            self._run_chore(job)
        elif type(job) is Late:
            self._expire(job)

    def begin(self, request: Request) -> None:
        """Advance a request for the first time: here, or on a host thread if this is an event loop's."""
        if _get_running_loop() is None:
            self._steps.advance(request, None, None)
            return
        with self.board.lock:
            if not request.dead:
                request.pending = Chore(request, None, (), self._clock())
                self.board.chore(request.pending)

    @property
    def stalled_s(self) -> float:
        """Seconds that the longest engine run under way has taken so far."""
        return max([self._clock() - since for since in list(self._runs.since.values())], default=0.0)

    def measure(self, graph: Graph, inputs: Mapping[str, Array], seconds: float) -> None:
        """Measure runs of one call and of several together, in this thread."""
        self._runs.measure(self.board.lane(graph), inputs, seconds)

    def help(self, request: Request) -> None:
        """Do the request's own steps in this thread, as long as it is the only one there is."""
        board = self.board
        if _get_running_loop() is not None:
            return
        try:
            while not request.dead:
                with board.lock:
                    job: Any = None
                    if len(board.requests) == 1 and not board.running and not request.dead:
                        job = board.next_batch()[0] or board.next_chore()[0]
                    request.helped = job is not None and not isinstance(request.pending, Join)
                    if job is None:
                        if isinstance(request.pending, Ticket | Join):
                            board.engines.wake()
                        if isinstance(request.pending, Chore | Join):
                            board.hosts.wake()
                        return
                self.run(job)
        except BaseException as error:  # such as KeyboardInterrupt: it reaches the caller, and the request ends
            self.end(request, "error", error=error)
            raise

    def cancel(self, request: Request) -> bool:
        """End a request by its caller's wish; False if it has ended otherwise."""
        return self.end(request, "cancelled") or request.ended == "cancelled"

    def end(self, request: Request, how: str, result: Any = None, error: BaseException | None = None) -> bool:
        """End a request, once; False if it had ended. Its future is set after all else."""
        board = self.board
        closing: list[Generated] = []
        now = self._clock()
        with board.lock:
            if request.ended:
                return False
            if how == "result" and now > request.deadline:
                how, error = "expired", too_late(request)
            request.ended = how
            request.age_ms = (now - request.sent) * 1e3
            board.drop(request, closing)
            del board.requests[request.number]
            board.journal.end(request.number, how, request.stream, request.age_ms)
            if how == "result" and request.trail is not None:
                board.foresight.learn(request)
            if request.stream and (following := board.streams.ended(request)) is not None:
                self._follow(following, now)
            if board.closing and not board.requests:
                board.calm.notify_all()
        if closing:
            self._close(closing)
        request.driver = None
        trace = tracing.active
        if trace is not None:
            trace.request(request, now)
        if how == "cancelled" and error is None:
            Answer.cancel(request)
            request.set_running_or_notify_cancel()  # tells concurrent.futures.wait and as_completed
        else:
            request.finish(result, error)
        return True

    def _follow(self, request: Request, now: float) -> None:
        """The frame that waited may start. Its rank is of now, so that streams take turns."""
        chore = request.pending
        assert isinstance(chore, Chore)
        chore.rank = request.rank = self._policy.rank(now, request.priority, request.deadline)
        self.board.chore(chore)

    def _close(self, generators: list[Generated]) -> None:
        """Close pipelines that were dropped: not on an event loop's thread, their `finally` may take long."""
        if generators and _get_running_loop() is not None:
            with self.board.lock:
                for generator in generators:
                    self.board.chore(Chore(None, closed, (generator,), self._clock()))
            return
        for generator in generators:
            closed(generator)

    def _run_chore(self, chore: Chore) -> None:
        sink = chore.sink
        if sink is None:
            if chore.function is not None:
                chore.function(*chore.args)
            return
        value = error = None
        started = self._clock()
        if chore.function is not None:
            value, error = self._steps.done(chore.function, chore.args)
        ended = self._clock()
        with self.board.lock:
            if sink.dead or sink.pending is not chore:
                return
            sink.pending = None
            sink.request.served_s += ended - started
        trace = tracing.active
        if trace is not None:
            trace.chore(chore, started, ended)
        self._steps.deliver(sink, value, error)

    def _run_batch(self, batch: Batch) -> None:
        self._expire(batch.late)
        advance, deliver = self._steps.advance, self._steps.deliver
        for sink, value, error in self._runs(batch):
            if isinstance(sink, Slot):
                deliver(sink, value, error)
            else:
                advance(sink, value, error)

    def _expire(self, requests: list[Request]) -> None:
        for request in requests:
            self.end(request, "expired", error=too_late(request))


def too_late(request: Request) -> DeadlineExceeded:
    """The error of a request that is not done in time."""
    allowed = (request.deadline - request.sent) * 1e3
    return DeadlineExceeded(
        f"[scheduler] request {request.number}: cannot be done within {allowed:.1f} ms",
        hint="allow more time, send less, or give urgent requests a smaller `priority`",
    )
