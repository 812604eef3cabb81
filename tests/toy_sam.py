"""A SAM of a few ONNX nodes, for tests that need the real contract and no training: a click gives discs around it.

Inputs and outputs are those of the family (docs/sam.md): the masks of a prompt are discs of four radii around the
mean of its points and corners, raised and lowered by what the encoder saw and by the mask that is fed back; the IoU is
a wave over the picture, so that filters have something to refuse.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from saccade.runtime.bundle import write
from saccade.runtime.manifest import GraphEntry, Manifest, Source, Variant
from saccade.runtime.preprocess import Preprocess
from saccade.runtime.spec import GraphSpec, Padding, TensorSpec

SIZE, LOW, CHANNELS = 128, 32, 4
SMALL = SIZE // 16


def write_toy(target: Path, *, name: str = "toy", **config: object) -> str:
    """Write the bundle; gives its digest. config: added to the manifest's."""
    fixed = {"architecture": "sam", "size": SIZE, "low": [LOW, LOW], "mask_threshold": 0.0, "single": "first"}
    shape = "squash" if config.get("architecture") == "sam2" else "longest"
    manifest = Manifest(
        digest="", schema=1, family="sam", name=name, source=Source("tests"), files={}, config={**fixed, **config},
        graphs={
            "encoder": GraphEntry(_encoder_spec(), (Variant("fp32", "encoder.onnx"),)),
            "decoder": GraphEntry(_decoder_spec(), (Variant("fp32", "decoder.onnx"),)),
        },
        preprocess=Preprocess(size=(SIZE, SIZE), resize=shape, filter="bilinear", mean=(0.5,) * 3).fields(),
    )  # fmt: skip
    return write(target, manifest, {"encoder.onnx": _encoder(), "decoder.onnx": _decoder()})


def _encoder_spec() -> GraphSpec:
    pixels = TensorSpec("pixels", "float32", ("B", 3, SIZE, SIZE))
    return GraphSpec((pixels,), (TensorSpec("embedding", "float32", ("B", CHANNELS, SMALL, SMALL)),), "B")


def _decoder_spec() -> GraphSpec:
    inputs = (
        TensorSpec("embedding", "float32", ("B", CHANNELS, SMALL, SMALL)),
        TensorSpec("points", "float32", ("B", "P", "N", 2)),
        TensorSpec("labels", "int64", ("B", "P", "N")),
        TensorSpec("mask", "float32", ("B", "P", LOW, LOW)),
        TensorSpec("has_mask", "float32", ("B", "P")),
    )
    outputs = (
        TensorSpec("logits", "float32", ("B", "P", 4, LOW, LOW)),
        TensorSpec("iou", "float32", ("B", "P", 4)),
    )
    prompts = Padding("P", {"points": 0, "labels": -2, "mask": 0, "has_mask": 0})
    return GraphSpec(inputs, outputs, "B", (Padding("N", {"points": 0, "labels": -2}), prompts), items="P")


def _encoder() -> bytes:
    weight = np.random.default_rng(5).normal(0, 1, (CHANNELS, 3, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["pixels"], ["small"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Conv", ["small", "weight"], ["embedding"]),
    ]
    return _model(nodes, {"weight": weight}, _encoder_spec())


def _decoder() -> bytes:
    middle = (np.arange(LOW, dtype=np.float32) + 0.5) * (SIZE / LOW)
    grid = np.stack(np.meshgrid(middle, middle), axis=-1).reshape(1, 1, -1, 2)
    constants = {
        "grid": grid,
        "squares": np.array([20, 10, 20, 40], np.float32).reshape(1, 1, 4, 1) ** 2,
        "phases": np.arange(4, dtype=np.float32).reshape(1, 1, 4),
        "last": np.array([-1]), "second": np.array([2]), "first": np.array([1]), "zero": np.array(0),
        "slope": np.float32(60), "one": np.float32(1), "tiny": np.float32(1e-6), "half": np.float32(0.5),
        "low": np.float32(-12), "high": np.float32(12), "three": np.float32(3), "quarter": np.float32(0.25),
        "wave": np.float32(0.11), "base": np.float32(0.6), "swing": np.float32(0.4),
        "upsize": np.array([1, 1, LOW / SMALL, LOW / SMALL], np.float32),
        "flat": np.array([0, 1, 1, -1]), "flat_mask": np.array([0, 0, 1, -1]), "full": np.array([0, 0, 4, LOW, LOW]),
    }  # fmt: skip
    steps = [
        ("Greater", ["labels", "zero"], "on"), ("Cast", ["on"], "weight", {"to": TensorProto.FLOAT}),
        ("Unsqueeze", ["weight", "last"], "weights"), ("Mul", ["points", "weights"], "weighed"),
        ("ReduceSum", ["weighed", "second"], "sum", {"keepdims": 0}),
        ("ReduceSum", ["weights", "second"], "count", {"keepdims": 0}), ("Max", ["count", "tiny"], "counted"),
        ("Div", ["sum", "counted"], "centre"), ("Unsqueeze", ["centre", "second"], "centres"),
        ("Sub", ["centres", "grid"], "apart"), ("Mul", ["apart", "apart"], "squared"),
        ("ReduceSum", ["squared", "last"], "distance", {"keepdims": 0}),
        ("Unsqueeze", ["distance", "second"], "distances"), ("Div", ["distances", "squares"], "share"),
        ("Sub", ["one", "share"], "inside"), ("Mul", ["inside", "slope"], "steep"),
        ("Clip", ["steep", "low", "high"], "discs"),
        ("Resize", ["embedding", "", "upsize"], "large", {"mode": "linear"}),
        ("ReduceMean", ["large", "first"], "mean", {"keepdims": 1}), ("Reshape", ["mean", "flat"], "seen"),
        ("Mul", ["seen", "three"], "stronger"), ("Add", ["discs", "stronger"], "shaped"),
        ("Unsqueeze", ["has_mask", "last"], "given"), ("Unsqueeze", ["given", "last"], "givens"),
        ("Mul", ["mask", "givens"], "fed"), ("Reshape", ["fed", "flat_mask"], "back"),
        ("Mul", ["back", "quarter"], "weaker"), ("Add", ["shaped", "weaker"], "steered"),
        ("Equal", ["labels", "zero"], "off"), ("Cast", ["off"], "against", {"to": TensorProto.FLOAT}),
        ("ReduceSum", ["against", "last"], "beside", {"keepdims": 1}), ("Unsqueeze", ["beside", "last"], "besides"),
        ("Mul", ["besides", "half"], "less"), ("Sub", ["steered", "less"], "all"),
        ("Reshape", ["all", "full"], "logits"),
        ("Mul", ["centre", "wave"], "angles"), ("ReduceSum", ["angles", "last"], "angle", {"keepdims": 1}),
        ("Add", ["angle", "phases"], "phase"), ("Sin", ["phase"], "waves"), ("Mul", ["waves", "swing"], "swung"),
        ("Add", ["swung", "base"], "iou"),
    ]  # fmt: skip
    nodes = [helper.make_node(kind, inputs, [output], **dict(*more)) for kind, inputs, output, *more in steps]
    return _model(nodes, constants, _decoder_spec())


def _model(nodes: list, constants: dict, spec: GraphSpec) -> bytes:
    kinds = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
    ends = [
        [helper.make_tensor_value_info(t.name, kinds[t.dtype], t.dims) for t in given]
        for given in (spec.inputs, spec.outputs)
    ]
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "toy", *ends, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()
