"""What one core of this machine reaches in plain native loops: the roofs that kernels are held against.

    read    sum of an array         triad   a = b + s · c                 int8   dot products of bytes in registers,
    write   an array of ones        fp32    multiply-adds in registers           where the CPU has such an instruction

Bytes are those that the program reads and writes: what a cache fetches only to overwrite is not counted. The best of
several runs holds, since a peak is what the machine can do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from saccade.kernels import native

FLOATS = 32 << 20  # of an array: 128 MiB, more than a core's share of any cache
LOOPS = {"read_gbps": 0, "write_gbps": 1, "triad_gbps": 2, "fp32_gflops": 3, "int8_gops": 4}  # enum saccade_peak
DOTS = ("avx512vnni",)  # kinds of CPU that have int8
REPEATS = 2_000_000  # of the loops in registers


def isa() -> str:
    """The best kind of CPU that the native module knows and this machine is; empty without the module."""
    if native.module is None:
        return ""
    best: str = next(name for name, reason in native.module.peaks_candidates() if not reason)
    return best


def measure(
    *, runs: int = 8, floats: int = FLOATS, repeats: int = REPEATS, clock: Callable[[], float] = time.thread_time
) -> dict[str, float]:
    """GB/s and G operations a second of one thread, by name; empty without the native module."""
    if native.module is None:
        return {}
    arrays = [np.ones(floats, np.float32) for _ in range(3)]
    found = {}
    for name, loop in LOOPS.items():
        if name == "int8_gops" and isa() not in DOTS:
            continue
        found[name] = round(max(_rate(loop, arrays, repeats, clock) for _ in range(runs)), 1)
    return found


def machine(peaks: dict[str, float]) -> dict[str, Any]:
    """What a row says of the machine."""
    from saccade.benchmarks import rows

    return {"cpu": rows.machine(), "isa": isa(), "threads": 1, "gpu": None, "peaks": peaks}


def _rate(loop: int, arrays: list[np.ndarray], repeats: int, clock: Callable[[], float]) -> float:
    start = clock()
    done: float = native.module.peaks("", loop, *arrays, repeats)
    return done / (clock() - start) / 1e9
