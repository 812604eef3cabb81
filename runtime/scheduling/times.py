"""Times: what runs of one group took on this machine, and the batch size that follows.

Sizes are kept by level: 1, 2, 3–4, 5–8, … rows. A larger level is tried once the one below it has paid off (or costs
next to nothing), so the hill is climbed by real requests and stops where merging stops paying.
"""

from __future__ import annotations

_WEIGHT = 0.2  # of a new measurement
_TIE = 0.97  # a larger batch has to gain at least 3 % a row: it makes its first rows wait for its last
_CHEAP_S = 0.005  # a run as short as this is tried anyway: where overhead counts, two rows may not pay and ten do
_TRIES = 8  # that a level is wanted before it is passed over
_AGAIN = 64  # runs after which a level that did not pay is tried once more: the machine may have been busy


class Level:
    """Runs of about one size: seconds a row, its mean deviation, the least, how many, and how often it was wanted."""

    __slots__ = ("deviation", "least", "mean", "runs", "stamp", "tries")

    def __init__(self) -> None:
        self.mean = self.deviation = 0.0
        self.least = float("inf")
        self.runs = self.stamp = self.tries = 0

    def add(self, value: float, stamp: int) -> None:
        """Count a measurement in."""
        if self.runs < 2:  # a first run touches memory for the first time: the second says more
            self.mean = min(self.mean, value) if self.runs else value
        else:
            self.deviation += _WEIGHT * (abs(value - self.mean) - self.deviation)
            self.mean += _WEIGHT * (value - self.mean)
        self.least = min(self.least * 1.001, value)  # forgets a lucky one in time
        self.runs += 1
        self.stamp = stamp


class Times:
    """Measured run times of one group of calls."""

    __slots__ = ("_levels", "_stamp", "cap")

    def __init__(self, cap: int):
        self.cap = cap
        self._levels = [Level() for _ in range((max(cap, 1) - 1).bit_length() + 1)]
        self._stamp = 0

    def add(self, rows: int, seconds: float) -> None:
        """One run of `rows` took that long."""
        index = (rows - 1).bit_length()
        if rows >= 1 and index < len(self._levels):
            self._stamp += 1
            self._levels[index].add(seconds / rows, self._stamp)

    def best(self, waiting: int, alone: int = 1) -> int:
        """How many of the rows that wait to run together: what takes least a row, the smaller if it is a tie.

        alone: rows of the call that is next: less cannot be run
        """
        waiting = min(waiting, self.cap)
        if waiting <= alone:
            return alone
        bottom, top = max(alone - 1, 0).bit_length(), (waiting - 1).bit_length()
        chosen, best = alone, 0.0
        for index in range(bottom, top + 1):
            level, size = self._levels[index], min(1 << index, waiting)
            if level.runs < 2 and (level.tries < _TRIES or self._stamp - level.stamp >= _AGAIN):
                level.tries += level.stamp != self._stamp
                level.stamp = self._stamp
                return size  # the levels below have paid: see whether this one does
            if not level.runs:
                continue  # what waits never adds up to this size, such as calls of one row and of five
            if not best or level.least < _TIE * best:  # the least: a busy machine only ever adds
                chosen, best = size, level.least
            elif level.least * size > _CHEAP_S:
                return size if self._stamp - level.stamp >= _AGAIN else chosen
        return chosen

    def each(self, rows: int) -> float:
        """The least seconds a row of runs of about so many; 0 before there was one."""
        level = self._levels[min((rows - 1).bit_length(), len(self._levels) - 1)]
        return level.least if level.runs else 0.0

    def fail(self, rows: int) -> None:
        """A merged run failed whose rows then ran alone: that size is too much."""
        self.cap = max(1, min(self.cap, rows // 2))

    def expected(self, rows: int) -> tuple[float, float] | None:
        """Seconds of a run of `rows`: (at best, to be on the safe side); None before anything was measured."""
        index = min((rows - 1).bit_length(), len(self._levels) - 1)
        for level in (*reversed(self._levels[: index + 1]), *self._levels[index + 1 :]):
            if level.runs:
                return min(level.least, level.mean) * rows, (level.mean + 3 * level.deviation) * rows
        return None
