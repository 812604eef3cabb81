"""Engines: one graph, ready to run. One file a back end, all of the same shape, in order of preference.

    onnx_runtime   runs everywhere; the back end that the others are compared with
    open_vino      Intel's; CPUs only; also bfloat16
    null           right shapes and no work: for schedulers, pipelines and their tests

A back end has `unusable(entry, variant, options) -> reason`, empty if it can run here, and a class `Engine`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from saccade.runtime.bundle import Bundle
from saccade.runtime.call import Graph
from saccade.runtime.errors import Closed, EngineError, MissingExtra, OutOfMemory, SettingsError
from saccade.runtime.manifest import PRECISIONS, GraphEntry, Variant
from saccade.runtime.settings import setting
from saccade.runtime.spec import Array, GraphSpec

if TYPE_CHECKING:
    from saccade.runtime.memory import Memory

BACKENDS = ("onnx_runtime", "open_vino", "null")
AUTOMATIC = ("onnx_runtime", "open_vino")
SPELT = {"onnxruntime": "onnx_runtime", "openvino": "open_vino"}
"""The libraries' own names, which are taken too."""
DEVICES = ("auto", "cpu", "cuda")
PROVIDERS = ("cpu", "cuda", "tensorrt")
"""Execution providers of ONNX Runtime."""
MAX_THREADS = 1024


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How engines are opened.

    backend: one of BACKENDS, or empty for the first usable of AUTOMATIC
    precision: one of fp32, bf16, fp16, int8, or empty for fp32, or the most exact that the bundle has
    device: "cpu", "cuda", or "auto": cuda when the installed engine brings it, else cpu
    threads: threads of one engine run; 0 means every core that this process may use
    arena: keep freed activations for the next run (faster, holds the peak), or give them back
    spin: let idle engine threads spin (lower latency) instead of sleeping (lower power)
    kernels: op:candidate pairs for our ops inside graphs, `body` or `custom`; empty for those of SACCADE_KERNEL
    provider: one of PROVIDERS, for ONNX Runtime; empty for the device's
    provider_options: pairs of an option's name and value; see runtime/engines/providers.py
    budget: pairs of a figure and what it must reach, in place of the bundle's; for plans
    """

    backend: str = ""
    precision: str = ""
    device: str = "auto"
    threads: int = 0
    arena: bool = True
    spin: bool = True
    kernels: str = ""
    provider: str = ""
    provider_options: tuple[tuple[str, str], ...] = ()
    budget: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(
        cls, backend: str | None, precision: str | None, device: str | None, threads: int | None, **more: Any
    ) -> Options:
        """Arguments first, then the environment, then defaults. Raises SettingsError for a value that means nothing."""
        backend = setting("SACCADE_BACKEND", backend)
        backend = SPELT.get(backend, backend)
        made = cls(
            backend,
            setting("SACCADE_PRECISION", precision),
            device or "auto",
            setting("SACCADE_THREADS", threads),
            **more,
        )
        for what, value, allowed in (
            ("backend", made.backend, ("", *BACKENDS)),
            ("precision", made.precision, ("", *PRECISIONS)),
            ("device", made.device, DEVICES),
            ("provider", made.provider, ("", *PROVIDERS)),
        ):
            if value not in allowed:
                raise SettingsError(
                    f"[load] {what}: no {value!r}", hint=f"it is one of {', '.join(filter(None, allowed))}"
                )
        if not isinstance(made.threads, int) or not 0 <= made.threads <= MAX_THREADS:
            hint = f"a number of threads up to {MAX_THREADS}, or 0 for all cores"
            raise SettingsError(f"[load] threads: {made.threads!r}", hint=hint)
        if made.provider and made.device == ("cuda" if made.provider == "cpu" else "cpu"):
            hint = "give one of the two"
            raise SettingsError(f"[load] provider {made.provider} does not run on device {made.device}", hint=hint)
        return made


class Engine(Protocol):
    """One opened graph."""

    spec: GraphSpec

    @property
    def about(self) -> dict[str, Any]:
        """What runs: back end, version, device, precision, threads."""

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """Run once. The arrays returned are the caller's: no later call writes to them."""

    def close(self) -> None:
        """Give the memory back. A call afterwards raises Closed."""


_NO_MEMORY = re.compile(r"failed to allocate memory|out of memory|bad_alloc|bad allocation|cudaErrorMemoryAlloc", re.I)


def failed(graph: str, library: str, text: str, *, hint: str) -> EngineError:
    """The typed error for what a library said: OutOfMemory where it means that, else EngineError."""
    if _NO_MEMORY.search(text):
        return OutOfMemory(f"[{graph}] {library}: {text}", hint="send less at once, or give `Memory` a smaller budget")
    return EngineError(f"[{graph}] {library}: {text}", hint=hint)


Opener = Callable[[Graph], Engine]


