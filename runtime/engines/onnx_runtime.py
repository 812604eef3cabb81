"""ONNX Runtime: runs everywhere; the back end that the others are compared with.

https://onnxruntime.ai/docs/api/python/api_summary.html
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from saccade.runtime.engines import custom_ops, failed
from saccade.runtime.errors import Closed, EngineError, MissingExtra
from saccade.runtime.hardware import cores
from saccade.runtime.spec import Array

if TYPE_CHECKING:
    from saccade.runtime.bundle import Bundle
    from saccade.runtime.engines import Options
    from saccade.runtime.manifest import GraphEntry, Variant

OUTLIER = 4.0
_WEIGHT = 0.2  # of a run in what is usual: sizes that come again and again are soon no outliers
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def missing() -> MissingExtra | None:
    """The error to raise when the library is not installed."""
    if find_spec("onnxruntime") is not None:
        return None
    return MissingExtra("onnxruntime", "cpu", purpose="running a model")


def unusable(entry: GraphEntry, variant: Variant, options: Options) -> str:
    """Why this back end cannot run the variant here; empty if it can. Imports nothing heavy."""
    if absent := missing():
        return f"{absent}: {absent.hint}"
    if variant.precision == "bf16":
        return "its CPU and CUDA kernels do not cover bfloat16"
    if options.device == "cuda" and _PROVIDERS["cuda"] not in _available():
        return "the installed onnxruntime has no CUDA: pip install 'saccade[gpu]' in place of 'saccade[cpu]'"
    return ""


class Engine:
    """One InferenceSession. Calls from several threads run side by side."""

    def __init__(self, bundle: Bundle, graph: str, variant: Variant, options: Options):
        import onnxruntime

        device = _device(options)
        self.spec = bundle.graphs[graph].spec
        self.graph = graph
        # By name: from memory, a graph of 351 MB needs 1,060 MB at the peak in place of 590, and longer (`saccade bench
        # loading`, results/loading.jsonl). That what was verified is what runs is confirmed before and after.
        bundle.confirm()
        made = session_options(options)
        ops = custom_ops.choose(custom_ops.ops_of(bundle, variant.file), device, options.kernels)
        try:
            custom_ops.register(made, ops)
            self._session: Any = onnxruntime.InferenceSession(
                str(bundle.path / variant.file), made, providers=providers(device, options)
            )
        except Exception as error:
            text = _first_line(error).replace(f"{bundle.path}{os.sep}", "")  # no private path in a message
            raise failed(graph, "onnxruntime", text, hint=_HINT) from error
        bundle.confirm()
        self._refuse_fallback(device)
        self._refuse_other_names(bundle)
        self._outputs = [t.name for t in self.spec.outputs]
        self._usual = 0.0
        self._shrinks: Any = None
        if options.arena:
            self._shrinks = onnxruntime.RunOptions()
            where = "gpu:0;cpu:0" if device == "cuda" else "cpu:0"
            self._shrinks.add_run_config_entry("memory.enable_memory_arena_shrinkage", where)
        self.about: dict[str, Any] = {
            "backend": "onnxruntime",
            "version": onnxruntime.__version__,
            "device": device,
            "precision": variant.precision,
            "file": variant.file,
            "threads": threads(options),
            "ops": custom_ops.about(ops),
        }

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """Run once. Contiguous inputs are used where they lie; outputs are new arrays that nobody writes to again.

        The arena keeps the activations of the largest run. After one of OUTLIER times the usual input it is shrunk.
        Raises SpecError if the inputs do not fit, EngineError if the run fails, Closed after close().
        """
        session = self._session
        if session is None:
            raise Closed(f"[{self.graph}] the engine is closed", hint="load the model again")
        self.spec.check(inputs, self.graph)
        feeds = {name: np.asarray(array, order="C") for name, array in inputs.items()}
        # I/O binding would save copying the outputs, 0.5 ms for 10 MB, and cost 5 us a call: not worth a second path.
        nbytes = sum([array.nbytes for array in feeds.values()])
        given = self._shrinks if 0 < OUTLIER * self._usual < nbytes else None
        self._usual += (nbytes - self._usual) * (_WEIGHT if self._usual else 1.0)
        try:
            outputs = session.run(self._outputs, feeds, given)
        except Exception as error:
            raise failed(self.graph, "onnxruntime", _first_line(error), hint=_HINT) from error
        return dict(zip(self._outputs, outputs, strict=True))

    def close(self) -> None:
        """Drop the session and its memory."""
        self._session = None

    def _refuse_fallback(self, device: str) -> None:
        got = self._session.get_providers()
        if got[:1] != [_PROVIDERS[device]]:
            raise EngineError(f"[{self.graph}] asked for {device}, onnxruntime fell back to {got[0]}", hint=_HINT)

    def _refuse_other_names(self, bundle: Bundle) -> None:
        want = [{t.name for t in self.spec.inputs}, {t.name for t in self.spec.outputs}]
        got = [{v.name for v in self._session.get_inputs()}, {v.name for v in self._session.get_outputs()}]
        if want != got:
            raise EngineError(f"[{self.graph}] the model's tensors are not those of {bundle.path.name}", hint=_HINT)


_HINT = "try backend='null' to see whether the pipeline is at fault, or report it with `saccade inspect --json`"


def session_options(options: Options) -> Any:
    """onnxruntime.SessionOptions for these options; public so that a benchmark by hand can use the very same."""
    import onnxruntime

    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads = threads(options)
    made.inter_op_num_threads = 1
    made.enable_cpu_mem_arena = options.arena
    made.log_severity_level = 3  # errors only: they are raised, warnings would land in the user's terminal
    if not options.spin:
        made.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return made


def providers(device: str, options: Options) -> list[Any]:
    """Provider list with explicit options. The CPU stays behind CUDA for the few shape nodes that belong there."""
    if device == "cpu":
        return [_PROVIDERS["cpu"]]
    arena = "kNextPowerOfTwo" if options.arena else "kSameAsRequested"
    return [(_PROVIDERS["cuda"], {"device_id": 0, "arena_extend_strategy": arena}), _PROVIDERS["cpu"]]


def threads(options: Options) -> int:
    """Threads of one run: as asked, else the cores that this process may use."""
    return options.threads or cores()


def _device(options: Options) -> str:
    if options.device != "auto":
        return options.device
    return "cuda" if _PROVIDERS["cuda"] in _available() else "cpu"


def _available() -> list[str]:
    import onnxruntime

    found: list[str] = onnxruntime.get_available_providers()
    return found


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0][:300]
