"""Policy: what the user of a scheduler may choose, and the rank that orders whatever waits."""

from __future__ import annotations

import math
from typing import Any, TypedDict

import msgspec

from saccade.runtime.errors import SettingsError

NEVER = math.inf


class Terms(TypedDict, total=False):
    """What a request may ask for, as Scheduler.submit says."""

    priority: int
    deadline_ms: float | None
    stream: str
    tenant: str


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How requests meet.

    merge: run calls of different requests on one graph together, as far as the graph's spec allows
    batches: fixed batch sizes, ascending; every run is filled up to one of them and axes that pad are always padded,
        so that on CPU back ends the same input gives the same bits whatever runs beside it
    max_batch: most rows of a merged run; the graph's own limits and measured times lower it
    max_delay_ms: how long a free engine waits for a batch to grow; 0 runs what waits
    patience_ms: what one step of priority is worth in waiting, and when a request without deadline is due
    max_open: most requests accepted and not yet ended; the next one raises QueueFull
    workers: engine runs side by side; one is right when an engine uses every core
    hosts: threads for `Work`
    nan: let NaN in outputs pass instead of failing the request
    quarantine: bad outputs (NaN, a wrong shape) of finite inputs after which an engine gives way to another that passes
        the golden check, or its graph is refused; 0 for never
    """

    merge: bool = True
    batches: tuple[int, ...] = ()
    max_batch: int = 32
    max_delay_ms: float = 0.0
    patience_ms: float = 1000.0
    max_open: int = 1024
    workers: int = 1
    hosts: int = 2
    nan: bool = False
    quarantine: int = 3

    @classmethod
    def of(cls, **chosen: Any) -> Policy:
        """A checked Policy. Raises SettingsError for an unknown name or a value that means nothing."""
        try:
            policy = msgspec.convert(chosen, cls)
        except msgspec.ValidationError as error:
            known = ", ".join(cls.__struct_fields__)
            raise SettingsError(f"[scheduler] {error}", hint=f"there is {known}") from None
        for name in ("max_batch", "max_open", "workers", "hosts", "patience_ms"):
            if not 0 < getattr(policy, name) < NEVER:
                raise SettingsError(f"[scheduler] {name}: {getattr(policy, name)}", hint="a number above 0")
        if policy.quarantine < 0:
            raise SettingsError(f"[scheduler] quarantine: {policy.quarantine}", hint="a count, 0 for never")
        if not 0 <= policy.max_delay_ms < NEVER:
            raise SettingsError(f"[scheduler] max_delay_ms: {policy.max_delay_ms}", hint="milliseconds, 0 for no delay")
        if list(policy.batches) != sorted(set(policy.batches)) or any(size < 1 for size in policy.batches):
            raise SettingsError(f"[scheduler] batches: {list(policy.batches)}", hint="ascending sizes such as (1, 8)")
        if policy.batches and not policy.merge:
            raise SettingsError("[scheduler] batches without merge", hint="leave one of the two out")
        return policy

    def rank(self, now: float, priority: int, deadline: float) -> float:
        """Where a request stands, in seconds of the clock; smaller goes first.

        Earliest deadline first; who has none is due `patience_ms` from now. A step of priority moves that by
        `patience_ms`, so urgent ones overtake, but only those that have not waited longer: nobody starves.
        """
        patience = self.patience_ms / 1e3
        due = deadline if deadline != NEVER else now + patience
        return due + priority * patience
