"""What stands in for a GPU: Triton's interpreter, and a stub driver that runs our CUDA C++ as fibers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
EMULATED = ROOT / "csrc/tests/emulated"
FLAGS = ["-std=c++17", "-O2", "-ffp-contract=off", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror"]


class Tensor:
    """A contiguous NumPy array with the part of torch's interface that the interpreter asks for; it writes in place."""

    def __init__(self, array: np.ndarray):
        assert array.flags.c_contiguous
        self.array = array
        self.dtype = array.dtype

    def data_ptr(self) -> int:
        return self.array.ctypes.data

    def untyped_storage(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def new_empty(self, *_: Any, **__: Any) -> Tensor:
        return Tensor(self.array)

    def set_(self, storage: Tensor, *_: Any) -> Tensor:
        self.array = storage.array
        return self

    def storage_offset(self) -> int:
        return 0

    def size(self) -> tuple[int, ...]:
        return self.array.shape

    def stride(self) -> tuple[int, ...]:
        return tuple(s // self.array.itemsize for s in self.array.strides)

    def copy_(self, other: Tensor) -> None:
        assert other.array is self.array


@pytest.fixture(scope="session")
def interpreted() -> Callable[..., None]:
    """interpreted(op, grid, *arguments): the op's Triton kernel, run in place on NumPy arrays by the interpreter."""
    if find_spec("triton") is None:
        pytest.skip("triton is not installed: pip install 'saccade[kernels]'")
    os.environ["TRITON_INTERPRET"] = "1"  # read where a kernel is defined

    def run(op: str, grid: tuple[int, ...], *arguments: Any, **constants: int) -> None:
        kernel = import_module(f"saccade.kernels.{op}.triton").KERNEL
        tensors = [Tensor(a) if isinstance(a, np.ndarray) else a for a in arguments]
        if min(grid) > 0:  # a GPU refuses an empty grid, so the launcher does nothing
            with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
                kernel[grid](*tensors, **constants)

    return run


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
