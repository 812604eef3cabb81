"""Every SACCADE_* variable, in one table. Precedence everywhere: argument, then environment, then default.

Values are read when asked for, so a test or a service may change the environment at run time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saccade.runtime.errors import SettingsError


@dataclass(frozen=True)
class Setting:
    """One variable: how its text is read, what holds without it, and what it is for."""

    read: Callable[[str], Any]
    default: Callable[[], Any]
    meaning: str


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError("negative")
    return value


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "saccade"


TABLE: dict[str, Setting] = {
    "SACCADE_BACKEND": Setting(
        str, lambda: "", "back end for every graph: onnxruntime, openvino or null; empty means the first usable"
    ),
    "SACCADE_CACHE": Setting(
        Path, _cache, "private folder for stamps and own kernels; must belong to the user, mode 0700"
    ),
    "SACCADE_KERNEL": Setting(
        str, lambda: "", "kernels to force, as op:candidate pairs with commas between; in a graph body or custom"
    ),
    "SACCADE_MAX_PIXELS": Setting(_count, lambda: 64_000_000, "largest picture that is decoded, in pixels"),
    "SACCADE_MAX_FILE_BYTES": Setting(_count, lambda: 256 << 20, "largest picture file that is read, in bytes"),
    "SACCADE_PRECISION": Setting(
        str, lambda: "", "precision for every graph: fp32, bf16, fp16 or int8; empty means fp32"
    ),
    "SACCADE_THREADS": Setting(_count, lambda: 0, "threads an engine may use; 0 means all cores it may run on"),
}


def setting(name: str, argument: Any = None) -> Any:
    """The value of a variable of TABLE: `argument` unless None, else the environment's, else the default.

    Raises SettingsError if the environment holds a value that cannot be read.
    """
    known = TABLE[name]
    if argument is not None:
        return argument
    text = os.environ.get(name, "")
    if not text:
        return known.default()
    try:
        return known.read(text)
    except ValueError:
        raise SettingsError(
            f"[settings] {name}: cannot read {text!r}", hint=f"it is {known.meaning}; unset it for the default"
        ) from None
