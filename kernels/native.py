"""The compiled module `saccade._native`: whether it is there, and its candidates of an op.

CANDIDATES = (*(native.candidate("nms", name, run) for name in ("avx2", "base")), …)
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from typing import Any

from saccade.kernels.dispatch import Candidate
from saccade.runtime.errors import SpecError

MOST_THREADS = 1024

MISSING = "the native module was not built; build saccade where there is a C++ compiler"

try:
    module: Any = import_module("saccade._native")
except ImportError:  # a build without a compiler; the references still run
    module = None


def candidate(op: str, name: str, run: Callable[..., Any]) -> Candidate:
    """The candidate `name` of `op` in the compiled module. run: takes the name, then what dispatch passes."""

    def unusable(*_: Any) -> str:
        if module is None:
            return MISSING
        return _reasons(op).get(name, "the native module was built for another kind of CPU")

    return Candidate(name, unusable, partial(run, name))


def thread_count(op: str, threads: Any) -> int:
    """`threads` if it is a number of threads. Raises SpecError."""
    try:
        count = operator.index(threads)
    except TypeError:
        count = 0
    if not 1 <= count <= MOST_THREADS:
        raise SpecError(f"[{op}] threads: got {threads!r}", hint=f"give a whole number from 1 to {MOST_THREADS}")
    return count


@cache
def _reasons(op: str) -> dict[str, str]:
    """Why each of the op's candidates cannot run on this machine, "" if it can."""
    return dict(getattr(module, f"{op}_candidates")())
