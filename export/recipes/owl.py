"""OWL-ViT and OWLv2: a picture once, then any words or any example. docs/export-grounding.md says more.

    pixels (B, 3, S, S) ──▶ image ──▶ classes (B, Q, E), shift, scale (B, Q), boxes (B, Q, 4) [, objectness (B, Q)]
    ids (B, N)          ──▶ text  ──▶ queries (B, E)
    classes, shift, scale, queries (K, E) ──▶ query ──▶ logits (B, Q, K)

arXiv 2205.06230 and 2306.09683.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from saccade.export.calibration import spread
from saccade.export.load import pretrained, tokenizer_of
from saccade.export.preprocessing import preprocess_of_owl
from saccade.export.recipe import Ask, Checkpoint, GraphRecipe, Inputs, Material, Recipe, Trial
from saccade.runtime.manifest import Measured
from saccade.runtime.matching import Floats, likeness, scores_of
from saccade.runtime.precision import BOX_BUDGETS, cosine, figure
from saccade.runtime.spec import GraphSpec, Padding, TensorSpec
from saccade.runtime.text import Tokenizer

CLASSES = {"owlvit": "OwlViTForObjectDetection", "owlv2": "Owlv2ForObjectDetection"}
THRESHOLD = 0.1
"""Of the reference's post-processing; scores of OWL are lower than those of other detectors."""
TEMPLATES = ("a photo of a {}",)
MOST, READ = 8, 24
"""Pictures and texts that are looked at; an OWLv2 takes seconds for a picture."""


def read(checkpoint: Checkpoint) -> Recipe:
    """The recipe of a folder in transformers' layout."""
    kind = checkpoint.json("config.json")["model_type"]
    model = pretrained(checkpoint, CLASSES[kind])
    side = int(model.config.vision_config.image_size)
    preprocess, mean, std = preprocess_of_owl(checkpoint, side, square=kind == "owlv2")
    spec, data = tokenizer_of(checkpoint, int(model.config.text_config.max_position_embeddings), fixed=False)
    tokenizer = Tokenizer(data, spec)
    graphs = graphs_of(model, side, mean, std, tokenizer)

    def samples(material: Material, names: Sequence[str], ask: Ask) -> dict[str, list[Inputs]]:
        pictures = spread(list(material.pictures), MOST)
        texts = spread([TEMPLATES[0].format(text.rstrip(". ")) for text in material.texts], READ)
        found: dict[str, list[Inputs]] = {
            "image": [{"pixels": preprocess.batch([picture])[0]} for picture in pictures],
            "text": [{"ids": tokenizer.encode([text])} for text in texts],
        }
        if "query" in names:
            queries = np.concatenate([ask(graphs[1], one)["queries"] for one in found["text"]])
            seen = [ask(graphs[0], one) for one in found["image"]]
            found["query"] = [{**_named(one, graphs[2]), "queries": queries} for one in seen]
        return {name: found[name] for name in names}

    return Recipe(
        family="owl",
        name=checkpoint.id.rpartition("/")[2],
        graphs=graphs,
        samples=samples,
        figures=lambda trial: figures(trial, graphs[2]),
        budgets=dict(BOX_BUDGETS),
        preprocess=msgspec.to_builtins(preprocess),
        tokenizer=msgspec.to_builtins(spec),
        config={"architecture": kind, "size": side, "threshold": THRESHOLD, "templates": list(TEMPLATES)},
        files={spec.file: data},
    )


