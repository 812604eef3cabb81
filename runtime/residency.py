"""What is resident: for `saccade inspect --resident`, the engines of some bundles, opened and measured in this process.

No process can look into another. A server reports its own by `Memory.rows()`; this one opens what it is given, as a
server would, runs each golden input once, and says what that took.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from saccade.runtime.bundle import Bundle
from saccade.runtime.memory import Memory, resident_bytes
from saccade.runtime.model import Model, load

UNBOUNDED = 1 << 62


def residency(bundles: Sequence[Bundle], *, budget_bytes: int = 0, **options: Any) -> dict[str, Any]:
    """Open every engine of the bundles, in order, and run each golden input once.

    budget_bytes: for all together, so that one sees what would be evicted; 0 for none
    options: as of saccade.load
    Gives `engines`, a row each: what Memory.rows() says, and `run_bytes`, by how much the process grew in its golden
    run (the arena keeps the activations of the largest one); `process_bytes` at the end; `evictions` on the way.
    Raises MemoryBudget for an engine that can never fit, and what load() raises.
    """
    memory = Memory(budget_bytes or UNBOUNDED, settle_s=0.0)
    models = [load(bundle, memory=memory, **options) for bundle in bundles]
    try:
        grown = {name: nbytes for model in models for name, nbytes in _run(model).items()}
        rows = [{**row, "run_bytes": grown.get(row["graph"])} for row in memory.rows()]
        used, process = memory.used_bytes, resident_bytes()
    finally:
        for model in models:
            model.close()
    return {
        "engines": rows,
        "used_bytes": used,
        "budget_bytes": budget_bytes or None,
        "evictions": memory.evictions,
        "process_bytes": process,
    }


def _run(model: Model) -> dict[str, int | None]:
    """Open each engine of a model, and run it on its golden input: by how much that made the process grow."""
    golden, grown = model.bundle.golden(), {}
    for graph in model.pipeline.graphs:
        name = f"{model.bundle.name}.{graph.name}"
        inputs = {t.name: golden.get(f"{graph.name}.{t.name}") for t in graph.spec.inputs}
        engine = model.engines(graph)
        engine.about  # noqa: B018  opens it
        before = resident_bytes()
        ready = all(array is not None for array in inputs.values())
        if ready:
            engine(**inputs)
        grown[name] = max(0, resident_bytes() - before) if ready else None
    return grown
