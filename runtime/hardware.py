"""What this process may use: processor, instruction sets, cores after affinity and container limits, memory.

A container with half a core still sees every core of its host: threads beyond the quota are stopped for the rest of
each period, and latency suffers. So the quota of every cgroup above this process is read, not only the core count.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ISA = ("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vbmi", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8",
       "amx_bf16", "asimd", "asimddp", "bf16", "i8mm", "sve")  # fmt: skip
"""Flags of /proc/cpuinfo that decide which kernels and precisions are fast."""


def cores(root: Path = Path("/")) -> int:
    """Threads worth running at once: the cores of the affinity mask, but no more than the cgroups' CPU quota allows.

    root: of the file system; another one for tests
    """
    quota = cpu_quota(root)
    allowed = len(os.sched_getaffinity(0))
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def physical_cores(root: Path = Path("/")) -> int:
    """Cores of the affinity mask with their SMT siblings counted as one; without that knowledge, each for itself."""
    allowed = os.sched_getaffinity(0)
    place = root / "sys/devices/system/cpu"
    siblings = {_text(place / f"cpu{cpu}/topology/thread_siblings_list") or f"{cpu}" for cpu in allowed}
    return len(siblings)


def thread_counts(root: Path = Path("/")) -> tuple[int, ...]:
    """Threads that an engine run may be worth, most first: all that may run at once, one a physical core, one alone.

    More is not always faster: SMT siblings share their multipliers, and a small graph waits for its threads.
    """
    most = cores(root)
    return tuple(sorted({most, min(most, physical_cores(root)), 1}, reverse=True))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores' worth of time that the tightest cgroup grants, or None without a limit. Knows cgroup v2 and v1."""
    found = [_v2_quota(folder) for folder in _groups(root, "")]
    found += [_v1_quota(folder) for folder in _groups(root, "cpu")]
    limits = [quota for quota in found if quota is not None]
    return min(limits) if limits else None


def memory_limit(root: Path = Path("/")) -> int | None:
    """Bytes that the tightest cgroup grants, or None without a limit below the machine's memory."""
    files = [folder / "memory.max" for folder in _groups(root, "")]
    files += [folder / "memory.limit_in_bytes" for folder in _groups(root, "memory")]
    limits = [int(text) for file in files if (text := _text(file)).isdigit()]
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(limits) if limits and min(limits) < total else None


@cache
def machine() -> dict[str, Any]:
    """What decides how fast a graph runs here, as plain values without names of hosts, users or folders."""
    info = _text(Path("/proc/cpuinfo"))
    lines = [line.partition(":") for line in info.splitlines()]
    said = {key.strip(): value.strip() for key, _, value in reversed(lines)}  # of the first processor
    flags = set(f"{said.get('flags', '')} {said.get('Features', '')}".split())
    model = said.get("model name") or platform.processor() or platform.machine()
    family = "/".join(said[key] for key in ("cpu family", "model", "CPU part") if key in said)
    return {
        "cpu": f"{model} ({family})" if family else model,
        "arch": platform.machine(),
        "isa": [flag for flag in ISA if flag in flags],
        "cores": cores(),
        "physical_cores": physical_cores(),
        "memory_gb": round((memory_limit() or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) / 2**30, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """This process's cgroup folder and those above it: of v2 for "", else of that v1 controller."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, names, path = (line.split(":", 2) + ["", ""])[:3]
        if controller not in names.split(",") or bool(controller) != bool(names):
            continue
        base = root / "sys/fs/cgroup" / controller
        folder = base / path.lstrip("/")
        while folder != base and base in folder.parents:
            yield folder
            folder = folder.parent
        yield base  # what a container sees as its own root


def _v2_quota(folder: Path) -> float | None:
    quota, _, period = _text(folder / "cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _v1_quota(folder: Path) -> float | None:
    quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
