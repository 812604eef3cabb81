"""Rules: what decides which masks a run makes. Two runs with other rules, or another bundle, do not mix."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import msgspec

from saccade.runtime.annotation.record import OBJECT
from saccade.runtime.errors import SettingsError

STAGES = ("automatic", "assisted", "semi-automatic")
AUTOMATIC, ASSISTED, SEMI = STAGES


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The rules of one run, after the three stages of SAM's data engine (arXiv 2304.02643, section 4).

    stage: automatic, assisted or semi-automatic
    grid: points along a side of the grid that everything mode asks at; crops: layers of crops that it also looks at
    min_score, min_stability: least predicted IoU and stability of a mask that is kept without a person
    min_area: least area in pixels
    max_overlap: of two masks of a picture with a larger IoU, the one with the lower score goes; a prompted mask stays
    ask_grid, ask_score: semi-automatic: points along a side where the picture is looked over for what no mask covers,
        and the least score of a mask that is worth asking about
    categories: names in the order of their ids from 1 on; empty: those that occur, sorted
    """

    stage: str = AUTOMATIC
    grid: int = 32
    crops: int = 0
    min_score: float = 0.88
    min_stability: float = 0.95
    min_area: int = 0
    max_overlap: float = 0.9
    ask_grid: int = 12
    ask_score: float = 0.5
    categories: tuple[str, ...] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that a picture can have: masks found automatically, masks that were prompted."""
        return {AUTOMATIC: ("automatic",), ASSISTED: ("prompted",), SEMI: ("automatic", "prompted")}[self.stage]

    def names(self, met: set[str]) -> tuple[str, ...]:
        """The categories in the order of their ids, where `met` are those that occur."""
        return in_order(met, self.categories)


def in_order(met: set[str], first: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Names in the order of their ids: those that come first, then the others that were met, sorted."""
    return first + tuple(sorted(met - set(first)))


def rules(stage: str, **given: Any) -> Rules:
    """The rules of a stage; what is None has the stage's default. Raises SettingsError.

    In the assisted stage a person decided, so nothing is dropped by score or stability unless asked for.
    """
    if stage not in STAGES:
        raise SettingsError(f"[annotate] no stage {str(stage)[:64]!a}", hint=f"there is {', '.join(STAGES)}")
    loose = {"min_score": 0.0, "min_stability": 0.0} if stage == ASSISTED else {}
    made = Rules(stage=stage, **loose | {name: value for name, value in given.items() if value is not None})
    _check(made)
    return made


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What two runs must share to continue one another.

    bundle: the model's digest
    engines: by graph the back end and precision that it runs with, since these decide a mask's last pixels
    """

    bundle: str
    engines: dict[str, str]
    rules: Rules

    @classmethod
    def of(cls, model: Any, rules: Rules) -> Identity:
        """Of a run of a loaded model. Opens its engines."""
        about = sorted(model.about.items())
        return cls(model.bundle.digest, {graph: f"{run['backend']} {run['precision']}" for graph, run in about}, rules)

    @property
    def digest(self) -> str:
        """SHA-256 in hex."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    def difference(self, other: Identity) -> str:
        """The first thing in which `other` differs, in words; empty if nothing does."""
        if self.bundle != other.bundle:
            return f"model {self.bundle[:12]}, not {other.bundle[:12]}"
        pairs = [(f"engines of {g}", self.engines.get(g), e) for g, e in other.engines.items()]
        pairs += [(name, getattr(self.rules, name), getattr(other.rules, name)) for name in Rules.__struct_fields__]
        return next((f"{name} {_shown(a)}, not {_shown(b)}" for name, a, b in pairs if a != b), "")


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:80] + "…"


_RANGES: dict[str, tuple[float, float]] = {
    "grid": (1, 128),
    "crops": (0, 4),
    "min_score": (0, 1),
    "min_stability": (0, 1),
    "min_area": (0, math.inf),
    "max_overlap": (0, 1),
    "ask_grid": (1, 64),
    "ask_score": (0, 1),
}


def _check(made: Rules) -> None:
    for name, (least, most) in _RANGES.items():
        value = getattr(made, name)
        whole = name in ("grid", "crops", "min_area", "ask_grid")
        kind = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
            between = f"from {least:g} to {most:g}" if most < math.inf else f"at least {least:g}"
            raise SettingsError(
                f"[annotate] {name} {str(value)[:64]} cannot be",
                hint=f"it is {'a whole number' if whole else 'a number'} {between}",
            )
    names = made.categories
    if len(set(names)) != len(names) or not all(isinstance(n, str) and n.strip() for n in names):
        raise SettingsError(
            f"[annotate] categories {', '.join(map(repr, names))[:200]}",
            hint=f"names, each once; {OBJECT!r} is for the unnamed",
        )
