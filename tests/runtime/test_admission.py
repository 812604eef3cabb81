"""A budget given by argument decides what a plan may choose; a name or value that means nothing is refused."""

import math

import pytest

import saccade
from saccade.runtime import admission
from saccade.runtime.bundle import Bundle
from saccade.runtime.candidates import candidates
from saccade.runtime.engines import Options
from saccade.runtime.errors import SettingsError


@pytest.fixture(scope="module")
def bundle(clip_bundle):
    return Bundle.open(clip_bundle)


def outside(bundle, graph, **given):
    options = Options(backend="onnx_runtime", provider="cpu", budget=admission.checked(bundle, given))
    return {made.precision for made, reason in candidates(bundle, graph, options) if "outside the budget" in reason}


def test_a_tighter_budget_leaves_int8_out_and_never_the_default(bundle):
    figures = {m.metric: m for v in bundle.graphs["image"].variants if v.precision == "int8" for m in v.measured}
    assert outside(bundle, "image") == set()
    tight = math.nextafter(figures["cosine"].mean, 2)
    assert "int8" in outside(bundle, "image", cosine=tight)
    assert outside(bundle, "image", cosine=1.0) >= {"int8"}
    assert "fp32" not in outside(bundle, "image", cosine=1.0)
    assert "int8" in outside(bundle, "image", cosine_worst=math.nextafter(figures["cosine"].worst, 2))
    assert "int8" not in outside(bundle, "image", cosine=figures["cosine"].mean)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cosin": 0.9}, "no metric 'cosin'"),
        ({"mask_iou": 0.9}, "no metric 'mask_iou'"),
        ({"cosine": -0.1}, "cosine: got -0.1"),
        ({"cosine": math.nan}, "nan"),
        ({"cosine": math.inf}, "got inf"),
        ({"cosine": 1.5}, "between 0 and 1"),
        ({"cosine": "0.9"}, "got 0.9"),
        ({"cosine": True}, "True"),
        ({"cosine": None}, "None"),
        ({7: 0.9}, "'7'"),
        ({"\x1b[2J": 1}, "x1b"),
        (["cosine=high"], "neither"),
    ],
)
def test_budgets_that_mean_nothing(bundle, given, message):
    with pytest.raises(SettingsError, match=message) as caught:
        saccade.load(bundle, precision="auto", budget=given)
    assert caught.value.hint
    assert str(caught.value).isprintable()


def test_a_budget_without_a_plan_would_decide_nothing(bundle):
    with pytest.raises(SettingsError, match="without a plan") as caught:
        saccade.load(bundle, budget={"cosine": 0.9})
    assert caught.value.hint


def test_the_hint_lists_the_figures(bundle):
    with pytest.raises(SettingsError) as caught:
        saccade.load(bundle, plan="cached", budget={"psnr": 30})
    assert "cosine" in caught.value.hint
