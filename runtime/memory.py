"""Engines under a byte budget: opened when called, the one that was not used for longest given back first.

    call ──▶ Resident ──open? ─ yes ─▶ run (counted as in flight, so it cannot be evicted)
                          └ no ──▶ room? ─ evict idle ones, oldest first ─▶ open, measure ─▶ run

One Memory may serve the engines of many models. What can never fit is refused before anything is evicted in vain.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from saccade.runtime.engines import Engine
from saccade.runtime.errors import Closed, MemoryBudget, OutOfMemory, SettingsError
from saccade.runtime.spec import Array, GraphSpec

GUESS = 1.3
"""Of an engine that was never opened: its file's bytes times this, for weights that are laid out anew."""


class Resident:
    """An engine that comes and goes. Looks like any other; the first call after an eviction opens it again."""

    def __init__(self, memory: Memory, name: str, spec: GraphSpec, file_bytes: int, opener: Callable[[], Engine]):
        self.memory, self.name, self.spec, self.opener = memory, name, spec, opener
        self.file_bytes, self.nbytes = file_bytes, int(file_bytes * GUESS)
        self.engine: Engine | None = None
        self.loading = threading.Lock()
        self.flying, self.opened, self.runs = 0, 0, 0
        self.used = self.since = 0.0
        self.pinned = self.reserved = self.stale = self.closed = False

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """Run once. Raises MemoryBudget if there is no room, and what the engine raises."""
        engine = self.memory.begin(self)
        try:
            return engine(**inputs)
        finally:
            self.memory.end(self)

    @property
    def about(self) -> dict[str, Any]:
        """Of the engine behind; opens it."""
        engine = self.memory.begin(self)
        try:
            return {**engine.about, "resident_bytes": self.nbytes, "opened": self.opened}
        finally:
            self.memory.end(self, runs=0)

    def close(self) -> None:
        """Give the memory back for good."""
        self.memory.drop(self)


