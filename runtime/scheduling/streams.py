"""Streams: latest-wins. A stream has one request under way and one place for the newest that waits.

    frame 1 ──▶ under way          frame 2 ──▶ waits          frame 3 ──▶ waits, and frame 2 ends as Superseded

So results come in order, and the age of an answer is at most one service time and one frame. Streams take turns: the
frame that waited joins the queue when its predecessor is done, behind the other streams; one that is still in the queue
when a newer one comes leaves it its place there.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, TypeGuard

from saccade.runtime.errors import InputError
from saccade.runtime.scheduling.request import Chore, Request, Ticket

if TYPE_CHECKING:
    from saccade.runtime.scheduling.request import Generated

_IDLE = 1024  # streams remembered that have nothing under way


class _Stream:
    __slots__ = ("current", "owner", "waiting")

    def __init__(self, owner: Any):
        self.owner = owner
        self.current: Request | None = None
        self.waiting: Request | None = None


class Streams:
    """By name. Guarded by the board's lock."""

    def __init__(self) -> None:
        self._streams: OrderedDict[str, _Stream] = OrderedDict()

    def full(self, name: str) -> bool:
        """Whether the next request of the stream takes the place of one that waits."""
        stream = self._streams.get(name)
        return stream is not None and (stream.waiting is not None or _untouched(stream.current))

    def check(self, name: str, generator: Generated) -> None:
        """Raise InputError if the stream belongs to another model or another of its methods."""
        stream = self._streams.get(name)
        if stream is not None and stream.owner != _owner(generator):
            raise InputError(
                f"[scheduler] stream {name[:64]!a} carries {stream.owner[0].co_qualname}, "
                f"not this {generator.gi_code.co_qualname}",
                hint="a newer frame would supersede the other model's: give each model a stream of its own, "
                "such as 'camera0/clip'",
            )

    def offer(self, request: Request) -> tuple[bool, Request | None]:
        """(whether it may start now, the request that it supersedes)."""
        stream = self._streams.get(request.stream)
        if stream is None:
            stream = self._streams[request.stream] = _Stream(_owner(request.generator))
        self._streams.move_to_end(request.stream)
        if stream.current is None:
            stream.current = request
            self._forget()
            return True, None
        current, waiting = stream.current, stream.waiting
        if _untouched(current):
            request.rank, stream.current = current.rank, request
            return True, current
        stream.waiting = request
        return False, waiting

    def ended(self, request: Request) -> Request | None:
        """Note the end of a request of a stream; the one that may start now, if any."""
        stream = self._streams.get(request.stream)
        if stream is None:
            return None
        if stream.waiting is request:
            stream.waiting = None
        if stream.current is not request:
            return None
        stream.current, stream.waiting = stream.waiting, None
        return stream.current

    def _forget(self) -> None:
        while len(self._streams) > _IDLE:
            idle = next((name for name, stream in self._streams.items() if stream.current is None), None)
            if idle is None:
                return
            del self._streams[idle]


def _untouched(request: Request | None) -> TypeGuard[Request]:
    """Whether nothing has been run for it."""
    if request is None or request.served_s:
        return False
    return isinstance(request.pending, Ticket | Chore) and not request.pending.taken


def _owner(generator: Generated) -> tuple[Any, int]:
    """What a fresh pipeline will run: its code, and the object whose method it is."""
    frame = generator.gi_frame
    return generator.gi_code, id(frame.f_locals.get("self")) if frame is not None else 0
