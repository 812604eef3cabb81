"""ONNX Runtime: runs everywhere; the back end that the others are compared with.

https://onnxruntime.ai/docs/api/python/api_summary.html
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from saccade.runtime.engines import custom_ops, failed, providers
from saccade.runtime.errors import Closed, EngineError, MissingExtra
from saccade.runtime.hardware import cores
from saccade.runtime.spec import Array

if TYPE_CHECKING:
    from saccade.runtime.bundle import Bundle
    from saccade.runtime.engines import Options
    from saccade.runtime.manifest import GraphEntry, Variant

OUTLIER = 4.0
_WEIGHT = 0.2  # of a run in what is usual: sizes that come again and again are soon no outliers


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
    if options.provider in ("", "cpu") and options.device != "cuda":
        return ""
    here = providers.available()
    return providers.unusable(providers.resolved(options, here), here)


def provider_of(options: Options) -> str:
    """The execution provider that these options open: cpu, cuda or tensorrt."""
    return providers.resolved(options, providers.available())


def provider_list(options: Options) -> tuple[str, ...]:
    """The execution providers that are candidates of their own, the one that runs without a plan first."""
    return providers.listed(options, providers.available()) if missing() is None else ("",)


class Engine:
    """One InferenceSession. Calls from several threads run side by side."""

    def __init__(self, bundle: Bundle, graph: str, variant: Variant, options: Options):
        import onnxruntime

        provider = provider_of(options)
        device = "cpu" if provider == "cpu" else "cuda"
        precision = variant.precision
        if options.precision in providers.HINTS.get(provider, {}):
            precision = options.precision
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
                str(bundle.path / variant.file),
                made,
                providers=providers.configured(provider, precision, options),
                enable_fallback=0,  # else it prints, and goes on with other providers
            )
        except Exception as error:
            text = _first_line(error).replace(f"{bundle.path}{os.sep}", "")  # no private path in a message
            raise failed(graph, "onnxruntime", text, hint=_HINT) from error
        bundle.confirm()
        placed = providers.refuse_fallback(graph, provider, self._session)
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
            "provider": provider,
            "precision": precision,
            "file": variant.file,
            "threads": threads(options),
            "ops": custom_ops.about(ops),
        }
        if placed:
            self.about["nodes"] = placed

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
    made.add_session_config_entry("session.record_ep_graph_assignment_info", "1")  # unknown before 1.24, and ignored
    if not options.spin:
        made.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return made


def threads(options: Options) -> int:
    """Threads of one run: as asked, else the cores that this process may use."""
    return options.threads or cores()


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0][:300]
