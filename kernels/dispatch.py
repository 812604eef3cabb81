"""Which implementation of an op runs: the first usable of an ordered list, or the one that was asked for.

argument impl="avx2"  ▷  SACCADE_KERNEL=resize_normalize:avx2,nms:reference  ▷  first usable

For an op that stands in graphs, `body` and `custom` say what runs there (runtime/engines/custom_ops.py), nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from saccade.kernels import OPS
from saccade.runtime.errors import KernelError, SettingsError
from saccade.runtime.settings import setting

IN_GRAPHS = ("body", "custom")


class Candidate(NamedTuple):
    """One way to run an op.

    unusable: why it cannot run for these arguments on this machine, "" if it can; without arguments, for any at all
    run: takes what the op's public function made of its arguments
    place: where its arrays are, "cpu" or "gpu"
    """

    name: str
    unusable: Callable[..., str]
    run: Callable[..., Any]
    place: str = "cpu"


def pick(op: str, candidates: Sequence[Candidate], *args: Any, force: str | None = None) -> Candidate:
    """The candidate of `op` that runs with `args`: the first usable, unless `force` or SACCADE_KERNEL names one.

    Raises KernelError if the named one is unknown or cannot run, or if none can.
    """
    wanted = force if force is not None else forced(op)
    if force is None and wanted in IN_GRAPHS:
        wanted = ""
    if wanted:
        return _named(op, candidates, wanted, *args)
    reasons = []
    for candidate in candidates:
        reason = _reason(candidate, args)
        if not reason:
            return candidate
        reasons.append(f"{candidate.name}: {reason}")
    raise KernelError(
        f"[{op}] no candidate can run: {'; '.join(reasons)}", hint="`saccade doctor` lists what is missing"
    )


def explain(op: str) -> list[tuple[str, str]]:
    """Name of each candidate of `op` in order, and why it cannot run here ("" if it can). Raises KernelError."""
    if op not in OPS:
        raise KernelError(f"[{op}] unknown op", hint=f"known: {', '.join(OPS)}")
    candidates = import_module(f"saccade.kernels.{op}").CANDIDATES
    return [(candidate.name, candidate.unusable()) for candidate in candidates]


def on_device(value: Any) -> bool:
    """Whether this is an array on a GPU: CuPy's, or any with __cuda_array_interface__."""
    return hasattr(value, "__cuda_array_interface__")


def _reason(candidate: Candidate, args: Sequence[Any]) -> str:
    """Why `candidate` cannot take these arguments. Arrays are not moved behind the caller's back."""
    requests = [request for request in args if isinstance(request, tuple)]
    if requests:
        device = any(on_device(value) for request in requests for value in request)
        if device != (candidate.place == "gpu"):
            return f"the arrays are on the {'device' if device else 'host'}"
    return candidate.unusable(*args)


def _named(op: str, candidates: Sequence[Candidate], name: str, *args: Any) -> Candidate:
    known = ", ".join(candidate.name for candidate in candidates)
    for candidate in candidates:
        if candidate.name == name:
            if reason := _reason(candidate, args):
                raise KernelError(f"[{op}] {name} was asked for and cannot run: {reason}", hint=f"known: {known}")
            return candidate
    raise KernelError(f"[{op}] unknown candidate {name!r}", hint=f"known: {known}")


def forced(op: str, pairs: str = "") -> str:
    """The candidate that `pairs`, or without them SACCADE_KERNEL, names for `op`; "" if none. Raises SettingsError."""
    for pair in filter(None, map(str.strip, setting("SACCADE_KERNEL", pairs or None).split(","))):
        name, colon, candidate = pair.partition(":")
        if not colon or not candidate or name not in OPS:
            raise SettingsError(
                f"[settings] SACCADE_KERNEL: cannot read {pair!r}",
                hint=f"write op:candidate pairs with commas between; known ops: {', '.join(OPS)}",
            )
        if name == op:
            return candidate
    return ""
