"""Budgets given by argument: what an answer may lose to be faster, in place of what the bundle says.

load(…, precision="auto", budget={"cosine": 0.9999})        names and meaning: see precision.py
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from saccade.runtime.bundle import Bundle
from saccade.runtime.engines import Options, choose
from saccade.runtime.errors import SettingsError
from saccade.runtime.manifest import GraphEntry, Variant
from saccade.runtime.precision import within


def names(bundle: Bundle) -> tuple[str, ...]:
    """What a budget may be set on: the figures that the bundle's variants were measured by."""
    found = dict.fromkeys(bundle.manifest.budgets)
    for entry in bundle.graphs.values():
        for figure in (figure for variant in entry.variants for figure in variant.measured):
            found |= dict.fromkeys((figure.metric, f"{figure.metric}_worst"))
            if figure.reference is not None:
                found[f"{figure.metric}_drop"] = None
    return tuple(found)


def checked(bundle: Bundle, given: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """A budget as sorted pairs. Raises SettingsError for a name without a figure, or a value that is no such number."""
    if not isinstance(given, Mapping):
        raise SettingsError(
            f"[load] budget: {str(given)[:64]!a}", hint="a dict of figure and value, such as {'cosine': 0.999}"
        )
    known = names(bundle)
    for name, value in given.items():
        if name not in known:
            hint = f"it has {', '.join(known)}" if known else "nothing was measured when it was exported"
            raise SettingsError(f"[load] budget: {bundle.name} has no figure {str(name)[:64]!a}", hint=hint)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise SettingsError(f"[load] budget: {name}: {str(value)[:64]!a}", hint="a number of at least 0")
    return tuple(sorted((str(name), float(value)) for name, value in given.items()))


def budgets_of(bundle: Bundle, options: Options) -> dict[str, float]:
    """The bundle's budgets, with those that were given in their place."""
    return {**bundle.manifest.budgets, **dict(options.budget)}


def admits(bundle: Bundle, entry: GraphEntry, variant: Variant, options: Options) -> bool:
    """Whether a variant's measured figures keep to the budget. What runs without a plan always may."""
    if variant == choose(entry, "", ""):
        return True
    return within(variant.measured, budgets_of(bundle, options)) if options.budget else variant.within_budget
