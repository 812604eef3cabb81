"""The tail of a graph: what is computed behind one value, so that a change there is heard without running the rest.

graph ──values──▶ what one run leaves at the cut ──tail──▶ the answers with that one change, against the graph's own
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from saccade.export.to_onnx import session


def tail(model: Any, value: str) -> Any:
    """A model of all nodes that depend on `value`. Its inputs, its `boundary`, are declared by `answers` alone.

    Nodes that depend on nothing, such as a Constant, come along.
    """
    graph, behind = model.graph, {value}
    chosen = []
    for node in graph.node:  # in an order in which each node follows those that it reads from, as ONNX asks
        if behind & set(node.input):
            behind |= set(node.output)
            chosen.append(node)
        elif not node.input:
            chosen.append(node)
    made = type(model)(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    read = {name for node in chosen for name in node.input}
    made.graph.name = graph.name
    made.graph.node.extend(chosen)
    made.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name in read)
    made.graph.output.extend(output for output in graph.output if output.name in behind)
    return made


def boundary(cut: Any) -> list[str]:
    """Names of what a tail reads and does not make."""
    made = {name for node in cut.graph.node for name in node.output} | {t.name for t in cut.graph.initializer}
    return list(dict.fromkeys(name for node in cut.graph.node for name in node.input if name and name not in made))


def values(
    model: Any, names: Iterable[str], samples: Sequence[Mapping[str, np.ndarray]]
) -> list[dict[str, np.ndarray]]:
    """For each sample what the model computes for `names`, and its answers; inputs of the model as they are."""
    import onnx

    opened = type(model)()
    opened.CopyFrom(model)
    known = {value.name for value in (*model.graph.input, *model.graph.output)}
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    run = session(opened, threads=1)
    return [{**sample, **run(sample)} for sample in samples]


def answers(
    changed: Any, samples: Sequence[Mapping[str, np.ndarray]], exact: Sequence[Mapping[str, np.ndarray]]
) -> float:
    """Relative error of a changed tail's answers, the least favourable output, as the RMS over the samples."""
    from onnx import helper

    for name, array in samples[0].items():
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        changed.graph.input.append(helper.make_tensor_value_info(name, kind, None))
    run = session(changed, threads=1)
    lost = []
    for sample, want in zip(samples, exact, strict=True):
        got = run(sample)
        lost.append(max(_relative(array, want[name]) for name, array in got.items()))
    return float(np.sqrt(np.mean(np.square(lost))))


def _relative(got: np.ndarray, want: np.ndarray) -> float:
    got, want = got.astype(np.float64), want.astype(np.float64)
    return float(np.linalg.norm((got - want).ravel()) / max(float(np.linalg.norm(want.ravel())), 1e-30))
