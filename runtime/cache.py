"""Embedding cache: what a graph gave, kept for the next request that asks the same, within a bound of bytes.

Call ──key──▶ kept? ──yes──▶ the same arrays, read-only
               └─no─▶ somebody at it? ──yes──▶ wait for theirs
                       └─no─▶ run, keep, drop what was not asked for longest
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from saccade.runtime.call import Call
from saccade.runtime.errors import SettingsError
from saccade.runtime.spec import Array

SCHEMA = "saccade.cache/1"
Value = Mapping[str, Array]


@dataclass(frozen=True)
class Counts:
    """What a cache has done so far. joined: waited for another's run of the same key, and got its answer."""

    hits: int
    joined: int
    misses: int
    evictions: int
    entries: int
    nbytes: int


class _Flight:
    """A run under way. Its end is a value, an error, or neither when the thread that ran it was interrupted."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.value: Value | None = None
        self.error: Exception | None = None


class Cache:
    """Least recently used goes first; of equal keys only one is computed at a time; errors are not kept.

    budget_bytes: most bytes of arrays held; a value larger than that is handed out and not kept
    Safe to use from several threads.
    """

    def __init__(self, budget_bytes: int):
        if not isinstance(budget_bytes, int) or budget_bytes < 0:
            raise SettingsError(f"[cache] {budget_bytes!r} bytes", hint="a whole number of bytes, 0 to keep nothing")
        self.budget_bytes = budget_bytes
        self._kept: OrderedDict[bytes, tuple[Value, int]] = OrderedDict()
        self._flights: dict[bytes, _Flight] = {}
        self._lock = threading.Lock()
        self._nbytes = self._hits = self._joined = self._misses = self._evictions = 0

    def get(self, key: bytes, make: Callable[[], Value]) -> dict[str, Array]:
        """The value of `key`, made by `make` if nobody has it. Its arrays are read-only and shared.

        An error of `make` reaches everybody who waits for it, and the next one tries again.
        """
        while True:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    self._hits += 1
                    return dict(self._kept[key][0])
                flight = self._flights.get(key)
                if mine := flight is None:
                    flight = self._flights[key] = _Flight()
                    self._misses += 1
                else:
                    self._joined += 1
            if mine:
                return self._fly(key, flight, make)
            flight.done.wait()
            if flight.error is not None:
                raise flight.error
            if flight.value is not None:
                return dict(flight.value)

    def find(self, key: bytes) -> dict[str, Array] | None:
        """What is kept under `key`, for a driver that shares runs by itself and keeps what they gave by `keep`."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                self._misses += 1
                return None
            self._kept.move_to_end(key)
            self._hits += 1
            return dict(found[0])

    def keep(self, key: bytes, value: Value) -> None:
        """Keep what a run gave; its arrays become read-only."""
        self._keep(key, frozen(value))

    @property
    def counts(self) -> Counts:
        """Hits, misses, evictions and what is held, all of one moment."""
        with self._lock:
            return Counts(self._hits, self._joined, self._misses, self._evictions, len(self._kept), self._nbytes)

    def clear(self) -> None:
        """Give the memory back. What is handed out stays valid."""
        with self._lock:
            self._kept.clear()
            self._nbytes = 0

    def __repr__(self) -> str:
        held = self.counts
        return f"Cache({held.entries} entries, {held.nbytes:,} of {self.budget_bytes:,} bytes, {held.hits} hits)"

    def _fly(self, key: bytes, flight: _Flight, make: Callable[[], Value]) -> dict[str, Array]:
        try:
            value = frozen(make())
            flight.value = value
            self._keep(key, value)
        except Exception as error:
            flight.error = error
            raise
        finally:
            with self._lock:
                del self._flights[key]
            flight.done.set()
        return dict(value)

    def _keep(self, key: bytes, value: Value) -> None:
        nbytes = sum(array.nbytes for array in value.values())
        if nbytes > self.budget_bytes:
            return
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = value, nbytes
            self._nbytes += nbytes
            while self._nbytes > self.budget_bytes:
                _, (_, freed) = self._kept.popitem(last=False)
                self._nbytes -= freed
                self._evictions += 1


def complete(call: Call, runs_with: Mapping[str, Any], tenant: str = "") -> bytes:
    """BLAKE2b-256 of all that an answer to `call` depends on, for the cache.

    The call's key stands for the content: a picture's holds its width, height, mode, dtype and bytes. Added are the
    model's digest, its preprocessing, the graph, dtype and shape of each input (equal bytes of another shape are other
    inputs), what the graph runs with (back end, precision, device), and the tenant, so that nobody can ask what others
    have asked.
    """
    assert call.key is not None
    manifest = call.graph.bundle.manifest
    head = {
        "schema": SCHEMA,
        "tenant": tenant,
        "model": call.graph.bundle.digest,
        "graph": call.graph.name,
        "preprocess": manifest.preprocess,
        "inputs": {name: [str(a.dtype), list(a.shape)] for name, a in call.inputs.items()},
        "engine": {name: runs_with.get(name, "") for name in ("backend", "version", "device", "precision")},
    }
    digest = hashlib.blake2b(digest_size=32)
    for part in (json.dumps(head, sort_keys=True).encode(), call.key()):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()


def frozen(value: Value) -> Value:
    """A copy of the dict; its arrays, the same ones, are read-only from now on."""
    for array in value.values():
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    return dict(value)
