"""Rewrites change speed, not answers; and only what they understand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from saccade.export.rewrite import drop_dead_tokens, patches_to_matmul, rewrite  # noqa: E402
from saccade.export.to_onnx import session  # noqa: E402

DRAW = np.random.default_rng(3).standard_normal


def model(nodes: list[str], weights: dict[str, np.ndarray], shape: list[Any], out: list[Any]) -> Any:
    text = f"""<ir_version: 9, opset_import: ["" : 20]>
    g (float[{",".join(map(str, shape))}] x) => (float[{",".join(map(str, out))}] y) {{ {" ".join(nodes)} }}"""
    made = onnx.parser.parse_model(text)
    for index, node in enumerate(made.graph.node):
        node.name = f"n{index}"
    made.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    return made


def answers(made: Any, shape: tuple[int, ...]) -> np.ndarray:
    onnx.checker.check_model(made)
    found: np.ndarray = session(made)({"x": np.random.default_rng(0).standard_normal(shape, np.float32)})["y"]
    return found


def ops(made: Any) -> list[str]:
    return [node.op_type for node in made.graph.node]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("height", "width"), [(8, 12), (4, 4)])
def test_patches_become_one_product(bias: bool, height: int, width: int) -> None:
    weights = {"k": DRAW((5, 3, 4, 4), np.float32), "to": np.array([0, 5, height * width // 16])}
    if bias:
        weights["b"] = DRAW(5, np.float32)
    conv = f"c = Conv<strides=[4,4], kernel_shape=[4,4]>(x, k{', b' * bias})"
    made = model(
        [conv, "r = Reshape(c, to)", "y = Transpose<perm=[0,2,1]>(r)"], weights, ["B", 3, height, width], ["B", "T", 5]
    )
    before = answers(made, (2, 3, height, width))
    patches_to_matmul(made)
    assert "Conv" not in ops(made)
    np.testing.assert_allclose(answers(made, (2, 3, height, width)), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "how", ["strides=[2,2], kernel_shape=[4,4]", "strides=[4,4], kernel_shape=[4,4], pads=[2,2,2,2]"]
)
def test_patches_that_overlap_or_are_padded_stay(how: str) -> None:
    weights = {"k": DRAW((5, 3, 4, 4), np.float32), "to": np.array([0, 5, -1])}
    made = model(
        [f"c = Conv<{how}>(x, k)", "r = Reshape(c, to)", "y = Transpose<perm=[0,2,1]>(r)"],
        weights,
        ["B", 3, 8, 8],
        ["B", "T", 5],
    )
    patches_to_matmul(made)
    assert "Conv" in ops(made)


def block(select: str) -> tuple[list[str], dict[str, np.ndarray]]:
    nodes = ["a = MatMul(x, w)", "b = Add(a, v)", "s = Sigmoid(b)", "m = Mul(b, s)", "r = Add(x, m)", select]
    weights = {
        "w": DRAW((6, 6), np.float32),
        "v": DRAW(6, np.float32),
        "i": np.array(0),
        "j": np.array([[0, 1], [1, 2]]),
    }
    return nodes, weights


@pytest.mark.parametrize("select", ["y = Gather<axis=1>(r, i)", "y = GatherND(r, j)"])
def test_only_the_pooled_token_is_computed(select: str) -> None:
    made = model(*block(select), ["B", 4, 6], ["B", 6])
    before = answers(made, (2, 4, 6))
    drop_dead_tokens(made)
    kinds = ops(made)
    assert kinds.index("MatMul") > kinds.index(select.split()[2].split("(")[0].split("<")[0])
    np.testing.assert_allclose(answers(made, (2, 4, 6)), before, rtol=1e-6, atol=1e-6)


def test_tokens_that_meet_are_not_dropped() -> None:
    nodes, weights = block("q = Softmax<axis=1>(r)")
    made = model([*nodes, "y = Gather<axis=1>(q, i)"], weights, ["B", 4, 6], ["B", 6])
    before = answers(made, (2, 4, 6))
    rewrite(made)
    np.testing.assert_allclose(answers(made, (2, 4, 6)), before, rtol=1e-6)


def test_a_value_that_somebody_else_reads_is_not_dropped() -> None:
    nodes, weights = block("t = Gather<axis=1>(r, i)")
    made = model([*nodes, "u = ReduceMax<keepdims=0>(r)", "y = Add(t, u)"], weights, ["B", 4, 6], ["B", 6])
    before = answers(made, (2, 4, 6))
    rewrite(made)
    np.testing.assert_allclose(answers(made, (2, 4, 6)), before, rtol=1e-6)


def test_one_row_spread_over_all_tokens_is_not_taken_for_tokens() -> None:
    nodes = ["one = ReduceMean<keepdims=1>(x, axis)", "r = Add(x, one)", "y = Gather<axis=1>(r, i)"]
    made = model(nodes, {"axis": np.array([1]), "i": np.array(2)}, ["B", 4, 6], ["B", 6])
    before = answers(made, (2, 4, 6))
    rewrite(made)
    np.testing.assert_allclose(answers(made, (2, 4, 6)), before, rtol=1e-6)
