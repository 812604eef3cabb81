"""Every way to run a graph here, in order of preference, each with the reason why it cannot.

back end × execution provider × precision ──▶ candidates        the best of them × threads, kernels ──▶ refinements
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import msgspec

from saccade.runtime import engines as listed
from saccade.runtime.admission import admits
from saccade.runtime.bundle import Bundle
from saccade.runtime.engines import Options, choose, file_precision
from saccade.runtime.engines.custom_ops import OPS
from saccade.runtime.hardware import cores, thread_counts
from saccade.runtime.manifest import Variant

PRECISIONS = ("fp32", "bf16", "int8", "fp16")


def candidates(bundle: Bundle, graph: str, options: Options) -> list[tuple[Options, str]]:
    """Options and reason of each candidate, the portable default first; threads that nobody asked for are all cores."""
    entry = bundle.graphs[graph]
    found: list[tuple[Options, str]] = []
    for name in [options.backend] if options.backend else listed.AUTOMATIC:
        backend = import_module(f"saccade.runtime.engines.{name}")
        for provider in getattr(backend, "provider_list", _as_asked)(options):
            for precision in [options.precision] if options.precision else PRECISIONS:
                made = msgspec.structs.replace(
                    options, backend=name, provider=provider, precision=precision, threads=options.threads or cores()
                )
                if entry.variant(file_precision(entry, backend, made)):
                    twin = next((o for o, _ in found if _same(bundle, graph, o, made)), None)
                    reason = f"it is the file of {twin.precision}" if twin else _reason(bundle, graph, backend, made)
                    found.append((made, reason))
    return found


def file_of(bundle: Bundle, graph: str, options: Options) -> Variant:
    """The variant whose file runs for a candidate's options."""
    entry = bundle.graphs[graph]
    backend = import_module(f"saccade.runtime.engines.{options.backend}")
    return choose(entry, graph, file_precision(entry, backend, options))


def refinements(asked: Options, best: Options, about: dict[str, Any]) -> list[Options]:
    """What of the best candidate may still be better: fewer threads, and the bodies of our ops in place of our kernels.

    asked: what the user said, which is not changed; about: of the best one's engine
    """
    made = []
    if not asked.threads and about.get("device") == "cpu":
        made = [msgspec.structs.replace(best, threads=n) for n in thread_counts() if n < best.threads]
    ours = [OPS[op] for op, ran in about.get("ops", {}).items() if ran == "kernel"]
    if ours and not asked.kernels:
        made.append(msgspec.structs.replace(best, kernels=",".join(f"{op}:body" for op in ours)))
    return made


def _same(bundle: Bundle, graph: str, a: Options, b: Options) -> bool:
    """Whether two candidates run one file in one way: a graph that int8 does not serve has its fp32 file there too."""
    if (a.backend, a.provider) != (b.backend, b.provider):
        return False
    first, second = (file_of(bundle, graph, made) for made in (a, b))
    hints = first.precision != a.precision or second.precision != b.precision
    return first.file == second.file and not hints


def _as_asked(options: Options) -> tuple[str, ...]:
    return (options.provider,)


def _reason(bundle: Bundle, graph: str, backend: Any, options: Options) -> str:
    variant = file_of(bundle, graph, options)
    if not admits(bundle, bundle.graphs[graph], variant, options):
        return "its measured error is outside the budget"
    if reason := backend.unusable(bundle.graphs[graph], variant, options):
        return str(reason)
    if options.precision == "fp16" and options.provider in ("", "cpu"):
        return "a CPU computes fp16 by way of fp32, which is slower than fp32"
    return ""
