"""SAM: the picture once, its prompts many times. Two graphs; docs/export-sam.md says what is in them.

    pixels (B, 3, S, S) ──▶ encoder ──▶ embedding (B, C, h, w) [, fine0, fine1]
    embedding …, points (B, P, N, 2), labels (B, P, N), mask (B, P, 4h, 4w), has_mask (B, P)
        ──▶ decoder ──▶ logits (B, P, M, 4h, 4w), iou (B, P, M) [, object_score (B, P)]

arXiv 2304.02643 (and 2408.00714 for SAM 2.1). This file reads transformers' SamModel, and is what the other layouts
(sam_official.py, mobile_sam.py, sam2.py) build with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from saccade.export.calibration import spread
from saccade.export.load import pretrained
from saccade.export.preprocessing import preprocess_of_sam
from saccade.export.prompting import prompts
from saccade.export.recipe import Ask, Checkpoint, GraphRecipe, Inputs, Material, Recipe, Trial
from saccade.runtime.errors import UnknownModel
from saccade.runtime.manifest import Measured
from saccade.runtime.precision import MASK_BUDGETS, cosine, figure, mask_iou
from saccade.runtime.preprocess import Preprocess
from saccade.runtime.spec import GraphSpec, Padding, TensorSpec

MOST = 8
"""Pictures that are looked at, each of thousands of tokens and with seven prompts; a ViT-B takes seconds for one."""
THRESHOLD = 0.0
"""A pixel is in the mask above this logit."""


def read(checkpoint: Checkpoint) -> Recipe:
    """The recipe of a SAM folder in transformers' layout."""
    from saccade.export.models.sam_encoder import Encoder

    model = pretrained(checkpoint, "SamModel")
    vision = model.config.vision_config
    if not isinstance(vision.image_size, int) or vision.image_size % vision.patch_size:
        raise UnknownModel(
            f"[export] {checkpoint.id}: a picture of {vision.image_size} in patches of {vision.patch_size}",
            hint="the input is a square of whole patches",
        )
    preprocess = preprocess_of_sam(checkpoint, vision.image_size, squash=False)
    return build(model, Encoder(model.vision_encoder), checkpoint, preprocess, "sam")


def build(
    model: Any,
    encoder: Any,
    checkpoint: Checkpoint,
    preprocess: Preprocess,
    architecture: str,
    *,
    single: str = "first",
) -> Recipe:
    """The recipe of loaded modules.

    model: holds prompt_encoder, mask_decoder and shared_image_embedding, as SamModel and Sam2Model do
    encoder: a module from pixels to embedding (and fine0, fine1), in the layout above
    single: how one mask is chosen: "first" is the single-mask token's, "stable" is SAM 2.1's rule
    """
    from saccade.export.models.sam_decoder import Decoder

    said = model.config.prompt_encoder_config
    side, grid, width = int(said.image_size), int(model.prompt_encoder.image_embedding_size[0]), int(said.hidden_size)
    seen = maps(width, grid, fine=architecture == "sam2")
    decoder = Decoder(model).eval()
    graphs = encoder_graph(encoder.eval(), side, seen), decoder_graph(decoder, side, seen, model.mask_decoder)
    low = 4 * grid

    def samples(material: Material, names: Sequence[str], ask: Ask) -> dict[str, list[Inputs]]:
        pictures = spread(list(material.pictures), MOST)
        pixels = [preprocess.batch([picture]) for picture in pictures]
        found: dict[str, list[Inputs]] = {"encoder": [{"pixels": array} for array, _ in pixels]}
        if "decoder" in names:
            asked = [prompts(i, *frame.window[2:], (low, low)) for i, (_, (frame,)) in enumerate(pixels)]
            found["decoder"] = [
                _asked(ask, graphs, one, more) for one, more in zip(found["encoder"], asked, strict=True)
            ]
        return {name: found[name] for name in names}

    return Recipe(
        family="sam",
        name=checkpoint.id.rpartition("/")[2],
        graphs=graphs,
        samples=samples,
        figures=lambda trial: figures(trial, graphs[1]),
        budgets=dict(MASK_BUDGETS),
        preprocess=msgspec.to_builtins(preprocess),
        config={
            "architecture": architecture,
            "size": side,
            "low": [low, low],
            "mask_threshold": THRESHOLD,
            "single": single,
        },
    )


