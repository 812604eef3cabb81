"""A request and what it may wait for.

    Request ── root pipeline                 Ticket ── a Call that waits in a lane
    Member  ── a pipeline inside an All      Chore  ── Work that waits for a host thread
    Join    ── an All with answers missing   Slot   ── where in a Join an answer belongs

A *sink* takes an answer: a Request, a Member or a Slot. All fields are guarded by the board's lock, but for a
generator's own run: `pending is None` means that one thread drives it, and only that thread touches it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from saccade.runtime.scheduling.answer import Answer
from saccade.runtime.scheduling.policy import NEVER

if TYPE_CHECKING:
    from types import GeneratorType

    from saccade.runtime.scheduling.driver import Driver
    from saccade.runtime.scheduling.lane import Group, Shape

    Generated = GeneratorType[Any, Any, Any]


class Request(Answer):
    """A submitted pipeline, and the future of its result.

    number: unique in this scheduler; ended: "" or how it ended, one of journal.ENDS
    sent, deadline: seconds of the scheduler's clock; age_ms: from submit to the end, None before
    """

    number = 0
    rank = 0.0
    ended = ""
    dead = False
    pending: Pending | None = None
    helped = False  # the thread in result() does the next step: wake nobody
    age_ms: float | None = None
    tenant = ""  # whose it is: nothing that was computed for one is given to another
    served_s = 0.0  # in engine runs and work, waiting left out
    trail: list[tuple[Any, float]] | None = None  # stages met and served_s there, if foresight learns from it

    def __init__(self, driver: Driver, generator: Generated, sent: float, priority: int, deadline: float, stream: str):
        self.driver: Driver | None = driver
        self.generator = generator
        self.sent, self.priority, self.deadline, self.stream = sent, priority, deadline, stream

    @property
    def request(self) -> Request:
        """Itself: every sink has one."""
        return self

    def result(self, timeout: float | None = None) -> Any:
        """The result; waits up to `timeout` seconds.

        While nothing else is going on and there is no timeout, the waiting thread does the work itself, which saves
        two changes of thread. Raises what the pipeline raised, a Dropped error, CancelledError or TimeoutError.
        """
        driver = self.driver
        if driver is not None and timeout is None:
            driver.help(self)
        del driver
        return super().result(timeout)

    def cancel(self) -> bool:
        """End it now unless it has ended; an engine run under way is not stopped, its outputs are dropped."""
        driver = self.driver
        return driver.cancel(self) if driver is not None else self.ended == "cancelled"

    def __repr__(self) -> str:
        return f"Request({self.number}, {self.ended or 'open'})"


class Member:
    """A pipeline that an All (or a bare yield) started."""

    __slots__ = ("dead", "generator", "index", "join", "pending", "request")

    def __init__(self, generator: Generated, join: Join, index: int):
        self.generator, self.join, self.index = generator, join, index
        self.request: Request = join.task.request
        self.dead = False
        self.pending: Pending | None = None


class Join:
    """An All whose answers are not complete.

    members: what is still waited for, so that it can be dropped when one fails
    single: a pipeline yielded bare: its answer is not a list
    """

    __slots__ = ("answers", "dead", "left", "members", "single", "task")

    def __init__(self, task: Task, count: int, *, single: bool = False):
        self.task, self.left, self.single = task, count, single
        self.answers: list[Any] = [None] * count
        self.members: list[Member | Slot] = []
        self.dead = False


class Slot:
    """A member of an All that is a plain Call or Work."""

    __slots__ = ("index", "join", "pending", "request")

    def __init__(self, join: Join, index: int):
        self.join, self.index = join, index
        self.request: Request = join.task.request
        self.pending: Pending | None = None

    @property
    def dead(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.join.dead


class Ticket:
    """A Call in a lane.

    rows: along the batch axis; since: when it came
    others: further sinks, when calls with equal keys share this run
    kept: the name under which a cache keeps the answer
    share: stands for the inputs that it may have in common with others of its group, while it waits
    """

    __slots__ = (
        "dead",
        "group",
        "inputs",
        "kept",
        "key",
        "number",
        "others",
        "rank",
        "rows",
        "shape",
        "share",
        "since",
        "sink",
        "taken",
    )

    def __init__(self, sink: Sink, group: Group, shape: Shape, inputs: Any, since: float):
        self.sink, self.group, self.shape, self.inputs, self.since = sink, group, shape, inputs, since
        request = sink.request
        self.rank, self.number, self.rows = request.rank, request.number, shape.rows
        self.dead = self.taken = False
        self.others: list[Sink] | None = None
        self.key: Any = None
        self.kept: bytes | None = None
        self.share: tuple[int, ...] = ()

    def sinks(self) -> list[Sink]:
        """Whoever waits for it."""
        return [self.sink] if self.others is None else [self.sink, *self.others]

    @property
    def deadline(self) -> float:
        """The latest deadline of whoever shares it: a run is worth while as long as one of them gains by it."""
        if self.others is None:
            return self.sink.request.deadline
        return max(sink.request.deadline for sink in self.sinks())


class Chore:
    """Something for a host thread: Work of a sink, a pipeline's first step, or tidying up."""

    __slots__ = ("args", "dead", "function", "number", "rank", "rows", "since", "sink", "taken")

    def __init__(self, sink: Sink | None, function: Callable[..., Any] | None, args: tuple[Any, ...], since: float):
        self.sink, self.function, self.args, self.since = sink, function, args, since
        self.rank, self.number = (-NEVER, 0) if sink is None else (sink.request.rank, sink.request.number)
        self.dead = self.taken = False
        self.rows = 1


Task = Request | Member
Sink = Request | Member | Slot
Pending = Ticket | Chore | Join
