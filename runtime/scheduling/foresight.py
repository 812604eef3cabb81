"""Foresight: how long a pipeline will still take once a stage is behind it, learnt from those that ran.

Waiting is left out: what is learnt is the least that has to happen, and that does not depend on the load.
"""

from __future__ import annotations

from typing import Any

from saccade.runtime.scheduling.request import Request
from saccade.runtime.scheduling.times import Level

_EVERY = 8  # one request in so many is learnt from, and each that has a deadline
_KNOWN = 4096
START = "start"


class Foresight:
    """Remaining service time by (pipeline's code, stage). Guarded by the board's lock."""

    def __init__(self) -> None:
        self._levels: dict[Any, Level] = {}

    def begin(self, request: Request, *, timed: bool) -> None:
        """Follow this request, if it is one to learn from."""
        if timed or request.number % _EVERY == 0:
            request.trail = [(START, 0.0)]

    def learn(self, request: Request) -> None:
        """It has ended with a result: note what was left after each of its stages."""
        code = request.generator.gi_code
        for stage, served in request.trail or ():
            level = self._levels.get((code, stage))
            if level is None:
                if len(self._levels) >= _KNOWN:
                    self._levels.clear()
                level = self._levels[code, stage] = Level()
            level.add(request.served_s - served, 0)

    def left(self, request: Request, stage: Any) -> tuple[float, float]:
        """Seconds of service after that stage: (at best, to be on the safe side); zeros if unknown."""
        level = self._levels.get((request.generator.gi_code, stage))
        if level is None:
            return 0.0, 0.0
        return min(level.least, level.mean), level.mean + 3 * level.deviation
