"""GLIP's official .pth: the words once, each picture with them. docs/export-glip.md says more.

    ids, positions (B, N), attends (B, N, N)                       ──▶ text         ──▶ text (B, N, E)
    pixels (B, 3, H, W), shown (B, H, W), text, text_mask, attends ──▶ detector_HxW ──▶ logits, boxes, centerness

https://github.com/microsoft/GLIP, arXiv 2112.03857. Which variant it is shows in the names: a tower with fusion is
GLIP-T (B), (C), GLIP-T or GLIP-L, one without is GLIP-T (A). Widths and depths come from the tensors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from saccade.export.box_figures import BUDGETS, figures
from saccade.export.calibration import spread
from saccade.export.load import bert_tokenizer
from saccade.export.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from saccade.export.recipe import Ask, Checkpoint, GraphRecipe, Inputs, Material, Recipe
from saccade.export.recipes.sam_official import fill
from saccade.export.state_dict import load
from saccade.export.to_onnx import reference
from saccade.runtime.errors import ExportError, SettingsError
from saccade.runtime.preprocess import Preprocess
from saccade.runtime.spec import GraphSpec, Padding, TensorSpec
from saccade.runtime.text import Tokenizer

Size = tuple[int, int]
SIZES: tuple[Size, ...] = ((800, 1088), (1088, 800))
"""Inputs, each a graph of its own: what the reference's tests make of pictures of 4 x 3 and 3 x 4, 800 pixels of the
shorter edge and padding to whole steps of 32."""
STEP = 32
LONGEST = 256
"""Tokens of a prompt, in every released model."""
MOST = 4
"""Pictures that are looked at, each of 18,000 places at 800 x 1088."""
UNREAD = re.compile(
    r".*\.relative_position_index"  # a table of places, computed here
    r"|language_backbone\.body\.model\.(embeddings\.position_ids|pooler\..*)"  # counting; what no output reads
    r"|rpn\.head\.(cls_logits|mlm_head)\..*"  # a classifier of 80 and a language model, heads of training
    r"|rpn\.loss_evaluator\..*"
)
"""Names in official files that answers do not depend on."""
_MEND = "fetch the file again"


def read(checkpoint: Checkpoint) -> Recipe:
    """The recipe of an official GLIP file; tokenizer.json or vocab.txt of bert-base-uncased lies beside it."""
    model = loaded(checkpoint)
    spec, data = bert_tokenizer(checkpoint, LONGEST)
    tokenizer = Tokenizer(data, spec)
    return build(model, checkpoint, tokenizer, data, checkpoint.sizes or SIZES)


def loaded(checkpoint: Checkpoint) -> Any:
    """A GLIP with the file's weights. Raises ExportError if one is missing, has another shape or has no place."""
    from saccade.export.models.glip import GLIP

    assert checkpoint.weights is not None
    weights = {name: tensor for name, tensor in load(checkpoint.weights).items() if not UNREAD.fullmatch(name)}
    try:
        model = GLIP(weights)
    except (KeyError, ValueError) as error:
        raise ExportError(f"[export] {checkpoint.id}: no weight {error}", hint=_MEND) from None
    fill(model, {name: tensor.float() for name, tensor in weights.items()}, checkpoint.id)
    return model


def build(model: Any, checkpoint: Checkpoint, tokenizer: Tokenizer, data: bytes, sizes: Sequence[Size]) -> Recipe:
    """The recipe of a loaded GLIP. data: the tokenizer's file; sizes: (height, width) of each graph's input.

    Raises SettingsError for a size that is not in whole steps of 32.
    """
    from saccade.export.models.glip import Detector

    if odd := [size for size in sizes if any(n % STEP or n < STEP for n in size)]:
        height, width = odd[0]
        raise SettingsError(f"[export] sizes: {height}x{width}", hint=f"GLIP's are multiples of {STEP}")
    text = text_graph(model.text, int(model.text.embeddings.word_embeddings.weight.shape[1]))
    detector = Detector(model).eval()
    graphs = text, *(detector_graph(detector, text, size) for size in sizes)
    preprocess = preprocess_of_glip()

    def samples(material: Material, names: Sequence[str], ask: Ask) -> dict[str, list[Inputs]]:
        pictures, lines = spread(list(material.pictures), MOST), spread(prompts(material.texts))
        count = max(len(pictures), len(lines))
        words = [_words(tokenizer.encode([lines[i % len(lines)]])) for i in range(count)]
        found: dict[str, list[Inputs]] = {"text": words}
        for graph, size in zip(graphs[1:], sizes, strict=True):
            if graph.name in names:  # picture i is asked with prompt i, which `figures` relies on
                pairs = zip(pictures, words, strict=False)
                found[graph.name] = [_fitted(one, size, preprocess) | _asked(w, ask(text, w)) for one, w in pairs]
        return {name: found[name] for name in names}

    return Recipe(
        family="grounding",
        name=checkpoint.id.rpartition("/")[2],
        graphs=graphs,
        samples=samples,
        figures=lambda trial: figures(trial, graphs[1:]),
        budgets=dict(BUDGETS),
        preprocess=msgspec.to_builtins(preprocess),
        tokenizer=msgspec.to_builtins(tokenizer.spec),
        config=config_of(tokenizer, data, sizes),
        files={tokenizer.spec.file: data},
    )