def graphs_of(
    model: Any, side: int, mean: tuple[float, ...], std: tuple[float, ...], tokenizer: Tokenizer
) -> tuple[GraphRecipe, GraphRecipe, GraphRecipe]:
    """image, text and query. mean, std: what the picture's graph normalises by itself; empty where it need not"""
    from saccade.export.models.owl import EXACT, Image, Query, Text

    count = (side // int(model.config.vision_config.patch_size)) ** 2
    width = int(model.config.text_config.hidden_size)
    rng = np.random.default_rng(0)
    seen = [
        TensorSpec("classes", "float32", ("B", count, width)),
        TensorSpec("shift", "float32", ("B", count)),
        TensorSpec("scale", "float32", ("B", count)),
    ]
    found = [*seen, TensorSpec("boxes", "float32", ("B", count, 4))]
    if hasattr(model, "objectness_head"):
        found.append(TensorSpec("objectness", "float32", ("B", count)))
    pixels = rng.standard_normal((3, 3, side, side), np.float32)
    image = GraphRecipe(
        name="image",
        module=Image(model, mean, std).eval(),
        spec=GraphSpec((TensorSpec("pixels", "float32", ("B", 3, side, side)),), tuple(found), "B"),
        keep=EXACT,
        golden=1,  # at 960 x 960 a sample is 11 MB of pixels and 7 MB of embeddings
        example={"pixels": pixels[:2]},
        others=({"pixels": pixels[2:]},),
    )
    query = GraphRecipe(
        name="query",
        module=Query().eval(),
        spec=GraphSpec(
            (*seen, TensorSpec("queries", "float32", ("K", width))),
            (TensorSpec("logits", "float32", ("B", count, "K")),),
            "B",
        ),
        same=("fp16", "int8"),  # one product without weights
        mergeable=False,  # calls differ in their queries
        golden=1,
        example=_drawn(rng, 2, count, width, 3),
        others=(_drawn(rng, 1, count, width, 1), _drawn(rng, 3, count, width, 5)),
    )
    return image, _text_graph(Text(model).eval(), width, tokenizer), query


def figures(trial: Trial, query: GraphRecipe) -> tuple[Measured, ...]:
    """How far boxes and scores move, paired box by box, with all texts of the samples for queries.

    cosine: of a graph's own outputs as vectors, the least favourable, for reading and for the golden check
    """
    name, exact = trial.graph, trial.trained
    said = np.concatenate([one["queries"] for one in trial.variant["text"]])
    ious, scores = [], []
    for i, given in enumerate(trial.samples["query"]):
        seen = trial.variant["image"][i]
        if name == "query":
            got = trial.variant["query"][i]
        else:
            got = trial.ask(query, {**_named({**given, **seen}, query), "queries": said})
        alike = likeness(_scored(exact["image"][i], exact["query"][i]), _scored(seen, got), THRESHOLD)
        ious.append(alike.iou.mean())
        scores.append(alike.score.mean())
    pairs = zip(trial.variant[name], exact[name], strict=True)
    cosines = np.array([min(_cosine(a[key], b[key]) for key in b) for a, b in pairs])
    return (
        figure("box_iou", np.array(ious), trial.backend),
        figure("score", np.array(scores), trial.backend),
        figure("cosine", cosines, trial.backend),
    )


def _scored(seen: Mapping[str, np.ndarray], answer: Mapping[str, np.ndarray]) -> tuple[np.ndarray, Floats]:
    return seen["boxes"][0], scores_of(answer, 0, np.ones(answer["logits"].shape[-1], bool))


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(cosine(a.reshape(1, -1), b.reshape(1, -1))[0])


def _text_graph(module: Any, width: int, tokenizer: Tokenizer) -> GraphRecipe:
    spec = tokenizer.spec
    ids = tokenizer.encode(["a photo of a red cube", "two dogs", "x"])
    long = np.concatenate([ids, np.full((3, spec.max_length - ids.shape[1]), spec.pad_id)], 1)
    return GraphRecipe(
        name="text",
        module=module,
        spec=GraphSpec(
            (TensorSpec("ids", "int64", ("B", "N")),),
            (TensorSpec("queries", "float32", ("B", width)),),
            "B",
            (Padding("N", {"ids": spec.pad_id}),),
            {"N": (2, spec.max_length)},
        ),
        example={"ids": ids[:2]},
        others=({"ids": long}, {"ids": tokenizer.encode(["x"])}),
    )


def _named(values: Mapping[str, np.ndarray], graph: GraphRecipe) -> Inputs:
    return {tensor.name: values[tensor.name] for tensor in graph.spec.inputs if tensor.name in values}


def _drawn(rng: np.random.Generator, batch: int, count: int, width: int, queries: int) -> Inputs:
    vectors = rng.standard_normal((batch, count, width), np.float32)
    return {
        "classes": vectors / np.linalg.norm(vectors, axis=-1, keepdims=True),
        "shift": rng.standard_normal((batch, count), np.float32),
        "scale": rng.random((batch, count), np.float32) * 10,
        "queries": rng.standard_normal((queries, width), np.float32),
    }
