"""What stands before the first answer: proving a bundle, and opening its graphs. Each figure from a process of its own.

verify        Bundle.open that hashes every file        stamped   Bundle.open of a bundle proven before
by-name       the engine, as saccade opens it           memory    the same session from bytes read before
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from saccade.runtime.bundle import Bundle
from saccade.runtime.errors import SettingsError

_START = """
import json, resource, sys, time
path, file = sys.argv[1:]
from saccade.runtime.bundle import Bundle
import onnxruntime
from saccade.runtime.engines import Options
from saccade.runtime.engines.onnx_runtime import session_options
start = time.perf_counter()
{run}
ms = (time.perf_counter() - start) * 1e3
print(json.dumps([ms, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""
_SESSION = (
    "onnxruntime.InferenceSession({model}, session_options(Options(threads=1)), providers=['CPUExecutionProvider'])"
)
CASES = {
    "verify": "Bundle.open(path, remember=False)",
    "stamped": "Bundle.open(path)",
    "by-name": _SESSION.format(model="f'{path}/{file}'"),
    "memory": _SESSION.format(model="open(f'{path}/{file}', 'rb').read()"),
}


def rows(path: Path, rounds: int = 5) -> list[dict[str, Any]]:
    """For the bundle at `path`, cases in turn: {"case", "file", "bytes", "p50_ms", "p90_ms", "peak_mb", "runs"}.

    bytes: of what is read: all files to verify, the largest graph to open. peak_mb: resident, of the whole process.
    """
    bundle = Bundle.open(path)
    sizes = {name: entry.size for name, entry in bundle.manifest.files.items()}
    largest = max((name for name in sizes if name.endswith(".onnx")), key=sizes.__getitem__)
    taken: dict[str, list[list[float]]] = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory() as cache:
        env = {**os.environ, "SACCADE_CACHE": cache}
        _run("stamped", bundle.path, largest, env)  # writes the stamps
        for _ in range(rounds):
            for case, found in taken.items():
                found.append(_run(case, bundle.path, largest, env))
    return [
        {
            "case": case,
            "file": largest if case in ("by-name", "memory") else "all",
            "bytes": sizes[largest] if case in ("by-name", "memory") else sum(sizes.values()),
            "p50_ms": round(float(np.median([ms for ms, _ in found])), 3),
            "p90_ms": round(float(np.percentile([ms for ms, _ in found], 90)), 3),
            "peak_mb": round(float(np.median([mb for _, mb in found])), 1),
            "runs": rounds,
        }
        for case, found in taken.items()
    ]


def _run(case: str, path: Path, file: str, env: dict[str, str]) -> list[float]:
    script = _START.format(run=CASES[case])
    done = subprocess.run([sys.executable, "-P", "-c", script, path, file], env=env, capture_output=True, text=True)
    if done.returncode:
        raise SettingsError(f"[loading] {case}: {done.stderr.strip()[-200:]}", hint="try `saccade inspect` on it")
    result: list[float] = json.loads(done.stdout)
    return result