def open_engine(bundle: Bundle, graph: str, options: Options = Options()) -> Engine:  # noqa: B008  a frozen value
    """Open `graph` on the first usable back end.

    Raises EngineError with the reason of each back end that cannot, if none can: MissingExtra if all lack their
    library, SettingsError if none has a file of that precision.
    """
    entry = bundle.graphs[graph]
    reasons: list[tuple[str, str]] = []
    lacking: list[SettingsError] = []  # that the bundle has no such file, once for each back end
    absent: list[MissingExtra] = []
    for name in [options.backend] if options.backend else AUTOMATIC:
        backend = import_module(f"saccade.runtime.engines.{name}")
        try:
            variant = choose(entry, graph, file_precision(entry, backend, options))
        except SettingsError as error:
            lacking.append(error)
            reasons.append((name, error.message))
            continue
        reason = backend.unusable(entry, variant, options)
        if not reason:
            engine: Engine = backend.Engine(bundle, graph, variant, options)
            return engine
        reasons.append((name, reason))
        if missing := getattr(backend, "missing", lambda: None)():
            absent.append(missing)
    if len(lacking) == len(reasons):
        raise lacking[0]
    if absent and len(lacking) + len(absent) == len(reasons):
        raise absent[0]
    raise EngineError(
        f"[{graph}] no back end can run it: " + "; ".join(f"{name}: {reason}" for name, reason in reasons),
        hint="see what this machine can run with `saccade doctor`",
    )


def file_precision(entry: GraphEntry, backend: Any, options: Options) -> str:
    """The precision of the file that `backend` runs for these options: another one's where it is only a hint to it."""
    precision = options.precision
    if entry.variant(precision):
        return precision
    by_provider: dict[str, dict[str, str]] = import_module("saccade.runtime.engines.providers").HINTS
    hints: dict[str, str] = by_provider.get(options.provider) or getattr(backend, "HINTS", {})
    return hints.get(precision, precision)


def choose(entry: GraphEntry, graph: str, precision: str) -> Variant:
    """The variant of that precision; without one, fp32, or the most exact that keeps to its budget."""
    if not precision:
        inside = [v for v in entry.variants if v.within_budget] or list(entry.variants)
        return entry.variant("fp32") or inside[0]
    variant = entry.variant(precision)
    if variant is None:
        have = ", ".join(v.precision for v in entry.variants)
        raise SettingsError(f"[{graph}] the bundle holds {have}, not {precision}", hint="export it with --precision")
    return variant


class Engines:
    """Owns the engines of one or several bundles: opened at the first call, closed together.

    opener: opens a graph's engine; by default the first usable back end for `options`
    memory: a byte budget, shared with whoever else has it; engines then come and go
    """

    def __init__(
        self,
        options: Options = Options(),  # noqa: B008  a frozen value
        opener: Opener | None = None,
        memory: Memory | None = None,
    ):
        self.options, self.memory = options, memory
        self.distrusted: dict[Graph, set[tuple[str, str]]] = {}  # by runtime/quarantine.py
        self.opener: Opener = opener or (lambda graph: open_engine(graph.bundle, graph.name, options))
        self._opened: dict[Graph, Engine] = {}
        self._lock = threading.Lock()
        self._closed = False

    def __call__(self, graph: Graph) -> Engine:
        """The engine of `graph`. Raises Closed after close()."""
        engine = self._opened.get(graph)
        return engine if engine is not None else self._open(graph)

    def _open(self, graph: Graph) -> Engine:
        with self._lock:
            if self._closed:
                raise Closed(f"[{graph.name}] the model is closed", hint="load it again")
            if graph not in self._opened:
                self._opened[graph] = self._made(graph)
            return self._opened[graph]

    def _made(self, graph: Graph) -> Engine:
        if self.memory is None:
            return self.opener(graph)
        entry = graph.bundle.graphs[graph.name]
        size = graph.bundle.manifest.files[choose(entry, graph.name, "").file].size
        return self.memory.adopt(f"{graph.bundle.name}.{graph.name}", graph.spec, size, partial(self.opener, graph))

    def reopen(self, opener: Opener) -> None:
        """From now on engines are opened by `opener`; those that are open are replaced one by one, between two calls.

        A call that runs meanwhile ends on the engine that it began on, which is given back behind it.
        """
        self.opener = opener
        for graph in list(self._opened):
            self.replace(graph, opener)

    def replace(self, graph: Graph, opener: Opener) -> None:
        """The same for one graph."""
        if self.memory is not None:
            self.memory.renew(self._opened[graph], partial(opener, graph))  # type: ignore[arg-type]
            return
        made = opener(graph)
        with self._lock:
            if self._closed:
                made.close()
            else:
                self._opened[graph] = made  # the old one is not closed: somebody may be about to call it

    def close(self) -> None:
        """Close every engine; later calls raise Closed."""
        with self._lock:
            self._closed = True
            while self._opened:
                self._opened.popitem()[1].close()
