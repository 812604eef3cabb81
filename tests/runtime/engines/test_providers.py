"""Execution providers are asked for in so many words, and one that runs something else is an error.

No GPU here: sessions of CUDA and TensorRT are fakes that place nodes as the test says.
"""

from types import SimpleNamespace

import onnxruntime
import pytest

import saccade
from saccade.runtime.candidates import candidates
from saccade.runtime.engines import Options, open_engine, providers
from saccade.runtime.engines.providers import checked, configured, listed, placement, refuse_fallback, resolved
from saccade.runtime.errors import EngineError, SettingsError

CPU, CUDA, TRT = providers.NAMES["cpu"], providers.NAMES["cuda"], providers.NAMES["tensorrt"]
GPU = [TRT, CUDA, CPU]


class Session:
    """Of the given providers, with ops placed as {provider: (op, …)}; None: this onnxruntime cannot tell."""

    def __init__(self, names, placed=None):
        self.names, self.placed = names, placed

    def get_providers(self):
        return self.names

    def get_provider_graph_assignment_info(self):
        if self.placed is None:
            raise RuntimeError("not recorded")
        return [
            SimpleNamespace(ep_name=name, get_nodes=lambda ops=ops: [SimpleNamespace(op_type=op) for op in ops])
            for name, ops in self.placed.items()
        ]


@pytest.mark.parametrize(
    ("asked", "session", "error"),
    [
        ("cuda", Session([CPU]), "asked for cuda, onnxruntime fell back to CPUExecutionProvider"),
        ("tensorrt", Session([CUDA, CPU], {CUDA: ("MatMul",)}), "fell back to CUDAExecutionProvider"),
        ("cuda", Session([]), "fell back to nothing"),
        ("cuda", Session([CUDA, CPU], {CPU: ("Shape", "Gather")}), "gave it no node"),
        ("tensorrt", Session([TRT, CUDA, CPU], {CUDA: ("MatMul",), CPU: ("Shape",)}), "gave it no node"),
        ("cuda", Session([CUDA, CPU], {CUDA: ("MatMul",), CPU: ("GridSample", "Conv")}), "runs Conv, GridSample on"),
    ],
)
def test_what_was_not_obeyed_is_an_error(asked, session, error):
    with pytest.raises(EngineError, match=error) as caught:
        refuse_fallback("g", asked, session)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("asked", "session", "nodes"),
    [
        ("cuda", Session([CUDA, CPU], {CUDA: ("MatMul", "Add"), CPU: ("Shape",)}), {"cuda": 2, "cpu": 1}),
        ("tensorrt", Session(GPU, {TRT: ("TRTKernel",), CUDA: ("MatMul",)}), {"tensorrt": 1, "cuda": 1}),
        ("cuda", Session([CUDA, CPU]), {}),
        ("cpu", Session([CPU]), {}),
    ],
)
def test_shape_arithmetic_may_stay_on_the_cpu(asked, session, nodes):
    assert refuse_fallback("g", asked, session) == nodes


def test_this_onnxruntime_tells_where_nodes_are(tiny):
    engine = open_engine(tiny, "linear", Options(threads=1))
    if not hasattr(engine._session, "get_provider_graph_assignment_info"):
        pytest.skip("this onnxruntime does not tell where nodes are")
    assert placement(engine._session) == {CPU: {"Add": 1, "Sub": 1}}
    engine.close()


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_real_session_that_fell_back_is_refused(tiny, monkeypatch, device):
    """ONNX Runtime only warns when CUDA fails to start, and runs on the CPU: a surprise, so an error here."""
    monkeypatch.setattr(providers, "available", lambda: [CUDA, CPU])
    monkeypatch.setattr(providers, "configured", lambda *_: [CPU])
    with pytest.raises(EngineError, match="asked for cuda, onnxruntime fell back to CPUExecutionProvider"):
        open_engine(tiny, "linear", Options(device=device))


def test_a_session_does_not_change_providers_by_itself(tiny):
    engine = open_engine(tiny, "linear", Options(threads=1))
    assert engine._session._enable_fallback is False
    engine.close()


@pytest.mark.parametrize("asked", [{"device": "cuda"}, {"provider": "cuda"}, {"provider": "tensorrt"}])
def test_a_provider_that_is_not_there_says_what_brings_it(tiny, asked):
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(EngineError, match=r"the installed onnxruntime has no (CUDA|TensorRT).*saccade\[gpu\]"):
        open_engine(tiny, "linear", Options(backend="onnx_runtime", **asked))


def test_tensorrt_without_its_libraries(monkeypatch):
    monkeypatch.setattr(providers, "find_spec", lambda _: None)
    assert "pip install tensorrt" in providers.unusable("tensorrt", GPU)
    assert providers.unusable("cuda", GPU) == ""


