"""Grounding DINO and MM-Grounding-DINO: the words once, each picture with them. docs/export-grounding.md says more.

    ids, positions (B, N), attends (B, N, N)                  ──▶ text     ──▶ text (B, N, E)
    pixels (B, 3, H, W), shown (B, H, W), text, text_mask, …  ──▶ detector ──▶ logits (B, Q, N), boxes (B, Q, 4)

arXiv 2303.05499 and 2401.02361. A ConvNext or ResNet backbone takes any size. A Swin's windows are cut for one size, so
there is a graph for each of the checkpoint's buckets: detector_480x640, … .
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from saccade.export.calibration import spread
from saccade.export.load import pretrained, tokenizer_of
from saccade.export.matching import figures
from saccade.export.preprocessing import preprocess_of_detector
from saccade.export.recipe import Ask, Checkpoint, GraphRecipe, Inputs, Material, Recipe
from saccade.runtime.errors import SettingsError, UnknownModel
from saccade.runtime.matching import THRESHOLD
from saccade.runtime.phrases import layout
from saccade.runtime.precision import BOX_BUDGETS
from saccade.runtime.preprocess import Preprocess
from saccade.runtime.spec import GraphSpec, Padding, TensorSpec
from saccade.runtime.text import Tokenizer

CLASSES = {
    "grounding-dino": "GroundingDinoForObjectDetection",
    "mm-grounding-dino": "MMGroundingDinoForObjectDetection",
}
FREE = ("convnext", "convnextv2", "resnet")
"""Backbones whose graph takes any height and width, where more than one size is asked for: one of a single size is
exported twice as fast and runs with its positions folded."""
MOST = 8
"""Samples of the detector that are looked at, each of thousands of places; a real one takes seconds."""
READ = 24
"""Prompts that are looked at; a prompt costs little."""
SWAPPED = 0.02
"""Share of the queries that near-tied proposals may exchange between torch and an engine. Query k starts from the k-th
proposal and from the k-th learnt vector, so two that swap give two other boxes."""
TEXT_THRESHOLD = 0.25
Size = tuple[int, int]


def read(checkpoint: Checkpoint) -> Recipe:
    """The recipe of a folder in transformers' layout."""
    kind = checkpoint.json("config.json")["model_type"]
    model = pretrained(checkpoint, CLASSES[kind])
    if not model.config.two_stage:
        raise UnknownModel(
            f"[export] {checkpoint.id}: queries without proposals (two_stage is false)",
            hint="published checkpoints have proposals; this one needs a recipe of its own",
        )
    spec, data = tokenizer_of(checkpoint, int(model.config.max_text_len), fixed=False)
    preprocess, sizes = preprocess_of_detector(checkpoint)
    _refuse_small(sizes, int(model.config.num_queries), int(model.config.num_feature_levels))
    tokenizer = Tokenizer(data, spec)
    separators = [int(i) for i in model.model.special_tokens]
    graphs = graphs_of(model, sizes, spec.pad_id, spec.max_length)

    def samples(material: Material, names: Sequence[str], ask: Ask) -> dict[str, list[Inputs]]:
        return sampled(material, names, ask, graphs, sizes, preprocess, tokenizer, separators)

    return Recipe(
        family="grounding",
        name=checkpoint.id.rpartition("/")[2],
        graphs=graphs,
        samples=samples,
        figures=lambda trial: figures(trial, graphs, THRESHOLD),
        budgets=dict(BOX_BUDGETS),
        preprocess=msgspec.to_builtins(preprocess),
        tokenizer=msgspec.to_builtins(spec),
        config={
            "architecture": kind.replace("-", "_"),
            "sizes": [list(size) for size in sizes],
            "max_tokens": spec.max_length,
            "blocks": True,
            "separators": separators,
            "threshold": float(checkpoint.json("config.json").get("threshold", THRESHOLD)),
            "text_threshold": TEXT_THRESHOLD,
        },
        files={spec.file: data},
    )


