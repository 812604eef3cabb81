"""Journal: how every request ended. sent = open + result + error + cancelled + superseded + expired, always."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

ENDS = ("result", "error", "cancelled", "superseded", "expired")
RECENT = 1024


class End(NamedTuple):
    """One request's end. age_ms: from submit to here."""

    number: int
    how: str
    stream: str
    age_ms: float


class Journal:
    """Counts, and the last ends one by one.

    sent: requests accepted; refused: those that QueueFull turned away, which are not among them
    runs, rows: engine runs and the rows in them; bad: runs whose outputs had a wrong shape or NaN
    quarantined: how often an engine had too many of those
    busy_s: seconds that engines ran
    """

    def __init__(self) -> None:
        self.sent = self.refused = self.runs = self.rows = self.bad = self.quarantined = 0
        self.busy_s = 0.0
        self.ends = dict.fromkeys(ENDS, 0)
        self._recent: deque[tuple[int, str, str, float]] = deque(maxlen=RECENT)

    @property
    def open(self) -> int:
        """Requests accepted and not ended."""
        return self.sent - sum(self.ends.values())

    @property
    def recent(self) -> list[End]:
        """The last ends, oldest first."""
        return [End._make(end) for end in list(self._recent)]

    def end(self, number: int, how: str, stream: str, age_ms: float) -> None:
        """One request ended."""
        self.ends[how] += 1
        self._recent.append((number, how, stream, age_ms))

    def seconds_each(self) -> float:
        """Engine seconds for each result so far; 0 before the first."""
        return self.busy_s / self.ends["result"] if self.ends["result"] else 0.0

    def counts(self) -> dict[str, Any]:
        """The counts as one dict."""
        runs = {"runs": self.runs, "rows": self.rows, "bad": self.bad, "quarantined": self.quarantined}
        ends = {**self.ends, "refused": self.refused}
        return {"sent": self.sent, "open": self.open, **ends, **runs, "busy_s": round(self.busy_s, 6)}
