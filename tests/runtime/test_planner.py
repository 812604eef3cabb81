"""The fastest candidate that is right is chosen; a wrong one never is, and each says why."""

import subprocess
import sys

import msgspec
import pytest

from saccade.runtime.engines import Options
from saccade.runtime.errors import SettingsError
from saccade.runtime.plan import Plan
from saccade.runtime.planner import plan_of, search

from .planted import Clock, Planted, doubling_bundle, own_cache, plant


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    own_cache(monkeypatch, tmp_path / "cache")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def bundle(tmp_path):
    return doubling_bundle(tmp_path)


def chosen(plan, batch=None):
    rows = [r for r in plan.rows if r.chosen and batch in (None, r.batch)]
    assert len(rows) == 1
    return rows[0].backend, rows[0].precision


def row(plan, backend, precision):
    return next(r for r in plan.rows if (r.backend, r.precision) == (backend, precision))


def test_the_fastest_that_is_right(bundle, clock, monkeypatch):
    default = Planted("portable", clock, {"fp32": 1e-3, "int8": 5e-4})
    wrong = Planted("fast_wrong", clock, {"fp32": 1e-5, "int8": 1e-5}, wrong=True)
    slow = Planted("slow_right", clock, {"fp32": 9e-3, "int8": 9e-3})
    plant(monkeypatch, default, wrong, slow)
    plan = search(bundle, Options(), seconds=100, clock=clock)
    assert chosen(plan) == ("portable", "int8")
    assert row(plan, "portable", "int8").p50_ms == pytest.approx(0.5)
    assert "golden check failed" in row(plan, "fast_wrong", "fp32").reason
    assert not row(plan, "fast_wrong", "int8").passed
    assert row(plan, "slow_right", "fp32").p50_ms == pytest.approx(9.0)
    assert all(home.opened == home.closed for home in (default, wrong, slow))


def test_a_hair_is_not_worth_a_change(bundle, clock, monkeypatch):
    plant(monkeypatch, Planted("portable", clock, {"fp32": 1e-3, "int8": 0.98e-3}))
    assert chosen(search(bundle, Options(), seconds=100, clock=clock)) == ("portable", "fp32")


def test_what_is_outside_its_budget_is_not_run(tmp_path, clock, monkeypatch):
    home = Planted("portable", clock, {"fp32": 1e-3, "int8": 1e-5})
    plant(monkeypatch, home)
    plan = search(doubling_bundle(tmp_path, outside=("int8",)), Options(threads=1), seconds=100, clock=clock)
    assert chosen(plan) == ("portable", "fp32")
    assert row(plan, "portable", "int8").reason == "its measured error is outside the budget"
    assert home.opened == 1


def test_reasons_are_kept(bundle, clock, monkeypatch):
    plant(
        monkeypatch,
        Planted("portable", clock, {"fp32": 1e-3, "int8": 1e-3}),
        Planted("absent", clock, {}, unusable="not installed"),
        Planted("broken", clock, {}, opens=False),
    )
    plan = search(bundle, Options(), seconds=100, clock=clock)
    assert row(plan, "absent", "fp32").reason == "not installed"
    assert "cannot be opened" in row(plan, "broken", "int8").reason
    assert chosen(plan)[0] == "portable"


def test_time_is_up_for_the_rest_but_never_for_the_default(bundle, clock, monkeypatch):
    plant(monkeypatch, Planted("portable", clock, {"fp32": 5.0, "int8": 1e-3}))
    plan = search(bundle, Options(), seconds=1.0, clock=clock)
    assert chosen(plan) == ("portable", "fp32")
    assert "time was up" in row(plan, "portable", "int8").reason


def test_each_batch_size_has_its_choice(bundle, clock, monkeypatch):
    plant(monkeypatch, Planted("portable", clock, {"fp32": 1e-3, "int8": 5e-4}))
    plan = search(bundle, Options(), seconds=100, batches=(8, 1, 8), clock=clock)
    assert [r.batch for r in plan.chosen("g")] == [1, 8]


def test_without_a_golden_set_only_the_default(tmp_path, clock, monkeypatch):
    plant(monkeypatch, Planted("portable", clock, {"fp32": 1e-3, "int8": 1e-5}))
    plan = search(doubling_bundle(tmp_path, golden=False), Options(), seconds=100, clock=clock)
    assert chosen(plan) == ("portable", "fp32")
    assert "no golden set" in row(plan, "portable", "int8").reason


@pytest.mark.parametrize("batches", [(), (0,), (1, -3)])
def test_batch_sizes_that_mean_nothing(bundle, batches):
    with pytest.raises(SettingsError, match="batches") as caught:
        search(bundle, Options(), batches=batches)
    assert caught.value.hint


def test_one_search_for_equal_questions(bundle, clock, monkeypatch):
    home = Planted("portable", clock, {"fp32": 1e-3, "int8": 5e-4})
    plant(monkeypatch, home)
    first = plan_of(bundle, Options(), seconds=100, clock=clock)
    opened = home.opened
    assert plan_of(bundle, Options(), seconds=100, clock=clock) == first
    assert home.opened == opened
    plan_of(bundle, Options(threads=1), seconds=100, clock=clock)
    assert home.opened > opened
    opened = home.opened
    plan_of(bundle, Options(), seconds=100, again=True, clock=clock)
    assert home.opened > opened


