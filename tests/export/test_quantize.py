"""int8 and fp16: near the original, and of the operators that engines fuse."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx.reference")
ort = pytest.importorskip("onnxruntime")

from saccade.export import quantize, scales  # noqa: E402
from saccade.export.half import fp16  # noqa: E402
from saccade.export.quantize import int8  # noqa: E402
from saccade.export.sensitivity import Effort  # noqa: E402
from saccade.export.to_onnx import session  # noqa: E402
from saccade.runtime.precision import cosine  # noqa: E402

WIDTH = 48


def network(outliers: float = 1.0) -> Any:
    """Two blocks of norm → two products → add, a pooling and a last product; some channels are outliers."""
    rng = np.random.default_rng(5)
    gain = np.exp(0.3 * rng.standard_normal(WIDTH)).astype(np.float32)
    gain[:3] *= outliers
    nodes, weights = [], {"g": gain, "o": np.zeros(WIDTH, np.float32), "axis": np.array([1])}
    value = "x"
    for block in range(2):
        nodes.append(f"n{block} = LayerNormalization<axis=-1>({value}, g, o)")
        for name in "ab":
            weight = (rng.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5).astype(np.float32)
            weight[:3] /= outliers  # as training makes it: what reads a loud channel listens less
            weights[f"{name}{block}"] = weight
            nodes.append(f"{name}out{block} = MatMul(n{block}, {name}{block})")
        nodes.append(f"m{block} = Mul(aout{block}, bout{block})")
        nodes.append(f"r{block} = Add({value}, m{block})")
        value = f"r{block}"
    weights["last"] = rng.standard_normal((WIDTH, 8)).astype(np.float32)
    nodes += [f"p = ReduceMean<keepdims=0>({value}, axis)", "y = MatMul(p, last)"]
    text = f"""<ir_version: 9, opset_import: ["" : 20]>
    g (float[B,5,{WIDTH}] x) => (float[B,8] y) {{ {" ".join(nodes)} }}"""
    made = onnx.parser.parse_model(text)
    for index, node in enumerate(made.graph.node):
        node.name = f"{node.op_type}_{index}"
    made.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    onnx.checker.check_model(made, full_check=True)
    return made


def samples(count: int = 40, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.standard_normal((1, 5, WIDTH), np.float32)} for _ in range(count)]


def likeness(one: Any, other: Any) -> float:
    a, b = (np.concatenate([session(m)(s)["y"] for s in samples(24, seed=9)]) for m in (one, other))
    return float(cosine(a, b).mean())


def ops(made: Any) -> Counter[str]:
    return Counter(node.op_type for node in made.graph.node)


def test_int8_is_near_and_small() -> None:
    base = network()
    made = int8(base, samples())
    onnx.checker.check_model(made, full_check=True)
    assert likeness(made, base) > 0.998
    assert made.ByteSize() < 0.6 * base.ByteSize()


def test_the_original_is_not_touched() -> None:
    base = network()
    before = base.SerializeToString()
    int8(base, samples())
    fp16(base)
    assert base.SerializeToString() == before


def test_only_products_with_weights_are_quantised_and_the_last_is_not() -> None:
    made = int8(network(), samples())
    assert ops(made)["QuantizeLinear"] == 2  # one for the two readers of each norm
    assert ops(made)["DequantizeLinear"] == 2 + 4
    last = made.graph.node[-1]
    assert list(last.input) == ["p", "last"]


def test_onnx_runtime_fuses_every_product(tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(int8(network(), samples()).SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = ops(onnx.load(tmp_path / "fused.onnx"))
    assert found["MatMulIntegerToFloat"] == 4
    assert "DequantizeLinear" not in found


def test_weights_are_signed_symmetric_and_a_scale_a_column() -> None:
    made = int8(network(), samples())
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in made.graph.initializer}
    for node in made.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            steps, scales, zeros = (stored[name] for name in node.input)
            assert steps.dtype == np.int8
            assert steps.min() >= -127
            assert scales.shape == (steps.shape[1],)
            assert not zeros.any()


def test_outliers_are_moved_into_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without scaling a tensor's scale is that of its few outliers, and the rest is lost in one step of it."""
    base = network(outliers=30.0)
    equal = int8(base, samples())
    monkeypatch.setattr(scales, "STRENGTHS", (0.0,))
    plain = int8(base, samples())
    assert 1 - likeness(equal, base) < 0.5 * (1 - likeness(plain, base))