def graphs_of(model: Any, sizes: Sequence[Size], pad: int, longest: int) -> tuple[GraphRecipe, ...]:
    """The words' graph, and the detector's: one for all sizes where the backbone is FREE, else one a size."""
    from saccade.export.models.grounding_dino import Detector, Text

    text = text_graph(Text(model.model).eval(), int(model.config.d_model), pad, longest)
    module, queries = Detector(model).eval(), int(model.config.num_queries)
    if model.config.backbone_config.model_type in FREE and len(sizes) > 1:
        return text, detector_graph("detector", module, text, queries, longest, None, sizes[0], sizes[-1])
    fixed = ((f"detector_{height}x{width}", (height, width)) for height, width in sizes)
    return text, *(detector_graph(name, module, text, queries, longest, size, size) for name, size in fixed)


def text_graph(module: Any, width: int, pad: int, longest: int) -> GraphRecipe:
    """The words' graph; pad: the token that fills up"""
    return GraphRecipe(
        name="text",
        module=module,
        spec=GraphSpec(
            inputs=(
                TensorSpec("ids", "int64", ("B", "N")),
                TensorSpec("positions", "int64", ("B", "N")),
                TensorSpec("attends", "bool", ("B", "N", "N")),
            ),
            outputs=(TensorSpec("text", "float32", ("B", "N", width)),),
            batch="B",
            pads=(Padding("N", {"ids": pad, "positions": 0, "attends": 0}),),
            limits={"N": (2, longest)},
        ),
        example=_words(2, 9),
        others=(_words(3, min(12, longest)), _words(1, 4)),
    )


def detector_graph(
    name: str, module: Any, text: GraphRecipe, queries: int, longest: int, fixed: Size | None, *tried: Size
) -> GraphRecipe:
    """A detector's graph. fixed: its height and width, None where they are free; tried: sizes to trace and check at"""
    from saccade.export.models.grounding_dino import EXACT

    height, width = fixed or ("H", "W")
    spec = GraphSpec(
        inputs=(
            TensorSpec("pixels", "float32", ("B", 3, height, width)),
            TensorSpec("shown", "bool", ("B", height, width)),
            TensorSpec("text", "float32", ("B", "N", text.spec.outputs[0].dims[-1])),
            TensorSpec("text_mask", "bool", ("B", "N")),
            TensorSpec("positions", "int64", ("B", "N")),
            TensorSpec("attends", "bool", ("B", "N", "N")),
        ),
        outputs=(
            TensorSpec("logits", "float32", ("B", queries, "N")),
            TensorSpec("boxes", "float32", ("B", queries, 4)),
        ),
        batch="B",
        pads=(Padding("N", {"text": 0, "text_mask": 0, "positions": 0, "attends": 0}),),
        limits={"N": (2, longest)},
    )
    first, second = tried[0], tried[-1]
    return GraphRecipe(
        name=name,
        module=module,
        spec=spec,
        keep=EXACT,
        golden=1,  # at 800 x 1066 a sample is 10 MB of pixels
        swaps=SWAPPED,
        example=_asked(text, first, 2, 9),
        others=(_asked(text, second, 1, 4), _asked(text, first[::-1] if fixed is None else first, 3, min(12, longest))),
    )


