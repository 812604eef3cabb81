"""Scheduler: many requests at once, from threads or asyncio, with calls of different requests merged on every graph.

    threads ──submit(), call()──▶ ┐                                ┌─▶ result, or
    asyncio ──await run()───────▶ ┼─ pipelines ── lanes ── engines ┼─▶ a typed error, or
    cameras ──stream=───────────▶ ┘                                └─▶ cancelled, superseded, expired: each exactly once

Engines belong to the models; the scheduler runs them. What it decides by is in scheduling/policy.py.
"""

from __future__ import annotations

import asyncio
import functools
import math
import time
import weakref
from collections.abc import Callable
from types import GeneratorType, TracebackType
from typing import Any, Unpack

from saccade.runtime.call import Graph, Pipeline
from saccade.runtime.engines import Engine, Engines
from saccade.runtime.errors import Cancelled, Closed, InputError, QueueFull, Superseded
from saccade.runtime.model import Model
from saccade.runtime.scheduling.board import Board
from saccade.runtime.scheduling.driver import Driver, too_late
from saccade.runtime.scheduling.foresight import START
from saccade.runtime.scheduling.journal import Journal
from saccade.runtime.scheduling.owners import Owners
from saccade.runtime.scheduling.policy import NEVER, Policy, Terms
from saccade.runtime.scheduling.request import Chore, Request
from saccade.runtime.scheduling.view import View

GRACE_S = 2.0
"""How long close() waits for an engine run that is under way before it leaves its thread behind."""


