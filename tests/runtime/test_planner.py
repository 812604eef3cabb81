"""The fastest candidate that is right is chosen; a wrong one never is, and each says why."""

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
