"""A plan is advice: what it names is proven again, and one that does not fit is ignored with a word."""

import threading

import msgspec
import numpy as np
import pytest

from saccade.runtime import plan as kept
from saccade.runtime.call import Graph
from saccade.runtime.engines import Engines, Options
from saccade.runtime.planned import Routed, apply
from saccade.runtime.planner import search

from .planted import Clock, Planted, doubling_bundle, own_cache, plant


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    own_cache(monkeypatch, tmp_path / "cache")


X = np.ones((1, 8), np.float32)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def homes(clock, monkeypatch):
    made = [
        Planted("portable", clock, {"fp32": 1e-3, "int8": 8e-4}),
        Planted("quick", clock, {"fp32": 1e-4, "int8": 2e-4}),
    ]
    plant(monkeypatch, *made)
    return made


@pytest.fixture
def bundle(tmp_path):
    return doubling_bundle(tmp_path)


def used(engines, bundle):
    engine = engines(Graph(bundle, "g"))
    return engine.about["backend"], engine.about["plan"]


def test_the_plan_is_followed(bundle, homes, clock):
    engines = Engines()
    apply(engines, bundle, search(bundle, Options(), seconds=100, clock=clock))
    backend, said = used(engines, bundle)
    assert backend == "quick"
    assert "0.1 ms at batch 1" in said


def test_an_engine_that_turned_wrong_since_is_not_used(bundle, homes, clock):
    plan = search(bundle, Options(), seconds=100, clock=clock)
    homes[1].wrong = True
    engines = Engines()
    apply(engines, bundle, plan)
    backend, said = used(engines, bundle)
    assert backend == "portable"
    assert "failed the golden check" in said
    assert np.array_equal(engines(Graph(bundle, "g"))(x=X)["y"], 2 * X)


def test_an_engine_that_is_gone_is_not_used(bundle, homes, clock):
    plan = search(bundle, Options(), seconds=100, clock=clock)
    homes[1].reason = "uninstalled"
    engines = Engines()
    apply(engines, bundle, plan)
    assert used(engines, bundle)[0] == "portable"
    assert "uninstalled" in used(engines, bundle)[1]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"machine": "0" * 64}, "another machine"),
        ({"bundle": "0" * 64}, "another bundle"),
        ({"schema": 99}, "schema is 99"),
    ],
)
def test_a_foreign_plan_is_ignored(bundle, homes, clock, tmp_path, change, why):
    plan = msgspec.structs.replace(search(bundle, Options(), seconds=100, clock=clock), **change)
    kept.write(plan, tmp_path / "plan.json")
    engines = Engines()
    apply(engines, bundle, tmp_path / "plan.json")
    backend, said = used(engines, bundle)
    assert backend == "portable"
    assert why in said


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"schema": 1}', b"\xff\xfe", b'{"rows": ' + b"[" * 5000])
def test_a_file_that_is_no_plan_is_ignored(bundle, homes, tmp_path, data):
    (tmp_path / "plan.json").write_bytes(data)
    engines = Engines()
    apply(engines, bundle, tmp_path / "plan.json")
    assert used(engines, bundle)[0] == "portable"
    assert "not a plan" in used(engines, bundle)[1]


def test_a_plan_edited_by_hand_is_still_proven(bundle, homes, clock):
    plan = search(bundle, Options(), seconds=100, clock=clock)
    rows = tuple(msgspec.structs.replace(r, chosen=r.backend == "nowhere", backend="nowhere") for r in plan.rows)
    rows = tuple(msgspec.structs.replace(r, chosen=True) for r in rows[:1])
    engines = Engines()
    apply(engines, bundle, msgspec.structs.replace(plan, rows=rows))
    assert used(engines, bundle)[0] == "portable"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"threads": 100_000}, "100000 threads"),
        ({"threads": -1}, "-1 threads"),
        ({"batch": 0}, "batch 0"),
        ({"precision": "fp7"}, "'fp7'"),
        ({"device": "tpu"}, "'tpu'"),
        ({"provider": "rocm"}, "'rocm'"),
        ({"reason": "\x1b[2J"}, "not printable"),
        ({"kernels": "x" * 2000}, "too long"),
        ({"precision": "fp16"}, "holds fp32, int8"),
    ],
)
def test_rows_that_no_search_writes_are_ignored_with_a_word(bundle, clock, tmp_path, monkeypatch, change, why):
    monkeypatch.setattr("saccade.runtime.planner.PAUSE_S", 0.0)
    plan = search(bundle, Options(backend="onnx_runtime", provider="cpu", threads=1), seconds=5)
    rows = tuple(msgspec.structs.replace(r, **change) if r.chosen else r for r in plan.rows)
    kept.write(msgspec.structs.replace(plan, rows=rows), tmp_path / "plan.json")
    engines = Engines(Options(threads=1))
    apply(engines, bundle, tmp_path / "plan.json")
    backend, said = used(engines, bundle)
    assert backend == "onnxruntime"
    assert "portable default" in said
    assert why in said
    assert np.array_equal(engines(Graph(bundle, "g"))(x=X)["y"], 2 * X)


