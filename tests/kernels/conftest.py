"""What stands in for a GPU: Triton's interpreter, and a stub driver that runs our CUDA C++ as fibers."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
EMULATED = ROOT / "csrc/tests/emulated"
FLAGS = ["-std=c++17", "-O2", "-ffp-contract=off", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror"]


@pytest.fixture(scope="session")
def interpreted() -> Iterator[Callable[..., None]]:
    """interpreted(op, grid, *arguments): the op's Triton kernel, run by the interpreter on NumPy arrays, in place."""
    if find_spec("triton") is None:
        pytest.skip("triton is not installed: pip install 'saccade[kernels]'")
    command = [sys.executable, "-P", str(Path(__file__).with_name("interpreter.py"))]
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout

        def run(op: str, grid: tuple[int, ...], *arguments: Any, **constants: int) -> None:
            if min(grid) == 0:  # a GPU refuses an empty grid, so the launcher does nothing
                return
            pickle.dump((op, grid, list(arguments), constants), process.stdin)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
            assert isinstance(answer, list), answer
            arrays = (a for a in arguments if isinstance(a, np.ndarray))
            for array, result in zip(arrays, answer, strict=True):
                array[...] = result

        yield run
        process.stdin.close()


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stub libcuda.so.1."""
    compiler = shutil.which(os.environ.get("CXX") or "c++")
    if not compiler or not EMULATED.is_dir() or sys.platform != "linux":
        pytest.skip("needs a C++ compiler, Linux and the sources")
    folder = tmp_path_factory.mktemp("driver")
    sources = [EMULATED / "libcuda.cpp", EMULATED / "grid.cpp"]
    flags = [*FLAGS, "-include", EMULATED / "cuda.h", "-Wl,-soname,libcuda.so.1"]
    subprocess.run([compiler, *flags, "-o", folder / "libcuda.so.1", *sources], check=True)
    return folder


@pytest.fixture(scope="session")
def environment() -> Callable[..., dict[str, str]]:
    """environment(stub, …): of a process that finds the stub driver and, as CuPy, the one in tests/emulated."""
    emulated = str(ROOT / "tests/emulated")
    return lambda stub, **more: {**os.environ, "LD_LIBRARY_PATH": str(stub), "PYTHONPATH": emulated, **more}
