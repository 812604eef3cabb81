"""How one activation and the weights that read it become int8: every way is tried, the least measured error wins.

    rows (R, C), weights (C, K) ──▶ channel scaling ──▶ calibrators: where 256 steps begin and end ──▶ Choice

Error is that of the products themselves, of real rows with rounded weights, relative to the exact ones: neither
factor's error alone shows it. Which calibrator is good differs from layer to layer, so none is chosen by its name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLIPS = (1.0, 0.95)
"""Shares of the seen range that are tried for each tensor by expected error."""
GRID = (1.0, 0.97, 0.94, 0.9, 0.85, 0.8, 0.7, 0.6)
"""Shares that the calibrators of least squares and of entropy look at."""
PERCENTILES = (99.99, 99.9)
STRENGTHS = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8)
"""How much of a channel's spread moves from activation to weight; arXiv 2211.10438, eq. 4, calls it α."""
MEASURED = 256
"""Rows that the products are computed of, to measure the error of a way."""
CLEARLY = 0.95
"""A way replaces the first, which is the least *expected* error, only below this share of its measured one: so that
another machine's last digit gives the same bundle."""
BINS = 1024
UNSCALED = "unscaled"

Weights = dict[str, np.ndarray]
Steps = tuple[np.float32, np.uint8]
"""Scale and zero point of an activation."""


@dataclass(frozen=True)
class Choice:
    """How a group is quantised.

    factors: (C,) powers of two that its channels are divided by and the weights' rows multiplied with, or None
    won: the name of the way that was taken; tried: for each way the relative error of the products
    """

    factors: np.ndarray | None
    steps: Steps
    won: str
    tried: dict[str, float]

    @property
    def error(self) -> float:
        """Relative error of the products, the way that was taken."""
        return self.tried[self.won]


