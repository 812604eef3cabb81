"""Our ops inside a graph: kernel or body, by choice and by what is possible; and an engine that says which it was."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from saccade.kernels.relpos_attention import cases, onnx, relpos_attention
from saccade.runtime.bundle import Bundle, write
from saccade.runtime.engines import Options, custom_ops, onnx_runtime, open_engine
from saccade.runtime.errors import KernelError, SettingsError
from saccade.runtime.manifest import GraphEntry, Manifest, Source, Variant
from saccade.runtime.spec import GraphSpec, TensorSpec

CASE = cases.Case("", 2, 2, (5, 14), 24)
NAMES = ("q", "k", "v", "rh", "rw")
OP = onnx.NAME
needs_library = pytest.mark.skipif(
    custom_ops.library() is None, reason="the custom-op library was not built: no ONNX Runtime headers"
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """One graph of one node of ours, twice: fp32, and fp16 inside."""
    shapes = [("B", 2, 70, width) for width in (24, 24, 24, 5, 14)]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip((*NAMES, "out"), [*shapes, shapes[0]], strict=True)
    ]
    whole = [helper.make_node(OP, NAMES, ["out"], domain=onnx.DOMAIN, scale=0.2)]
    half = [helper.make_node("Cast", [name], [f"{name}_h"], to=TensorProto.FLOAT16) for name in NAMES]
    half += [helper.make_node(OP, [f"{n}_h" for n in NAMES], ["out_h"], domain=onnx.DOMAIN, scale=0.2)]
    half += [helper.make_node("Cast", ["out_h"], ["out"], to=TensorProto.FLOAT)]
    files = {}
    for name, nodes in (("whole.onnx", whole), ("half.onnx", half)):
        made = helper.make_model(
            helper.make_graph(nodes, "g", ends[:5], ends[5:]),
            functions=[onnx.function()],
            opset_imports=[helper.make_opsetid("", onnx.OPSET), helper.make_opsetid(onnx.DOMAIN, onnx.VERSION)],
            ir_version=9,
        )
        files[name] = made.SerializeToString()
    tensors = [TensorSpec(name, "float32", shape) for name, shape in zip(NAMES, shapes, strict=True)]
    spec = GraphSpec(tuple(tensors), (TensorSpec("out", "float32", shapes[0]),))
    variants = (Variant("fp32", "whole.onnx"), Variant("fp16", "half.onnx"))
    manifest = Manifest("", 1, "test", "attention", Source("here"), {"g": GraphEntry(spec, variants)}, {})
    target = tmp_path_factory.mktemp("ops") / "ops.bundle"
    write(target, manifest, files)
    return Bundle.open(target)


@pytest.fixture(scope="module")
def inputs():
    return dict(zip(NAMES, cases.inputs(CASE), strict=True))


def counted(bundle, inputs, **options):
    """What the engine says of the op, its answer, and how often our kernel ran for it."""
    engine = open_engine(bundle, "g", Options(threads=1, device="cpu", **options))
    before = custom_ops.calls(OP)
    out = engine(**inputs)["out"]
    return engine.about["ops"], out, custom_ops.calls(OP) - before


@needs_library
def test_the_kernel_runs_by_itself(bundle, inputs):
    said, out, calls = counted(bundle, inputs)
    assert (said, calls) == ({OP: "kernel"}, 1)
    assert np.array_equal(out, relpos_attention(*inputs.values(), scale=np.float32(0.2)))


@needs_library
def test_the_same_file_without_it(bundle, inputs):
    """Equal answers but for rounding, and the body says why it runs."""
    kernel = counted(bundle, inputs)[1]
    said, body, calls = counted(bundle, inputs, kernels="relpos_attention:body")
    assert (said, calls) == ({OP: "body: asked for"}, 0)
    assert 0 < np.abs(body - kernel).max() < 1e-5


@needs_library
@pytest.mark.parametrize(("text", "runs"), [("body", 0), ("reference", 0), ("custom", 1), ("avx2", 1)])
def test_the_environment_reaches_into_the_graph(text, runs, bundle, inputs, monkeypatch):
    monkeypatch.setenv("SACCADE_KERNEL", f"relpos_attention:{text},nms:base")
    assert counted(bundle, inputs)[2] == runs
    assert counted(bundle, inputs, kernels="relpos_attention:custom")[2] == 1  # the option comes first
    if text in ("body", "custom"):  # these say nothing about calls from Python
        assert relpos_attention(*inputs.values()).shape == (2, 2, 70, 24)


@needs_library
def test_half_precision_keeps_the_kernel(bundle, inputs):
    said, out, calls = counted(bundle, inputs, precision="fp16")
    assert (said, calls) == ({OP: "kernel"}, 1)
    halves = [array.astype(np.float16) for array in inputs.values()]
    assert np.array_equal(out, relpos_attention(*halves, scale=np.float32(0.2)).astype(np.float32))


def test_without_the_library_the_body_runs(bundle, inputs, monkeypatch):
    monkeypatch.setattr(custom_ops, "library", lambda: None)
    said, out, _ = counted(bundle, inputs)
    assert said[OP].startswith("body: saccade was built without ONNX Runtime's headers")
    assert np.abs(out - relpos_attention(*inputs.values(), scale=0.2)).max() < 1e-5
    with pytest.raises(
        KernelError, match=r"\[RelPosAttention\] custom was asked for and cannot run in a graph"
    ) as caught:
        counted(bundle, inputs, kernels="relpos_attention:custom")
    assert "relpos_attention:body" in caught.value.hint


@needs_library
def test_an_onnxruntime_that_refuses_the_library(bundle, inputs, monkeypatch):
    monkeypatch.setattr(custom_ops, "_refusal", lambda: "saccade's ops want ONNX Runtime 1.21 or later")
    said, _, calls = counted(bundle, inputs)
    assert (said, calls) == ({OP: "body: saccade's ops want ONNX Runtime 1.21 or later"}, 0)


@needs_library
def test_the_refusal_is_the_runtimes_own_word(monkeypatch, tmp_path):
    assert custom_ops._refusal() == ""
    broken = tmp_path / "libsaccade_ops.so"
    broken.write_bytes(b"no library")
    monkeypatch.setattr(custom_ops, "library", lambda: broken)
    custom_ops._refusal.cache_clear()
    said = custom_ops._refusal()
    custom_ops._refusal.cache_clear()
    assert "libsaccade_ops.so" in said
    assert str(tmp_path) not in said


def test_choice_by_device_and_op():
    assert custom_ops.choose(frozenset([OP]), "cuda", "") == {OP: "our kernels in graphs are for the CPU"}
    assert custom_ops.choose(frozenset(), "cuda", "relpos_attention:custom") == {}
    assert custom_ops.choose(frozenset(["Later"]), "cpu", "")["Later"]
    with pytest.raises(KernelError, match="for the CPU"):
        custom_ops.choose(frozenset([OP]), "cuda", "relpos_attention:custom")
    with pytest.raises(SettingsError):
        custom_ops.choose(frozenset([OP]), "cpu", "relpos_attention=custom")


def test_a_graph_without_our_ops_loads_no_library(tiny, monkeypatch):
    monkeypatch.setattr(custom_ops, "library", lambda: pytest.fail("looked for"))
    assert open_engine(tiny, "linear", Options(threads=1)).about["ops"] == {}
    assert onnx_runtime.session_options(Options()) is not None
