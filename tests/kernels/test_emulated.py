"""The CUDA C++ kernels on an emulated GPU: a stub driver runs their sources as fibers, tests/gpu runs on top of it.

So the order of launches, every argument, grid and index, and the launcher itself are checked without a GPU. Memory
models, speed, and what nvcc makes of the sources are not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EMULATED = ROOT / "csrc/tests/emulated"
COMPILER = shutil.which(os.environ.get("CXX") or "c++")
FLAGS = ["-std=c++17", "-O2", "-ffp-contract=off", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror"]

pytestmark = pytest.mark.skipif(
    not COMPILER or not EMULATED.is_dir() or sys.platform != "linux",
    reason="needs a C++ compiler, Linux and the sources",
)


@pytest.fixture(scope="session")
def stub(tmp_path_factory) -> Path:
    """A folder with the stub libcuda.so.1."""
    folder = tmp_path_factory.mktemp("driver")
    sources = [EMULATED / "libcuda.cpp", EMULATED / "grid.cpp"]
    flags = [*FLAGS, "-include", EMULATED / "cuda.h", "-Wl,-soname,libcuda.so.1"]
    subprocess.run([COMPILER, *flags, "-o", folder / "libcuda.so.1", *sources], check=True)
    return folder


def environment(stub: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "LD_LIBRARY_PATH": str(stub), "PYTHONPATH": str(ROOT / "tests/emulated"), **more}


def test_the_gpu_tests_pass_on_an_emulated_gpu(stub):
    run = [sys.executable, "-P", "-m", "pytest", "-q", "-rs", ROOT / "tests/gpu", "-c", ROOT / "pyproject.toml"]
    done = subprocess.run(run, env=environment(stub), cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout[-2000:]
    assert int(passed[1]) >= 30, done.stdout[-2000:]
