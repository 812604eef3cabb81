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
    "siglip": "saccade.export.recipes.clip",
    "siglip2": "saccade.export.recipes.clip",
    "open_clip": "saccade.export.recipes.open_clip",
}
"""For each `model_type` of a config.json (and for open_clip's own layout), the module whose `read` knows it."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained model on this disk. `id` is what the bundle will say it comes from: never a local path."""

    folder: Path
    id: str
    revision: str = ""
    license: str = ""

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
    keep: node names or operators that stay in float32 in every variant
    """

    name: str
    module: Any
    spec: GraphSpec
    example: Inputs
    others: tuple[Inputs, ...]
    keep: tuple[str, ...] = ()
    mergeable: bool = True


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


Outputs = Mapping[str, np.ndarray]
"""For each graph the first output of all its samples, (S, …)."""


@dataclass(frozen=True)
class Recipe:
    """Everything that becomes a bundle, but for the numbers that are measured on the way.

    samples: from material, for each graph, single-sample inputs, in a fixed order
    figures: from (trained outputs, the same with one graph's outputs exchanged for a variant's, that graph's name,
        labelled ids or None, back end), the figures of the task's own metric
    files: further files of the bundle, such as the tokenizer
    """

    family: str
    name: str
    graphs: tuple[GraphRecipe, ...]
    samples: Callable[[Material], dict[str, list[Inputs]]]
    figures: Callable[[Outputs, Outputs, str, Sequence[int] | None, str], tuple[Measured, ...]]
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
    """The key of FAMILIES for a checkpoint, by its files alone. Raises UnknownModel."""
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