class Memory:
    """Owns the budget, not the engines' meaning.

    budget_bytes: for all resident engines together
    settle_s: an engine this young is evicted only if no older one will do, so that two that alternate do not thrash
    wait_s: how long a call waits for engines in flight to end before it is refused
    clock, rss: seconds; bytes of this process's memory
    """

    def __init__(
        self,
        budget_bytes: int,
        *,
        settle_s: float = 1.0,
        wait_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        rss: Callable[[], int] | None = None,
    ):
        if budget_bytes <= 0:
            raise SettingsError(f"[memory] budget_bytes: {budget_bytes}", hint="give a number of bytes above 0")
        self.budget_bytes, self.settle_s, self.wait_s, self.clock = budget_bytes, settle_s, wait_s, clock
        self._rss = rss or resident_bytes
        self._all: list[Resident] = []
        self._changed = threading.Condition()
        self.evictions = 0

    def adopt(self, name: str, spec: GraphSpec, file_bytes: int, opener: Callable[[], Engine]) -> Resident:
        """A Resident for an engine that `opener` opens. Nothing is opened yet."""
        made = Resident(self, name, spec, file_bytes, opener)
        with self._changed:
            self._all.append(made)
        return made

    def pin(self, resident: Resident, pinned: bool = True) -> None:
        """Keep it resident whatever comes, from its next call on; or no longer."""
        with self._changed:
            resident.pinned = pinned
            self._changed.notify_all()

    def renew(self, resident: Resident, opener: Callable[[], Engine]) -> None:
        """From its next opening on it is another engine; the present one goes as soon as no run is in flight on it."""
        with self._changed:
            resident.opener, resident.stale = opener, resident.engine is not None
            self._retire(resident)

    @property
    def used_bytes(self) -> int:
        """Of what is resident or being opened."""
        return sum(r.nbytes for r in self._all if r.reserved)

    def rows(self) -> list[dict[str, Any]]:
        """One row an engine, for people: `saccade inspect --resident` and metrics."""
        with self._changed:
            return [
                {"graph": r.name, "resident": r.engine is not None, "bytes": r.nbytes, "in_flight": r.flying,
                 "pinned": r.pinned, "opened": r.opened, "runs": r.runs}
                for r in self._all
            ]  # fmt: skip

    def begin(self, resident: Resident) -> Engine:
        """The open engine, counted as in flight until `end`."""
        with self._changed:
            resident.flying += 1  # from here on nobody evicts it
            engine = resident.engine
        if engine is not None:
            return engine
        try:
            with resident.loading:  # whoever comes second finds it open
                if resident.engine is None:
                    self._open(resident)
                assert resident.engine is not None
                return resident.engine
        except BaseException:
            self.end(resident)
            raise

    def end(self, resident: Resident, runs: int = 1) -> None:
        """One use less in flight, which was so many runs."""
        with self._changed:
            resident.flying -= 1
            resident.runs += runs
            resident.used = self.clock()
            self._retire(resident)
            self._changed.notify_all()

    def free(self, keep: Resident | None = None) -> int:
        """Evict whatever is idle and not pinned, but for `keep`; the bytes that were resident of it."""
        with self._changed:
            before = self.used_bytes
            for resident in [r for r in self._all if r.engine and not r.pinned and not r.flying and r is not keep]:
                self._evict(resident)
            self._changed.notify_all()
            return before - self.used_bytes

    def drop(self, resident: Resident) -> None:
        """Forget it; a run in flight ends on the engine it has."""
        with self._changed:
            resident.closed = True
            self._evict(resident)
            if resident in self._all:
                self._all.remove(resident)
            self._changed.notify_all()

    def _open(self, resident: Resident) -> None:
        with self._changed:
            if resident.closed:
                raise Closed(f"[{resident.name}] the model is closed", hint="load it again")
            self._make_room(resident)
            resident.reserved = True
        before = self._rss()
        try:
            engine = self._opened(resident)
        except BaseException:
            with self._changed:
                resident.reserved = False
                self._changed.notify_all()
            raise
        with self._changed:
            # The growth of the whole process is an upper bound when others open beside, the file's size a lower one.
            # One that is opened again may lie where it lay, so that nothing grows.
            least = resident.nbytes if resident.opened else resident.file_bytes
            most = int(4 * GUESS * resident.file_bytes)
            resident.nbytes = max(least, min(self._rss() - before, most))
            resident.engine, resident.opened = engine, resident.opened + 1
            resident.since = resident.used = self.clock()
            self._trim(keep=resident)

    def _opened(self, resident: Resident) -> Engine:
        """A new engine. Where there is no memory for it, idle ones go, and it is tried once more."""
        try:
            return resident.opener()
        except (OutOfMemory, MemoryError):
            if not self.free(keep=resident):
                raise
        return resident.opener()

    def _make_room(self, wanted: Resident) -> None:
        """Evict what is idle until `wanted` fits; wait for what is in flight. Raises MemoryBudget."""
        pinned = sum(r.nbytes for r in self._all if r.pinned and r.reserved and r is not wanted)
        if wanted.nbytes > self.budget_bytes - pinned:
            raise MemoryBudget(
                f"[{wanted.name}] needs {wanted.nbytes >> 20} MB; the budget is {self.budget_bytes >> 20} MB, of which "
                f"{pinned >> 20} MB are pinned",
                hint="raise the budget, unpin a model, or take a smaller precision",
            )
        ends = self.clock() + self.wait_s
        while self.used_bytes + wanted.nbytes > self.budget_bytes:
            idle = self._idle(wanted)
            if idle and wanted.nbytes <= self.budget_bytes - self._fixed(wanted):
                self._evict(idle[0])
            elif not self._changed.wait(timeout=max(0.0, min(1.0, ends - self.clock()))) and self.clock() >= ends:
                raise MemoryBudget(
                    f"[{wanted.name}] needs {wanted.nbytes >> 20} MB, and all that is resident is in use",
                    hint="raise the budget, or send fewer requests at once",
                )

    def _fixed(self, wanted: Resident) -> int:
        """Bytes that no eviction can free now."""
        return sum(r.nbytes for r in self._all if r.reserved and r is not wanted and (r.pinned or r.flying))

    def _idle(self, wanted: Resident) -> list[Resident]:
        """What may go, in the order in which it should: settled ones first, the longest unused first."""
        now = self.clock()
        free = [r for r in self._all if r.engine and not r.pinned and not r.flying and r is not wanted]
        return sorted(free, key=lambda r: (now - r.since < self.settle_s, r.used))

    def _trim(self, keep: Resident) -> None:
        """After an engine turned out larger than guessed."""
        for resident in self._idle(keep):
            if self.used_bytes <= self.budget_bytes:
                return
            self._evict(resident)

    def _retire(self, resident: Resident) -> None:
        if resident.stale and not resident.flying:
            resident.stale = False
            self._evict(resident)

    def _evict(self, resident: Resident) -> None:
        engine, resident.engine, resident.reserved = resident.engine, None, False
        if engine is not None and not resident.flying:
            engine.close()
            self.evictions += 1


def resident_bytes() -> int:
    """Bytes of memory that this process holds now; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
