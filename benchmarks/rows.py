"""How things are measured, and how a measurement is kept.

Candidates take turns within one process, so that a noisy neighbour meets all of them alike, in a new order each round.
What is quoted is the ratio of medians within that run, with the spread of the rounds' own ratios.
"""

from __future__ import annotations

import json
import os
import platform
import random
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

LIBRARIES = (
    "numpy",
    "pillow",
    "onnxruntime",
    "openvino",
    "torch",
    "transformers",
    "tokenizers",
    "opencv-python-headless",
    "pycocotools",
)


@dataclass(frozen=True)
class Timing:
    """Times of one candidate in ms: the run before warm-up, and one a round."""

    first_ms: float
    rounds_ms: list[float]

    @property
    def p50_ms(self) -> float:
        """Median."""
        return float(np.median(self.rounds_ms))

    @property
    def p90_ms(self) -> float:
        """90th percentile."""
        return float(np.percentile(self.rounds_ms, 90))


def interleave(
    candidates: Mapping[str, Callable[[], Any]],
    *,
    seconds: float = 10.0,
    rounds: int = 30,
    pause_ms: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time the candidates in turn until `rounds` are done or `seconds` have passed (at least five rounds).

    pause_ms: rest between two runs, so that threads of one that still spin do not slow the next
    clock: time.thread_time where nothing leaves this thread: a shared machine's neighbours then count less
    """
    first = {name: _ms(run, clock) for name, run in candidates.items()}
    for run in candidates.values():
        run()
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    order, end = list(candidates), time.perf_counter() + seconds
    shuffle = random.Random(0).shuffle
    for count in range(rounds):
        if count >= 5 and time.perf_counter() > end:
            break
        shuffle(order)
        for name in order:
            if pause_ms:
                time.sleep(pause_ms / 1e3)
            taken[name].append(_ms(candidates[name], clock))
    return {name: Timing(first[name], taken[name]) for name in candidates}


def compared(ours: Timing, peers: Mapping[str, Timing]) -> list[dict[str, Any]]:
    """For each peer its median and the ratio peer / ours, with the 10th and 90th percentile over the rounds."""
    rows = []
    for name, peer in peers.items():
        ratios = np.divide(peer.rounds_ms, ours.rounds_ms)
        low, high = np.percentile(ratios, [10, 90])
        rows.append(
            {
                "name": name,
                "p50_ms": round(peer.p50_ms, 4),
                "ratio": round(peer.p50_ms / ours.p50_ms, 3),
                "ratio_low": round(float(low), 3),
                "ratio_high": round(float(high), 3),
            }
        )
    return rows


def machine() -> str:
    """The processor's name, how many cores this process may use, and the memory; nothing private."""
    name = platform.processor() or platform.machine()
    flags = ""
    try:
        info = Path("/proc/cpuinfo").read_text()
        lines = dict(line.split("\t", 1) for line in info.split("\n\n")[0].splitlines() if "\t" in line)
        fields = {key.strip(): value.split(":", 1)[-1].strip() for key, value in lines.items()}
        name = (
            f"{fields.get('model name', name)} family {fields.get('cpu family', '?')} model {fields.get('model', '?')}"
        )
        known = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")
        flags = " ".join(flag for flag in known if flag in fields.get("flags", "").split())
    except OSError:
        pass
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return f"{name}, {len(os.sched_getaffinity(0))} cores, {memory} GiB" + (f", {flags}" if flags else "")


def versions() -> dict[str, str]:
    """Python's version and those of the libraries measured with, if they are installed."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Short hash of the checkout this runs in, with + if it has changes; empty outside one."""
    try:
        run = ["git", "describe", "--always", "--dirty=+", "--abbrev=10"]
        return subprocess.run(run, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def save(rows: list[dict[str, Any]], path: Path, about: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Complete rows with machine, versions and commit, and write them as JSON lines. Raises NoSpace.

    about: what to say in place of those, such as a machine with its peaks
    """
    from saccade.runtime.files import write_file

    every = {"machine": machine(), "versions": versions(), "commit": commit(), **(about or {})}
    full = [{**row, **every} for row in rows]
    write_file(path, "".join(json.dumps(row) + "\n" for row in full).encode())
    return full


def _ms(run: Callable[[], Any], clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return (clock() - start) * 1e3
