"""Detectors of a few ONNX nodes, for tests that need the families' contracts and no training: they know colours.

A picture is cut into cells; a token says a colour or nothing. A cell's score for a token is high if its mean colour is
the token's, so right answers are known. A token also takes a little of those that it attends to, so a wrong mask shows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from saccade.runtime.bundle import write
from saccade.runtime.manifest import GraphEntry, Manifest, Source, Variant
from saccade.runtime.preprocess import Preprocess
from saccade.runtime.spec import GraphSpec, Padding, TensorSpec

CELL, SIZES, SQUARE = 16, ((64, 96), (96, 64)), 64
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "?")
SEPARATORS = [2, 3, 4, 5]
COLOURS = {"red": (1, -1, -1), "green": (-1, 1, -1), "blue": (-1, -1, 1), "yellow": (1, 1, -1), "white": (1, 1, 1)}
WORDS = ["the", "is", "on", "next", "to", "of", "left", "dog", "grass", "frisbee", "circle", "square", "star", "thing"]
PIECES = [c for letter in "abcdefghijklmnopqrstuvwxyz0123456789-'," for c in (letter, f"##{letter}")]
VOCABULARY = (*SPECIAL, *COLOURS, *WORDS, *PIECES)
DTYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}


def tokenizer() -> bytes:
    """A WordPiece tokenizer.json over VOCABULARY that spells any Latin word."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    made = Tokenizer(models.WordPiece({w: i for i, w in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made.to_str().encode()


def write_grounding(target: Path, *, name: str = "toy-grounding", glip: bool = False, **config: object) -> str:
    """Write a bundle of family grounding; gives its digest. config: added to the manifest's."""
    fixed = {"architecture": "glip" if glip else "grounding_dino", "sizes": [list(s) for s in SIZES]}
    fixed |= {"max_tokens": 32, "blocks": not glip, "separators": SEPARATORS, "threshold": 0.3}
    graphs, files = {"text": _entry(_text_spec(), "text")}, {"text.onnx": _text(), "tokenizer.json": tokenizer()}
    for height, width in SIZES:
        graph = f"detector_{height}x{width}"
        spec = _detector_spec(height, width, glip)
        graphs[graph] = _entry(spec, graph)
        files[f"{graph}.onnx"] = _detector(height, width, spec, glip)
    return write(target, _manifest("grounding", name, graphs, {**fixed, **config}, 32), files)


def write_owl(target: Path, *, name: str = "toy-owl", objectness: bool = True, **config: object) -> str:
    """Write a bundle of family owl; gives its digest."""
    specs = {"image": _image_spec(objectness), "text": _label_spec(), "query": _query_spec()}
    made = {"image": _image(specs["image"], objectness), "text": _label(specs["text"]), "query": _query(specs["query"])}
    graphs = {graph: _entry(spec, graph) for graph, spec in specs.items()}
    files = {f"{graph}.onnx": data for graph, data in made.items()} | {"tokenizer.json": tokenizer()}
    return write(target, _manifest("owl", name, graphs, {"threshold": 0.3, **config}, 16, SQUARE), files)


def _manifest(family: str, name: str, graphs: dict, config: dict, tokens: int, square: int = 0) -> Manifest:
    shape = {"size": (square, square), "resize": "longest"} if square else {"resize": "shortest", "edge": 64}
    return Manifest(
        digest="", schema=1, family=family, name=name, source=Source("tests"), files={}, config=config, graphs=graphs,
        preprocess=Preprocess(**shape, filter="box", mean=(0.5,) * 3, std=(0.5,) * 3).fields(),
        tokenizer={"file": "tokenizer.json", "max_length": tokens, "pad_id": 0},
    )  # fmt: skip


def _entry(spec: GraphSpec, graph: str) -> GraphEntry:
    return GraphEntry(spec, (Variant("fp32", f"{graph}.onnx"),))


def _table() -> np.ndarray:
    """(V, 3): what each token says: a third of a colour, so that a right cell has 1, a wrong one 1/3."""
    rows = np.zeros((len(VOCABULARY), 3), np.float32)
    for word, colour in COLOURS.items():
        rows[VOCABULARY.index(word)] = np.array(colour) / 3
    return rows


def _tensors(*rows: tuple[str, str, tuple]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, dtype, dims) for name, dtype, dims in rows)


def _text_spec() -> GraphSpec:
    given = _tensors(
        ("ids", "int64", ("B", "N")), ("positions", "int64", ("B", "N")), ("attends", "bool", ("B", "N", "N"))
    )
    pad = Padding("N", {"ids": 0, "positions": 0, "attends": 0})
    return GraphSpec(given, _tensors(("text", "float32", ("B", "N", 3))), "B", (pad,))