def test_what_runs_without_a_plan_is_listed_first():
    assert [resolved(Options(device=d), GPU) for d in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
    assert resolved(Options(), [CPU]) == "cpu"
    for here in (GPU, [CPU]):
        for device in ("auto", "cpu"):
            assert listed(Options(device=device), here)[0] == resolved(Options(device=device), here)
    assert listed(Options(device="cuda"), GPU) == ("cuda", "tensorrt")
    assert listed(Options(provider="tensorrt"), [CPU]) == ("tensorrt",)


def test_each_provider_is_a_candidate_with_a_reason(tiny, monkeypatch):
    monkeypatch.setattr(providers, "available", lambda: [CPU])
    found = candidates(tiny, "linear", Options(backend="onnx_runtime"))
    told = {(made.provider, made.precision): reason for made, reason in found}
    assert told["cpu", "fp32"] == ""
    assert "no CUDA" in told["cuda", "int8"]
    assert "no TensorRT" in told["tensorrt", "fp16"]  # an option of the fp32 file
    assert ("cuda", "fp16") not in told  # no such file
    assert next(iter(told)) == ("cpu", "fp32")


def test_options_are_explicit(monkeypatch, tmp_path):
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "own"))
    (name, cuda), cpu = configured("cuda", "fp32", Options(arena=False, provider_options=(("device_id", "3"),)))
    assert (name, cpu) == (CUDA, CPU)
    assert cuda["device_id"] == "3"
    assert cuda["arena_extend_strategy"] == "kSameAsRequested"
    assert cuda["use_tf32"] == "0"
    assert {"cudnn_conv_algo_search", "do_copy_in_default_stream", "cudnn_conv_use_max_workspace"} < set(cuda)
    (name, rt), (second, _), last = configured("tensorrt", "fp16", Options())
    assert (name, second, last) == (TRT, CUDA, CPU)
    assert (rt["trt_fp16_enable"], rt["trt_bf16_enable"]) == ("1", "0")
    assert rt["trt_engine_cache_path"].startswith(str(tmp_path / "own"))
    assert (tmp_path / "own" / "tensorrt").stat().st_mode & 0o77 == 0
    (_, rt), *_ = configured("tensorrt", "fp32", Options())
    assert (rt["trt_fp16_enable"], rt["trt_bf16_enable"]) == ("0", "0")
    assert configured("cpu", "fp32", Options()) == [CPU]


def test_an_engine_cache_that_others_may_write_is_not_used(monkeypatch, tmp_path):
    (tmp_path / "tensorrt").mkdir()
    (tmp_path / "tensorrt").chmod(0o777)
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path))
    (_, rt), *_ = configured("tensorrt", "fp16", Options())
    assert rt["trt_engine_cache_enable"] == rt["trt_timing_cache_enable"] == "0"
    assert "trt_engine_cache_path" not in rt


@pytest.mark.parametrize(
    ("provider", "given", "message"),
    [
        ("cuda", {"device_id": -1}, "device_id: '-1'"),
        ("cuda", {"device_id": "zero"}, "device_id"),
        ("cuda", {"device_id": 1.5}, "device_id"),
        ("cuda", {"device_id": "9" * 5000}, "device_id"),
        ("cuda", {"device_id": "\u0661"}, "device_id"),
        ("cuda", {"cudnn_conv_algo_search": "BEST"}, "'BEST'"),
        ("cuda", {"use_tf32": 2}, "use_tf32"),
        ("cuda", {"trt_fp16_enable": 1}, "cuda has no 'trt_fp16_enable'"),
        ("tensorrt", {"trt_engine_cache_path": "/elsewhere"}, "has no 'trt_engine_cache_path'"),
        ("tensorrt", {"trt_builder_optimization_level": 6}, "level: '6'"),
        ("cpu", {"device_id": 0}, "cpu has none"),
        ("", {"device_id": 0}, "no provider has none"),
        ("cuda", ["device_id"], "not a mapping"),
        ("cuda", {"\x1b[2J": 1}, "x1b"),
    ],
)
def test_options_that_mean_nothing(provider, given, message):
    with pytest.raises(SettingsError, match=message) as caught:
        checked(provider, given)
    assert caught.value.hint
    assert str(caught.value).isprintable()


def test_options_that_mean_something():
    given = {"use_tf32": True, "device_id": 2, "cudnn_conv_algo_search": "DEFAULT"}
    assert checked("cuda", given) == (("cudnn_conv_algo_search", "DEFAULT"), ("device_id", "2"), ("use_tf32", "1"))
    assert checked("cpu", {}) == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"provider": "rocm"}, "provider: no 'rocm'"),
        ({"provider": "cuda", "device": "cpu"}, "cuda does not run on device cpu"),
        ({"provider": "cpu", "device": "cuda"}, "cpu does not run on device cuda"),
        ({"provider": "cuda", "provider_options": {"device": 1}}, "cuda has no 'device'"),
        ({"threads": 5000}, "threads: 5000"),
        ({"threads": 1.5}, "threads: 1.5"),
    ],
)
def test_load_refuses_them(clip_bundle, given, message):
    with pytest.raises(SettingsError, match=message) as caught:
        saccade.load(clip_bundle, **given)
    assert caught.value.hint
