"""CLIP and SigLIP: two towers, two graphs. Pooling and projection are inside, unit length is not.

    pixels    (B, 3, H, W) ──▶ image ──▶ embedding (B, E)
    input_ids (B, N)       ──▶ text  ──▶ embedding (B, E)

arXiv 2103.00020 and 2303.15343. SigLIP 2's checkpoints of fixed resolution are SigLIP by their config and come this
way; its NaFlex ones (model_type "siglip2") resize position embeddings by picture, and are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from saccade.export.load import pretrained, tokenizer_of
from saccade.export.preprocessing import preprocess_of
from saccade.export.recipe import Ask, Checkpoint, GraphRecipe, Inputs, Material, Outputs, Recipe, Trial
from saccade.runtime.errors import ExportError, UnknownModel
from saccade.runtime.manifest import Measured
from saccade.runtime.precision import EMBEDDING_BUDGETS, accuracy, cosine, figure, top1_agreement
from saccade.runtime.preprocess import Preprocess
from saccade.runtime.spec import GraphSpec, Padding, TensorSpec
from saccade.runtime.text import Tokenizer, TokenizerSpec

SIGLIP_TEMPLATES = ("This is a photo of {}.",)
"""The prompt that the SigLIP model cards ask for; CLIP's own is the pipeline's default."""


def read(checkpoint: Checkpoint) -> Recipe:
    """The recipe of a CLIP or SigLIP folder in transformers' layout."""
    kind = checkpoint.json("config.json")["model_type"]
    if kind == "siglip2":
        raise UnknownModel(
            f"[export] {checkpoint.id}: SigLIP 2 NaFlex, whose picture sizes vary",
            hint="take a checkpoint of fixed resolution, such as google/siglip2-base-patch16-224",
        )
    model = pretrained(checkpoint, "CLIPModel" if kind == "clip" else "SiglipModel")
    spec, data = tokenizer_of(checkpoint, int(model.config.text_config.max_position_embeddings), fixed=kind == "siglip")
    return build(model, checkpoint, preprocess_of(checkpoint), spec, data)


def build(model: Any, checkpoint: Checkpoint, preprocess: Preprocess, spec: TokenizerSpec, data: bytes) -> Recipe:
    """The recipe of a loaded CLIPModel or SiglipModel. data: the content of the tokenizer's file."""
    side = model.config.vision_config.image_size
    if preprocess.size != (side, side):
        raise ExportError(
            f"[image] the model sees {side} x {side}, the preprocessing makes {preprocess.size}",
            hint="mend preprocessor_config.json",
        )
    if spec.pad_id >= model.config.text_config.vocab_size:
        raise ExportError(
            f"[text] the padding token {spec.pad_id} is outside the vocabulary", hint="mend the tokenizer"
        )
    tokenizer = Tokenizer(data, spec)

    def samples(material: Material, graphs: Sequence[str], ask: Ask) -> dict[str, list[Inputs]]:
        both = {
            "image": lambda: [{"pixels": preprocess.batch([picture])[0]} for picture in material.pictures],
            "text": lambda: [{"input_ids": tokenizer.encode([text])} for text in material.texts],
        }
        return {name: both[name]() for name in graphs}

    import msgspec

    return Recipe(
        family="clip",
        name=checkpoint.id.rpartition("/")[2],
        graphs=(image_graph(model), text_graph(model, tokenizer)),
        samples=samples,
        figures=figures,
        budgets=dict(EMBEDDING_BUDGETS),
        preprocess=msgspec.to_builtins(preprocess),
        tokenizer=msgspec.to_builtins(spec),
        config=scoring(model),
        files={spec.file: data},
    )


def scoring(model: Any) -> dict[str, Any]:
    """How cosines become scores: softmax(scale × cosine) for CLIP, sigmoid(scale × cosine + bias) for SigLIP."""
    said = {"logit_scale": float(model.logit_scale.detach().double().exp()), "embedding": _width(model)}
    if hasattr(model, "logit_bias"):
        bias = float(model.logit_bias.detach())
        return {**said, "scoring": "sigmoid", "logit_bias": bias, "templates": list(SIGLIP_TEMPLATES)}
    return {**said, "scoring": "softmax"}