def _text() -> bytes:
    constants = {"table": _table(), "little": np.float32(0.125), "nothing": np.float32(0), "last": np.array([2])}
    steps = [
        ("Gather", ["table", "ids"], "own", {"axis": 0}), ("Cast", ["attends"], "seen", {"to": TensorProto.FLOAT}),
        ("MatMul", ["seen", "own"], "heard"), ("Mul", ["heard", "little"], "whispered"),
        ("Add", ["own", "whispered"], "both"), ("Cast", ["positions"], "places", {"to": TensorProto.FLOAT}),
        ("Unsqueeze", ["places", "last"], "place"), ("Mul", ["place", "nothing"], "nowhere"),
        ("Add", ["both", "nowhere"], "text"),
    ]  # fmt: skip
    return _model(steps, constants, _text_spec())


def _detector_spec(height: int, width: int, glip: bool) -> GraphSpec:
    cells = height * width // CELL**2
    rows = [("pixels", "float32", ("B", 3, height, width)), ("text", "float32", ("B", "N", 3))]
    rows += [("text_mask", "bool", ("B", "N"))]
    if not glip:
        rows += [("shown", "bool", ("B", height, width)), ("attends", "bool", ("B", "N", "N"))]
        rows += [("positions", "int64", ("B", "N"))]
    out = [("logits", "float32", ("B", cells, "N")), ("boxes", "float32", ("B", cells, 4))]
    out += [("centerness", "float32", ("B", cells))] if glip else []
    values = {name: 0 for name, _, dims in rows if "N" in dims}
    return GraphSpec(_tensors(*rows), _tensors(*out), "B", (Padding("N", values),))


def _detector(height: int, width: int, spec: GraphSpec, glip: bool) -> bytes:
    constants = {
        "cells": _cells(height, width), "flat": np.array([0, 3, -1]), "one": np.float32(1), "steep": np.float32(9),
        "half": np.float32(0.6), "rows": np.array([1]), "columns": np.array([2]), "last": np.array([1]),
        "size": np.array([[[width, height, width, height]]], np.float32), "none": np.float32(0),
    }  # fmt: skip
    steps = [
        ("AveragePool", ["pixels"], "small", {"kernel_shape": [CELL, CELL], "strides": [CELL, CELL]}),
        ("Reshape", ["small", "flat"], "colours"), ("Transpose", ["colours"], "cell", {"perm": [0, 2, 1]}),
        ("Transpose", ["text"], "said", {"perm": [0, 2, 1]}), ("MatMul", ["cell", "said"], "like"),
        ("Sub", ["like", "half"], "above"), ("Mul", ["above", "steep"], "scored"),
        ("Cast", ["text_mask"], "real", {"to": TensorProto.FLOAT}), ("Unsqueeze", ["real", "last"], "reals"),
        ("Mul", ["scored", "reals"], "logits"),
    ]  # fmt: skip
    if glip:
        steps += [
            ("ReduceMean", ["logits"], "mean", {"axes": [2], "keepdims": 0}), ("Mul", ["mean", "none"], "nothing"),
            ("Add", ["nothing", "one"], "centerness"), ("Div", ["cells", "size"], "shares"),
            ("Unsqueeze", ["nothing", "columns"], "wide"), ("Add", ["shares", "wide"], "boxes"),
        ]  # fmt: skip
    else:
        steps += [
            ("Cast", ["shown"], "on", {"to": TensorProto.FLOAT}),
            ("ReduceMax", ["on"], "across", {"axes": [1], "keepdims": 0}),
            ("ReduceMax", ["on"], "down", {"axes": [2], "keepdims": 0}),
            ("ReduceSum", ["across", "rows"], "wide", {"keepdims": 1}),
            ("ReduceSum", ["down", "rows"], "tall", {"keepdims": 1}),
            ("Concat", ["wide", "tall", "wide", "tall"], "extent", {"axis": 1}),
            ("Unsqueeze", ["extent", "rows"], "extents"), ("Div", ["cells", "extents"], "shares"),
            ("Min", ["shares", "one"], "boxes"),
        ]  # fmt: skip
    return _model(steps, constants, spec)


def _cells(height: int, width: int) -> np.ndarray:
    """(1, Q, 4) x0 y0 x1 y1 in pixels of the input, row by row."""
    top, left = np.meshgrid(np.arange(0, height, CELL), np.arange(0, width, CELL), indexing="ij")
    corner = np.stack([left, top], axis=-1).reshape(-1, 2)
    return np.concatenate([corner, corner + CELL], axis=1)[None].astype(np.float32)


