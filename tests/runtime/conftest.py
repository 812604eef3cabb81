"""Two tiny graphs in one bundle, for the tests of the runtime that need no trained model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import save

from saccade.runtime.bundle import write
from saccade.runtime.manifest import GraphEntry, Manifest, Source, Variant
from saccade.runtime.spec import GraphSpec, TensorSpec

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64


def onnx(nodes, inputs, outputs, dtype=FLOAT) -> bytes:
    """A model of these nodes; inputs and outputs are (name, dims)."""
    ends = [[helper.make_tensor_value_info(name, dtype, dims) for name, dims in given] for given in (inputs, outputs)]
    graph = helper.make_graph(nodes, "g", *ends)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def graph(inputs, outputs, *variants: Variant, dtype="float32") -> GraphEntry:
    """How a manifest describes such a model."""
    ends = [tuple(TensorSpec(name, dtype, tuple(dims)) for name, dims in given) for given in (inputs, outputs)]
    return GraphEntry(GraphSpec(*ends), variants)


@pytest.fixture(scope="session")
def parts():
    """(manifest, files) of a bundle with the graphs `linear` (two precisions), `scalar` and `mean`."""
    two = [("x", ["B", 3]), ("y", ["B", 3])], [("sum", ["B", 3]), ("difference", ["B", 3])]
    linear = onnx(
        [helper.make_node("Add", ["x", "y"], ["sum"]), helper.make_node("Sub", ["x", "y"], ["difference"])], *two
    )
    one = [("x", []), ("y", ["N"])], [("out", ["N"])]
    scalar = onnx([helper.make_node("Mul", ["x", "y"], ["out"])], *one)
    large = [("x", ["N"])], [("out", [])]
    mean = onnx([helper.make_node("ReduceMean", ["x"], ["out"], keepdims=0)], *large)
    manifest = Manifest(
        digest="",
        schema=1,
        family="test",
        name="tiny",
        source=Source("here"),
        graphs={
            "linear": graph(*two, Variant("fp32", "linear.onnx"), Variant("int8", "int8.onnx")),
            "scalar": graph(*one, Variant("fp32", "scalar.onnx")),
            "mean": graph(*large, Variant("fp32", "mean.onnx")),
        },
        files={},
        golden="golden.safetensors",
        producer={"saccade": "test"},
    )
    files = {"linear.onnx": linear, "int8.onnx": linear, "scalar.onnx": scalar, "mean.onnx": mean}
    files["golden.safetensors"] = save({"linear.x": np.ones((1, 3), np.float32)})
    return manifest, files


@pytest.fixture(scope="session")
def tiny_path(parts, tmp_path_factory) -> Path:
    """That bundle, written."""
    target = tmp_path_factory.mktemp("tiny") / "tiny.bundle"
    write(target, *parts)
    return target


@pytest.fixture(scope="session")
def tiny(tiny_path):
    """That bundle, opened."""
    from saccade.runtime.bundle import Bundle

    return Bundle.open(tiny_path)
