"""OpenVINO runs what ONNX Runtime runs: bfloat16 by a hint, threads side by side, our ops by their bodies."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper

from saccade.runtime.bundle import Bundle, write
from saccade.runtime.engines import AUTOMATIC, Options, open_engine, open_vino
from saccade.runtime.errors import EngineError, MissingExtra, SettingsError
from saccade.runtime.manifest import GraphEntry, Manifest, Source, Variant
from saccade.runtime.spec import GraphSpec, TensorSpec

pytest.importorskip("openvino")

SPEC = GraphSpec((TensorSpec("x", "float32", ("B", 64)),), (TensorSpec("y", "float32", ("B", 32)),), batch="B")


def bundle_of(model, folder) -> Bundle:
    files = {"g.onnx": model.SerializeToString()}
    manifest = Manifest("", 1, "test", "g", Source("here"), {"g": GraphEntry(SPEC, (Variant("fp32", "g.onnx"),))}, {})
    write(folder / "g.bundle", manifest, files)
    return Bundle.open(folder / "g.bundle")


def product(weights, *, ours: bool = False):
    """y = (x @ weights) twice over; with `ours` the product is an op of our domain with a body."""
    node = (
        helper.make_node("Twice", ["p"], ["y"], domain="saccade")
        if ours
        else helper.make_node("Add", ["p", "p"], ["y"])
    )
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["p"]), node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", 32])],
        [helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.tobytes(), raw=True)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("saccade", 1)]
    body = helper.make_function(
        "saccade", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], opsets[:1]
    )
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=[body] if ours else [])


@pytest.fixture
def weights():
    return np.random.default_rng().standard_normal((64, 32)).astype(np.float32)


@pytest.fixture
def bundle(weights, tmp_path):
    return bundle_of(product(weights), tmp_path)


def run(bundle, x, **options):
    engine = open_engine(bundle, "g", Options(backend="open_vino", threads=1, **options))
    try:
        return engine(x=x)["y"], engine.about
    finally:
        engine.close()


def test_fp32_is_float32_even_where_bfloat16_would_be_chosen(bundle, weights):
    x = np.random.default_rng().standard_normal((5, 64)).astype(np.float32)
    got, about = run(bundle, x)
    exact = 2 * (x.astype(np.float64) @ weights)
    assert np.abs(got - exact).max() < 1e-4
    assert about["precision"] == "fp32"


def test_bf16_is_a_hint_to_the_fp32_file(bundle, weights):
    if "BF16" not in open_vino._capabilities():
        pytest.skip("this processor has no bfloat16 instructions")
    x = np.random.default_rng().standard_normal((5, 64)).astype(np.float32)
    got, about = run(bundle, x, precision="bf16")
    error = np.abs(got - 2 * (x.astype(np.float64) @ weights)).max()
    assert 1e-4 < error < 1.0  # bfloat16 has 8 bits: it is not float32 in disguise, and it is not wrong
    assert (about["precision"], about["file"]) == ("bf16", "g.onnx")


def test_bf16_without_the_instructions_says_so(bundle, monkeypatch):
    monkeypatch.setattr(open_vino, "_capabilities", lambda: ("FP32",))
    with pytest.raises(EngineError, match="no bfloat16 instructions") as caught:
        open_engine(bundle, "g", Options(backend="open_vino", precision="bf16"))
    assert caught.value.hint


def test_a_back_end_without_the_hint_is_passed_over(bundle, monkeypatch):
    monkeypatch.setattr(open_vino, "_capabilities", lambda: ("FP32", "BF16"))
    assert AUTOMATIC[0] == "onnx_runtime"
    with pytest.raises(SettingsError, match="the bundle holds fp32, not bf16"):
        open_engine(bundle, "g", Options(backend="onnx_runtime", precision="bf16"))
    monkeypatch.setattr(open_vino, "Engine", lambda *_: "opened")
    assert open_engine(bundle, "g", Options(precision="bf16")) == "opened"


def test_our_ops_run_by_their_bodies(weights, tmp_path):
    x = np.random.default_rng().standard_normal((2, 64)).astype(np.float32)
    got, _ = run(bundle_of(product(weights, ours=True), tmp_path), x)
    assert np.allclose(got, 2 * (x @ weights), atol=1e-4)


def test_our_ops_need_the_onnx_package(weights, tmp_path, monkeypatch):
    import sys

    made = bundle_of(product(weights, ours=True), tmp_path)
    monkeypatch.setitem(sys.modules, "onnx.inliner", None)
    with pytest.raises(MissingExtra, match="onnx is not installed"):
        run(made, np.zeros((1, 64), np.float32))


def test_threads_have_requests_of_their_own(bundle, weights):
    engine = open_engine(bundle, "g", Options(backend="open_vino", threads=1))
    wrong = []

    def use(seed):
        rng = np.random.default_rng(seed)
        for _ in range(50):
            x = rng.standard_normal((rng.integers(1, 9), 64)).astype(np.float32)
            if not np.allclose(engine(x=x)["y"], 2 * (x @ weights), atol=1e-3):
                wrong.append(seed)

    workers = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    engine.close()
    assert not wrong


def test_cuda_is_refused(bundle):
    with pytest.raises(EngineError, match="no CUDA device"):
        open_engine(bundle, "g", Options(backend="open_vino", device="cuda"))


def test_names_of_another_model_are_refused(weights, tmp_path, monkeypatch):
    made = bundle_of(product(weights), tmp_path)
    other = replace(made, manifest=made.manifest)
    entry = GraphEntry(GraphSpec((TensorSpec("z", "float32", ("B", 64)),), SPEC.outputs), made.graphs["g"].variants)
    monkeypatch.setitem(other.manifest.graphs, "g", entry)
    with pytest.raises(EngineError, match="not those of"):
        open_engine(other, "g", Options(backend="open_vino"))