def _image_spec(objectness: bool) -> GraphSpec:
    cells = SQUARE * SQUARE // CELL**2
    out = [("classes", "float32", ("B", cells, 3)), ("shift", "float32", ("B", cells))]
    out += [("scale", "float32", ("B", cells)), ("boxes", "float32", ("B", cells, 4))]
    out += [("objectness", "float32", ("B", cells))] if objectness else []
    return GraphSpec(_tensors(("pixels", "float32", ("B", 3, SQUARE, SQUARE))), _tensors(*out), "B")


def _image(spec: GraphSpec, objectness: bool) -> bytes:
    constants = {
        "cells": _cells(SQUARE, SQUARE) / SQUARE, "flat": np.array([0, 3, -1]), "last": np.array([2]),
        "tiny": np.float32(1e-3), "lower": np.float32(-0.7), "steep": np.float32(20), "none": np.float32(0),
    }  # fmt: skip
    steps = [
        ("AveragePool", ["pixels"], "small", {"kernel_shape": [CELL, CELL], "strides": [CELL, CELL]}),
        ("Reshape", ["small", "flat"], "colours"), ("Transpose", ["colours"], "cell", {"perm": [0, 2, 1]}),
        ("ReduceL2", ["cell"], "long", {"axes": [2], "keepdims": 1}), ("Add", ["long", "tiny"], "length"),
        ("Div", ["cell", "length"], "classes"), ("Squeeze", ["long", "last"], "bright"),
        ("Mul", ["bright", "none"], "nothing"), ("Add", ["nothing", "lower"], "shift"),
        ("Add", ["nothing", "steep"], "scale"), ("Unsqueeze", ["nothing", "last"], "wide"),
        ("Add", ["wide", "cells"], "boxes"),
    ]  # fmt: skip
    steps += [("Identity", ["bright"], "objectness")] if objectness else []
    return _model(steps, constants, spec)


def _label_spec() -> GraphSpec:
    given = _tensors(("ids", "int64", ("B", "N")), ("text_mask", "bool", ("B", "N")))
    pad = Padding("N", {"ids": 0, "text_mask": 0})
    return GraphSpec(given, _tensors(("queries", "float32", ("B", 3))), "B", (pad,))


def _label(spec: GraphSpec) -> bytes:
    constants = {"table": _table(), "tiny": np.float32(1e-3), "last": np.array([2]), "tokens": np.array([1])}
    steps = [
        ("Gather", ["table", "ids"], "own", {"axis": 0}), ("Cast", ["text_mask"], "real", {"to": TensorProto.FLOAT}),
        ("Unsqueeze", ["real", "last"], "reals"), ("Mul", ["own", "reals"], "kept"),
        ("ReduceSum", ["kept", "tokens"], "sum", {"keepdims": 0}),
        ("ReduceL2", ["sum"], "long", {"axes": [1], "keepdims": 1}), ("Add", ["long", "tiny"], "length"),
        ("Div", ["sum", "length"], "queries"),
    ]  # fmt: skip
    return _model(steps, constants, spec)


def _query_spec() -> GraphSpec:
    given = _tensors(
        ("classes", "float32", ("B", "Q", 3)), ("shift", "float32", ("B", "Q")), ("scale", "float32", ("B", "Q")),
        ("queries", "float32", ("K", 3)),
    )  # fmt: skip
    return GraphSpec(given, _tensors(("logits", "float32", ("B", "Q", "K"))))


def _query(spec: GraphSpec) -> bytes:
    steps = [
        ("Transpose", ["queries"], "turned", {"perm": [1, 0]}), ("MatMul", ["classes", "turned"], "like"),
        ("Unsqueeze", ["shift", "last"], "shifts"), ("Unsqueeze", ["scale", "last"], "scales"),
        ("Add", ["like", "shifts"], "shifted"), ("Mul", ["shifted", "scales"], "logits"),
    ]  # fmt: skip
    return _model(steps, {"last": np.array([2])}, spec)


def _model(steps: list, constants: dict, spec: GraphSpec) -> bytes:
    nodes = [helper.make_node(kind, inputs, [output], **dict(*more)) for kind, inputs, output, *more in steps]
    ends = [
        [helper.make_tensor_value_info(t.name, DTYPES[t.dtype], t.dims) for t in given]
        for given in (spec.inputs, spec.outputs)
    ]
    used = {name for _, inputs, *_ in steps for name in inputs}
    held = [numpy_helper.from_array(np.asarray(value), n) for n, value in constants.items() if n in used]
    graph = helper.make_graph(nodes, "toy", *ends, held)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
