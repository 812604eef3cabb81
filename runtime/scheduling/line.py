"""Line: what waits, in order of rank. Appending and taking at the usual end costs the same however long it is."""

from __future__ import annotations

import heapq
from collections import deque
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """What can stand in a line. dead: dropped while waiting; taken: it has left (it may stand in here twice)."""

    rank: float
    number: int
    rows: int
    dead: bool
    taken: bool


W = TypeVar("W", bound=Waiting)


class Line(Generic[W]):
    """A queue by (rank, number).

    Most arrivals rank behind all that wait and go to a deque; only those that overtake pay for a heap.
    rows: of those that wait and are alive
    """

    __slots__ = ("_dead", "_heap", "_order", "_queue", "count", "rows")

    def __init__(self) -> None:
        self._queue: deque[W] = deque()
        self._heap: list[tuple[float, int, int, W]] = []
        self._order = 0  # of arrival: the last word between equals, so that nothing compares tickets
        self._dead = 0
        self.count = self.rows = 0

    def push(self, item: W) -> None:
        """Let it wait."""
        self.count += 1
        self.rows += item.rows
        queue = self._queue
        if queue:
            last = queue[-1]
            if item.rank < last.rank or (item.rank == last.rank and item.number < last.number):
                self._overtake(item, item.rank, item.number)
                return
        queue.append(item)

    def promote(self, item: W, rank: float, number: int) -> None:
        """Let what waits already go as early as that rank."""
        self._overtake(item, rank, number)

    def head(self) -> W | None:
        """Who is next; None if nobody waits."""
        queue, heap = self._queue, self._heap
        while queue and (queue[0].dead or queue[0].taken):
            queue.popleft()
        while heap and (heap[0][3].dead or heap[0][3].taken):
            heapq.heappop(heap)
        if not heap:
            return queue[0] if queue else None
        if not queue or heap[0][:2] < (queue[0].rank, queue[0].number):
            return heap[0][3]
        return queue[0]

    def pop(self) -> W | None:
        """Take who is next."""
        item = self.head()
        if item is not None:
            item.taken = True
            self.count -= 1
            self.rows -= item.rows
        return item

    def claim(self, item: W) -> None:
        """Take one that waits out of turn."""
        item.taken = True
        self.count -= 1
        self.rows -= item.rows

    def take(self, want: int, batch: list[W]) -> None:
        """Add who is next to `batch`, in order, as long as its rows do not exceed `want`; at least one."""
        rows = sum([item.rows for item in batch])
        queue, heap = self._queue, self._heap
        while queue or heap:
            if heap:
                item = self.head()
                if item is None:
                    return
            else:  # the usual case, without a call for each
                item = queue[0]
                if item.dead or item.taken:
                    queue.popleft()
                    continue
            if batch and rows + item.rows > want:
                return
            rows += item.rows
            if not heap:
                queue.popleft()
            item.taken = True
            self.count -= 1
            self.rows -= item.rows
            batch.append(item)

    def drop(self, item: W) -> None:
        """Let one go that waits; the line keeps no more of it than a mark, and few marks."""
        item.dead = True
        self.count -= 1
        self.rows -= item.rows
        self._dead += 1
        if self._dead > 64 and self._dead > self.count:
            self._queue = deque(w for w in self._queue if not (w.dead or w.taken))
            self._heap = [entry for entry in self._heap if not (entry[3].dead or entry[3].taken)]
            heapq.heapify(self._heap)
            self._dead = 0

    def _overtake(self, item: W, rank: float, number: int) -> None:
        self._order += 1
        heapq.heappush(self._heap, (rank, number, self._order, item))
