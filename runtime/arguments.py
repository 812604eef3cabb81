"""Arguments that several pipelines take: shares, one picture or many, and what of it a graph asks for."""

from __future__ import annotations

from typing import Any

import numpy as np

from saccade.runtime.call import Graph
from saccade.runtime.errors import InputError
from saccade.runtime.spec import Array


def share(name: str, value: Any, default: float) -> float:
    """A number from 0 to 1; `default` for None. Raises InputError."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value <= 1:
        raise InputError(f"[detect] {name}: {str(value)[:40]}", hint=f"{name} is a number from 0 to 1")
    return float(value)


def listed(picture: Any) -> list[Any]:
    """The pictures of a list, or the one. Raises InputError for none."""
    sources = list(picture) if isinstance(picture, list | tuple) else [picture]
    if not sources:
        raise InputError("[detect] no picture given", hint="give at least one picture")
    return sources


def taken(graph: Graph, given: dict[str, Array]) -> dict[str, Array]:
    """Of what there is to give, what the graph asks for."""
    return {t.name: given[t.name] for t in graph.spec.inputs if t.name in given}
