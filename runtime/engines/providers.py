"""ONNX Runtime's execution providers: which are here, their options in so many words, and whether they were obeyed.

    cpu        runs everywhere
    cuda       onnxruntime-gpu; what has no CUDA kernel stays on the CPU, which only small shape arithmetic may
    tensorrt   onnxruntime-gpu with TensorRT beside it; what TensorRT does not take goes to CUDA

Without a GPU at hand the last two have been run against fakes only: their options follow ONNX Runtime's pages
https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html and TensorRT-ExecutionProvider.html.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from saccade.runtime.errors import EngineError, SettingsError
from saccade.runtime.settings import setting
from saccade.runtime.stamp import private

if TYPE_CHECKING:
    from saccade.runtime.engines import Options

NAMES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
HINTS = {"tensorrt": {"fp16": "fp32", "bf16": "fp32"}}
"""For each provider the precisions that are options of another precision's file."""

_SWITCH = ("0", "1")
_COUNT = range(1 << 62)
KNOWN: dict[str, dict[str, tuple[str, ...] | range]] = {
    "cpu": {},
    "cuda": {
        "device_id": range(64),
        "gpu_mem_limit": _COUNT,
        "arena_extend_strategy": ("kNextPowerOfTwo", "kSameAsRequested"),
        "cudnn_conv_algo_search": ("EXHAUSTIVE", "HEURISTIC", "DEFAULT"),
        "cudnn_conv_use_max_workspace": _SWITCH,
        "do_copy_in_default_stream": _SWITCH,
        "use_tf32": _SWITCH,
        "prefer_nhwc": _SWITCH,
    },
    "tensorrt": {
        "device_id": range(64),
        "trt_max_workspace_size": _COUNT,
        "trt_builder_optimization_level": range(6),
        "trt_min_subgraph_size": range(1, 10_000),
        "trt_max_partition_iterations": range(1, 100_000),
        "trt_fp16_enable": _SWITCH,
        "trt_bf16_enable": _SWITCH,
        "trt_layer_norm_fp32_fallback": _SWITCH,
        "trt_engine_cache_enable": _SWITCH,
        "trt_timing_cache_enable": _SWITCH,
        "trt_context_memory_sharing_enable": _SWITCH,
    },
}
"""The options that may be given, with their values. Paths are none: an engine file is code, so it lies in the cache."""

HEAVY = frozenset(
    (
        *("Conv", "ConvTranspose", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "MatMulInteger"),
        *("QLinearMatMul", "QLinearConv", "Einsum", "Attention", "MultiHeadAttention", "GridSample"),
        *("LayerNormalization", "Softmax"),
    )
)
"""Ops that carry a network's work; shape arithmetic beside them may stay on the CPU."""


