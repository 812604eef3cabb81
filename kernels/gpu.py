"""Arrays on a GPU and the way to it: CuPy holds the memory, csrc/launch starts the kernels, nothing else is imported.

CuPy array, or any with __cuda_array_interface__ ──take──▶ op's launch.py ──Queue.launch──▶ driver
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from saccade.kernels import native
from saccade.kernels.dispatch import Candidate
from saccade.kernels.dispatch import on_device as on_device
from saccade.runtime.errors import KernelError, MissingExtra

OLDEST = 80  # compute capability of the oldest GPU that code is compiled for


class Queue(NamedTuple):
    """Where an op's work goes: a device, and CuPy's current stream on it."""

    device: int
    stream: int

    def launch(self, kernel: Any, grid: tuple[int, ...], *arguments: Any) -> int:
        """Start `kernel` with arrays, integers and floats as it declares them; nothing is waited for.

        Returns which of its variants was taken, -1 for an empty grid. Raises KernelError.
        """
        values = [argument.data.ptr if on_device(argument) else argument for argument in arguments]
        blocks = (*grid, 1, 1)[:3]
        try:
            return int(kernel.launch(self.device, self.stream, blocks, *values))
        except RuntimeError as error:
            raise KernelError(str(error), hint="`saccade doctor` shows the driver and what was built for it") from None


def candidate(op: str, name: str, kernels: Callable[..., Any], run: Callable[..., Any]) -> Candidate:
    """The candidate `name` of `op`.

    kernels: takes a compute capability and what dispatch passes, if anything; gives the kernels, or raises KernelError
        with the reason why there are none
    run: takes what dispatch passes; its arrays are on one device
    """

    def unusable(*args: Any) -> str:
        if reason := machine():
            return reason
        try:
            kernels(_capability(), *args)
        except KernelError as error:
            return error.message.removeprefix(f"[{op}] ")
        return ""

    return Candidate(name, unusable, run, "gpu")


def machine() -> str:
    """Why nothing of ours can run on a GPU here, "" if it can."""
    if native.module is None:
        return native.MISSING
    if reason := str(native.module.gpu_unusable()):
        return reason
    if find_spec("cupy") is None:
        return "cupy is not installed: pip install 'saccade[gpu]'"
    if _capability() < OLDEST:
        return f"the device is sm_{_capability()}, code is compiled from sm_{OLDEST} on"
    return ""


def queue(array: Any) -> Queue:
    """Where work on `array` goes."""
    return Queue(array.device.id, cupy().cuda.get_current_stream().ptr)


def device(array: Any) -> Any:
    """CuPy's device of its array `array`, to allocate on: `with gpu.device(array): …`."""
    return array.device


def capability(device: int) -> int:
    """90 for a device of compute capability 9.0."""
    return int(native.module.gpu_capability(device))


@cache
def _capability() -> int:
    return capability(0)


def cupy() -> Any:
    """The module. Raises MissingExtra."""
    try:
        return import_module("cupy")
    except ImportError:
        raise MissingExtra("cupy", "gpu", purpose="an array on a GPU") from None


def take(array: Any) -> Any:
    """`array` as a contiguous CuPy array; of a foreign one the memory is shared if it is contiguous already."""
    return cupy().ascontiguousarray(cupy().asarray(array))


def contiguous(array: Any) -> Any:
    """`array` in C order, on the host or the device where it is."""
    return take(array) if on_device(array) else np.ascontiguousarray(array)


def is_array(value: Any) -> bool:
    """Whether this is an array of NumPy or on a GPU."""
    return isinstance(value, np.ndarray) or on_device(value)


def together(arrays: Mapping[str, Any]) -> str:
    """The name of the first array that is not on the same side as the first of all, "" if all are."""
    sides = {name: on_device(array) for name, array in arrays.items() if array is not None}
    first = next(iter(sides.values()), False)
    return next((name for name, side in sides.items() if side != first), "")
