"""Budgets as they are said, and how much of them a variant uses."""

from __future__ import annotations

import math
from typing import Any

import pytest

from saccade.runtime.budgets import budgets_of, spent
from saccade.runtime.errors import SettingsError
from saccade.runtime.manifest import Measured
from saccade.runtime.precision import within

SAM = {"mask_iou": 0.98}
MORE = ("iou_agreement", "cosine")


@pytest.mark.parametrize(
    ("given", "want"),
    [
        (None, {"mask_iou": 0.98}),
        ("0.995", {"mask_iou": 0.995}),
        (0.9, {"mask_iou": 0.9}),
        (1, {"mask_iou": 1.0}),
        ("mask_iou=0.97", {"mask_iou": 0.97}),
        ("mask_iou=0.97, cosine_worst = 0.9", {"mask_iou": 0.97, "cosine_worst": 0.9}),
        (["mask_iou=0.97", "cosine=0.99"], {"mask_iou": 0.97, "cosine": 0.99}),
        ({"iou_agreement": 0.9}, {"mask_iou": 0.98, "iou_agreement": 0.9}),
    ],
)
def test_spellings(given: Any, want: dict[str, float]) -> None:
    assert budgets_of(given, SAM, MORE) == want
    assert SAM == {"mask_iou": 0.98}, "the defaults are not written to"


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("box_iou=0.9", r"no metric 'box_iou' here; this family has mask_iou, iou_agreement, cosine"),
        ("mask_iuo=0.9", "no metric 'mask_iuo'"),
        ({"": 0.9}, "no metric ''"),
        ("mask_iou=1.01", "mask_iou: got 1.01, a budget lies between 0 and 1"),
        ("-0.1", "mask_iou: got -0.1"),
        ("nan", "got nan"),
        (math.inf, "got inf"),
        ({"mask_iou": "0.9"}, "mask_iou: got 0.9"),
        ({"mask_iou": True}, "got True"),
        ("mask_iou", "neither NAME=NUMBER nor a number"),
        ("mask_iou=", "neither"),
        ("", "neither"),
        ("0.9,,", "neither"),
        ("a\x1b[2J=0.9", r"no metric 'a\\x1b\[2J'"),
    ],
)
def test_what_means_nothing_is_refused(given: Any, match: str) -> None:
    with pytest.raises(SettingsError, match=match) as raised:
        budgets_of(given, SAM, MORE)
    assert "mask_iou" in str(raised.value.hint)


def test_decibels_have_their_own_range() -> None:
    assert budgets_of("45", {"psnr": 40.0}) == {"psnr": 45.0}
    with pytest.raises(SettingsError, match="between 0 and 200"):
        budgets_of("psnr=201", {"psnr": 40.0})


def test_a_family_without_budgets_has_no_first_metric() -> None:
    with pytest.raises(SettingsError, match="this family has none"):
        budgets_of(0.9, {})


@pytest.mark.parametrize(
    ("budgets", "share"),
    [
        ({}, 0.0),
        ({"cosine": 0.99}, 0.5),
        ({"cosine": 0.995}, 1.0),
        ({"cosine": 0.999}, 5.0),
        ({"cosine_worst": 0.8}, 0.5),
        ({"accuracy_drop": 0.02}, 0.5),
        ({"cosine": 0.99, "accuracy_drop": 0.005}, 2.0),
        ({"psnr": 40.0}, 0.1),
        ({"cosine": 1.0}, math.inf),
        ({"mask_iou": 0.98}, 0.0),
    ],
)
def test_spent_is_the_worst_share_and_agrees_with_within(budgets: dict[str, float], share: float) -> None:
    measured = [
        Measured("cosine", 0.995, 0.9, 8, "x"),
        Measured("accuracy", 0.80, 0.0, 8, "x", 0.81),
        Measured("psnr", 60.0, 50.0, 8, "x"),
    ]
    assert spent(measured, budgets) == pytest.approx(share)
    if share != 1.0:  # on the edge, rounding decides
        assert within(measured, budgets) is (share < 1)


@pytest.mark.parametrize("metric", ["cosine", "psnr"])
def test_not_a_number_uses_all_of_any_budget(metric: str) -> None:
    assert spent([Measured(metric, math.nan, math.nan, 1, "x")], {metric: 0.0}) == math.inf
