"""Quarantine: an engine whose outputs were bad too often gives way to another that passes the golden check.

suspect ──▶ the other portable back ends, in order ──golden check──▶ takes its place
             └─ none ─▶ the suspect's own golden check: it stays, or its graph is refused
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from saccade.runtime.call import Graph
from saccade.runtime.engines import AUTOMATIC, SPELT, Engine, Engines, open_engine
from saccade.runtime.errors import SaccadeError
from saccade.runtime.planned import proven
from saccade.runtime.precision import UNBUDGETED, golden_check

Kind = tuple[str, str]


def distrust(owner: Engines | Callable[[Graph], Engine] | None, graph: Graph, suspect: Engine) -> str:
    """Put another engine in the suspect's place; why the graph can no longer be run, empty if it can.

    An engine that was asked for by back end or precision is replaced by none of another kind. One that no other can
    replace, but that still gives the golden outputs, stays: the inputs were at fault.
    """
    if not isinstance(owner, Engines):
        return "its owner has no other engine"
    kind, options = _kind(suspect.about), owner.options
    known = owner.distrusted.setdefault(graph, set())
    known.add(kind)
    reasons = []
    for backend in [options.backend] if options.backend else AUTOMATIC:
        wanted = msgspec.structs.replace(options, backend=backend)
        if (backend, options.precision or "fp32") in known:
            continue
        made, reason = proven(graph.bundle, graph.name, wanted)
        if made is None:
            reasons.append(f"{backend}: {reason}")
        elif _kind(made.about) in known:
            made.close()
        else:
            made.about["plan"] = f"in place of {' '.join(kind)}, whose outputs were bad"
            owner.replace(graph, _once(made, lambda: open_engine(graph.bundle, graph.name, wanted)))  # noqa: B023
            return ""
    if _golden(graph, suspect):
        return ""
    return "; ".join(reasons) or "no other back end is left to try"


def _kind(about: dict[str, Any]) -> Kind:
    backend = str(about.get("backend", ""))
    return SPELT.get(backend, backend), str(about.get("precision", ""))


def _golden(graph: Graph, engine: Engine) -> bool:
    try:
        return golden_check(graph.bundle, graph.name, engine).worst >= UNBUDGETED
    except SaccadeError:
        return False


def _once(made: Engine, again: Callable[[], Engine]) -> Callable[[Graph], Engine]:
    """Opens a graph: the first time what is open already."""
    first = [made]
    return lambda _: first.pop() if first else again()
