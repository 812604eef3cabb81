"""A trace is what Perfetto opens: valid Chrome JSON whose spans are those that happened."""

import json

import pytest

import saccade
from saccade.runtime import tracing
from saccade.runtime.call import All, Work
from saccade.runtime.direct import Direct
from saccade.runtime.errors import InputError, SettingsError
from tests.runtime.scheduling.conftest import World, ask, handle

G = handle()


def pipeline(value):
    a, b = yield All(ask(G, value), Work(round, value))
    return a + b


@pytest.fixture
def traced(tmp_path):
    world, path = World(), tmp_path / "trace.json"
    scheduler = world.scheduler(merge=True)
    with saccade.trace(path):
        made = [scheduler.submit(pipeline(float(i)), stream=f"s{i}") for i in range(6)]
        world.run(scheduler)
    assert all(f.exception() is None for f in made)
    scheduler.close()
    return world, json.loads(path.read_text())["traceEvents"]


def test_every_run_wait_work_and_request_is_there(traced):
    world, events = traced
    by = {}
    for event in events:
        by.setdefault((event.get("cat"), event["ph"]), []).append(event)
    runs = by["engine", "X"]
    assert [(e["name"], e["args"]["rows"]) for e in runs] == world.runs
    assert sorted(n for e in runs for n in e["args"]["requests"]) == [1, 2, 3, 4, 5, 6]
    assert [e["dur"] for e in runs] == [pytest.approx(10_000)] * len(runs)
    assert len(by["request", "b"]) == len(by["request", "e"]) == 6
    assert {e["args"]["how"] for e in by["request", "b"]} == {"result"}
    assert {e["args"]["stream"] for e in by["request", "b"]} == {f"s{i}" for i in range(6)}
    assert {e["name"] for e in by["queue", "b"]} >= {"queue g"}
    assert {e["name"] for e in by["work", "X"]} == {"round"}
    assert {e["args"]["name"] for e in by[None, "M"]} == {"MainThread"}


def test_spans_nest_and_waits_end_after_they_begin(traced):
    _, events = traced
    open_, spans = {}, {}
    for event in events:
        if event["ph"] == "b":
            open_[event["id"], event["cat"], event["name"]] = event["ts"]
        elif event["ph"] == "e":
            assert event["ts"] >= open_[event["id"], event["cat"], event["name"]]
        elif event["ph"] == "X":
            assert event["dur"] >= 0
            spans.setdefault(event["tid"], []).append((event["ts"], event["ts"] + event["dur"]))
    for one in spans.values():
        one.sort()
        for (_, end), (start, _) in zip(one, one[1:], strict=False):
            assert start >= end - 1e-3


def test_the_direct_driver_is_traced_too(tmp_path):
    world = World()
    with saccade.trace(tmp_path / "t.json"):
        Direct(world.engine).run(pipeline(1.0))
    spans = [e for e in json.loads((tmp_path / "t.json").read_text())["traceEvents"] if e["ph"] == "X"]
    assert [(e["cat"], e["name"]) for e in spans] == [("engine", "g"), ("work", "round")]


def test_off_is_off_again(traced, tmp_path):
    assert tracing.active is None
    with pytest.raises(KeyError), saccade.trace(tmp_path / "kept.json"):
        raise KeyError
    assert tracing.active is None
    assert json.loads((tmp_path / "kept.json").read_text())["traceEvents"] == []


def test_one_trace_at_a_time(tmp_path):
    with saccade.trace(tmp_path / "a.json"), pytest.raises(SettingsError, match="one is being written"):
        saccade.trace(tmp_path / "b.json").__enter__()
    assert not (tmp_path / "b.json").exists()


def test_a_file_that_cannot_be_written_is_typed(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"), saccade.trace(tmp_path / "file" / "trace.json"):
        pass
    assert tracing.active is None


def test_events_are_bounded(monkeypatch, tmp_path):
    monkeypatch.setattr(tracing, "MOST", 10)
    with saccade.trace(tmp_path / "t.json") as trace:
        for i in range(25):
            trace.span("x", "work", i, i + 1)
    assert json.loads((tmp_path / "t.json").read_text())["otherData"] == {"lost": 15}
