"""Triton's interpreter, for the kernels that a GPU would run; it takes what quacks like torch's tensors."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest


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