def test_equalisation_alone_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    base = network(outliers=30.0)
    right = quantize._quantised
    monkeypatch.setattr(quantize, "_quantised", lambda equal, groups, chosen: right(equal, groups, []))
    made = int8(base, samples())
    gains = {t.name for t in made.graph.initializer if t.name.startswith("g.")}
    assert gains == {"g.n0", "g.n1"}, "each norm has gains of its own now"
    for one in samples(3, seed=4):
        np.testing.assert_allclose(session(made)(one)["y"], session(base)(one)["y"], rtol=1e-5, atol=1e-5)


def test_a_judge_that_is_content_changes_nothing() -> None:
    base, plain = network(), int8(network(), samples())
    assert int8(base, samples(), judge=lambda made: 0.5).SerializeToString() == plain.SerializeToString()


def test_fp16_keeps_what_leads_to_an_operator() -> None:
    """Of sin(100 x), float16 would round the angle."""
    base = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 20]> g (float[B,2] x) => (float[B,2] y)
        <float c = {100.0}, float d = {3.0}> { a = Mul(x, c) s = Sin(a) y = Mul(s, d) }"""
    )
    for index, node in enumerate(base.graph.node):
        node.name = f"{node.op_type}_{index}"
    x = np.linspace(0, 10, 64, dtype=np.float32).reshape(-1, 2)
    want = session(base)({"x": x})["y"]
    # By onnx's own evaluator: ONNX Runtime has no float16 Mul here, computes in float32 and drops the casts between.
    models = (fp16(base, keep=keep) for keep in ((), ("<Sin",)))
    plain, kept = (onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})[0] for model in models)
    assert np.abs(kept - want).max() < 3e-3
    assert np.abs(plain - want).max() > 0.1
    assert [node.op_type for node in fp16(base, keep=("<Sin",)).graph.node].count("Cast") == 2


def test_kept_nodes_stay() -> None:
    base = network()
    kept = next(node.name for node in base.graph.node if node.output[0] == "aout0")
    made = int8(base, samples(), keep=[kept])
    assert ops(made)["DequantizeLinear"] == 2 + 3
    assert likeness(made, base) > 0.999


def test_a_graph_without_products_stays_as_it_is() -> None:
    base = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 20]> g (float[B,2] x) => (float[B,2] y) { y = Relu(x) }'
    )
    assert int8(base, [{"x": np.ones((1, 2), np.float32)}]).SerializeToString() == base.SerializeToString()


def test_equal_samples_give_equal_bytes() -> None:
    one, other = (int8(network(3.0), samples()).SerializeToString(deterministic=True) for _ in range(2))
    assert one == other


def test_neighbours_do_not_change_an_answer() -> None:
    """Scales are fixed, so int8 merges: an outlier beside a sample leaves its answer alone."""
    run = session(int8(network(), samples()), threads=1)
    quiet, loud = samples(1)[0]["x"], 50 * samples(1, seed=2)[0]["x"]
    alone, beside = run({"x": quiet})["y"][0], run({"x": np.concatenate([quiet, loud])})["y"][0]
    np.testing.assert_allclose(alone, beside, atol=1e-5)


def test_steps_are_told() -> None:
    told: list[int] = []
    stages: list[tuple[int, str]] = []
    effort = Effort(expect=lambda count, stage: stages.append((count, stage)), step=lambda: told.append(1))
    int8(network(), samples(7), effort=effort, judge=lambda made: 0.0)
    assert stages == [(2, "scales"), (1, "judging int8")]
    assert len(told) == 7 + 2 + 1


def test_fp16_keeps_its_inputs_and_halves_the_weights() -> None:
    base = network()
    made = fp16(base)
    assert made.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert made.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert likeness(made, base) > 0.99999
    kinds = {t.data_type for t in made.graph.initializer if len(t.dims) == 2}
    assert kinds == {onnx.TensorProto.FLOAT16}


def test_fp16_leaves_kept_operators_alone() -> None:
    made = fp16(network(), keep=["LayerNormalization"])
    stored = {t.name: t.data_type for t in made.graph.initializer}
    assert stored["g"] == onnx.TensorProto.FLOAT
