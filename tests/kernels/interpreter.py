"""A process that runs Triton kernels in the interpreter: pickled calls come in, arrays go out.

A process of its own, since TRITON_INTERPRET counts where triton is imported first, and torch may have done that.
"""

from __future__ import annotations

import pickle
import sys
import traceback
import warnings
from importlib import import_module
from typing import Any

import numpy as np


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


def call(op: str, grid: tuple[int, ...], arguments: list[Any], constants: dict[str, int]) -> list[Any]:
    kernel = import_module(f"saccade.kernels.{op}.triton").KERNEL
    tensors = [Tensor(a) if isinstance(a, np.ndarray) else a for a in arguments]
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        kernel[grid](*tensors, **constants)
    return [a for a in arguments if isinstance(a, np.ndarray)]


def main() -> None:
    answers = sys.stdout.buffer
    sys.stdout = sys.stderr  # what is printed is no answer
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = call(*request)
        except BaseException:
            answer = traceback.format_exc()
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
