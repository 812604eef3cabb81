"""Budgets by argument: a metric's floor may be changed, an unknown name is told before any work."""

import pytest

from saccade.cli import run
from saccade.export.recipe import Recipe, with_budgets
from saccade.runtime.errors import SettingsError

RECIPE = Recipe("clip", "tiny", (), lambda *_: {}, lambda _: (), {"cosine": 0.999, "accuracy_drop": 0.01})


def test_a_budget_takes_the_place_of_the_familys_own():
    made = with_budgets(RECIPE, {"cosine": 0.9, "cosine_worst": 0.5})
    assert made.budgets == {"cosine": 0.9, "cosine_worst": 0.5, "accuracy_drop": 0.01}
    assert RECIPE.budgets["cosine"] == 0.999
    assert with_budgets(RECIPE, {}) == RECIPE


@pytest.mark.parametrize("bad", [{"psnr": 30}, {"cosin": 0.9}, {"cosine": float("nan")}, {"cosine": "high"}, {"": 1}])
def test_what_means_nothing_is_refused(bad):
    with pytest.raises(SettingsError, match="budget") as caught:
        with_budgets(RECIPE, bad)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["cosine", "cosine=high", "=", "cosine=0.9=1"])
def test_the_command_says_how_it_is_spelt(text, capfd):
    assert run(["export", "nowhere", "-o", "x", "--budget", text]) == 2
    assert "metric=figure" in capfd.readouterr().err
