"""What a family's recipe provides, and how the recipe of a checkpoint is found.

config.json ──model_type──▶ recipes/<family>.py ──read(checkpoint)──▶ Recipe: graphs, preprocessing, tokenizer, …
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from saccade.runtime.errors import ExportError, UnknownModel
from saccade.runtime.manifest import Measured
from saccade.runtime.spec import GraphSpec

Inputs = dict[str, np.ndarray]
"""Arrays of one engine run, by tensor name."""

FAMILIES = {
    "clip": "saccade.export.recipes.clip",
    "grounding-dino": "saccade.export.recipes.grounding",
    "mm-grounding-dino": "saccade.export.recipes.grounding",
    "owlvit": "saccade.export.recipes.owl",
    "owlv2": "saccade.export.recipes.owl",
    "siglip": "saccade.export.recipes.clip",
    "siglip2": "saccade.export.recipes.clip",
    "open_clip": "saccade.export.recipes.open_clip",
    "sam": "saccade.export.recipes.sam",
    "sam2": "saccade.export.recipes.sam2",
    "sam_official": "saccade.export.recipes.sam_official",
    "mobile_sam": "saccade.export.recipes.mobile_sam",
}
"""For each `model_type` of a config.json, and for each layout of weights alone, the module whose `read` knows it."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained model on this disk.

    id: what the bundle will say it comes from: never a local path
    weights: a single .pth or .pt file that was named in place of a folder, or None
    sizes: (height, width) of the inputs that are asked for, where a family has several; empty means its own
    """

    folder: Path
    id: str
    revision: str = ""
    license: str = ""
    weights: Path | None = None
    sizes: tuple[tuple[int, int], ...] = ()

    def json(self, name: str) -> dict[str, Any]:
        """The content of a JSON file of the folder; empty if it is not there. Raises ExportError if it is damaged."""
        try:
            found = json.loads((self.folder / name).read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except (ValueError, OSError) as error:
            raise ExportError(f"[export] {self.id}/{name}: {str(error)[:120]}", hint="fetch the model again") from None
        if not isinstance(found, dict):
            raise ExportError(f"[export] {self.id}/{name}: expected a JSON object", hint="fetch the model again")
        return found


@dataclass(frozen=True)
class GraphRecipe:
    """One graph to export.

    module: torch.nn.Module in float32; its forward takes the spec's inputs in order and gives its outputs in order
    example: inputs to trace with; the batch is at least 2, since a size of 1 is baked in
    others: inputs at a second batch and, where a length varies, at a second length; parity is held there too
    keep: node names or operators that stay in float32 in every variant; "<Sin" means with all that leads to it, "@x"
        all nodes of submodules x
    same: precisions at which the graph stays as it is, since it would lose by them: their variant is the float32 file
    golden: how many samples the golden set has of it
    swaps: share of the members of outputs (B, Q, …) that may differ from torch's: near ties of a top-k change places
    """

    name: str
    module: Any
    spec: GraphSpec
    example: Inputs
    others: tuple[Inputs, ...]
    keep: tuple[str, ...] = ()
    same: tuple[str, ...] = ()
    mergeable: bool = True
    golden: int = 4
    swaps: float = 0.0


@dataclass(frozen=True)
class Labelled:
    """Pictures with known answers: `ids[i]` is the place in `texts` of what picture i shows."""

    pictures: Sequence[Any]
    ids: Sequence[int]
    texts: Sequence[str]


@dataclass(frozen=True)
class Material:
    """What calibration and verification run on: pictures (opened Images) and texts, never both needed."""

    pictures: Sequence[Any] = ()
    texts: Sequence[str] = ()
    labelled: Labelled | None = None


Outputs = Mapping[str, Sequence[Mapping[str, np.ndarray]]]
"""For each graph what it answers to each of its samples, by tensor name."""


Ask = Callable[[GraphRecipe, Inputs], dict[str, np.ndarray]]
"""The trained model itself: what it answers to the inputs of one run, by tensor name."""


@dataclass(frozen=True)
class Trial:
    """A variant of one graph and what it is judged by.

    samples: for each graph, single-sample inputs
    trained: what the trained model answers to them
    variant: the same with the answers of `graph` exchanged for the variant's
    ids: which text is right for each picture, or None
    ask: the trained model, for a variant's answers that go through another graph
    """

    graph: str
    samples: Mapping[str, Sequence[Inputs]]
    trained: Outputs
    variant: Outputs
    ids: Sequence[int] | None
    backend: str
    ask: Ask


@dataclass(frozen=True)
class Recipe:
    """Everything that becomes a bundle, but for the numbers that are measured on the way.

    samples: from material, for each graph that is named, single-sample inputs in a fixed order; a graph that reads what
        another gives gets it from the trained one
    figures: of a trial, by the task's own metric
    files: further files of the bundle, such as the tokenizer
    """

    family: str
    name: str
    graphs: tuple[GraphRecipe, ...]
    samples: Callable[[Material, Sequence[str], Ask], dict[str, list[Inputs]]]
    figures: Callable[[Trial], tuple[Measured, ...]]
    budgets: dict[str, float]
    preprocess: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    files: dict[str, bytes] = field(default_factory=dict)


def read(checkpoint: Checkpoint) -> Recipe:
    """The recipe of a checkpoint, with the trained weights loaded.

    Raises UnknownModel, listing the known families, if no recipe knows it; ExportError if it is damaged.
    """
    kind = kind_of(checkpoint)
    recipe: Recipe = import_module(FAMILIES[kind]).read(checkpoint)
    return recipe


def kind_of(checkpoint: Checkpoint) -> str:
    """The key of FAMILIES for a checkpoint, by its files alone. Raises UnknownModel, ExportError."""
    if checkpoint.weights is not None:
        from saccade.export.state_dict import layout

        return layout(checkpoint.weights)
    if (checkpoint.folder / "open_clip_config.json").is_file():
        return "open_clip" if not (checkpoint.folder / "config.json").is_file() else _model_type(checkpoint)
    return _model_type(checkpoint)


def _model_type(checkpoint: Checkpoint) -> str:
    found = str(checkpoint.json("config.json").get("model_type", ""))
    if found in FAMILIES:
        return found
    what = f"model_type {found!r}" if found else "no config.json with a model_type"
    raise UnknownModel(
        f"[export] {checkpoint.id}: {what}, which no recipe knows",
        hint=f"known families: {', '.join(FAMILIES)}",
    )