def sampled(
    material: Material,
    names: Sequence[str],
    ask: Ask,
    graphs: Sequence[GraphRecipe],
    sizes: Sequence[Size],
    preprocess: Preprocess,
    tokenizer: Tokenizer,
    separators: Sequence[int],
) -> dict[str, list[Inputs]]:
    """Single-sample inputs of each named graph: prompts, and pictures; the i-th picture is asked the i-th prompt."""
    words = [_said(tokenizer, prompt, separators) for prompt in prompts(material.texts)]
    pictures = spread(list(material.pictures), MOST)
    words = [words[i % len(words)] for i in range(max(len(pictures), min(len(words), READ)))]
    found: dict[str, list[Inputs]] = {"text": [{name: one[name] for name in names_of(graphs[0])} for one in words]}
    for graph in graphs[1:]:
        if graph.name not in names:
            continue
        found[graph.name] = []
        for i, (picture, said) in enumerate(zip(pictures, words, strict=False)):
            size = sizes[i % len(sizes)] if len(graphs) == 2 else graph.spec.inputs[0].dims[2:]
            given = _fitted(picture, size, preprocess) | said | ask(graphs[0], found["text"][i])
            found[graph.name].append({name: given[name] for name in names_of(graph)})
    return {name: found[name] for name in names}


def names_of(graph: GraphRecipe) -> list[str]:
    return [tensor.name for tensor in graph.spec.inputs]


def prompts(texts: Sequence[str]) -> list[str]:
    """Prompts of given texts: one with a full stop is a prompt, of others three at a time become one."""
    whole = [text for text in texts if "." in text]
    rest = [text for text in texts if "." not in text]
    return whole + [". ".join(rest[at : at + 3]) + "." for at in range(0, len(rest), 3)]


def _said(tokenizer: Tokenizer, prompt: str, separators: Sequence[int]) -> Inputs:
    ids = tokenizer.encode([prompt])
    attends, positions = layout(ids, separators)
    return {"ids": ids, "positions": positions, "attends": attends, "text_mask": np.ones(ids.shape, bool)}


def _fitted(picture: Any, size: Any, preprocess: Preprocess) -> Inputs:
    """A picture as large as it goes into a bucket, at the top left."""
    fit = msgspec.structs.replace(preprocess, size=tuple(size))
    pixels, (frame,) = fit.batch([picture])
    shown = np.zeros((1, *size), bool)
    top, left, bottom, right = frame.window
    shown[0, top:bottom, left:right] = True
    return {"pixels": pixels, "shown": shown}


def _words(batch: int, count: int) -> Inputs:
    """Prompts to trace with, of a different length a row: phrases of two words, and padding that sees itself alone."""
    rng = np.random.default_rng(count)
    ids = rng.integers(1, 100, (batch, count))
    phrase, lengths = np.arange(count) // 3, np.maximum(count - 2 * np.arange(batch), 3)
    known = np.arange(count) < lengths[:, None]
    attends = (phrase[:, None] == phrase) & known[:, None] & known[..., None] | np.eye(count, dtype=bool)
    return {"ids": ids * known, "positions": np.arange(count) % 3 * known, "attends": attends}


def _asked(text: GraphRecipe, size: Size, batch: int, count: int) -> Inputs:
    """Inputs to trace a detector with: noise in pictures shown in part, and prompts as the text graph reads them."""
    from saccade.export.to_onnx import reference

    said, rng = _words(batch, count), np.random.default_rng(batch)
    lengths = np.maximum(count - 2 * np.arange(batch), 3)[:, None]
    shown = np.zeros((batch, *size), bool)
    for number, mask in enumerate(shown):
        mask[: size[0] - size[0] * number // 5, : size[1] - size[1] * number // 7] = True
    return {
        "pixels": rng.standard_normal((batch, 3, *size), np.float32) * shown[:, None],
        "shown": shown,
        "text": reference(text, said)["text"],
        "text_mask": np.arange(count) < lengths,
        "positions": said["positions"],
        "attends": said["attends"],
    }


def _refuse_small(sizes: Sequence[Size], queries: int, levels: int) -> None:
    """Raise SettingsError for a size with fewer places than there are queries."""
    for height, width in sizes:
        places = sum(-(-height // (8 << i)) * -(-width // (8 << i)) for i in range(levels))
        if places < queries:
            raise SettingsError(
                f"[export] sizes: {height}x{width} has {places} places for {queries} queries", hint="name larger ones"
            )