def choose(rows: np.ndarray, weights: Weights, low: float, high: float, *, scalable: bool) -> Choice:
    """The best way for an activation seen as `rows`, with extremes `low` and `high` over all that were seen.

    scalable: whether a LayerNormalization makes the activation for these products alone, so that channels can be scaled
    """
    full, factors = (low, high), smoothing(rows, weights) if scalable else None
    scaled, heavier = applied(rows, weights, factors)
    if factors is not None:  # of scaled channels only the kept rows are known
        low, high = float(scaled.min()), float(scaled.max())
    few = rows[:: max(1, len(rows) // MEASURED)]
    exact = {name: few @ weight for name, weight in weights.items()}
    ways = _ways(scaled, heavier, low, high)
    rounded = {name: weight_steps(w)[2] for name, w in heavier.items()}
    thin, _ = applied(few, {}, factors)
    tried = {name: _error(thin, rounded, exact, steps) for name, steps in ways.items()}
    first = next(iter(tried))
    won = min(tried, key=lambda name: tried[name])
    if tried[won] >= CLEARLY * tried[first]:
        won = first
    if factors is None:
        return Choice(None, ways[won], won, tried)
    plain = {name: weight_steps(w)[2] for name, w in weights.items()}
    whole = _steps(*full)
    tried[UNSCALED] = _error(few, plain, exact, whole)
    if tried[UNSCALED] < CLEARLY * tried[won]:
        return Choice(None, whole, UNSCALED, tried)
    return Choice(factors, ways[won], won, tried)


def applied(rows: np.ndarray, weights: Weights, factors: np.ndarray | None) -> tuple[np.ndarray, Weights]:
    """Rows and weights with the channels scaled: the same products."""
    if factors is None:
        return rows, weights
    return rows / factors, {name: weight * factors[:, None] for name, weight in weights.items()}


def smoothing(rows: np.ndarray, weights: Weights) -> np.ndarray:
    """Factors (C,) that even a group's channels out, of the strength with the least expected error.

    They are powers of two, so that float32 loses nothing by them.
    """
    peak = np.abs(rows).max(0).clip(1e-6)
    heavy = np.max([np.abs(w).max(1) for w in weights.values()], axis=0).clip(1e-6)
    tried: list[tuple[float, np.ndarray]] = []
    for strength in STRENGTHS:
        share = peak**strength / heavy ** (1 - strength)
        factors = np.exp2(np.round(np.log2(share))) if strength else np.ones_like(peak)
        factors = factors / np.exp2(np.round(np.log2(np.median(factors))))
        scaled = {name: weight * factors[:, None] for name, weight in weights.items()}
        tried.append((_expected_error(rows / factors, scaled), factors.astype(np.float32)))
    return min(tried, key=lambda one: one[0])[1]


def weight_steps(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A weight (C, K) as int8, a scale for each of its K columns, and what they multiply back to."""
    scales = (np.abs(weight).max(0) / 127).clip(1e-12).astype(np.float32)
    steps = np.clip(np.rint(weight / scales), -127, 127).astype(np.int8)
    return steps, scales, steps * scales


def _ways(rows: np.ndarray, weights: Weights, low: float, high: float) -> dict[str, Steps]:
    """Every calibrator's scale and zero point by its name; the first is what is taken when none is clearly better."""
    loud = np.asarray(np.sum([(w * w).sum(1) for w in weights.values()], axis=0))
    found = {"expected": _fitted(rows, low, high, loud, CLIPS)[0], "min-max": _steps(low, high)}
    for percent in PERCENTILES:
        found[f"percentile {percent}"] = _steps(*map(float, np.percentile(rows, [100 - percent, percent])))
    found["squares"] = _fitted(rows, low, high, np.ones(rows.shape[1], np.float32), GRID)[0]
    found["entropy"] = _steps(*_least_divergent(rows, low, high))
    return found


def _error(rows: np.ndarray, rounded: Weights, exact: Weights, steps: Steps) -> float:
    """RMS of the products' error as a share of their own."""
    back = _rounded(rows, steps)
    lost = sum(float(((back @ weight - exact[name]) ** 2).sum(dtype=np.float64)) for name, weight in rounded.items())
    whole = sum(float((product**2).sum(dtype=np.float64)) for product in exact.values())
    return float(np.sqrt(lost / max(whole, 1e-30)))


def _expected_error(rows: np.ndarray, weights: Weights) -> float:
    """Mean squared error of the products, taking roundings as independent."""
    loud = np.asarray(np.sum([(w * w).sum(1) for w in weights.values()], axis=0))
    _, lost = _fitted(rows, float(rows.min()), float(rows.max()), loud, CLIPS)
    power = (rows * rows).mean(0)
    return lost + sum(float(power @ ((w - weight_steps(w)[2]) ** 2).sum(1)) for w in weights.values())


def _fitted(
    rows: np.ndarray, low: float, high: float, loud: np.ndarray, shares: tuple[float, ...]
) -> tuple[Steps, float]:
    """The clipping of least squared error, with each channel's as it is heard (`loud`, (C,)), and that error."""
    tried = []
    for share in shares:
        steps = _steps(low, high, share)
        tried.append((float(((rows - _rounded(rows, steps)) ** 2).mean(0) @ loud), steps))
    lost, steps = min(tried, key=lambda one: one[0])
    return steps, lost


def _least_divergent(rows: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """The clipping whose 256 steps tell most of the values' distribution: least Kullback-Leibler divergence."""
    low, high = min(low, 0.0), max(high, 0.0)
    if high <= low:
        return low, high
    counts, edges = np.histogram(rows, BINS, (low, high))
    centres = (edges[1:] + edges[:-1]) / 2
    best = (np.inf, low, high)
    for share in GRID:
        ends = low * share, high * share
        place = np.clip(centres, *ends)
        step = np.rint((place - ends[0]) / ((ends[1] - ends[0]) / 255)).astype(int)
        first, last = np.searchsorted(centres, ends[0]), np.searchsorted(centres, ends[1], side="right") - 1
        seen = counts[first : last + 1].astype(np.float64)
        seen[0] += counts[:first].sum()  # what is cut off falls into the outermost steps
        seen[-1] += counts[last + 1 :].sum()
        step = step[first : last + 1]
        filled = seen > 0
        # A step holds the mass of what is there without the cut; spread over its bins, as it comes back.
        mass = np.bincount(step, counts[first : last + 1], minlength=256)
        width = np.maximum(np.bincount(step, filled, minlength=256), 1)
        told = (mass / width)[step]
        p, q = seen[filled] / seen.sum(), told[filled] / max(told[filled].sum(), 1.0)
        best = min(best, (float((p * np.log(p / q.clip(1e-9))).sum()), *ends))
    return best[1], best[2]


def _steps(low: float, high: float, share: float = 1.0) -> Steps:
    """Scale and zero point of 256 steps from `low` to `high`, clipped to a share; zero is one of them."""
    scale = _steady((max(high, 0.0) - min(low, 0.0)) * share / 255)
    return scale, np.uint8(np.clip(round(-min(low, 0.0) * share / float(scale)), 0, 255))


def _rounded(rows: np.ndarray, steps: Steps) -> np.ndarray:
    scale, zero = steps
    return np.asarray((np.clip(np.rint(rows / scale) + zero, 0, 255) - zero) * scale)


def _steady(scale: float) -> np.float32:
    """Rounded up to eight bits of mantissa, so that another machine's last digit gives the same bundle."""
    mantissa, exponent = np.frexp(max(scale, 1e-12))
    return np.float32(np.ldexp(np.ceil(mantissa * 256) / 256, exponent))
