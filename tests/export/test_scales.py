"""Ways to scale one activation: each is tried, and what was measured decides."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")

from saccade.export.scales import choose, smoothing, weight_steps

R, C, K = 700, 40, 24


def rows(seed: int, spikes: int = 0, loud: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    made = rng.standard_normal((R, C)).astype(np.float32)
    made[:, :2] *= loud
    made.ravel()[rng.integers(0, R * C, spikes)] *= 60
    return made


def weights(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed + 100)
    return {name: (rng.standard_normal((C, K)) / C**0.5).astype(np.float32) for name in "qk"}


def measured(choice: object, x: np.ndarray, given: dict[str, np.ndarray]) -> float:
    """The relative error of a choice over all rows, computed once more in float64."""
    factors = 1.0 if choice.factors is None else choice.factors  # type: ignore[attr-defined]
    scale, zero = choice.steps  # type: ignore[attr-defined]
    back = (np.clip(np.rint(x / factors / scale) + float(zero), 0, 255) - float(zero)) * float(scale)
    lost, whole = 0.0, 0.0
    for weight in given.values():
        scaled = weight * np.broadcast_to(factors, (C,))[:, None]
        lost += ((back @ weight_steps(scaled)[2].astype(np.float64) - x.astype(np.float64) @ weight) ** 2).sum()
        whole += ((x.astype(np.float64) @ weight) ** 2).sum()
    return float(np.sqrt(lost / whole))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scalable", [False, True])
def test_the_error_that_is_told_is_the_products(seed: int, scalable: bool) -> None:
    x, given = rows(seed), weights(seed)
    choice = choose(x, given, float(x.min()), float(x.max()), scalable=scalable)
    assert choice.error == pytest.approx(measured(choice, x, given), rel=0.15)  # of a part of the rows
    assert 0.003 < choice.error < 0.03
    assert choice.error <= min(choice.tried.values()) / 0.95 or scalable


def test_no_calibrator_is_right_for_all() -> None:
    """A single far value in a thousand rows makes the full range useless; without one, cutting off is what costs."""
    x, given = rows(1), weights(1)
    calm = choose(x, given, float(x.min()), float(x.max()), scalable=False)
    assert calm.tried["percentile 99.9"] > calm.tried["min-max"]
    x[0, 0] = 900.0
    wild = choose(x, given, float(x.min()), float(x.max()), scalable=False)
    assert wild.tried["percentile 99.9"] < wild.tried["min-max"] or wild.won != "percentile 99.9"
    assert set(wild.tried) >= {"expected", "min-max", "percentile 99.99", "percentile 99.9", "squares", "entropy"}


def test_extremes_that_no_row_has_are_heeded_only_if_that_measures_better() -> None:
    x, given = rows(2), weights(2)
    choice = choose(x, given, -400.0, 400.0, scalable=False)
    assert choice.won.startswith("percentile")
    assert choice.error < 0.2 * choice.tried["min-max"]


def test_a_way_is_taken_only_if_clearly_better() -> None:
    x, given = rows(3), weights(3)
    choice = choose(x, given, float(x.min()), float(x.max()), scalable=False)
    best = min(choice.tried.values())
    assert choice.won == "expected" or choice.tried["expected"] > best / 0.95


def test_loud_channels_are_scaled_by_powers_of_two() -> None:
    x, given = rows(4, loud=50.0), {name: w.copy() for name, w in weights(4).items()}
    for weight in given.values():
        weight[:2] /= 50
    factors = smoothing(x, given)
    assert np.array_equal(np.exp2(np.round(np.log2(factors))), factors)
    assert factors[:2].min() > 2 * np.median(factors[2:])
    choice = choose(x, given, float(x.min()), float(x.max()), scalable=True)
    assert choice.error < 0.5 * choice.tried["unscaled"]


def test_constants_are_quantised() -> None:
    x = np.zeros((16, C), np.float32)
    choice = choose(x, weights(0), 0.0, 0.0, scalable=True)
    assert np.isfinite(list(choice.tried.values())).all()