def test_a_plan_is_plain_json(bundle, clock, monkeypatch):
    plant(monkeypatch, Planted("portable", clock, {"fp32": 1e-3, "int8": 5e-4}))
    plan = search(bundle, Options(), seconds=100, clock=clock)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


@pytest.fixture
def eight(monkeypatch):
    """A machine with four cores of two threads each."""
    from saccade.runtime import candidates

    monkeypatch.setattr(candidates, "cores", lambda: 8)
    monkeypatch.setattr(candidates, "thread_counts", lambda: (8, 4, 1))


def tried(plan):
    return {(r.precision, r.threads): r for r in plan.rows}


def test_threads_are_part_of_the_plan(bundle, clock, monkeypatch, eight):
    costs = {"fp32": 9e-3, "int8": 4e-3, ("int8", 4): 3e-3, ("int8", 1): 8e-3, ("fp32", 4): 1e-6}
    plant(monkeypatch, Planted("portable", clock, costs))
    plan = search(bundle, Options(), seconds=100, clock=clock)
    assert [(r.precision, r.threads) for r in plan.chosen("g")] == [("int8", 4)]
    assert set(tried(plan)) == {("fp32", 8), ("int8", 8), ("int8", 4), ("int8", 1)}  # only the best is tried further
    assert tried(plan)["int8", 1].p50_ms == pytest.approx(8.0)
    assert plan.chosen("g")[0].options(Options()).threads == 4


def test_fewer_threads_win_a_draw(bundle, clock, monkeypatch, eight):
    plant(monkeypatch, Planted("portable", clock, {"fp32": 1e-3, "int8": 1e-3}))
    assert search(bundle, Options(), seconds=100, clock=clock).chosen("g")[0].threads == 1


def test_threads_that_were_asked_for_stay(bundle, clock, monkeypatch, eight):
    plant(monkeypatch, Planted("portable", clock, {"fp32": 1e-3, "int8": 5e-4, ("int8", 1): 1e-6}))
    plan = search(bundle, Options(threads=3), seconds=100, clock=clock)
    assert {r.threads for r in plan.rows} == {3}


def test_without_time_all_cores_it_is(bundle, clock, monkeypatch, eight):
    plant(monkeypatch, Planted("portable", clock, {"fp32": 5.0, "int8": 1.0}))
    plan = search(bundle, Options(), seconds=6.0, clock=clock)
    assert plan.chosen("g")[0].threads == 8
    assert {r.threads for r in plan.rows if "time was up" in r.reason} >= {1, 4}


@pytest.mark.parametrize("cost", [1e-5, 1e-2, 0.3, 1.0, 3.0])
def test_the_time_box_holds_but_for_the_default(bundle, clock, monkeypatch, cost):
    homes = [Planted(f"h{i}", clock, {"fp32": cost, "int8": cost * 0.9}, each=True) for i in range(4)]
    plant(monkeypatch, *homes)
    plan = search(bundle, Options(), seconds=10.0, clock=clock)
    least = 6 * cost  # the default: proven on four samples, warmed up, and one run in the slowest case
    assert clock.now <= max(10.0, least) + 2 * cost
    assert len(plan.chosen("g")) == 1


def test_a_slow_graph_gets_the_time_that_its_candidates_need(bundle, clock, monkeypatch):
    plant(
        monkeypatch,
        Planted("portable", clock, {"fp32": 7.0, "int8": 7.5}, each=True),
        Planted("quick", clock, {"fp32": 6.0, "int8": 2.5}, each=True),
    )
    plan = search(bundle, Options(threads=1), clock=clock)
    assert chosen(plan) == ("quick", "int8")
    assert all(r.p50_ms is not None for r in plan.rows)
    assert clock.now < 240


def test_a_machine_that_is_slow_to_open_engines_is_no_slow_graph(bundle, clock, monkeypatch):
    """Opening takes long while the disk is cold or neighbours are busy; the time box holds all the same."""

    class Cold(Planted):
        def engine(self, *given):
            clock.now += 4.0
            return super().engine(*given)

    plant(monkeypatch, *(Cold(f"h{i}", clock, {"fp32": 1e-2, "int8": 1e-2}) for i in range(4)))
    plan = search(bundle, Options(threads=1), clock=clock)
    assert clock.now <= 20.0
    assert any("time was up" in r.reason for r in plan.rows)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_times_that_mean_nothing(bundle, seconds):
    with pytest.raises(SettingsError, match="seconds") as caught:
        search(bundle, Options(), seconds=seconds)
    assert caught.value.hint


ONE_SEARCH = """
import sys
from saccade.runtime.bundle import Bundle
from saccade.runtime.engines import Options
from saccade.runtime import planner

real = planner.search

def counted(*given, **more):
    print("searched", flush=True)
    return real(*given, **more)

planner.search = counted
print(planner.plan_of(Bundle.open(sys.argv[1]), Options(threads=1), seconds=1.0).seconds)
"""


def test_two_processes_that_start_at_once_search_once(bundle):
    started = [
        subprocess.Popen([sys.executable, "-c", ONE_SEARCH, bundle.path], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[0].split() for process in started]
    assert sorted(map(len, said)) == [1, 2]
    assert said[0][-1] == said[1][-1]