def config_of(tokenizer: Tokenizer, data: bytes, sizes: Sequence[Size]) -> dict[str, Any]:
    """How the pipeline asks and judges: the reference's numbers (maskrcnn_benchmark/config/defaults.py, MODEL.ATSS and
    MODEL.DYHEAD); the threshold is that of its demonstration (run_on_web_image).
    """
    vocabulary = msgspec.json.decode(data)["model"]["vocab"]
    return {
        "architecture": "glip",
        "sizes": [list(size) for size in sizes],
        "max_tokens": tokenizer.spec.max_length,
        "blocks": False,
        "separators": [vocabulary[token] for token in ("[CLS]", "[SEP]", ".", "?") if token in vocabulary],
        "aggregate": "mean",  # of a phrase's tokens' sigmoids; its score is the root of that times sigmoid(centerness)
        "threshold": 0.5,
        "least": 0.05,  # of the mean, before centerness counts
        "candidates": 1000,  # of each level, the best before suppression
        "nms": 0.6,  # IoU, phrase by phrase
        "most": 100,  # boxes of a picture
    }


def preprocess_of_glip() -> Preprocess:
    """The reference's: the shorter edge 800, the longer at most 1,333, padded with zeros.

    It sees blue first, from 0 to 255, with ImageNet's mean and deviation in that order and scale. The detector turns
    its first kernel round, so here it is red first, from 0 to 1.
    """
    return Preprocess(resize="shortest", edge=800, limit=1333, filter="bilinear", mean=IMAGENET_MEAN, std=IMAGENET_STD)


def text_graph(module: Any, width: int) -> GraphRecipe:
    """The words' graph."""
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
            pads=(Padding("N", {"ids": 0, "positions": 0, "attends": 0}),),
            limits={"N": (2, LONGEST)},
        ),
        example=_drawn_words(2, 9),
        others=(_drawn_words(3, 12), _drawn_words(1, 4)),
    )


def detector_graph(module: Any, text: GraphRecipe, size: Size) -> GraphRecipe:
    """The graph of pictures of one size."""
    places = sum(math.prod(level) for level in levels(size))
    spec = GraphSpec(
        inputs=(
            TensorSpec("pixels", "float32", ("B", 3, *size)),
            TensorSpec("shown", "bool", ("B", *size)),
            TensorSpec("text", "float32", ("B", "N", text.spec.outputs[0].dims[-1])),
            TensorSpec("text_mask", "bool", ("B", "N")),
            TensorSpec("attends", "bool", ("B", "N", "N")),
        ),
        outputs=(
            TensorSpec("logits", "float32", ("B", places, "N")),
            TensorSpec("boxes", "float32", ("B", places, 4)),
            TensorSpec("centerness", "float32", ("B", places)),
        ),
        batch="B",
        pads=(Padding("N", {"text": 0, "text_mask": 0, "attends": 0}),),
        limits={"N": (2, LONGEST)},
    )
    return GraphRecipe(
        name=f"detector_{size[0]}x{size[1]}",
        module=module,
        spec=spec,
        keep=("DeformConv",),  # ONNX Runtime has it in float32 alone, as the reference's autocast does
        golden=1,
        example=_drawn(text, size, 2, 9),
        others=(_drawn(text, size, 1, 4),),
    )


def levels(size: Size) -> list[Size]:
    """Height and width of P3 to P7: an eighth, a sixteenth, a thirty-second; two more halvings round up."""
    found = [(size[0] // step, size[1] // step) for step in (8, 16, 32)]
    for _ in range(2):
        found.append(((found[-1][0] + 1) // 2, (found[-1][1] + 1) // 2))
    return found


def prompts(texts: Sequence[str]) -> list[str]:
    """Prompts of given texts: one with a full stop is a prompt, of others three at a time become one."""
    whole = [text for text in texts if "." in text]
    rest = [text for text in texts if "." not in text]
    return whole + [". ".join(rest[at : at + 3]) + "." for at in range(0, len(rest), 3)]


def _words(ids: np.ndarray) -> Inputs:
    count = ids.shape[1]
    attends = np.ones((1, count, count), bool)
    return {"ids": ids, "positions": np.arange(count)[None], "attends": attends}


def _asked(words: Inputs, read: dict[str, np.ndarray]) -> Inputs:
    return {"text": read["text"], "text_mask": np.ones(words["ids"].shape, bool), "attends": words["attends"]}


def _fitted(picture: Any, size: Size, preprocess: Preprocess) -> Inputs:
    """A picture as large as it goes into an input, at the top left; the rest is zeros."""
    longest = int(max(picture.height, picture.width) * min(size[0] / picture.height, size[1] / picture.width))
    fit = msgspec.structs.replace(preprocess, size=size, resize="longest", edge=longest, limit=0)
    pixels, (frame,) = fit.batch([picture])
    shown = np.zeros((1, *size), bool)
    top, left, bottom, right = frame.window
    shown[0, top:bottom, left:right] = True
    return {"pixels": pixels, "shown": shown}


def _drawn_words(batch: int, count: int) -> Inputs:
    """Prompts to trace with, of a different length a row; padding sees itself alone."""
    ids = np.random.default_rng(count).integers(1, 100, (batch, count))
    known = np.arange(count) < np.maximum(count - 2 * np.arange(batch), 3)[:, None]
    attends = known[:, None] & known[..., None] | np.eye(count, dtype=bool)
    return {"ids": ids * known, "positions": np.arange(count) * known, "attends": attends}


def _drawn(text: GraphRecipe, size: Size, batch: int, count: int) -> Inputs:
    """A detector's inputs to trace with: noise in pictures shown in part, and words as the graph reads them."""
    said, rng = _drawn_words(batch, count), np.random.default_rng(batch)
    shown = np.zeros((batch, *size), bool)
    for number, mask in enumerate(shown):
        mask[: size[0] - size[0] * number // 5, : size[1] - size[1] * number // 7] = True
    return {
        "pixels": rng.standard_normal((batch, 3, *size), np.float32) * shown[:, None],
        "shown": shown,
        "text": reference(text, said)["text"],
        "text_mask": said["ids"] > 0,
        "attends": said["attends"],
    }
