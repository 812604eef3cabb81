"""bench plan: what was chosen against each candidate by hand, by plan and by name."""

import pytest

from saccade.benchmarks import plans
from saccade.runtime import planned
from saccade.runtime.errors import EngineError
from saccade.zoo.shipped import bundle_path


def test_rows():
    head, *choices, last = plans.rows([(bundle_path("clip-tiny"), True)], seconds=0.5, measure_s=0.1)
    assert head["case"] == "search"
    assert head["seconds"] > 0
    assert head["first_answer_s"] > 0
    assert [row["graph"] for row in choices] == ["image", "text"]
    for row in choices:
        assert row["chosen"] in [peer["name"] for peer in row["baselines"]]
        assert row["over_ort"] in row["baselines"]
        assert 0 < row["best_share"] <= 1
        assert (row["asked"], row["runs"] >= 5) == (3.0, True)
    assert last["least"] == min(row["best_share"] for row in choices)
    assert last["least"] <= last["best_share"] <= 1


def test_a_plan_that_is_not_followed_is_an_error(monkeypatch):
    monkeypatch.setattr(planned, "proven", lambda *_: (None, "it turned wrong"))
    with pytest.raises(EngineError, match="it turned wrong"):
        plans.rows([(bundle_path("clip-tiny"), True)], seconds=0.5, measure_s=0.1)
