"""int8 variants of a graph, with scales calibrated on the user's own pictures and texts; half.py has fp16.

    fp32 ──watch──▶ ranges ──scales.py──▶ ──Q/DQ on matrix products──▶ int8 ──sensitivity.py──▶ some stay float32

Only products with a weight are quantised (unsigned activations, signed weights, a scale a column), and their results
stay float32: ONNX Runtime fuses DQ·DQ·MatMul to one integer kernel that answers in float. Quantising everything, as is
the default elsewhere, was both slower and useless (cosine 0.92 on a ViT-B/32).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from saccade.export.calibration import watch
from saccade.export.recipe import Inputs
from saccade.export.scales import applied, choose, weight_steps
from saccade.export.sensitivity import Effort, Group, Judge, Report, search


def int8(
    model: Any,
    samples: Sequence[Inputs],
    *,
    keep: Sequence[str] = (),
    judge: Judge | None = None,
    effort: Effort = Effort(),  # noqa: B008  a frozen value
    tell: Callable[[Report], None] = lambda report: None,
) -> Any:
    """A quantised copy of a float32 onnx.ModelProto; it merges in batches as the original does.

    samples: inputs of single runs, for the ranges
    keep: nodes that stay float32; "@x" means those of the submodules x. The last product always does: it is small and
        its error is the answer's
    judge: the share of the allowed loss that a model uses (saccade.runtime.budgets.spent); while it is too much, the
        products whose rounding is heard most in the answers, by measurement, stay float32. Without one all are int8
    effort: how long that may take, and who is told
    tell: called with what was found
    """
    equal = _copied(model)
    marks = tuple(f"{k}/" for k in keep if k.startswith("@"))
    marked = {node.name for node in equal.graph.node if node.name.startswith(marks)}
    groups = _groups(equal, samples, marked | set(keep), effort.step)
    effort.expect(len(groups), "scales")
    for group in groups:
        _settle(equal.graph, group)
        effort.step()
    found, report = search(equal, groups, samples, judge, _quantised, effort)
    tell(report)
    return found


def _groups(model: Any, samples: Sequence[Inputs], keep: set[str], step: Callable[[], None]) -> list[Group]:
    from onnx import numpy_helper

    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    answers = {value.name for value in graph.output}
    chosen = [n for n in graph.node if _is_product(n, stored) and n.name not in keep and not answers & set(n.output)]
    if not chosen:
        return []
    makers = {out: node for node in graph.node for out in node.output}
    reads = [(value, node.name) for node in graph.node for value in node.input]
    seen = watch(model, dict.fromkeys(node.input[0] for node in chosen), samples, step)
    groups = {name: Group(name, found) for name, found in seen.items()}
    for node in chosen:
        group = groups[node.input[0]]
        group.nodes.append(node)
        group.weights[node.input[1]] = numpy_helper.to_array(stored[node.input[1]]).astype(np.float32)
    for group in groups.values():
        maker, names = makers.get(group.tensor), {node.name for node in group.nodes}
        alone = all(name in names for value, name in reads if value == group.tensor)
        shared = any(name not in names for value, name in reads if value in group.weights)
        if (
            maker is not None
            and maker.op_type == "LayerNormalization"
            and alone
            and not shared
            and len(maker.input) == 3
        ):
            group.norm = maker if set(maker.input[1:]) <= set(stored) else None
    return list(groups.values())


def _is_product(node: Any, stored: dict[str, Any]) -> bool:
    return node.op_type == "MatMul" and node.input[1] in stored and len(stored[node.input[1]].dims) == 2


def _settle(graph: Any, group: Group) -> None:
    """Choose the group's scales, and scale its channels down in the norm's gain and up in the weights."""
    from onnx import numpy_helper

    seen = group.seen
    group.choice = choice = choose(seen.rows, group.weights, seen.low, seen.high, scalable=group.norm is not None)
    _, group.weights = applied(seen.rows, group.weights, choice.factors)
    if choice.factors is None:
        return
    names = {name: f"{name}.{group.tensor}" for name in group.norm.input[1:]}  # two norms may share a gain of ones
    gains = [numpy_helper.to_array(t) / choice.factors for n in names for t in graph.initializer if t.name == n]
    graph.initializer.extend(numpy_helper.from_array(g, n) for g, n in zip(gains, names.values(), strict=True))
    group.norm.input[1:] = list(names.values())


def _quantised(equal: Any, groups: Sequence[Group], chosen: Sequence[Group]) -> Any:
    """A copy of the equalised model with the chosen groups in int8 and the others' scaled weights in float32."""
    from onnx import numpy_helper

    made = _copied(equal)
    before: dict[str, list[Any]] = {}
    read: dict[str, dict[int, str]] = {}
    added: dict[str, Any] = {}
    for group in groups:
        if group not in chosen:
            for name, weight in group.weights.items():
                added.setdefault(name, numpy_helper.from_array(weight.astype(np.float32), name))
            continue
        before.setdefault(group.nodes[0].name, []).extend(_activation(group, added))
        for node in group.nodes:
            before.setdefault(node.name, []).append(_weight(group, node, added))
            read[node.name] = {0: f"{group.tensor}_dq", 1: f"{node.input[1]}.{node.name}_dq"}
    nodes = [_copied(one) for node in made.graph.node for one in (*before.get(node.name, ()), node)]
    for node in nodes:
        for place, name in read.get(node.name, {}).items():
            node.input[place] = name
    used = {value for node in nodes for value in node.input}
    kept = [_copied(tensor) for tensor in made.graph.initializer if tensor.name in used and tensor.name not in added]
    del made.graph.node[:], made.graph.initializer[:]
    made.graph.node.extend(nodes)
    made.graph.initializer.extend([*kept, *(tensor for name, tensor in added.items() if name in used)])
    return made


def _activation(group: Group, added: dict[str, Any]) -> list[Any]:
    """The Q/DQ pair of a group's activation; its constants go into `added`."""
    from onnx import helper, numpy_helper

    name = group.tensor
    assert group.choice is not None
    scale, zero = group.choice.steps
    pair = [f"{name}_scale", f"{name}_zero"]
    for part, value in zip(pair, (scale, zero), strict=True):
        added[part] = numpy_helper.from_array(np.array(value), part)
    return [
        helper.make_node("QuantizeLinear", [name, *pair], [f"{name}_q"], name=f"{name}_quantize"),
        helper.make_node("DequantizeLinear", [f"{name}_q", *pair], [f"{name}_dq"], name=f"{name}_dequantize"),
    ]


def _weight(group: Group, node: Any, added: dict[str, Any]) -> Any:
    """The DQ node of a product's weight; its constants go into `added`."""
    from onnx import helper, numpy_helper

    base = f"{node.input[1]}.{node.name}"
    steps, scales, _ = weight_steps(group.weights[node.input[1]])
    parts = {f"{base}_q": steps, f"{base}_scale": scales, f"{base}_zero": np.zeros(len(scales), np.int8)}
    added.update({part: numpy_helper.from_array(value, part) for part, value in parts.items()})
    return helper.make_node("DequantizeLinear", list(parts), [f"{base}_dq"], name=f"{base}_dq", axis=1)


def _copied(message: Any) -> Any:
    made = type(message)()
    made.CopyFrom(message)
    return made
