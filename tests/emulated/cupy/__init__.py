"""The part of CuPy that saccade uses, over the memory of this process: with the stub driver, a GPU made of NumPy.

Memory is filled with rubbish when allocated, and a rim on both sides is checked: an index that leaves an array is found
where it writes, and a result that is not written shows.
"""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import numpy as np

EMULATED = True
RIM, RUBBISH = 256, 0xA5
_live: list[np.ndarray] = []


class Device(contextlib.nullcontext):
    id = 0


class ndarray:
    def __init__(self, host: np.ndarray):
        self.host = host

    shape = property(lambda self: self.host.shape)
    dtype = property(lambda self: self.host.dtype)
    ndim = property(lambda self: self.host.ndim)
    size = property(lambda self: self.host.size)
    flags = property(lambda self: self.host.flags)
    nbytes = property(lambda self: self.host.nbytes)
    device = property(lambda self: Device())
    data = property(lambda self: SimpleNamespace(ptr=self.host.ctypes.data))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        strides = None if self.host.flags.c_contiguous else self.host.strides
        pointer = (self.host.ctypes.data, False)
        return {"shape": self.shape, "typestr": self.dtype.str, "data": pointer, "strides": strides, "version": 3}

    def __len__(self) -> int:
        return len(self.host)

    def __getitem__(self, key: Any) -> ndarray:
        return ndarray(self.host[key])

    def get(self) -> np.ndarray:
        check()
        return self.host.copy()

    def sort(self) -> None:
        self.host.sort()

    def astype(self, dtype: Any, copy: bool = True) -> ndarray:
        return ndarray(self.host.astype(dtype, copy=copy))


def empty(shape: Any, dtype: Any = float) -> ndarray:
    dtype, count = np.dtype(dtype), int(np.prod(shape))
    memory = np.full(2 * RIM + count * dtype.itemsize + 512, RUBBISH, np.uint8)
    start = -memory.ctypes.data % 512 + RIM  # so that what is aligned lies RIM beyond a multiple of 512
    _live.append(memory)
    inner = memory[start : start + count * dtype.itemsize].view(dtype).reshape(shape)
    memory.flags.writeable = True
    _bounds[id(memory)] = (start, start + count * dtype.itemsize)
    return ndarray(inner)


_bounds: dict[int, tuple[int, int]] = {}


def check() -> None:
    """Nobody wrote beside an array."""
    for memory in _live:
        start, end = _bounds[id(memory)]
        assert (memory[:start] == RUBBISH).all(), "written before an array"
        assert (memory[end:] == RUBBISH).all(), "written behind an array"
    _live.clear()


def zeros(shape: Any, dtype: Any = float) -> ndarray:
    made = empty(shape, dtype)
    made.host[...] = 0
    return made


def asarray(value: Any) -> ndarray:
    if isinstance(value, ndarray):
        return value
    host = np.asarray(value)
    made = empty(host.shape, host.dtype)
    made.host[...] = host
    return made


def ascontiguousarray(value: Any) -> ndarray:
    value = asarray(value)
    return value if value.host.flags.c_contiguous else asarray(value.host)


def asnumpy(value: Any) -> np.ndarray:
    return value.get() if isinstance(value, ndarray) else np.asarray(value)


class Stream(contextlib.nullcontext):
    def __init__(self, **_: Any):
        super().__init__()
        self.ptr = 0

    def synchronize(self) -> None:
        check()


cuda = SimpleNamespace(get_current_stream=Stream, Stream=Stream, Device=Device)
