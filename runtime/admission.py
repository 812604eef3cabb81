"""Budgets given by argument: what an answer may lose to be faster, in place of what the bundle says.

load(…, precision="auto", budget={"cosine": 0.9999})        names, values and spelling: budgets.py
"""

from __future__ import annotations

from saccade.runtime.budgets import Given
from saccade.runtime.budgets import budgets_of as spelt
from saccade.runtime.bundle import Bundle
from saccade.runtime.engines import Options, choose
from saccade.runtime.manifest import GraphEntry, Variant
from saccade.runtime.precision import within


def checked(bundle: Bundle, given: Given) -> tuple[tuple[str, float], ...]:
    """The bundle's budgets with those that are given in their place, as sorted pairs; empty if none is given.

    Raises SettingsError for a name of which no variant has a figure, or a value that its metric cannot have.
    """
    if given is None or (not isinstance(given, int | float) and not given):
        return ()
    figures = [figure for entry in bundle.graphs.values() for v in entry.variants for figure in v.measured]
    return tuple(sorted(spelt(given, bundle.manifest.budgets, [figure.metric for figure in figures]).items()))


def budgets_of(bundle: Bundle, options: Options) -> dict[str, float]:
    """The bundle's budgets, with those that were given in their place."""
    return {**bundle.manifest.budgets, **dict(options.budget)}


def admits(bundle: Bundle, entry: GraphEntry, variant: Variant, options: Options) -> bool:
    """Whether a variant's measured figures keep to the budget. What runs without a plan always may."""
    if variant == choose(entry, "", ""):
        return True
    return within(variant.measured, budgets_of(bundle, options)) if options.budget else variant.within_budget
