"""How good each variant is, measured against the trained model, and the golden set that later machines check with.

trained model (torch) ──▶ outputs ─┐
                                   ├─ the family's figures ─▶ Variant(measured, within_budget)
variant (ONNX Runtime) ─▶ outputs ─┘
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from saccade.export.recipe import Ask, GraphRecipe, Inputs, Recipe, Trial
from saccade.export.to_onnx import reference, session
from saccade.runtime.errors import EngineError
from saccade.runtime.manifest import Variant
from saccade.runtime.precision import within

BACKEND = "onnxruntime"


class Trained:
    """The trained model's answers, each computed once: a picture's samples, figures and golden set ask for the same."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], dict[str, np.ndarray]] = {}

    def __call__(self, graph: GraphRecipe, inputs: Inputs) -> dict[str, np.ndarray]:
        """What the graph's module answers, by tensor name; not to be written to."""
        digest = hashlib.blake2b(digest_size=16)
        for tensor in graph.spec.inputs:
            array = np.ascontiguousarray(inputs[tensor.name])
            digest.update(f"{tensor.name} {array.shape} ".encode())
            digest.update(array.data)
        key = graph.name, digest.digest()
        if key not in self._known:
            self._known[key] = reference(graph, inputs)
        return self._known[key]


class Verifier:
    """Holds what the trained model says to the check samples, so that each variant is only compared.

    samples: for each graph single-sample inputs
    ids: which text is right for each picture, or None
    ask: the trained model
    """

    def __init__(
        self, recipe: Recipe, samples: Mapping[str, Sequence[Inputs]], ids: Sequence[int] | None, ask: Ask = reference
    ):
        self.recipe, self.samples, self.ids, self.ask = recipe, samples, ids, ask
        self.trained = {g.name: [ask(g, one) for one in samples[g.name]] for g in recipe.graphs}

    def variant(self, graph: GraphRecipe, precision: str, file: str, model: Any) -> Variant:
        """Run `model` on the graph's samples and say how it fared. Raises EngineError if it cannot run."""
        try:
            run = session(model, threads=1)
            got = [run(one) for one in self.samples[graph.name]]
        except Exception as error:
            why = str(error).split("\n")[0][:200]
            raise EngineError(f"[{graph.name}] {precision} does not run: {why}", hint="export without it") from error
        outputs = {**self.trained, graph.name: got}
        measured = self.recipe.figures(
            Trial(graph.name, self.samples, self.trained, outputs, self.ids, BACKEND, self.ask)
        )
        return Variant(precision, file, graph.mergeable, within(measured, self.recipe.budgets), measured)


def golden(recipe: Recipe, samples: Mapping[str, Sequence[Inputs]]) -> dict[str, np.ndarray]:
    """A few inputs of each graph and the trained model's own outputs, by `graph.tensor`.

    Samples of different length are left out, since the set holds one array a tensor.
    """
    found: dict[str, np.ndarray] = {}
    for graph in recipe.graphs:
        few = _alike(samples[graph.name])[: graph.golden]
        inputs = {t.name: np.concatenate([one[t.name] for one in few]) for t in graph.spec.inputs}
        for name, array in {**inputs, **reference(graph, inputs)}.items():
            found[f"{graph.name}.{name}"] = np.ascontiguousarray(array)
    return found


def _alike(samples: Sequence[Inputs]) -> list[Inputs]:
    shapes = [tuple(array.shape for array in one.values()) for one in samples]
    common = max(dict.fromkeys(shapes), key=shapes.count)
    return [one for one, shape in zip(samples, shapes, strict=True) if shape == common]
