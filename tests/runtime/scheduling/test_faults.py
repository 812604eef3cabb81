"""Faults: NaN over and over, no memory, an engine that hangs. serving.md rows P9, F9, F16 at library level."""

import threading

import numpy as np
import pytest

import saccade
from saccade.runtime.call import Call, Graph
from saccade.runtime.engines import Engines, Options
from saccade.runtime.errors import BadOutput, DeadlineExceeded, EngineError, MemoryBudget, OutOfMemory, Quarantined
from saccade.runtime.memory import Memory
from saccade.runtime.scheduler import Scheduler
from tests.runtime.planted import doubling_bundle
from tests.runtime.scheduling.conftest import ask, expected, handle

G = handle()
X = np.ones((1, 8), np.float32)


def doubled(graph, x=X):
    return (yield Call(graph, {"x": x}))["y"]


def nan(inputs):
    return {"y": np.full_like(inputs["x"], np.nan)}


class Broken:
    """An engine that gives NaN after some good runs; what it says of itself is the real one's."""

    def __init__(self, real, good=0):
        self.real, self.spec, self.good = real, real.spec, good
        self.about = dict(real.about)
        self.closed = False

    def __call__(self, **inputs):
        out = self.real(**inputs)
        self.good -= 1
        return out if self.good >= 0 else {name: np.full_like(array, np.nan) for name, array in out.items()}

    def close(self):
        self.closed = True


def broken(bundle, *, options=Options(), memory=None):  # noqa: B008
    """(engines whose first engine is broken, its graph)."""
    made, graph = Engines(options, memory=memory), Graph(bundle, "g")
    opened = []

    def opener(graph, first=made.opener):
        opened.append(first(graph))
        return Broken(opened[-1]) if len(opened) == 1 else opened[-1]

    made.opener = opener
    return made, graph


def test_an_engine_that_gives_nan_is_replaced_by_one_that_passes(tmp_path):
    engines, graph = broken(doubling_bundle(tmp_path))
    with Scheduler(engines=engines) as scheduler:
        for number in range(3):
            with pytest.raises(BadOutput, match="NaN") as caught:
                scheduler.call(doubled(graph))
            assert caught.value.http_status == 500
            assert scheduler.journal.bad == number + 1
        assert scheduler.journal.quarantined == 1
        for _ in range(4):
            np.testing.assert_array_equal(scheduler.call(doubled(graph)), 2 * X)
        assert "in place of onnx_runtime fp32" in engines(graph).about["plan"]
        assert (scheduler.journal.bad, scheduler.journal.quarantined) == (3, 1)
    engines.close()


def test_under_a_byte_budget_it_is_replaced_too(tmp_path):
    engines, graph = broken(doubling_bundle(tmp_path), memory=Memory(1 << 30))
    with Scheduler(engines=engines, quarantine=1) as scheduler:
        with pytest.raises(BadOutput):
            scheduler.call(doubled(graph))
        np.testing.assert_array_equal(scheduler.call(doubled(graph)), 2 * X)
        assert engines.memory.evictions == 1
    engines.close()


def test_without_another_the_graph_is_refused_at_once(tmp_path):
    """It was asked for by name, so no other kind takes its place."""
    engines, graph = broken(doubling_bundle(tmp_path), options=Options(backend="onnx_runtime"))
    with Scheduler(engines=engines, quarantine=2) as scheduler:
        for _ in range(2):
            with pytest.raises(BadOutput):
                scheduler.call(doubled(graph))
        runs = scheduler.journal.runs
        with pytest.raises(Quarantined, match="no other") as caught:
            scheduler.call(doubled(graph))
        future = scheduler.submit(doubled(graph))
        with pytest.raises(Quarantined):
            future.result(60)
        assert caught.value.http_status == 503
        assert caught.value.hint
        assert scheduler.journal.bad == 2
        assert scheduler.journal.runs >= runs
    engines.close()


