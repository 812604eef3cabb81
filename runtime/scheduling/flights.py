"""Flights: calls of one graph with equal keys share one run (single flight).

A key is a hash of the inputs' content, which may cost more than preparing them. So it is asked for only when two calls
that have one are there at the same time, or a cache keeps what calls gave. Equal bytes are the same question only from
one tenant and in one shape and dtype.
"""

from __future__ import annotations

from typing import Any

from saccade.runtime.scheduling.policy import NEVER
from saccade.runtime.scheduling.request import Sink, Ticket

Key = tuple[Any, ...]


class Flights:
    """The keyed calls of one lane that wait or run. Guarded by the board's lock.

    lone: the only one, whose key nobody has needed yet; key_s: what a key costs
    """

    __slots__ = ("_keyed", "key_s", "lone")

    def __init__(self) -> None:
        self.lone: Ticket | None = None
        self.key_s = NEVER
        self._keyed: dict[Key, Ticket] = {}

    @property
    def empty(self) -> bool:
        """Whether no keyed call is there."""
        return self.lone is None and not self._keyed

    def name(self, ticket: Ticket, key: Key) -> None:
        """Let others with that key find this call."""
        if self.lone is ticket:
            self.lone = None
        ticket.key = key
        self._keyed[key] = ticket

    def board(self, key: Key, sink: Sink) -> Ticket | None:
        """Let `sink` share the run of the call with that key; None if there is none."""
        ticket = self._keyed.get(key)
        if ticket is None:
            return None
        if ticket.others is None:
            ticket.others = []
        ticket.others.append(sink)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """The run is done, or nobody wants it."""
        if self.lone is ticket:
            self.lone = None
        elif self._keyed.get(ticket.key) is ticket:
            del self._keyed[ticket.key]
