"""Why each graph runs as it does here: every candidate with its reason, time and error. For `saccade explain`."""

from __future__ import annotations

from typing import Any

import msgspec

from saccade.runtime.admission import budgets_of
from saccade.runtime.bundle import Bundle
from saccade.runtime.candidates import candidates
from saccade.runtime.engines import Options
from saccade.runtime.inspection import kernels_here
from saccade.runtime.plan import Plan, Row
from saccade.runtime.planner import known


def explanation(bundle: Bundle, options: Options, plan: Plan | None = None) -> dict[str, Any]:
    """Graph × candidate: usable or why not, ms, error, chosen; and the kernels' candidates.

    plan: the cached one by default; without any, the portable default is what runs and nothing has been measured
    """
    plan = plan or known(bundle, options)
    rows = list(plan.rows) if plan is not None else _unplanned(bundle, options)
    return {
        "bundle": bundle.name,
        "digest": bundle.digest,
        "planned": plan is not None,
        "seconds": plan.seconds if plan is not None else None,
        "budgets": budgets_of(bundle, options),
        "graphs": [msgspec.to_builtins(row) for row in rows],
        "kernels": kernels_here(),
    }


def _unplanned(bundle: Bundle, options: Options) -> list[Row]:
    rows = []
    for graph in bundle.graphs:
        default = ""
        for made, reason in candidates(bundle, graph, options):
            chosen = not reason and not default
            default = default or (made.backend if chosen else "")
            rows.append(msgspec.structs.replace(Row.of(graph, 1, made, reason), chosen=chosen))
    return rows
