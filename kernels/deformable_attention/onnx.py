"""saccade::DeformableAttention as standard operators: what runs where our library does not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from saccade.runtime.errors import KernelError

DOMAIN, NAME, VERSION = "saccade", "DeformableAttention", 1
INPUTS = ("value", "sizes", "locations", "weights")
OPSET = 20  # of the models that export makes; onnx's checker wants the body's to be the same
LEVELS = "levels"  # an attribute that nodes have between torch's exporter and `body` alone
MOST_LEVELS = 64
FAR = 8.0  # in units of the level: a point beyond has no corner in it, and engines differ over NaN and infinity


def function(levels: int, opset: int = OPSET) -> Any:
    """The onnx.FunctionProto for so many levels; a model that has the node carries it in `model.functions`.

    value (B, S, A, D), sizes (L, 2) int64, locations (B, N, A, L, T, 2), weights (B, N, A, L, T) → out (B, N, A · D);
    all but sizes of one float dtype. A level is one GridSample over (B · A, D, H, W). Computed in float32 whatever the
    dtype: in float16 a coordinate would be off by parts of a pixel.
    opset: of the model that takes it, at least 18
    Raises KernelError for a number of levels out of 1 to 64.
    """
    from onnx import helper

    if not 1 <= levels <= MOST_LEVELS:
        raise KernelError(f"[{NAME}] a body for {levels} levels", hint=f"give 1 to {MOST_LEVELS}")
    mode = "linear" if opset >= 20 else "bilinear"
    nodes = [*_sizes(), *_points(levels), *_maps(levels)]
    for level in range(levels):
        nodes += _level(level, mode)
    nodes += _finish(levels)
    return helper.make_function(DOMAIN, NAME, list(INPUTS), ["out"], nodes, [helper.make_opsetid("", opset)])


def body(nodes: Iterable[Any], opset: int = OPSET) -> Any:
    """The function for these nodes of one model, whose attribute `levels` is taken off: in files there is none.

    Raises KernelError if they differ in it or lack it.
    """
    found = set()
    for node in nodes:
        for attribute in [a for a in node.attribute if a.name == LEVELS]:
            found.add(int(attribute.i))
            node.attribute.remove(attribute)
    if len(found) != 1:
        raise KernelError(
            f"[{NAME}] nodes of {sorted(found) or 'unknown'} levels in one model",
            hint="a model carries one body: export it with saccade.export.models.deformable, one pyramid a graph",
        )
    return function(found.pop(), opset)


def _sizes() -> list[Any]:
    """Numbers of axes as tensors of one number each, named by their letters."""
    from onnx import helper

    node = helper.make_node
    return [
        node("Shape", ["value"], ["value_shape"]),
        node("Shape", ["locations"], ["points_shape"]),
        node("Split", ["value_shape"], ["B", "S", "A", "D"], axis=0, num_outputs=4),
        node("Split", ["points_shape"], ["pB", "N", "pA", "L", "T", "pair"], axis=0, num_outputs=6),
        node("Mul", ["B", "A"], ["BA"]),
        node("Constant", [], ["one"], value_ints=[1]),
        node("Constant", [], ["last"], value_ints=[-1]),
    ]


def _points(levels: int) -> list[Any]:
    """grid_i (B · A, N, T, 2) from -1 to 1 and share_i (B · A, 1, N, T) of each level."""
    from onnx import TensorProto, helper

    node, every = helper.make_node, range(levels)
    return [
        node("Cast", ["locations"], ["raw"], to=TensorProto.FLOAT),
        node("Constant", [], ["far"], value_float=FAR),
        node("Constant", [], ["outside"], value_float=-FAR),
        node("Abs", ["raw"], ["distance"]),
        node("Less", ["distance", "far"], ["near"]),  # false for NaN
        node("Where", ["near", "raw", "outside"], ["finite"]),
        node("Constant", [], ["two"], value_float=2.0),
        node("Constant", [], ["unit"], value_float=1.0),
        node("Mul", ["finite", "two"], ["doubled"]),
        node("Sub", ["doubled", "unit"], ["grid"]),
        node("Transpose", ["grid"], ["by_level"], perm=[3, 0, 2, 1, 4, 5]),
        node("Concat", ["L", "BA", "N", "T", "pair"], ["grids"], axis=0),
        node("Reshape", ["by_level", "grids"], ["heads"], allowzero=1),
        node("Split", ["heads"], [f"apart_{i}" for i in every], axis=0, num_outputs=levels),
        node("Constant", [], ["first"], value_ints=[0]),
        *(node("Squeeze", [f"apart_{i}", "first"], [f"grid_{i}"]) for i in every),
        node("Cast", ["weights"], ["single"], to=TensorProto.FLOAT),
        node("Transpose", ["single"], ["shares"], perm=[3, 0, 2, 1, 4]),
        node("Concat", ["L", "BA", "one", "N", "T"], ["rows"], axis=0),
        node("Reshape", ["shares", "rows"], ["weighed"], allowzero=1),
        node("Split", ["weighed"], [f"row_{i}" for i in every], axis=0, num_outputs=levels),
        *(node("Squeeze", [f"row_{i}", "first"], [f"share_{i}"]) for i in every),
    ]


def _maps(levels: int) -> list[Any]:
    """source_i (B, A, D, H · W) and size_i (2) of each level."""
    from onnx import TensorProto, helper

    node, every = helper.make_node, range(levels)
    return [
        node("Cast", ["value"], ["wide"], to=TensorProto.FLOAT),
        node("Transpose", ["wide"], ["turned"], perm=[0, 2, 3, 1]),
        node("ReduceProd", ["sizes", "one"], ["areas"], keepdims=0),
        node("Split", ["turned", "areas"], [f"source_{i}" for i in every], axis=3),
        node("Split", ["sizes"], [f"side_{i}" for i in every], axis=0, num_outputs=levels),
        *(node("Reshape", [f"side_{i}", "last"], [f"size_{i}"]) for i in every),
    ]


def _level(i: int, mode: str) -> list[Any]:
    """sum_i (B · A, D, N) of one level."""
    from onnx import helper

    node = helper.make_node
    return [
        node("Concat", ["BA", "D", f"size_{i}"], [f"square_{i}"], axis=0),
        node("Reshape", [f"source_{i}", f"square_{i}"], [f"map_{i}"], allowzero=1),
        node(
            "GridSample",
            [f"map_{i}", f"grid_{i}"],
            [f"sampled_{i}"],
            mode=mode,
            padding_mode="zeros",
            align_corners=0,
        ),
        node("Mul", [f"sampled_{i}", f"share_{i}"], [f"weighted_{i}"]),
        node("ReduceSum", [f"weighted_{i}", "last"], [f"sum_{i}"], keepdims=0),
    ]


def _finish(levels: int) -> list[Any]:
    """The levels' sum as (B, N, A · D), in the dtype of `value`."""
    from onnx import helper

    node = helper.make_node
    return [
        node("Sum", [f"sum_{i}" for i in range(levels)], ["total"]),
        node("Mul", ["A", "D"], ["AD"]),
        node("Concat", ["B", "AD", "N"], ["columns"], axis=0),
        node("Reshape", ["total", "columns"], ["joined"], allowzero=1),
        node("Transpose", ["joined"], ["rows_out"], perm=[0, 2, 1]),
        node("CastLike", ["rows_out", "value"], ["out"]),
    ]
