"""Figures that decide what is near enough."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from saccade.runtime.errors import BundleError, SpecError
from saccade.runtime.manifest import Measured, Variant
from saccade.runtime.precision import (
    accuracy,
    cosine,
    figure,
    golden_check,
    golden_passes,
    mask_iou,
    top1_agreement,
    within,
)
from saccade.runtime.spec import GraphSpec, TensorSpec


def test_cosine_of_known_angles() -> None:
    found = cosine([[1, 0], [1, 0], [2, 0], [1, 1]], [[1, 0], [0, 3], [-5, 0], [1, 0]])
    np.testing.assert_allclose(found, [1, 0, -1, 2**-0.5], atol=1e-15)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_an_embedding_that_is_none_has_cosine_zero(bad: float) -> None:
    assert cosine(np.full((1, 4), bad), np.ones((1, 4)))[0] == 0


def test_cosine_does_not_overflow_in_half() -> None:
    assert cosine(np.full((1, 64), 6e4, np.float16), np.ones((1, 64), np.float16))[0] == pytest.approx(1)


@pytest.mark.parametrize(("a", "b"), [((2, 3), (3, 3)), ((3,), (3,)), ((2, 3), (2, 4))])
def test_arrays_that_do_not_fit_are_refused(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(SpecError, match=r"\[precision\]"):
        cosine(np.ones(a), np.ones(b))


def test_agreement_and_accuracy() -> None:
    scores = np.array([[3, 1], [0, 1], [5, 4]])
    assert top1_agreement(scores, -scores).tolist() == [0, 0, 0]
    assert accuracy(scores, [0, 0, 0]).tolist() == [1, 0, 1]


def test_a_figure_keeps_six_decimals() -> None:
    made = figure("cosine", [1.0, 0.12345678], "onnxruntime", 0.98765432)
    assert made == Measured("cosine", 0.561728, 0.123457, 2, "onnxruntime", 0.987654)


@pytest.mark.parametrize(
    ("budgets", "fits"),
    [
        ({}, True),
        ({"cosine": 0.99}, True),
        ({"cosine": 0.996}, False),
        ({"cosine_worst": 0.9}, True),
        ({"cosine_worst": 0.91}, False),
        ({"cosine_drop": 0.001}, True),  # nothing to fall below
        ({"accuracy_drop": 0.02}, True),
        ({"accuracy_drop": 0.005}, False),
    ],
)
def test_budgets(budgets: dict[str, float], fits: bool) -> None:
    measured = [Measured("cosine", 0.995, 0.9, 8, "x"), Measured("accuracy", 0.80, 0.0, 8, "x", 0.81)]
    assert within(measured, budgets) is fits


def test_not_a_number_is_outside_every_budget() -> None:
    assert not within([Measured("cosine", float("nan"), 0.0, 1, "x")], {"cosine": 0.1})


class Golden:
    def __init__(self, arrays: dict[str, np.ndarray]):
        self.arrays = arrays

    def golden(self) -> dict[str, np.ndarray]:
        return self.arrays


class Doubles:
    """An engine that answers with twice its input, plus an error."""

    spec = GraphSpec((TensorSpec("x", "float32", ("B", 2)),), (TensorSpec("y", "float32", ("B", 2)),), "B")
    about = {"backend": "doubles"}

    def __init__(self, error: float = 0.0):
        self.error = error

    def __call__(self, **inputs: Any) -> dict[str, Any]:
        return {"y": 2 * inputs["x"] + np.array([0, self.error], np.float32)}


def test_golden_check_measures_an_engine() -> None:
    x = np.array([[1, 0], [3, 4]], np.float32)
    bundle: Any = Golden({"g.x": x, "g.y": 2 * x})
    exact, off = (golden_check(bundle, "g", engine) for engine in (Doubles(), Doubles(2.0)))  # type: ignore[arg-type]
    assert (exact.mean, exact.worst, exact.samples, exact.backend) == (1, 1, 2, "doubles")
    assert off.worst == pytest.approx(2**-0.5, abs=1e-6)


def test_a_bundle_without_golden_set_says_so() -> None:
    bundle: Any = Golden({"g.x": np.ones((1, 2), np.float32)})
    with pytest.raises(BundleError, match=r"lacks g\.y"):
        golden_check(bundle, "g", Doubles())  # type: ignore[arg-type]


def test_mask_iou() -> None:
    a, b = np.zeros((2, 3, 4, 5), bool), np.zeros((2, 3, 4, 5), bool)
    a[0, 0, :2], b[0, 0, 1:3] = True, True
    a[0, 1, 0] = True
    found = mask_iou(a, b)
    assert found.tolist() == [[5 / 15, 0, 1], [1, 1, 1]]
    assert mask_iou(a, a).tolist() == [[1] * 3] * 2
    with pytest.raises(SpecError, match=r"\(2, 3, 4, 5\) and \(3, 4, 5\)"):
        mask_iou(a, b[0])


def test_a_figure_without_a_budget_is_held_against_the_export_alone() -> None:
    """SAM's budget is on masks; its golden check compares outputs as vectors."""
    variant = Variant("int8", "g.onnx", measured=(Measured("cosine", 0.99, 0.98, 8, "onnxruntime"),))
    for worst, passes in ((0.985, True), (0.9, False)):
        assert golden_passes(Measured("cosine", worst, worst, 1, "x"), variant, {"mask_iou": 0.98}) is passes


def test_measured_survives_json() -> None:
    made = figure("cosine", [1.0], "onnxruntime")
    assert msgspec.json.decode(msgspec.json.encode(made), type=Measured) == made


@pytest.mark.parametrize(
    ("worst", "passes"), [(0.9995, True), (0.9975, True), (0.9968, True), (0.9960, False), (0.0, False)]
)
def test_a_golden_check_is_held_against_what_the_export_measured(worst: float, passes: bool) -> None:
    variant = Variant("int8", "g.onnx", measured=(Measured("cosine", 0.9991, 0.9972, 64, "onnxruntime"),))
    assert golden_passes(Measured("cosine", worst, worst, 2, "x"), variant, {"cosine": 0.999}) is passes


def test_an_engine_that_answers_nonsense_does_not_pass_for_want_of_figures() -> None:
    assert not golden_passes(Measured("cosine", 0.1, 0.1, 2, "x"), Variant("fp32", "g.onnx"), {"cosine": 0.999})