def test_a_row_outside_the_budget_is_not_followed(tmp_path, homes, clock):
    """Its golden check would pass: what the export measured over many samples stands between."""
    bundle = doubling_bundle(tmp_path, outside=("int8",))
    plan = search(bundle, Options(threads=1), seconds=100, clock=clock)
    rows = tuple(msgspec.structs.replace(r, chosen=(r.backend, r.precision) == ("quick", "int8")) for r in plan.rows)
    engines = Engines(Options(threads=1))
    apply(engines, bundle, msgspec.structs.replace(plan, rows=rows))
    backend, said = used(engines, bundle)
    assert backend == "portable"
    assert "outside the budget" in said


def test_a_file_too_large_for_a_plan_is_not_read(bundle, homes, tmp_path):
    with open(tmp_path / "plan.json", "wb") as file:
        file.truncate(1 << 40)
    engines = Engines()
    apply(engines, bundle, tmp_path / "plan.json")
    assert "larger than 4 MB" in used(engines, bundle)[1]


def test_cached_without_a_search_is_the_default(bundle, homes):
    engines = Engines()
    apply(engines, bundle, "cached")
    assert used(engines, bundle)[0] == "portable"
    assert "saccade plan" in used(engines, bundle)[1]


def test_measure_answers_at_once_and_swaps(bundle, clock, monkeypatch):
    gate = threading.Event()

    class Gated(Planted):
        def engine(self, *given):
            if self.name == "quick":
                gate.wait(30)
            return super().engine(*given)

    plant(
        monkeypatch,
        Gated("portable", clock, {"fp32": 1e-3, "int8": 8e-4}),
        Gated("quick", clock, {"fp32": 1e-9, "int8": 1e-9}),
    )
    import saccade.runtime.planned as planned

    monkeypatch.setattr(planned.time, "perf_counter", clock)
    engines = Engines()
    end = apply(engines, bundle, "measure", seconds=100)
    assert used(engines, bundle)[0] == "portable"  # the search still hangs
    assert "still runs" in used(engines, bundle)[1]
    gate.set()
    for _ in range(3000):
        if used(engines, bundle)[0] == "quick":
            break
        threading.Event().wait(0.01)
    assert used(engines, bundle)[0] == "quick"
    end()
    engines.close()


def test_closing_ends_the_search(bundle, homes, clock):
    engines = Engines()
    end = apply(engines, bundle, "measure", seconds=100)
    end()
    engines.close()
    assert not [t for t in threading.enumerate() if t.name == "saccade-plan"]


def test_batches_go_where_they_were_fastest(bundle, homes, clock):
    small, large = (home.engine(bundle, "g", bundle.graphs["g"].variants[0], None) for home in homes)
    routed = Routed([(2, small), (8, large)])
    before = clock.now
    routed(x=np.ones((2, 8), np.float32))
    assert clock.now - before == pytest.approx(1e-3)
    before = clock.now
    routed(x=np.ones((3, 8), np.float32))
    routed(x=np.ones((30, 8), np.float32))
    assert clock.now - before == pytest.approx(2e-4)
    routed.close()
