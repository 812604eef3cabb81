"""saccade::RelPosAttention as standard operators: what runs where our library does not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

DOMAIN, NAME, VERSION = "saccade", "RelPosAttention", 1
OPSET = 20  # of the models that export makes; onnx's checker wants the body's to be the same


def function(opset: int = OPSET) -> Any:
    """The onnx.FunctionProto; a model that has the node carries it in `model.functions`.

    q, k, v (B, A, N, D), rh (B, A, N, Hk), rw (B, A, N, Wk) → out (B, A, N, D), all of one float dtype, attribute
    `scale`. The scores exist once, as (B, A, N, N); each bias is added to them in place, seen as (B, A, N, Hk, Wk).
    opset: of the model that takes it, at least 18
    """
    from onnx import helper

    return helper.make_function(
        DOMAIN, NAME, ["q", "k", "v", "rh", "rw"], ["out"], _nodes(), [helper.make_opsetid("", opset)], ["scale"]
    )


def body(nodes: Iterable[Any], opset: int = OPSET) -> Any:
    """The function for these nodes of one model: the same for all."""
    return function(opset)


def _nodes() -> list[Any]:
    from onnx import AttributeProto, helper

    node = helper.make_node
    factor = node("Constant", [], ["factor"])
    factor.attribute.append(AttributeProto(name="value_float", ref_attr_name="scale", type=AttributeProto.FLOAT))
    return [
        factor,
        node("CastLike", ["factor", "q"], ["factor_q"]),
        node("Mul", ["q", "factor_q"], ["scaled"]),
        node("Transpose", ["k"], ["turned"], perm=[0, 1, 3, 2]),
        node("MatMul", ["scaled", "turned"], ["flat"]),
        # As a picture, for the biases: an empty B or N is no -1, so every size is given.
        node("Shape", ["rh"], ["outer"]),
        node("Shape", ["rw"], ["columns"], start=3),
        node("Concat", ["outer", "columns"], ["grid"], axis=0),
        node("Reshape", ["flat", "grid"], ["picture"], allowzero=1),
        node("Constant", [], ["last"], value_ints=[-1]),
        node("Constant", [], ["before"], value_ints=[-2]),
        node("Unsqueeze", ["rh", "last"], ["by_row"]),
        node("Unsqueeze", ["rw", "before"], ["by_column"]),
        node("Add", ["picture", "by_row"], ["half"]),
        node("Add", ["half", "by_column"], ["both"]),
        node("Shape", ["flat"], ["square"]),
        node("Reshape", ["both", "square"], ["scores"], allowzero=1),
        node("Softmax", ["scores"], ["weights"], axis=-1),
        node("MatMul", ["weights", "v"], ["attended"]),
        # A row of which every bias is -inf: softmax says NaN, the op says zeros.
        node("ReduceMax", ["rh", "last"], ["top_row"], keepdims=1),
        node("ReduceMax", ["rw", "last"], ["top_column"], keepdims=1),
        node("Add", ["top_row", "top_column"], ["top"]),
        node("Constant", [], ["infinite"], value_float=float("-inf")),
        node("CastLike", ["infinite", "q"], ["least"]),
        node("Equal", ["top", "least"], ["dead"]),
        node("Constant", [], ["nothing"], value_float=0.0),
        node("CastLike", ["nothing", "q"], ["zero"]),
        node("Where", ["dead", "zero", "attended"], ["out"]),
    ]
