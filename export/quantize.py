"""int8 variants of a graph, with scales calibrated on the user's own pictures and texts; half.py has fp16.

    fp32 ──watch──▶ ranges ──equalise──▶ ──Q/DQ on matrix products──▶ int8

Only products with a weight are quantised (unsigned activations, signed weights, a scale a column), and their results
stay float32: ONNX Runtime fuses DQ·DQ·MatMul to one integer kernel that answers in float. Quantising everything, as is
the default elsewhere, was both slower and useless (cosine 0.92 on a ViT-B/32).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from saccade.export.calibration import Seen, spread, watch
from saccade.export.recipe import Inputs
from saccade.export.to_onnx import session
from saccade.runtime.precision import cosine

CLIPS = (1.0, 0.95)
"""Shares of the seen range that are tried for each tensor."""
STRENGTHS = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8)
"""How much of a channel's spread moves from activation to weight; arXiv 2211.10438, eq. 4, calls it α."""
FEW = 24
"""Samples that decide whether the floor is kept."""
MARGIN = 0.75
"""Share of the allowed loss that the samples may use, since other pictures fare a little worse."""


@dataclass(eq=False)
class Group:
    """An activation and the matrix products that read it.

    weights: (C, K) each, by the name of their initializer
    norm: the LayerNormalization that makes the activation, if nobody else reads it, so that channels can be scaled
    """

    tensor: str
    seen: Seen
    nodes: list[Any] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    norm: Any = None


def int8(
    model: Any,
    samples: Sequence[Inputs],
    *,
    keep: Sequence[str] = (),
    floor: float = 0.0,
    judge: Callable[[Any], float] | None = None,
    step: Callable[[], None] = lambda: None,
) -> Any:
    """A quantised copy of a float32 onnx.ModelProto; it merges in batches as the original does.

    samples: inputs of single runs, for the ranges
    keep: nodes that stay float32; "@x" means those of the submodules x. The last product always does: it is small and
        its error is the answer's
    floor: what `judge` says that is wanted; if it is missed, the products whose rounding is heard most in the answers,
        by measurement, stay float32: 1 group of them, 2, 4, and so on up to a third
    judge: how good a model is, 1 at best; by default the mean cosine of its answers to the float32 ones on the samples
    step: called after each sample
    """
    equal = _copied(model)
    marks = tuple(f"{k}/" for k in keep if k.startswith("@"))
    marked = {node.name for node in equal.graph.node if node.name.startswith(marks)}
    groups = _groups(equal, samples, marked | set(keep), step)
    for group in groups:
        if group.norm is not None:
            _equalise(equal.graph, group)
    made = _quantised(equal, groups, groups)
    if not floor or not groups:
        return made
    few = spread(list(samples), FEW if judge is None else 1)  # a judge has samples of its own
    want = _answers(model, few)
    judge = judge or (lambda made: _likeness(made, few, want))
    target = 1 - (1 - floor) * MARGIN
    if judge(made) >= target:
        return made
    ranked = sorted(groups, key=lambda group: _likeness(_quantised(equal, groups, [group]), few[:4], want[:4]))
    count = 1
    while count <= len(groups) // 3:
        floats = {group.tensor for group in ranked[:count]}
        made = _quantised(equal, groups, [group for group in groups if group.tensor not in floats])
        if judge(made) >= target:
            break
        count *= 2
    return made


def _answers(model: Any, samples: Sequence[Inputs]) -> np.ndarray:
    run = session(model, threads=1)
    rows = [next(iter(run(one).values())) for one in samples]
    return np.concatenate([row.reshape(1, -1) for row in rows])


def _likeness(model: Any, samples: Sequence[Inputs], want: np.ndarray) -> float:
    return float(cosine(_answers(model, samples), want).mean())


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


