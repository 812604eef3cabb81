"""Which ops of ours a file has, wherever they stand; and that each brings its body."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from saccade.kernels.relpos_attention import onnx
from saccade.runtime.bundle import write
from saccade.runtime.errors import CorruptBundle
from saccade.runtime.onnx_ops import own_ops

FLOAT = TensorProto.FLOAT
X = helper.make_tensor_value_info("x", FLOAT, ["N"])
Y = helper.make_tensor_value_info("y", FLOAT, ["N"])
TWICE = helper.make_function("saccade", "Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])],
                             [helper.make_opsetid("", 20)])  # fmt: skip


def model(nodes, functions=(), domains=("saccade",)):
    imports = [helper.make_opsetid("", 20), *(helper.make_opsetid(domain, 1) for domain in domains)]
    graph = helper.make_graph(nodes, "g", [X], [Y], [numpy_helper.from_array(np.ones(3, np.float32), "w")])
    made = helper.make_model(graph, functions=list(functions), opset_imports=imports, ir_version=9)
    return made.SerializeToString()


def node(op="Twice", domain="saccade"):
    return helper.make_node(op, ["x"], ["y"], domain=domain)


def within(nodes):
    """The nodes in both branches of an If."""
    branch = helper.make_graph(nodes, "b", [], [Y])
    condition = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True)))
    return [condition, helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]


def nested():
    outer = helper.make_function("saccade", "Outer", ["x"], ["y"], [node()], [helper.make_opsetid("saccade", 1)])
    return model([node("Outer")], [outer, TWICE])


@pytest.mark.parametrize(
    ("data", "ops"),
    [
        (model([node("Relu", "")]), set()),
        (model([node("Relu", "")], domains=()), set()),
        (model([node("Twice", "elsewhere")], domains=("elsewhere",)), set()),
        (model([node()], [TWICE]), {"Twice"}),
        (model(within([node()]), [TWICE]), {"Twice"}),
        (model([node("Relu", "")], [TWICE]), set()),
        (nested(), {"Twice", "Outer"}),
        (model([node("RelPosAttention")], [onnx.function()]), {"RelPosAttention"}),
    ],
    ids=["none", "no domain", "of another domain", "one", "in a branch", "a body alone", "in a body", "a real one"],
)
def test_found(data, ops):
    assert own_ops(data, "x.onnx") == ops


def function(domain, name="Twice"):
    made = type(TWICE)()
    made.CopyFrom(TWICE)
    made.domain, made.name = domain, name
    return made


@pytest.mark.parametrize(
    "data",
    [
        model([node()]),
        model(within([node()])),
        model([node()], [function("elsewhere")], ("saccade", "elsewhere")),
        model([node()], [function("saccade", "Thrice")]),
    ],
    ids=["none", "in a branch", "of another domain", "of another name"],
)
def test_an_op_without_its_body_is_refused(data, parts, tmp_path):
    with pytest.raises(CorruptBundle, match="expected a body for each op of saccade, got none for Twice"):
        own_ops(data, "x.onnx")
    manifest, files = parts
    with pytest.raises(CorruptBundle, match="a body for each op"):
        write(tmp_path / "new.bundle", manifest, {**files, "linear.onnx": data})
    assert not (tmp_path / "new.bundle").exists()


@pytest.mark.parametrize("cut", [1, 7, 40, -1])
def test_what_is_no_model_is_refused(cut):
    data = model([node()], [TWICE])
    with pytest.raises(CorruptBundle, match=r"x\.onnx"):
        own_ops(data[:cut] + b"\xff" * 3, "x.onnx")


def test_a_name_of_another_wire_type_is_refused():
    imports = b"\x42\x09\x0a\x07saccade"  # opset_import { domain: "saccade" }
    graph = b"\x3a\x04\x0a\x02\x20\x01"  # graph { node { op_type as a number } }
    with pytest.raises(CorruptBundle, match="wire type 0"):
        own_ops(imports + graph, "x.onnx")