def checked(provider: str, given: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Provider options as sorted pairs of text. Raises SettingsError for names or values that mean nothing."""
    if not isinstance(given, Mapping):
        raise SettingsError(
            "[load] provider_options: not a mapping", hint="a dict of names and values, such as {'device_id': 1}"
        )
    known = KNOWN.get(provider, {})
    if given and not known:
        raise SettingsError(
            f"[load] provider_options: {provider or 'no provider'} has none", hint="ask for provider='cuda' with them"
        )
    pairs = []
    for name, value in given.items():
        if name not in known:
            raise SettingsError(
                f"[load] provider_options: {provider} has no {str(name)[:64]!a}", hint=f"it has {', '.join(known)}"
            )
        pairs.append((name, _value(name, value, known[name])))
    return tuple(sorted(pairs))


def _value(name: str, value: Any, allowed: tuple[str, ...] | range) -> str:
    text = str(int(value)) if isinstance(value, bool) else str(value)
    if isinstance(allowed, tuple):
        fits, words = text in allowed, f"one of {', '.join(allowed)}"
    else:
        fits = text.isascii() and text.isdigit() and len(text) < 20 and int(text) in allowed
        words = f"a whole number of at least {allowed.start}, less than {allowed.stop}"
    if not fits:
        raise SettingsError(f"[load] provider_options: {name}: {text[:64]!a}", hint=f"it is {words}")
    return text


def available() -> list[str]:
    """What the installed onnxruntime was built with."""
    import onnxruntime

    found: list[str] = onnxruntime.get_available_providers()
    return found


def resolved(options: Options, here: list[str]) -> str:
    """The provider that runs: as asked, else the device's; `auto` is CUDA where onnxruntime has it."""
    if options.provider:
        return options.provider
    if options.device == "auto":
        return "cuda" if NAMES["cuda"] in here else "cpu"
    return options.device


def listed(options: Options, here: list[str]) -> tuple[str, ...]:
    """The providers that are candidates for these options, the one that runs without a plan first."""
    if options.provider:
        return (options.provider,)
    if options.device == "cpu":
        return ("cpu",)
    if options.device == "cuda":
        return ("cuda", "tensorrt")
    return ("cuda", "cpu", "tensorrt") if NAMES["cuda"] in here else ("cpu", "cuda", "tensorrt")


def unusable(provider: str, here: list[str]) -> str:
    """Why a provider cannot run here; empty if it can, as far as can be said without starting it."""
    if NAMES[provider] in here:
        if provider == "tensorrt" and find_spec("tensorrt") is None and find_spec("tensorrt_libs") is None:
            return "TensorRT's libraries are not installed: pip install tensorrt"
        return ""
    what = {"cuda": "CUDA", "tensorrt": "TensorRT"}.get(provider, provider)
    return f"the installed onnxruntime has no {what}: pip install 'saccade[gpu]' in place of 'saccade[cpu]'"


def configured(provider: str, precision: str, options: Options) -> list[Any]:
    """The provider list for a session: each with every option that matters set, none left to a default."""
    if provider == "cpu":
        return [NAMES["cpu"]]
    given = dict(options.provider_options)
    cuda = {
        "device_id": given.get("device_id", "0"),
        "arena_extend_strategy": "kNextPowerOfTwo" if options.arena else "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",  # EXHAUSTIVE searches again for every new shape
        "cudnn_conv_use_max_workspace": "1",
        "do_copy_in_default_stream": "1",
        "use_tf32": "0",  # 10 bits of mantissa are not fp32
    }
    if provider == "cuda":
        return [(NAMES["cuda"], cuda | given), NAMES["cpu"]]
    return [(NAMES["tensorrt"], _tensorrt(precision) | given), (NAMES["cuda"], cuda), NAMES["cpu"]]


def _tensorrt(precision: str) -> dict[str, str]:
    made = {
        "device_id": "0",
        "trt_fp16_enable": str(int(precision == "fp16")),
        "trt_bf16_enable": str(int(precision == "bf16")),
        "trt_layer_norm_fp32_fallback": "1",
        "trt_builder_optimization_level": "3",
        "trt_context_memory_sharing_enable": "1",
    }
    folder = setting("SACCADE_CACHE") / "tensorrt"
    try:
        folder.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return made | {"trt_engine_cache_enable": "0", "trt_timing_cache_enable": "0"}
    if not private(folder):  # an engine that someone else could have written is not loaded
        return made | {"trt_engine_cache_enable": "0", "trt_timing_cache_enable": "0"}
    return made | {
        "trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1", "trt_timing_cache_path": str(folder),
    }  # fmt: skip


def placement(session: Any) -> dict[str, Counter[str]]:
    """For each provider how many nodes of each op it got; empty if this onnxruntime cannot tell."""
    try:
        groups = session.get_provider_graph_assignment_info()
    except Exception:  # before 1.24, or not recorded
        return {}
    found: dict[str, Counter[str]] = {}
    for group in groups:
        found.setdefault(group.ep_name, Counter()).update(node.op_type for node in group.get_nodes())
    return found


def refuse_fallback(graph: str, provider: str, session: Any) -> dict[str, int]:
    """Nodes by provider, short names; raises EngineError unless what was asked for is what runs.

    Not obeyed means: the provider is not the session's first, it got no node, or work (HEAVY) went to the CPU instead.
    """
    got = list(session.get_providers())
    if got[:1] != [NAMES[provider]]:
        raise EngineError(
            f"[{graph}] asked for {provider}, onnxruntime fell back to {got[0] if got else 'nothing'}", hint=_HINT
        )
    if provider == "cpu":
        return {}
    placed = placement(session)
    if not placed:
        return {}
    if not placed.get(NAMES[provider]):
        raise EngineError(f"[{graph}] asked for {provider}, onnxruntime gave it no node of the graph", hint=_HINT)
    strayed = sorted(op for op in placed.get(NAMES["cpu"], ()) if op in HEAVY)
    if strayed:
        raise EngineError(
            f"[{graph}] asked for {provider}, onnxruntime runs {', '.join(strayed)} on the CPU", hint=_HINT
        )
    short = {name: key for key, name in NAMES.items()}
    return {short.get(name, name): sum(ops.values()) for name, ops in placed.items()}


_HINT = "`saccade doctor` shows what runs here; provider='cpu' runs everywhere"
