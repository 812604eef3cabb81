"""Lane: what waits for one graph. Group: what of it may share a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from saccade.runtime.call import Graph
from saccade.runtime.errors import Quarantined
from saccade.runtime.scheduling.flights import Flights
from saccade.runtime.scheduling.line import Line
from saccade.runtime.scheduling.merge import Layout
from saccade.runtime.scheduling.policy import NEVER, Policy
from saccade.runtime.scheduling.request import Ticket
from saccade.runtime.scheduling.times import Times
from saccade.runtime.spec import Array

_SIGNATURES = 4096  # kept a lane: pictures of any size could otherwise fill the memory

_OTHER = 32  # one in so many runs is of the kind that was slower: the machine may have been busy when it was measured


class Shape:
    """One combination of input shapes: the group it belongs to, its rows, the size of each named dim."""

    __slots__ = ("group", "rows", "sizes")

    def __init__(self, group: Group, rows: int, sizes: dict[str, int]):
        self.group, self.rows, self.sizes = group, rows, sizes


class Choice(NamedTuple):
    """A run to be: at most so many rows, what runs of its kind took, and the calls that it is joined with, if any."""

    rows: int
    times: Times
    mates: list[Ticket]


class Group:
    """Calls that differ only along the batch axis and axes that pad, and there by less than a factor of two.

    fill: the fixed batch size that every run is filled up to; 0 without one
    to: what padded dims become in fixed batches, or can at most become
    since: when the oldest of what waits came; posted: (rank, number) under which the board will look at it
    times: of runs along the batch axis; joined: of those along the items of calls that share inputs, cap 1 if none may
    """

    __slots__ = ("_mates", "_turns", "fill", "joined", "lane", "line", "posted", "since", "times", "to")

    def __init__(self, lane: Lane, cap: int, fill: int, to: dict[str, int], joins: int = 1):
        self.lane, self.fill, self.to = lane, fill, to
        self.line: Line[Ticket] = Line()
        self.times, self.joined = Times(cap), Times(joins)
        self.since = 0.0
        self.posted: tuple[float, int] | None = None
        self._mates: dict[tuple[int, ...], dict[Ticket, None]] = {}
        self._turns = 0

    def next(self, head: Ticket) -> Choice:
        """What the next run, of which `head` is the first call, should be."""
        if self.lane.refusal:
            return Choice(1, self.times, [])
        plain = self.fill or self.times.best(self.line.rows, head.rows)
        mates = self._mates.get(head.share, ()) if head.share else ()
        if len(mates) > 1:
            rows = self.joined.best(sum([ticket.rows for ticket in mates]), head.rows)
            self._turns += 1
            better = self.joined.each(rows) <= (self.times.each(plain) or NEVER)
            if rows > head.rows and better is not (self._turns % _OTHER == 0):
                others = sorted([t for t in mates if t is not head], key=lambda t: (t.rank, t.number))
                return Choice(rows, self.joined, others)
        return Choice(plain, self.times, [])

    def meet(self, ticket: Ticket) -> None:
        """A call has come: those that share its inputs find it."""
        if self.joined.cap > 1:
            inputs = ticket.inputs
            # They stay alive as long as the call waits, so no other array has their number meanwhile.
            ticket.share = (ticket.rows, *[id(inputs[name]) for name in self.lane.layout.shared])
            self._mates.setdefault(ticket.share, {})[ticket] = None

    def part(self, ticket: Ticket) -> None:
        """It waits no more."""
        if ticket.share:
            mates = self._mates[ticket.share]
            del mates[ticket]
            if not mates:
                del self._mates[ticket.share]
            ticket.share = ()

    def renew(self) -> None:
        """Another engine runs it: what was measured says nothing."""
        self.times, self.joined = Times(self.times.cap), Times(self.joined.cap)

    def full(self) -> bool:
        """Whether waiting for more could not make the next run better."""
        cap = 1 if self.lane.refusal else (self.fill or self.times.best(self.times.cap))
        return self.line.rows >= cap


class Lane:
    """One graph: how its calls merge, which wait, and the engine that ran it last.

    refusal: why calls do not merge, by spec, by policy or by the variant that runs; known after the first run
    bad: runs of one call whose outputs were bad, on this engine; refused: set when nothing can run the graph any more
    """

    def __init__(self, graph: Graph, policy: Policy):
        self.graph, self.policy = graph, policy
        self.layout = Layout(graph.spec)
        self.refusal = "the first run opens the engine"
        self.engine: Any = None
        self.opened = 0  # how often, of an engine that a memory budget closes and opens again
        self.bad = 0
        self.refused: Quarantined | None = None
        self._kind: Any = None
        self.flights = Flights()
        self._names = [t.name for t in graph.spec.inputs]
        self._known: dict[Any, Shape] = {}
        self._groups: dict[Any, Group] = {}

    def shape(self, inputs: Mapping[str, Array]) -> Shape:
        """Where a call belongs. Raises SpecError, as an engine would, if the inputs do not fit."""
        try:
            signature = tuple([(inputs[name].shape, inputs[name].dtype) for name in self._names])
            found = self._known.get(signature)
        except (KeyError, AttributeError, TypeError):
            signature, found = None, None
        if found is None or len(inputs) != len(self._names):
            found = self._learn(signature, inputs)
        return found

    @property
    def groups(self) -> list[Group]:
        """Those there are now."""
        return list(self._groups.values())

    def uses(self, engine: Any, about: Mapping[str, Any]) -> None:
        """Note which engine runs the graph now: what was measured of another says nothing, and it may merge or not."""
        self.engine, self.opened = engine, getattr(engine, "opened", 0)
        self.refusal = self._refusal(about)
        self.bad, self.refused = 0, None
        kind = (about.get("backend"), about.get("precision"), about.get("batches"))
        if kind != self._kind:
            self._kind = kind
            for group in self._groups.values():
                group.renew()

    def _refusal(self, about: Mapping[str, Any]) -> str:
        if not self.policy.merge:
            return "merge=False"
        if self.layout.refusal:
            return self.layout.refusal
        entry = self.graph.bundle.graphs.get(self.graph.name)
        by_size = [str(kind).split()[-1] for kind in about.get("batches", {}).values()]  # a plan may have several
        for precision in (about.get("precision", ""), *by_size):
            variant = entry.variant(precision) if entry is not None else None
            if variant is not None and not variant.mergeable:
                return f"its {precision} variant is not mergeable: a neighbour would change the answer"
        return ""

    def _learn(self, signature: Any, inputs: Mapping[str, Array]) -> Shape:
        spec = self.graph.spec
        sizes = spec.check(inputs, self.graph.name)
        rows = sizes[spec.batch] if not self.layout.refusal else 1
        to = {dim: self._class(dim, sizes[dim]) for dim in self.layout.pads}
        cap = min(self.policy.max_batch, spec.limits.get(spec.batch, (0, self.policy.max_batch))[1])
        fill = next((size for size in self.policy.batches if rows <= size <= cap), 0)
        kinds = tuple(inputs[t.name].dtype for t in spec.inputs)
        fixed = tuple(sorted((dim, size) for dim, size in sizes.items() if dim != spec.batch and dim not in to))
        alone = bool(self.policy.batches) and not fill  # larger than every fixed size: runs as it is, by itself
        key = (fill, kinds, fixed, tuple(sorted(to.items())), rows if alone else 0)
        if len(self._known) >= _SIGNATURES:
            self._known.clear()
            self._groups = {k: g for k, g in self._groups.items() if g.line.count}
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(self, rows if alone else cap, fill, to, self._joins(cap, sizes, to))
        shape = Shape(group, rows, sizes)
        if signature is not None:
            self._known[signature] = shape
        return shape

    def _joins(self, cap: int, sizes: Mapping[str, int], to: Mapping[str, int]) -> int:
        """How many calls may be joined along their items: none in fixed batches, where every run has one shape."""
        items = self.graph.spec.items
        if not self.layout.shared or self.policy.batches:
            return 1
        high = self.graph.spec.limits.get(items, (0, 1 << 31))[1]
        return max(1, min(cap, high // max(to.get(items, sizes[items]), 1)))

    def _class(self, dim: str, size: int) -> int:
        """The largest size that a call of this size is padded to."""
        buckets = self.layout.pads[dim].buckets
        if buckets:
            return next((bucket for bucket in buckets if bucket >= size), size)
        high = self.graph.spec.limits.get(dim, (0, 1 << 31))[1]
        return min(1 << max(size - 1, 0).bit_length(), max(high, size))
