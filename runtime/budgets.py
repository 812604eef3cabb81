"""Budgets: how much of the trained model's answers a variant may lose, by the family's own metric, and their spelling.

    "mask_iou=0.97,cosine_worst=0.99" | "0.995" | 0.995 | {"mask_iou": 0.97}  ──▶  {"mask_iou": 0.97, …}

A bare number is the floor of the family's first metric. What is not named keeps its default. A name is a metric, which
is a floor under the mean; with `_worst` under the worst sample; with `_drop` the most that a figure may fall below the
trained model's own. The same spelling everywhere: `saccade export --budget`, `export(…, budget=)`, `load(…, budget=)`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from saccade.runtime.errors import SettingsError
from saccade.runtime.manifest import Measured

DECIBELS = ("psnr",)
"""Metrics in dB; all others are shares, 1 at best."""
MOST_DECIBELS = 200.0
ENDINGS = ("_worst", "_drop")

Given = str | float | Mapping[str, float] | Sequence[str] | None


def budgets_of(given: Given, defaults: Mapping[str, float], metrics: Iterable[str] = ()) -> dict[str, float]:
    """The budgets that `given` means for a family.

    defaults: the family's own; the first is what a bare number sets
    metrics: further metrics that the family has figures of
    Raises SettingsError for a name that is no budget of this family, and for a value that its metric cannot have.
    """
    known = list(dict.fromkeys([*(_metric(name) for name in defaults), *metrics]))
    found = dict(defaults)
    for name, value in _pairs(given, next(iter(defaults), "")):
        if _metric(name) not in known:
            raise SettingsError(
                f"[budget] no metric {name[:48]!a} here; this family has {', '.join(known) or 'none'}",
                hint="a metric, or one with _worst or _drop behind it, such as " + _example(known),
            )
        found[name] = _checked(name, value)
    return found


def spent(measured: Iterable[Measured], budgets: Mapping[str, float]) -> float:
    """The largest share of an allowed loss that the figures use: at most 1 inside the budgets, 0 if nothing is lost.

    Of a metric in dB the loss is an error's RMS, of all others the distance to 1. A figure that is not a number: inf.
    """
    return max((_share(name, floor, m) for m in measured for name, floor in budgets.items()), default=0.0)


def _share(name: str, allowed: float, m: Measured) -> float:
    if _metric(name) != m.metric:
        return 0.0
    if name.endswith("_drop"):
        return 0.0 if m.reference is None else _ratio(m.reference - m.mean, allowed)
    value = m.worst if name.endswith("_worst") else m.mean
    if m.metric in DECIBELS:
        return math.inf if math.isnan(value) else 10 ** ((allowed - value) / 20)
    return _ratio(1 - value, 1 - allowed)


def _ratio(lost: float, allowed: float) -> float:
    if math.isnan(lost):
        return math.inf
    if lost <= 0:
        return 0.0
    return lost / allowed if allowed > 0 else math.inf


def _metric(name: str) -> str:
    for ending in ENDINGS:
        name = name.removesuffix(ending)
    return name


def _pairs(given: Given, first: str) -> list[tuple[str, float]]:
    if given is None:
        return []
    if isinstance(given, Mapping):
        return [(str(name), value) for name, value in given.items()]
    if isinstance(given, int | float):
        return [(first, given)]
    parts = given.split(",") if isinstance(given, str) else [p for one in given for p in str(one).split(",")]
    return [_pair(part.strip(), first) for part in parts]


def _pair(text: str, first: str) -> tuple[str, float]:
    name, equals, value = text.rpartition("=")
    try:
        return (name.strip() if equals else first), float(value)
    except ValueError:
        raise SettingsError(
            f"[budget] {text[:48]!a} is neither NAME=NUMBER nor a number", hint=f"such as {_example([first])} or 0.995"
        ) from None


def _checked(name: str, value: float) -> float:
    most = MOST_DECIBELS if _metric(name) in DECIBELS else 1.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise SettingsError(
            f"[budget] {name}: got {str(value)[:32]}, a budget lies between 0 and {most:g}",
            hint=f"such as {_example([_metric(name)])}",
        )
    return float(value)


def _example(known: Sequence[str]) -> str:
    first = known[0] if known and known[0] else "cosine"
    return f"{first}={40 if first in DECIBELS else 0.98}"
