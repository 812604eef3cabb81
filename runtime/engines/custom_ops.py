"""Our ops inside a graph: which of them ONNX Runtime runs as our kernels, which as the bodies that the model carries.

    the graph's ops ── body asked for? possible here? ──▶ session entry "saccade.ops" + libsaccade_ops.so

A registered op wins over the body always, and one that a provider cannot run is an error when the model loads; so the
library is told which ops to take (csrc/bindings/onnxruntime.cpp).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saccade.runtime.errors import KernelError
from saccade.runtime.onnx_ops import own_ops

if TYPE_CHECKING:
    from saccade.runtime.bundle import Bundle

OPS = {
    "RelPosAttention": "relpos_attention",
    "DeformableAttention": "deformable_attention",
}  # as a graph has them → as saccade.kernels has them
_LIBRARY = "libsaccade_ops.so"


def ops_of(bundle: Bundle, file: str) -> frozenset[str]:
    """Our ops in an ONNX file of the bundle, by the names that the graph has for them."""
    with bundle.file(file) as opened:
        if not os.fstat(opened.fileno()).st_size:
            return frozenset()
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as view, memoryview(view) as data:
            return own_ops(data, file)


def choose(ops: frozenset[str], device: str, kernels: str) -> dict[str, str]:
    """For each op, why it runs as its body; "" if our kernel runs.

    kernels: op:candidate pairs as SACCADE_KERNEL has them, or "" for those of the environment. `body` and `reference`
        ask for the body, all else for the kernel
    Raises KernelError if the kernel was asked for and cannot run, SettingsError for pairs that cannot be read.
    """
    chosen = {}
    for op in sorted(ops):
        wanted = _wanted(op, kernels)
        reason = _unusable(op, device)
        if reason and wanted not in ("", *_BODY):
            raise KernelError(
                f"[{op}] {wanted} was asked for and cannot run in a graph: {reason}",
                hint=f"ask for {OPS.get(op, op)}:body, or for nothing",
            )
        chosen[op] = "asked for" if wanted in _BODY else reason
    return chosen


def register(made: Any, chosen: dict[str, str]) -> None:
    """Let the library take the chosen ops in a session with these onnxruntime.SessionOptions."""
    taken = [op for op, reason in chosen.items() if not reason]
    if taken:
        made.add_session_config_entry("saccade.ops", ",".join(taken))
        made.register_custom_ops_library(str(library()))


def about(chosen: dict[str, str]) -> dict[str, str]:
    """What an engine says of them: `kernel`, or `body` and why."""
    return {op: f"body: {reason}" if reason else "kernel" for op, reason in chosen.items()}


def library() -> Path | None:
    """The custom-op library, beside the compiled module; None if it was not built."""
    places = (Path(folder) / _LIBRARY for folder in sys.modules["saccade"].__path__)
    return next((place for place in places if place.is_file()), None)


def calls(op: str) -> int:
    """How many times our kernel of that op has run in this process; -1 if the library does not have it."""
    path = library()
    if path is None:
        return -1
    counter = ctypes.CDLL(str(path)).saccade_ops_calls
    counter.restype, counter.argtypes = ctypes.c_int64, [ctypes.c_char_p]
    return int(counter(op.encode()))


_BODY = ("body", "reference")


def _wanted(op: str, kernels: str) -> str:
    if op not in OPS:
        return ""
    forced: str = import_module("saccade.kernels.dispatch").forced(OPS[op], kernels)
    return forced


def _unusable(op: str, device: str) -> str:
    if device != "cpu":
        return "our kernels in graphs are for the CPU"
    if library() is None:
        return "saccade was built without ONNX Runtime's headers, so without its custom-op library"
    return _refusal() or ("" if calls(op) >= 0 else "the custom-op library does not have it")


@cache
def _refusal() -> str:
    """Why the installed onnxruntime does not take the library, "" if it does."""
    import onnxruntime

    try:
        onnxruntime.SessionOptions().register_custom_ops_library(str(library()))
    except Exception as error:
        return str(error).split("\n")[0][:200].replace(str(library()), _LIBRARY)
    return ""
