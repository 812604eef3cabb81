"""The int8 searches of one export: what judges a candidate, how dear that may be, and how the time is shared out.

budgets of the graph's own output (cosine)  ──▶ its answers against the float32 graph's, on a few samples
any other (IoU of masks, …)                 ──▶ the family's figures, on what the scales are set with: a rehearsal
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np

from saccade.export.calibration import spread
from saccade.export.recipe import Ask, GraphRecipe, Inputs, Material, Recipe
from saccade.export.sensitivity import LARGE, Effort, Judge, Report
from saccade.runtime.budgets import spent
from saccade.runtime.precision import cosine, figure

if TYPE_CHECKING:
    from saccade.export.verify import Verifier

METRICS = {
    "clip": ("cosine", "top1_agreement", "accuracy"),
    "sam": ("mask_iou", "iou_agreement", "cosine"),
    "grounding": ("box_iou", "score", "cosine"),
    "owl": ("box_iou", "score", "cosine"),
}
"""What each family has figures of, beyond what its own budgets name: what a budget can be set on."""
FEW = 24
"""Samples that decide whether a budget on a graph's own output is kept."""
REHEARSED, REHEARSED_LARGE = 8, 2
"""Pictures of a rehearsal; fewer if a graph's samples are large, since each costs a ViT-B seconds."""


class Counter(Protocol):
    """Who is told of steps."""

    def expect(self, count: int, stage: str = "") -> None: ...

    def step(self) -> None: ...


class Searches:
    """Quantises the graphs of one recipe.

    seconds: of all searches together; a graph's share is what is left by the number of graphs left
    report: told what was found; thorough: as in Effort
    """

    def __init__(
        self, recipe: Recipe, steps: Counter, seconds: float, report: Callable[[Report], None], thorough: bool
    ):
        self.recipe, self.steps, self.left, self.report, self.thorough = recipe, steps, seconds, report, thorough
        self.graphs_left = 1
        self.rehearsal: Verifier | None = None

    def prepare(
        self, ranges: Material, samples: Mapping[str, Sequence[Inputs]], rounded: Sequence[str], ask: Ask
    ) -> None:
        """Once the samples are known: ask the trained model for what a rehearsal compares with."""
        self.graphs_left = len(rounded)
        if not rounded or set(self.recipe.budgets) <= {"cosine", "cosine_worst"}:
            return
        from saccade.export.verify import Verifier

        large = max(sum(a.size for a in one[0].values()) for one in samples.values()) > LARGE
        most = REHEARSED_LARGE if large else REHEARSED
        pictures = spread(spread(list(ranges.pictures), REHEARSED), most) if large else ranges.pictures
        names = [g.name for g in self.recipe.graphs]
        few = self.recipe.samples(Material(pictures, ranges.texts), names, ask)
        self.rehearsal = Verifier(self.recipe, few, None, ask)

    def int8(self, base: Any, graph: GraphRecipe, samples: Sequence[Inputs]) -> Any:
        """The graph in int8, inside the budgets if that can be."""
        from saccade.export.quantize import int8

        begun = time.monotonic()
        judge = self._by_figures(graph) if self.rehearsal is not None else self._by_answers(base, samples)
        found: list[Report] = []
        effort = Effort(
            seconds=self.left / max(self.graphs_left, 1),
            thorough=self.thorough,
            expect=lambda count, stage: self.steps.expect(count, f"{graph.name}: {stage}"),
            step=self.steps.step,
        )
        made = int8(base, samples, keep=graph.keep, judge=judge, effort=effort, tell=found.append)
        self.left -= time.monotonic() - begun
        self.graphs_left -= 1
        self.report(msgspec.structs.replace(found[0], graph=graph.name))
        return made

    def _by_figures(self, graph: GraphRecipe) -> Judge:
        rehearsal, budgets = self.rehearsal, self.recipe.budgets
        assert rehearsal is not None
        return lambda model: spent(rehearsal.variant(graph, "int8", "", model).measured, budgets)

    def _by_answers(self, base: Any, samples: Sequence[Inputs]) -> Judge | None:
        if not self.recipe.budgets:
            return None
        few = spread(list(samples), FEW)
        want = _answers(base, few)
        return lambda model: spent([figure("cosine", cosine(_answers(model, few), want), "")], self.recipe.budgets)


def _answers(model: Any, samples: Sequence[Inputs]) -> np.ndarray:
    from saccade.export.to_onnx import session

    run = session(model, threads=1)
    rows = [next(iter(run(one).values())) for one in samples]
    return np.concatenate([row.reshape(1, -1) for row in rows])
