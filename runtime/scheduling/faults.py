"""Faults: what follows when an engine gives bad outputs or has no memory.

NaN or a wrong shape, of one call of finite inputs ──▶ counted ──▶ too often: its owner puts another in its place
no memory ──▶ idle engines of the same budget go ──▶ once more ──▶ in halves ──▶ OutOfMemory for what fails alone
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from saccade.runtime.call import Graph
from saccade.runtime.engines import Engine
from saccade.runtime.errors import BadOutput, OutOfMemory, Quarantined
from saccade.runtime.scheduling.board import Board
from saccade.runtime.scheduling.lane import Lane
from saccade.runtime.scheduling.policy import Policy
from saccade.runtime.spec import Array

Distrust = Callable[[Graph, Engine], str]
"""Puts another engine in the place of one; why nothing can run the graph any more, empty if something can."""


class Faults:
    """Counts faults by graph and does what follows."""

    def __init__(self, board: Board, policy: Policy, distrust: Distrust):
        self._board, self._policy, self._distrust = board, policy, distrust

    def note(self, lane: Lane, engine: Engine, error: BaseException, alone: Mapping[str, Array] | None) -> None:
        """A run failed. alone: the inputs, if they were one call's: of several nobody knows whose fault it was."""
        if not isinstance(error, BadOutput):
            return
        board, most = self._board, self._policy.quarantine
        guilty = alone is not None and all(_finite(array) for array in alone.values())
        with board.lock:
            board.journal.bad += 1
            lane.bad += guilty
            if not most or lane.bad < most or lane.engine is not engine:
                return
            lane.bad = 0
            board.journal.quarantined += 1
        why = self._distrust(lane.graph, engine)
        if why:
            with board.lock:
                lane.refused = Quarantined(
                    f"[{lane.graph.name}] its engine gave bad outputs {most} times, and no other can run it: {why}",
                    hint="see `saccade explain`; load the model again to try once more",
                )


def without_memory(error: BaseException, graph: str) -> BaseException:
    """The error itself; OutOfMemory in place of Python's own."""
    if not isinstance(error, MemoryError):
        return error
    made = OutOfMemory(f"[{graph}] no memory for the arrays of a run", hint="send less at once")
    made.__cause__ = error
    return made


def make_room(engine: Any) -> bool:
    """Close the idle engines that share a byte budget with this one; whether there were any."""
    memory = getattr(engine, "memory", None)
    return memory is not None and memory.free(keep=engine) > 0


def _finite(array: Array) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())
