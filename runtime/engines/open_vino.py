"""OpenVINO: Intel's runtime, on any x86-64 or aarch64 CPU; often the fastest there for int8, and the one with bfloat16.

bf16 is no file but a hint: the fp32 (or int8) file runs with bfloat16 products where the processor has them. Without
the hint OpenVINO may choose bfloat16 by itself, so fp32 asks for float32 in so many words.

https://docs.openvino.ai/2026/api/ie_python_api/_autosummary/openvino.html
"""

from __future__ import annotations

import mmap
import os
import threading
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from saccade.runtime.engines import failed
from saccade.runtime.errors import Closed, EngineError, MissingExtra, SaccadeError
from saccade.runtime.hardware import cores
from saccade.runtime.spec import Array

if TYPE_CHECKING:
    from saccade.runtime.bundle import Bundle
    from saccade.runtime.engines import Options
    from saccade.runtime.manifest import GraphEntry, Variant

HINTS = {"bf16": "fp32"}
"""Precisions that are options of another precision's file."""


def missing() -> MissingExtra | None:
    """The error to raise when the library is not installed."""
    if find_spec("openvino") is not None:
        return None
    return MissingExtra("openvino", "openvino", purpose="running a model with it")


def unusable(entry: GraphEntry, variant: Variant, options: Options) -> str:
    """Why this back end cannot run the variant here; empty if it can."""
    if absent := missing():
        return f"{absent}: {absent.hint}"
    if options.device == "cuda" or options.provider not in ("", "cpu"):
        return "it has no CUDA device"
    if options.precision == "bf16" and "BF16" not in _capabilities():
        return "this processor has no bfloat16 instructions"
    return ""


class Engine:
    """One compiled model, with a request of its own for each thread that calls. Calls run side by side."""

    def __init__(self, bundle: Bundle, graph: str, variant: Variant, options: Options):
        import openvino

        self.spec = bundle.graphs[graph].spec
        self.graph = graph
        precision = "bf16" if options.precision == "bf16" else variant.precision
        bundle.confirm()
        try:
            self._model: Any = _core().compile_model(_source(bundle, variant.file), "CPU", _properties(options))
        except SaccadeError:
            raise
        except Exception as error:
            text = " ".join(str(error).replace(f"{bundle.path}{os.sep}", "").split())[-300:]
            raise failed(graph, "openvino", text, hint=_HINT) from error
        bundle.confirm()
        self._refuse_other_names(bundle)
        self._requests = threading.local()
        self._outputs = [t.name for t in self.spec.outputs]
        self.about: dict[str, Any] = {
            "backend": "openvino",
            "version": openvino.__version__.split("-")[0],
            "device": "cpu",
            "precision": precision,
            "file": variant.file,
            "threads": threads(options),
        }

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """Run once. Contiguous inputs are used where they lie; outputs are copies that nobody writes to again.

        Raises SpecError if the inputs do not fit, EngineError if the run fails, Closed after close().
        """
        model = self._model
        if model is None:
            raise Closed(f"[{self.graph}] the engine is closed", hint="load the model again")
        self.spec.check(inputs, self.graph)
        feeds = {name: np.asarray(array, order="C") for name, array in inputs.items()}
        request = getattr(self._requests, "mine", None)
        if request is None:
            request = self._requests.mine = model.create_infer_request()
        try:
            found = request.infer(feeds, share_inputs=True)
        except Exception as error:
            raise failed(self.graph, "openvino", " ".join(str(error).split())[-300:], hint=_HINT) from error
        return {name: found[name] for name in self._outputs}

    def close(self) -> None:
        """Drop the model and this thread's request; other threads' go with the engine."""
        self._model = None
        self._requests = threading.local()

    def _refuse_other_names(self, bundle: Bundle) -> None:
        want = [{t.name for t in self.spec.inputs}, {t.name for t in self.spec.outputs}]
        got = [
            {name for port in ports for name in port.get_names()} for ports in (self._model.inputs, self._model.outputs)
        ]
        if not all(w <= g for w, g in zip(want, got, strict=True)) or len(self._model.inputs) != len(want[0]):
            raise EngineError(f"[{self.graph}] the model's tensors are not those of {bundle.path.name}", hint=_HINT)


_HINT = "try backend='onnxruntime', or report it with `saccade inspect --json`"


def threads(options: Options) -> int:
    """Threads of one run: as asked, else the cores that this process may use."""
    return options.threads or cores()


def _properties(options: Options) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads(options),
        "INFERENCE_PRECISION_HINT": "bf16" if options.precision == "bf16" else "f32",
        "ENABLE_CPU_PINNING": False,  # two models of one process would be pinned to the same cores
    }


def _source(bundle: Bundle, file: str) -> Any:
    """What to compile: the file by name; with our ops, its bytes with their bodies put in their place.

    OpenVINO reads no model-local functions, so `onnx.inliner` comes first.
    """
    with bundle.file(file) as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as view:
        data = view[:] if view.find(b"saccade") >= 0 else b""
    if not data:
        return str(bundle.path / file)
    try:
        import onnx
        import onnx.inliner
    except ImportError:
        raise MissingExtra("onnx", "openvino", purpose="giving OpenVINO a model with saccade's own ops") from None
    model = onnx.inliner.inline_local_functions(onnx.load_model_from_string(data), convert_version=False)
    return _core().read_model(model.SerializeToString())


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()


@cache
def _capabilities() -> tuple[str, ...]:
    return tuple(_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