def image_graph(model: Any) -> GraphRecipe:
    """The picture tower. Its position embeddings are learnt for one size, so H and W are numbers."""
    side, width = model.config.vision_config.image_size, _width(model)
    pixels = np.random.default_rng(0).standard_normal((3, 3, side, side), np.float32)
    return GraphRecipe(
        name="image",
        module=_tower(model.vision_model, getattr(model, "visual_projection", None), "pixel_values"),
        spec=GraphSpec(
            inputs=(TensorSpec("pixels", "float32", ("B", 3, side, side)),),
            outputs=(TensorSpec("embedding", "float32", ("B", width)),),
            batch="B",
        ),
        golden=2,  # a real picture's pixels are 0.6 MB
        example={"pixels": pixels[:2]},
        others=({"pixels": pixels}, {"pixels": pixels[2:]}),
    )


def text_graph(model: Any, tokenizer: Tokenizer) -> GraphRecipe:
    """The text tower.

    CLIP looks back only and pools at the first end token (or, in old configs, at the largest id, which is the end
    token's), so padding behind it changes nothing and N is free. SigLIP looks both ways at 64 tokens, padding and all.
    """
    spec = tokenizer.spec
    free = not spec.pad_to
    lines = ["a photo of a red cube and a blue ball on the left", "two dogs", "x"]
    ids = tokenizer.encode(lines)
    long = np.concatenate([ids, np.full((3, spec.max_length - ids.shape[1]), spec.pad_id)], 1) if free else ids
    return GraphRecipe(
        name="text",
        module=_tower(model.text_model, getattr(model, "text_projection", None), "input_ids"),
        spec=GraphSpec(
            inputs=(TensorSpec("input_ids", "int64", ("B", "N" if free else spec.pad_to)),),
            outputs=(TensorSpec("embedding", "float32", ("B", _width(model))),),
            batch="B",
            pads=(Padding("N", {"input_ids": spec.pad_id}),) if free else (),
            limits={"N": (1, spec.max_length)} if free else {},
        ),
        example={"input_ids": ids[:2]},
        others=(
            {"input_ids": long},
            {"input_ids": tokenizer.encode(lines[2:])},
            {"input_ids": ids[:1, : -1 if free else None]},
        ),
    )


def figures(trial: Trial) -> tuple[Measured, ...]:
    """Cosine of the graph's embeddings, and what changes for who asks: which text each picture is given.

    accuracy is there if the ids say which text is right; its reference is the trained model's own.
    """
    exact, rows, ids, backend = _rows(trial.trained), _rows(trial.variant), trial.ids, trial.backend
    found = [figure("cosine", cosine(rows[trial.graph], exact[trial.graph]), backend)]
    if all(len(exact[name]) for name in ("image", "text")):
        before, after = _scores(exact), _scores(rows)
        found.append(figure("top1_agreement", top1_agreement(after, before), backend))
        if ids is not None:
            reference = float(accuracy(before, ids).mean())
            found.append(figure("accuracy", accuracy(after, ids), backend, reference))
    return tuple(found)


def _rows(outputs: Outputs) -> dict[str, np.ndarray]:
    """The embeddings of each graph, (S, E)."""
    return {
        name: np.concatenate([one["embedding"] for one in answers]) if answers else np.zeros((0, 1), np.float32)
        for name, answers in outputs.items()
    }


def _scores(embeddings: dict[str, np.ndarray]) -> np.ndarray:
    unit = {name: rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12) for name, rows in embeddings.items()}
    return np.asarray(unit["image"] @ unit["text"].T)


def _width(model: Any) -> int:
    if hasattr(model, "visual_projection"):
        return int(model.config.projection_dim)
    return int(model.config.vision_config.hidden_size)


def _tower(tower: Any, projection: Any, argument: str) -> Any:
    import torch

    class Tower(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        """A tower of a two-tower model and the projection behind its pooled token."""

        def __init__(self) -> None:
            super().__init__()
            self.tower, self.projection = tower, projection

        def forward(self, given: Any) -> Any:
            pooled = self.tower(**{argument: given}).pooler_output
            return pooled if self.projection is None else self.projection(pooled)

    return Tower().eval()