def test_one_that_is_right_on_the_golden_set_stays_when_no_other_is_left(tmp_path):
    """Inputs that are finite and overflow are a client's choice: they must not take the graph from everybody."""
    bundle = doubling_bundle(tmp_path)
    engines, graph = Engines(Options(backend="onnx_runtime")), Graph(bundle, "g")
    real = engines.opener

    class Overflows(Broken):
        def __call__(self, **inputs):
            out = self.real(**inputs)
            return {"y": np.full_like(out["y"], np.nan)} if np.isinf(out["y"]).any() else out

    engines.opener = lambda graph: Overflows(real(graph))
    huge = np.full((1, 8), 3e38, np.float32)
    with Scheduler(engines=engines) as scheduler:
        for _ in range(9):
            with pytest.raises(BadOutput):
                scheduler.call(doubled(graph, huge))
        np.testing.assert_array_equal(scheduler.call(doubled(graph)), 2 * X)
        assert scheduler.journal.quarantined == 3
    engines.close()


def test_nan_that_came_in_is_not_the_engines_fault(world):
    scheduler = world.scheduler(quarantine=1)
    for _ in range(3):
        future = scheduler.submit(ask(G, float("nan")))
        world.run(scheduler)
        with pytest.raises(BadOutput):
            future.result(0)
    future = scheduler.submit(ask(G, 1.0))
    world.run(scheduler)
    assert future.result(0) == 3.0
    assert scheduler.journal.quarantined == 0


def test_quarantine_can_be_off(world):
    scheduler = world.scheduler(quarantine=0)
    world.fault = nan
    for _ in range(5):
        scheduler.submit(ask(G, 1.0))
    world.run(scheduler)
    world.fault = lambda inputs: None
    future = scheduler.submit(ask(G, 1.0))
    world.run(scheduler)
    assert future.result(0) == 3.0


def test_a_batch_without_memory_is_halved_until_it_fits(world):
    scheduler = world.scheduler()
    for n in range(64):
        scheduler.submit(ask(G, float(n)))
    world.run(scheduler)  # until it merges

    def fault(inputs):
        if len(inputs["x"]) > 4:
            raise OutOfMemory("[g] fake: Failed to allocate memory")

    world.fault, before = fault, len(world.runs)
    made = [scheduler.submit(ask(G, float(n))) for n in range(32)]
    world.run(scheduler)
    assert [f.result(0) for f in made] == [expected(float(n)) for n in range(32)]
    assert [rows for _, rows in world.runs[before:]][:4] == [32, 16, 8, 4]
    again = len(world.runs)
    made = [scheduler.submit(ask(G, float(n))) for n in range(32)]
    world.run(scheduler)
    assert max(rows for _, rows in world.runs[again:]) <= 4  # it is remembered


def test_one_call_without_memory_is_a_typed_error(world):
    scheduler = world.scheduler()

    def fault(inputs):
        raise MemoryError

    world.fault = fault
    made = [scheduler.submit(ask(G, float(n))) for n in range(3)]
    world.run(scheduler)
    for future in made:
        with pytest.raises(OutOfMemory) as caught:
            future.result(0)
        assert (caught.value.http_status, bool(caught.value.hint)) == (503, True)


class Fussy:
    """An engine that has memory only while no other is open."""

    def __init__(self, opened, name):
        self.opened, self.name, self.about = opened, name, {"precision": "fp32"}
        opened.add(name)

    def __call__(self, *, x):
        if len(self.opened) > 1:
            raise OutOfMemory("[g] fake: Failed to allocate memory for requested buffer of size 1")
        return {"y": x * 2 + 1}

    def close(self):
        self.opened.discard(self.name)


@pytest.mark.parametrize("helped", [True, False])
def test_idle_engines_go_before_a_run_is_given_up(helped):
    opened, memory, graphs = set(), Memory(1 << 30), [handle("one"), handle("two")]
    made = {g: memory.adopt(g.name, g.spec, 1000, lambda g=g: Fussy(opened, g.name)) for g in graphs}
    with Scheduler(engines=made.__getitem__) as scheduler:
        for turn in range(4):
            graph = graphs[turn % 2]
            future = scheduler.submit(ask(graph, 1.0))
            assert future.result(None if helped else 60) == 3.0
        memory.pin(made[graphs[0]])
        scheduler.call(ask(graphs[0], 1.0))
        with pytest.raises(OutOfMemory):
            scheduler.call(ask(graphs[1], 1.0))  # what is pinned does not go


