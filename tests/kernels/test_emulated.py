"""The CUDA C++ kernels on an emulated GPU: a stub driver runs their sources as fibers, tests/gpu runs on top of it.

So the order of launches, every argument, grid and index, and the launcher itself are checked without a GPU. Memory
models, speed, and what nvcc makes of the sources are not.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_gpu_tests_pass_on_an_emulated_gpu(stub, environment):
    run = [sys.executable, "-P", "-m", "pytest", "-q", "-rs", ROOT / "tests/gpu", "-c", ROOT / "pyproject.toml"]
    done = subprocess.run(run, env=environment(stub), cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout[-2000:]
    assert int(passed[1]) >= 30, done.stdout[-2000:]