def _equalise(graph: Any, group: Group) -> None:
    """Scale channels down in the norm's gain and up in the weights: the same product, of flatter factors.

    Scales are powers of two, so that float32 loses nothing. The strength is the one with the least expected error.
    """
    from onnx import numpy_helper

    rows = group.seen.rows
    peak = np.abs(rows).max(0).clip(1e-6)
    heavy = np.max([np.abs(w).max(1) for w in group.weights.values()], axis=0).clip(1e-6)
    tried = []
    for strength in STRENGTHS:
        factors = (
            np.exp2(np.round(np.log2(peak**strength / heavy ** (1 - strength)))) if strength else np.ones_like(peak)
        )
        factors = factors / np.exp2(np.round(np.log2(np.median(factors))))
        scaled = {name: weight * factors[:, None] for name, weight in group.weights.items()}
        tried.append((_expected_error(rows / factors, scaled), factors.astype(np.float32), scaled))
    _, factors, scaled = min(tried, key=lambda one: one[0])
    names = {name: f"{name}.{group.tensor}" for name in group.norm.input[1:]}  # two norms may share a gain of ones
    gains = [numpy_helper.to_array(t) / factors for n in names for t in graph.initializer if t.name == n]
    graph.initializer.extend(numpy_helper.from_array(g, n) for g, n in zip(gains, names.values(), strict=True))
    group.norm.input[1:] = list(names.values())
    rows = rows / factors
    group.weights, group.seen = scaled, Seen(float(rows.min()), float(rows.max()), rows)


def _expected_error(rows: np.ndarray, weights: dict[str, np.ndarray]) -> float:
    """Mean squared error of the products, taking roundings as independent: what neither factor's error alone shows."""
    _, _, lost = _range(rows, float(rows.min()), float(rows.max()), _loudness(weights))
    power = (rows * rows).mean(0)
    return lost + sum(float(power @ ((w - _rounded(w)[2]) ** 2).sum(1)) for w in weights.values())


def _loudness(weights: dict[str, np.ndarray]) -> np.ndarray:
    """How much an error in each channel of the activation is heard in the products, (C,)."""
    return np.asarray(np.sum([(w * w).sum(1) for w in weights.values()], axis=0))


def _range(rows: np.ndarray, low: float, high: float, loudness: np.ndarray) -> tuple[np.float32, np.uint8, float]:
    """Scale, zero point and expected error of the best clipping of an activation to 256 steps; zero is one of them."""
    best: tuple[float, np.float32, np.uint8] | None = None
    for share in CLIPS:
        scale = _steady((max(high, 0.0) - min(low, 0.0)) * share / 255)
        zero = np.uint8(np.clip(round(-min(low, 0.0) * share / float(scale)), 0, 255))
        back = (np.clip(np.rint(rows / scale) + zero, 0, 255) - zero) * scale
        lost = float(((rows - back) ** 2).mean(0) @ loudness)
        if best is None or lost < best[0]:
            best = lost, scale, zero
    assert best is not None
    return best[1], best[2], best[0]


def _rounded(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A weight (C, K) as int8, a scale for each of its K columns, and what they multiply back to."""
    scales = (np.abs(weight).max(0) / 127).clip(1e-12).astype(np.float32)
    steps = np.clip(np.rint(weight / scales), -127, 127).astype(np.int8)
    return steps, scales, steps * scales


def _steady(scale: float) -> np.float32:
    """Rounded up to eight bits of mantissa, so that another machine's last digit gives the same bundle."""
    mantissa, exponent = np.frexp(max(scale, 1e-12))
    return np.float32(np.ldexp(np.ceil(mantissa * 256) / 256, exponent))


def _quantised(equal: Any, groups: list[Group], chosen: list[Group]) -> Any:
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
    scale, zero, _ = _range(group.seen.rows, group.seen.low, group.seen.high, _loudness(group.weights))
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
    steps, scales, _ = _rounded(group.weights[node.input[1]])
    parts = {f"{base}_q": steps, f"{base}_scale": scales, f"{base}_zero": np.zeros(len(scales), np.int8)}
    added.update({part: numpy_helper.from_array(value, part) for part, value in parts.items()})
    return helper.make_node("DequantizeLinear", list(parts), [f"{base}_dq"], name=f"{base}_dq", axis=1)


def _copied(message: Any) -> Any:
    made = type(message)()
    made.CopyFrom(message)
    return made
