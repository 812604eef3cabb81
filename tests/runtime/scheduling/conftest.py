"""A world with a clock of its own: engines take as long as they are told, and one thread does everything in turn."""

from __future__ import annotations

import heapq
from types import SimpleNamespace

import numpy as np
import pytest

from saccade.runtime.call import Call, Graph
from saccade.runtime.manifest import GraphEntry, Variant
from saccade.runtime.scheduler import Scheduler
from saccade.runtime.spec import GraphSpec, TensorSpec


def line_spec(**more) -> GraphSpec:
    """x (B, 2) → y (B, 2)."""
    ends = ((TensorSpec("x", "float32", ("B", 2)),), (TensorSpec("y", "float32", ("B", 2)),))
    return GraphSpec(*ends, **{"batch": "B", **more})


def handle(name="g", spec=None, *, mergeable=True) -> Graph:
    """A graph of no bundle on a disk."""
    entry = GraphEntry(spec or line_spec(), (Variant("fp32", "none.onnx", mergeable),))
    return Graph(SimpleNamespace(name="fake", graphs={name: entry}), name)


class World:
    """service: seconds of a run by its rows; fault: called with a run's inputs, may raise or give other outputs.

    runs: (graph's name, rows) of each engine run so far
    """

    def __init__(self):
        self.now = 0.0
        self.runs = []
        self.service = lambda rows: 0.01
        self.fault = lambda inputs: None
        self.about = {"precision": "fp32"}
        self._events = []
        self._engines = {}
        self.schedulers = []

    def clock(self):
        return self.now

    def scheduler(self, **policy) -> Scheduler:
        made = Scheduler(engines=self.engine, clock=self.clock, threads=False, **policy)
        self.schedulers.append(made)
        return made

    def engine(self, graph):
        if graph not in self._engines:
            self._engines[graph] = Doubler(self, graph)
        return self._engines[graph]

    def at(self, seconds, action):
        """Let something happen then, be it in the middle of an engine run."""
        heapq.heappush(self._events, (seconds, len(self._events) + len(self.runs), id(action), action))

    def wait(self, seconds):
        """Let time pass, and happen what falls into it."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            when, _, _, action = heapq.heappop(self._events)
            self.now = max(self.now, when)
            action()
        self.now = max(self.now, end)

    def run(self, scheduler, limit=1_000_000):
        """Until nothing is open and nothing more will happen."""
        for _ in range(limit):
            if scheduler.turn():
                continue
            if self._events:
                self.wait(max(0.0, self._events[0][0] - self.now))
            elif scheduler.journal.open:
                self.wait(0.001)
            else:
                return
        raise AssertionError(f"still open: {scheduler}")


class Doubler:
    """An engine: y = 2 x + 1 for every input x, under the name of the output of the same place."""

    def __init__(self, world, graph):
        self.world, self.graph, self.spec, self.about = world, graph, graph.spec, world.about

    def __call__(self, **inputs):
        sizes = self.spec.check(inputs, self.graph.name)
        rows = sizes.get("B", 1)
        self.world.runs.append((self.graph.name, rows))
        self.world.wait(self.world.service(rows))
        other = self.world.fault(inputs)
        if other is not None:
            return other
        return {
            out.name: inputs[given.name] * 2 + 1 for given, out in zip(self.spec.inputs, self.spec.outputs, strict=True)
        }

    def close(self):
        pass


def ask(graph, value, stages=1, rows=1):
    """A pipeline: the value through the graph so many times."""
    x = np.full((rows, 2), value, np.float32)
    for _ in range(stages):
        x = (yield Call(graph, {"x": x}))["y"]
    return float(x[0, 0])


def expected(value, stages=1):
    """What `ask` returns."""
    for _ in range(stages):
        value = value * 2 + 1
    return value


@pytest.fixture
def world():
    made = World()
    yield made
    for scheduler in made.schedulers:
        scheduler.close(drain=False)
        assert scheduler.journal.open == 0
