"""The doctor proves what it lists, and tells nothing that a bug report should not hold."""

import json
import os

import pytest

from saccade.runtime.bundle import Bundle
from saccade.runtime.call import Graph
from saccade.runtime.doctor import examination
from saccade.runtime.engines import Engines, Options
from saccade.runtime.explanation import explanation
from saccade.runtime.planned import apply
from saccade.runtime.planner import plan_of

from .planted import Clock, Planted, doubling_bundle, own_cache, plant


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    own_cache(monkeypatch, tmp_path / "cache")


def test_right_wrong_and_absent(tmp_path, monkeypatch):
    import saccade.runtime.doctor as doctor

    clock = Clock()
    plant(
        monkeypatch,
        Planted("portable", clock, {"fp32": 1e-3, "int8": 1e-3}),
        Planted("liar", clock, {"fp32": 1e-3, "int8": 1e-3}, wrong=True),
        Planted("absent", clock, {}, unusable="not installed"),
    )
    monkeypatch.setattr(doctor, "AUTOMATIC", ("portable", "liar", "absent"))
    found = examination(doubling_bundle(tmp_path), clock)
    verdicts = {(row["backend"], row["precision"]): row["verdict"] or row["unusable"] for row in found["engines"]}
    assert verdicts[("portable", "fp32")] == "right"
    assert verdicts[("liar", "int8")] == "WRONG"
    assert verdicts[("absent", "fp32")] == "not installed"
    assert found["works"]
    assert all(row["verdict"] != "WRONG" for row in found["kernels"])
    monkeypatch.setattr(doctor, "AUTOMATIC", ("liar", "absent"))
    assert not examination(doubling_bundle(tmp_path / "cache"), clock)["works"]


def test_it_tells_no_private_names(clip_bundle):
    told = json.dumps(examination(Bundle.open(clip_bundle)))
    for private in (os.path.expanduser("~"), os.getcwd(), os.uname().nodename, str(clip_bundle)):
        assert private not in told


def test_explanation_says_what_is_true(tmp_path, monkeypatch):
    clock = Clock()
    plant(
        monkeypatch,
        Planted("portable", clock, {"fp32": 1e-3, "int8": 1e-3}),
        Planted("absent", clock, {}, unusable="not installed"),
    )
    bundle = doubling_bundle(tmp_path)
    told = explanation(bundle, Options())
    assert not told["planned"]
    assert [(r["backend"], r["precision"], r["chosen"]) for r in told["graphs"]] == [
        ("portable", "fp32", True),
        ("portable", "int8", False),
        ("absent", "fp32", False),
        ("absent", "int8", False),
    ]
    assert {r["what"] for r in told["kernels"]} >= {"kernel nms", "kernel mask_decode"}


def test_explanation_after_a_search_with_a_slow_and_a_wrong_candidate(tmp_path, monkeypatch):
    clock = Clock()
    homes = [
        Planted("portable", clock, {"fp32": 3e-3, "int8": 2e-3}),
        Planted("slow", clock, {"fp32": 50e-3, "int8": 40e-3}),
        Planted("liar", clock, {"fp32": 1e-6, "int8": 1e-6}, wrong=True),
    ]
    plant(monkeypatch, *homes)
    bundle = doubling_bundle(tmp_path)
    plan_of(bundle, Options(threads=1), seconds=100, clock=clock)
    rows = {(r["backend"], r["precision"]): r for r in explanation(bundle, Options(threads=1))["graphs"]}
    assert [key for key, row in rows.items() if row["chosen"]] == [("portable", "int8")]
    assert rows["slow", "fp32"]["p50_ms"] == pytest.approx(50.0)
    assert not rows["slow", "fp32"]["reason"]
    for precision in ("fp32", "int8"):
        assert "golden check failed" in rows["liar", precision]["reason"]
        assert rows["liar", precision]["p50_ms"] is None
    homes[0].wrong = True  # and one that turns wrong later is not used, whatever the plan says
    engines = Engines(Options(threads=1))
    apply(engines, bundle, "cached")
    assert "failed the golden check" in engines(Graph(bundle, "g")).about["plan"]