def test_no_memory_to_open_an_engine_evicts_idle_ones_once():
    memory, opened, tries = Memory(1 << 30), set(), []

    def opener():
        tries.append(len(opened))
        if opened:
            raise OutOfMemory("[two] fake")
        return Fussy(opened, "two")

    one = memory.adopt("one", G.spec, 1000, lambda: Fussy(opened, "one"))
    two = memory.adopt("two", G.spec, 1000, opener)
    one(x=X)
    two(x=X)
    assert tries == [1, 0]
    opened.add("somebody else's")
    memory.drop(two)
    three = memory.adopt("three", G.spec, 1000, opener)
    with pytest.raises(OutOfMemory):
        three(x=X)
    assert memory.used_bytes == 0


def test_the_words_of_onnx_runtime_for_no_memory_are_known(tmp_path):
    onnx = pytest.importorskip("onnx")
    from saccade.runtime.bundle import Bundle, write
    from saccade.runtime.manifest import GraphEntry, Manifest, Source, Variant
    from saccade.runtime.spec import GraphSpec, TensorSpec

    tensor = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("ConstantOfShape", ["n"], ["large"]),
        onnx.helper.make_node("ReduceSum", ["large"], ["y"], keepdims=0),
    ]
    ends = [tensor("n", onnx.TensorProto.INT64, [1])], [tensor("y", onnx.TensorProto.FLOAT, [])]
    made = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", *ends), opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10
    )
    spec = GraphSpec((TensorSpec("n", "int64", (1,)),), (TensorSpec("y", "float32", ()),))
    manifest = Manifest("", 1, "t", "t", Source("t"), {"g": GraphEntry(spec, (Variant("fp32", "g.onnx"),))}, {})
    write(tmp_path / "t.bundle", manifest, {"g.onnx": made.SerializeToString()})
    engines = Engines(Options(backend="onnx_runtime"))
    engine = engines(Graph(Bundle.open(tmp_path / "t.bundle"), "g"))
    assert engine(n=np.array([8]))["y"] == 0
    with pytest.raises(OutOfMemory):
        engine(n=np.array([1 << 46]))
    engines.close()


def test_a_hung_engine_keeps_only_those_that_wait_for_it():
    """Deadlines are told in time, other graphs go on, and how long it hangs can be seen."""
    hangs, lets, one, two = threading.Event(), threading.Event(), handle("one"), handle("two")

    class Engine:
        about = {"precision": "fp32"}

        def __init__(self, graph):
            self.graph = graph

        def __call__(self, *, x):
            if self.graph is one:
                hangs.set()
                lets.wait(60)
            return {"y": x * 2 + 1}

    with Scheduler(engines=Engine, workers=2) as scheduler:
        stuck = scheduler.submit(ask(one, 1.0))
        assert hangs.wait(60)
        assert [scheduler.submit(ask(two, 1.0)).result(60) for _ in range(3)] == [3.0] * 3
        behind = [scheduler.submit(ask(one, 1.0), deadline_ms=50) for _ in range(3)]
        for future in behind:
            with pytest.raises(DeadlineExceeded):
                future.result(60)
            assert future.age_ms < 5000
        assert scheduler.stalled_s >= 0.05
        lets.set()
        assert stuck.result(60) == 3.0
        assert scheduler.journal.counts()["expired"] == 3
    assert scheduler.stalled_s == 0


def test_a_budget_too_small_is_told_to_each_and_nothing_else_suffers(clip_bundle, pictures):
    """Row S13: no_memory is typed, and the model within the budget goes on."""
    with (
        saccade.load(clip_bundle, memory=Memory(1 << 20)) as small,
        saccade.load(clip_bundle) as large,
        Scheduler(small, large) as scheduler,
    ):
        with pytest.raises(MemoryBudget):
            scheduler.submit(small.pipeline.encode_image(pictures[0])).result(60)
        assert scheduler.submit(large.pipeline.encode_image(pictures[0])).result(60).vectors.shape == (1, 64)


def test_an_engine_error_in_ones_own_words_stays_that(world):
    scheduler = world.scheduler()

    def fault(inputs):
        raise EngineError("[g] fake: node 7")

    world.fault = fault
    future = scheduler.submit(ask(G, 1.0))
    world.run(scheduler)
    with pytest.raises(EngineError, match="node 7") as caught:
        future.result(0)
    assert not isinstance(caught.value, OutOfMemory)