def maps(width: int, grid: int, *, fine: bool) -> tuple[TensorSpec, ...]:
    """What the encoder gives and the decoder takes."""
    found = [TensorSpec("embedding", "float32", ("B", width, grid, grid))]
    if fine:
        found.append(TensorSpec("fine0", "float32", ("B", width // 8, 4 * grid, 4 * grid)))
        found.append(TensorSpec("fine1", "float32", ("B", width // 4, 2 * grid, 2 * grid)))
    return tuple(found)


def encoder_graph(module: Any, side: int, seen: tuple[TensorSpec, ...]) -> GraphRecipe:
    """The picture's graph."""
    pixels = np.random.default_rng(0).standard_normal((3, 3, side, side), np.float32)
    return GraphRecipe(
        name="encoder",
        module=module,
        spec=GraphSpec((TensorSpec("pixels", "float32", ("B", 3, side, side)),), seen, batch="B"),
        golden=1,  # at 1024 x 1024 a sample is 12.6 MB of pixels and 4.2 MB of embedding
        example={"pixels": pixels[:2]},
        others=({"pixels": pixels[2:]},),
    )


def decoder_graph(module: Any, side: int, seen: tuple[TensorSpec, ...], trained: Any) -> GraphRecipe:
    """The prompts' graph. B and P vary together in the examples: alone, neither shows a size that was baked in."""
    low, masks = 4 * seen[0].dims[-1], int(trained.num_mask_tokens)
    outputs = [
        TensorSpec("logits", "float32", ("B", "P", masks, low, low)),
        TensorSpec("iou", "float32", ("B", "P", masks)),
    ]
    if hasattr(trained, "obj_score_token"):
        outputs.append(TensorSpec("object_score", "float32", ("B", "P")))
    spec = GraphSpec(
        inputs=(
            *seen,
            TensorSpec("points", "float32", ("B", "P", "N", 2)),
            TensorSpec("labels", "int64", ("B", "P", "N")),
            TensorSpec("mask", "float32", ("B", "P", low, low)),
            TensorSpec("has_mask", "float32", ("B", "P")),
        ),
        outputs=tuple(outputs),
        batch="B",
        pads=(
            Padding("N", {"points": 0, "labels": -2}),
            Padding("P", {"points": 0, "labels": -2, "mask": 0, "has_mask": 0}),
        ),
        items="P",
    )
    rng = np.random.default_rng(0)
    return GraphRecipe(
        name="decoder",
        module=module,
        spec=spec,
        keep=("<Sin", "<Cos"),  # of tens of radians, from pixels: float16 holds neither to a hundredth
        same=("int8",),  # measured: little of its work is in products with weights
        golden=1,
        example=_drawn(spec, rng, side, B=2, P=3, N=2),
        others=tuple(_drawn(spec, rng, side, B=b, P=p, N=n) for b, p, n in ((1, 1, 1), (3, 2, 5), (1, 4, 3))),
    )


def figures(trial: Trial, decoder: GraphRecipe) -> tuple[Measured, ...]:
    """How far masks and scores move, prompt by prompt; an encoder's are seen through the trained decoder.

    mask_iou: of the binary masks, over all mask tokens of a prompt; iou_agreement: 1 - |difference of predicted IoU|;
    cosine: of the graph's own outputs as vectors, the least favourable, for reading and for the golden check
    """
    backend, name = trial.backend, trial.graph
    exact, got = trial.trained[name], trial.variant[name]
    masks, scores = [], []
    for i, want in enumerate(trial.trained["decoder"]):
        made = got[i] if name == "decoder" else trial.ask(decoder, {**trial.samples["decoder"][i], **got[i]})
        masks.append(mask_iou(made["logits"] > THRESHOLD, want["logits"] > THRESHOLD).mean(-1).ravel())
        scores.append(1 - np.abs(made["iou"] - want["iou"]).max(-1).ravel())
    return (
        figure("mask_iou", np.concatenate(masks), backend),
        figure("iou_agreement", np.concatenate(scores), backend),
        figure("cosine", [_alike(a, b) for a, b in zip(got, exact, strict=True)], backend),
    )


def _alike(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    return min(float(cosine(one[name].reshape(1, -1), other[name].reshape(1, -1))[0]) for name in other)


def _asked(ask: Ask, graphs: Sequence[GraphRecipe], pixels: Inputs, more: Inputs) -> Inputs:
    """The decoder's inputs for a picture: its prompts, the last one with the mask that the first one's click gave."""
    inputs = {**ask(graphs[0], pixels), **more}
    first = {name: inputs[name][:, :1] for name in more}
    inputs["mask"][:, -1] = ask(graphs[1], {**inputs, **first})["logits"][:, 0, 0]
    return inputs


def _drawn(spec: GraphSpec, rng: np.random.Generator, side: int, **sizes: int) -> Inputs:
    shapes = {t.name: [sizes[d] if isinstance(d, str) else d for d in t.dims] for t in spec.inputs}
    made: Inputs = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    made["points"] = (rng.random(made["points"].shape, np.float32) * side).astype(np.float32)
    made["labels"] = rng.integers(-2, 4, made["labels"].shape)
    made["has_mask"] = (rng.random(made["has_mask"].shape) < 0.5).astype(np.float32)
    return made
