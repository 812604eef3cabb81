"""fp16 variants of a graph: half the bytes, and on a GPU the faster arithmetic. Inputs and outputs stay float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def fp16(model: Any, *, keep: Sequence[str] = ()) -> Any:
    """A half-precision copy; inputs and outputs stay float32, so that callers need not care.

    keep: nodes or operators that stay float32, with "<" before it also all that leads to them, with "@" all nodes of
        the submodules of that name. Weights and results beyond 65504 would be infinite, and pixels beyond 2048 are
        not whole.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    copy = type(model)()
    copy.CopyFrom(model)
    names = {node.name for node in copy.graph.node}
    marks = tuple(f"{k}/" for k in keep if k.startswith("@"))
    before = _leading_to(copy.graph, {k[1:] for k in keep if k.startswith("<")})
    made = convert_float_to_float16(
        copy,
        keep_io_types=True,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *(k for k in keep if k not in names)],
        node_block_list=[*(k for k in keep if k in names), *before, *(n for n in names if n.startswith(marks))],
    )
    del made.graph.value_info[:]
    _straighten(made.graph, names)
    _in_order(made.graph)
    return made


def _leading_to(graph: Any, kinds: set[str]) -> list[str]:
    """Names of the nodes of these operators and of all that they are computed from."""
    makers = {out: node for node in graph.node for out in node.output}
    waiting, found = [node for node in graph.node if node.op_type in kinds], {}
    while waiting:
        node = waiting.pop()
        if node.name not in found:
            found[node.name] = True
            waiting += [makers[value] for value in node.input if value in makers]
    return list(found)


def _straighten(graph: Any, own: set[str]) -> None:
    """Let float32 nodes read float32 values: the converter casts each to float16 and, for these, back again.

    own: names of the model's own nodes; only casts that the converter added are taken out
    """
    from onnx import TensorProto

    added = [node for node in graph.node if node.op_type == "Cast" and node.name not in own]
    halved = {n.output[0]: n.input[0] for n in added if n.attribute[0].i == TensorProto.FLOAT16}
    back = {n.output[0]: halved[n.input[0]] for n in added if n.input[0] in halved}
    for node in graph.node:
        node.input[:] = [back.get(value, value) for value in node.input]
    for kind in (TensorProto.FLOAT, TensorProto.FLOAT16):  # the way back first: it reads the way there
        read = {value for node in graph.node for value in node.input} | {value.name for value in graph.output}
        for node in [n for n in added if n.attribute[0].i == kind and n.output[0] not in read]:
            graph.node.remove(node)


def _in_order(graph: Any) -> None:
    """Put each node behind those that it reads from, as ONNX asks; the converter appends its casts at the end."""
    makers = {out: at for at, node in enumerate(graph.node) for out in node.output}
    placed: dict[int, None] = {}
    waiting = list(range(len(graph.node)))[::-1]
    while waiting:
        at = waiting[-1]
        before = [makers[v] for v in graph.node[at].input if v in makers and makers[v] not in placed]
        if at in placed or not before:
            placed[waiting.pop()] = None
        else:
            waiting += before
    nodes = [graph.node[at] for at in placed]
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