class Scheduler:
    """Drives pipelines of the given models.

    models: whose engines run; a pipeline may combine several
    engines: an owner of engines for graphs of models not given here
    policy: see saccade.runtime.scheduling.policy.Policy: merge, batches, max_batch, max_delay_ms, patience_ms,
        max_open, workers, hosts, nan
    clock: seconds, never going back; threads: without them nothing runs but by `turn()`, which tests use
    Raises SettingsError for a policy that means nothing. Close it, or use it in a `with` block.
    """

    def __init__(
        self,
        *models: Model,
        engines: Engines | Callable[[Graph], Engine] | None = None,
        clock: Callable[[], float] = time.monotonic,
        threads: bool = True,
        **policy: Any,
    ):
        self.policy = Policy.of(**policy)
        self._owners = Owners(engines)
        self._clock, self._threads = clock, threads
        self._driver = Driver(self._owners.engine, self._owners.distrust, self.policy, clock)
        self._board = self._driver.board
        for model in models:
            self._adopt(model)
        if threads:
            for crew in _crews(self._board):
                crew.start()
        self._finalizer = weakref.finalize(self, _stop, self._board)

    def submit(
        self,
        pipeline: Pipeline[Any],
        *,
        priority: int = 0,
        deadline_ms: float | None = None,
        stream: str = "",
        tenant: str = "",
    ) -> Request:
        """Start a pipeline and give the future of its result. Returns before any engine runs.

        pipeline: a fresh one, such as `model.pipeline.classify(picture, labels)`
        priority: smaller goes first; a step is worth `patience_ms` of waiting, so nobody starves
        deadline_ms: from now; a request that cannot be done by then ends with DeadlineExceeded as soon as that is known
        stream: a name that makes the request latest-wins: a newer one of that name takes its place while it waits, and
            it ends with Superseded. Results of a stream come in order; a stream belongs to one method of one model.
        tenant: whose request it is: calls with equal keys share runs and what a cache keeps only within a tenant, so
            nobody can learn from a fast answer what others have asked. Streams are the tenant's own, too.
        Raises QueueFull, with an estimate of when to try again, Closed, or InputError for arguments that mean nothing.
        """
        return self._send(pipeline, priority, deadline_ms, stream, tenant)

    def call(self, pipeline: Pipeline[Any], **terms: Unpack[Terms]) -> Any:
        """`submit` and wait: the result itself.

        As long as nothing else is open, this thread does all of it and no other is woken.
        Raises what `submit` raises, and what the pipeline does; InputError on an event loop's thread.
        """
        if asyncio._get_running_loop() is not None:
            pipeline.close()
            raise InputError("[scheduler] call() would block the event loop", hint="await scheduler.run(…)")
        request = self._send(pipeline, **terms, waits=True)
        try:
            return request.result()
        except BaseException:
            request.cancel()  # such as KeyboardInterrupt; one that has ended stays as it is
            raise

    async def run(self, pipeline: Pipeline[Any], **terms: Unpack[Terms]) -> Any:
        """`submit` for asyncio: the result itself. No step of the pipeline runs on the event loop's thread.

        Cancelling the task cancels the request.
        """
        return await asyncio.wrap_future(self.submit(pipeline, **terms))

    def model(self, model: Model, **terms: Unpack[Terms]) -> View:
        """The model's methods, giving futures: `scheduler.model(clip).classify(picture, labels).result()`."""
        self._adopt(model)
        return View(functools.partial(self.submit, **terms), model.pipeline)

    def warm_up(self, *models: Model, seconds: float = 5.0) -> None:
        """Open every engine and measure batch sizes, so that neither the first requests nor admission have to guess.

        seconds: for each graph, at most, beyond its first two runs. Needs the bundles' golden inputs.
        """
        for model in models:
            self._adopt(model)
            golden = model.bundle.golden()
            for graph in model.pipeline.graphs:
                inputs = {t.name: golden.get(f"{graph.name}.{t.name}") for t in graph.spec.inputs}
                if all(array is not None for array in inputs.values()):
                    self._driver.measure(graph, inputs, seconds)

    @property
    def journal(self) -> Journal:
        """How requests ended so far; `journal.counts()` is a copy."""
        return self._board.journal

    @property
    def stalled_s(self) -> float:
        """Seconds that the longest engine run under way has taken so far: far above the usual, its engine hangs."""
        return self._driver.stalled_s

    def turn(self) -> bool:
        """Do one thing that is due, in this thread; False if nothing is. For schedulers without threads."""
        board = self._board
        with board.lock:
            job = board.next_late()[0] or board.next_chore()[0] or board.next_batch()[0]
        if job is not None:
            self._driver.run(job)
        return job is not None

    def close(self, *, drain: bool = True, timeout_s: float | None = None) -> bool:
        """Take no more requests, and end those there are. True if every thread has ended.

        drain: finish what is open, for at most `timeout_s` seconds; what is left then, or everything without `drain`,
            ends with Cancelled
        An engine run under way is waited for, but not longer than two seconds: a hung one leaves its thread behind.
        """
        board = self._board
        with board.lock:
            board.closing = True
            board.engines.wake()  # a batch that waits for company goes now
            if drain and self._threads:
                board.calm.wait_for(lambda: not board.requests, timeout_s)
            left = list(board.requests.values())
        while drain and not self._threads and self.turn():
            left = list(board.requests.values())
        for request in left:
            text = f"[scheduler] request {request.number}: the scheduler was closed"
            self._driver.end(request, "cancelled", error=Cancelled(text, hint="close(drain=True) waits for it"))
        self._finalizer()
        return all([crew.join(GRACE_S) for crew in _crews(board)]) if self._threads else True

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close(drain=kind is None)

    def __repr__(self) -> str:
        return f"Scheduler({self.journal.counts()})"

    def _adopt(self, model: Model) -> None:
        self._owners.adopt(model)
        if model.cache is not None:
            self._board.caches.update(dict.fromkeys(model.pipeline.graphs, model.cache))

    def _send(
        self,
        pipeline: Any,
        priority: int = 0,
        deadline_ms: float | None = None,
        stream: str = "",
        tenant: str = "",
        *,
        waits: bool = False,
    ) -> Request:
        """Enter a request and begin it. waits: its caller will be in result() next, and help."""
        now = self._clock()
        try:
            deadline = self._check(pipeline, priority, deadline_ms, stream, now)
            if tenant:
                stream = _named(tenant, stream)
            request = Request(self._driver, pipeline, now, priority, deadline, stream)
            request.helped, request.tenant = waits, tenant
            started, replaced = self._accept(request, now)
        except BaseException:
            if type(pipeline) is GeneratorType and not pipeline.gi_suspended and not pipeline.gi_running:
                pipeline.close()
            raise
        if replaced is not None:
            hint = "nothing to do: the newer one is answered"
            text = f"[scheduler] request {replaced.number}: request {request.number} of stream {stream[:64]!a} is newer"
            self._driver.end(replaced, "superseded", error=Superseded(text, hint=hint))
        if started:
            self._driver.begin(request)
        elif started is None:
            self._driver.end(request, "expired", error=too_late(request))
        return request

    def _check(self, pipeline: Any, priority: Any, deadline_ms: Any, stream: Any, now: float) -> float:
        """The deadline by the clock. Raises InputError."""
        if type(pipeline) is not GeneratorType:
            raise InputError(
                f"[scheduler] expected a pipeline, got {type(pipeline).__name__}",
                hint="give model.pipeline.method(…): model.method(…) runs at once and gives the result",
            )
        if pipeline.gi_suspended or pipeline.gi_running:
            raise InputError("[scheduler] the pipeline has begun elsewhere", hint="make a new one: each runs once")
        if type(priority) is not int:
            raise InputError(f"[scheduler] priority: {priority!r}", hint="a whole number; smaller goes first")
        if type(stream) is not str:
            raise InputError(f"[scheduler] stream: expected a name, got {stream!r}", hint="such as 'camera0'")
        if deadline_ms is None:
            return NEVER
        if type(deadline_ms) not in (int, float) or not 0 < deadline_ms < math.inf:
            raise InputError(f"[scheduler] deadline_ms: {deadline_ms!r}", hint="milliseconds from now, above 0")
        return now + float(deadline_ms) / 1e3

    def _accept(self, request: Request, now: float) -> tuple[bool | None, Request | None]:
        """Enter a request: (whether it starts now, or None if it is hopeless; the one it supersedes)."""
        board, stream = self._board, request.stream
        with board.lock:
            if board.closing:
                raise Closed("[scheduler] it is closed", hint="make a new one")
            if len(board.requests) >= self.policy.max_open and not (stream and board.streams.full(stream)):
                board.journal.refused += 1
                raise self._full()
            if stream:
                board.streams.check(stream, request.generator)
            board.number = request.number = board.number + 1
            request.rank = self.policy.rank(now, request.priority, request.deadline)
            board.requests[request.number] = request
            board.journal.sent += 1
            timed = request.deadline != NEVER
            if timed:
                board.due(request)
                if now + board.foresight.left(request, START)[0] > request.deadline:
                    return None, None
            board.foresight.begin(request, timed=timed)
            if not stream:
                return True, None
            starts, replaced = board.streams.offer(request)
            if not starts:
                request.pending = parked = Chore(request, None, (), now)
                parked.taken = True  # in no line yet
            return starts, replaced

    def _full(self) -> QueueFull:
        waits = len(self._board.requests) * self._board.journal.seconds_each() / self.policy.workers
        return QueueFull(
            f"[scheduler] {len(self._board.requests)} requests are open, at most {self.policy.max_open}",
            hint=f"try again in about {waits:.2f} s, or raise max_open",
            retry_after_s=waits,
        )


def _named(tenant: Any, stream: str) -> str:
    """The name of a tenant's stream. Raises InputError."""
    if type(tenant) is not str:
        raise InputError(f"[scheduler] tenant: expected a name, got {tenant!r}", hint="such as a customer's id")
    return f"{tenant}\0{stream}" if stream else ""


def _crews(board: Board) -> tuple[Any, ...]:
    return board.engines, board.hosts, board.timer


def _stop(board: Board) -> None:
    with board.lock:
        board.closing = True
        for crew in _crews(board):
            crew.stop()
