"""What a graph takes and gives: names, dtypes, named dims; which axis merges, which pads.

A dim is a number or a name. Names are letters with one meaning everywhere (docs/bundle.md lists them); the same name
is the same size in every tensor of one call. Arrays are checked here, once, at the boundary.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from saccade.runtime.errors import SpecError

DTYPES = ("float32", "float16", "bfloat16", "float64", "int8", "uint8", "int16", "int32", "int64", "bool")
DIM_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,15}")
TENSOR_NAME = re.compile(r"[a-z_][a-z0-9_]{0,63}")

Array = Any  # a NumPy or CuPy array: both have shape and dtype, and that is all that is asked here
Dims = tuple[int | str, ...]


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output: its name (the same string from ONNX to Python), dtype and dims."""

    name: str
    dtype: str
    dims: Dims

    def __post_init__(self) -> None:
        if not TENSOR_NAME.fullmatch(self.name):
            raise ValueError(f"tensor name {self.name!r} is not a lower-case identifier of at most 64 characters")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype {self.dtype!r} is none of {', '.join(DTYPES)}")
        for dim in self.dims:
            if isinstance(dim, str) and not DIM_NAME.fullmatch(dim):
                raise ValueError(f"dim name {dim!r} is not an upper-case name")
            if isinstance(dim, int) and not 0 <= dim < 2**31:
                raise ValueError(f"dim {dim} is out of range")

    @property
    def text(self) -> str:
        """Dims and dtype as messages show them: (B, 3, 224, 224) float32."""
        return f"({', '.join(map(str, self.dims))}) {self.dtype}"


class Padding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An axis along which calls of different sizes may be padded to merge.

    dim: the name of the axis
    values: what fills each input along it; an input that has the axis and no value here forbids padding
    buckets: the sizes that it is padded to, ascending; empty means any
    """

    dim: str
    values: dict[str, float]
    buckets: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if list(self.buckets) != sorted(set(self.buckets)) or any(size < 1 for size in self.buckets):
            raise ValueError(f"buckets {list(self.buckets)} are not ascending sizes")

    def bucket(self, size: int) -> int:
        """The smallest bucket that holds `size`; `size` itself without buckets. Raises SpecError above the last."""
        if not self.buckets:
            return size
        for bucket in self.buckets:
            if bucket >= size:
                return bucket
        raise SpecError(f"[spec] {self.dim}: at most {self.buckets[-1]}, got {size}", hint="shorten the input")


class GraphSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contract of one graph.

    batch: the dim along which calls may merge; empty if none may
    items: the dim of what is asked of a row, each answered by itself, such as the prompts of one picture: calls may
        also merge along it if their inputs without it are the same; empty if none may
    limits: for a named dim, its smallest and largest size
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batch: str = ""
    pads: tuple[Padding, ...] = ()
    limits: dict[str, tuple[int, int]] = {}
    items: str = ""

    def __post_init__(self) -> None:
        names = [t.name for t in (*self.inputs, *self.outputs)]
        if len(set(names)) != len(names):
            raise ValueError("two tensors share one name")
        if not self.inputs or not self.outputs:
            raise ValueError("a graph has at least one input and one output")
        known = {dim for t in self.inputs for dim in t.dims if isinstance(dim, str)}
        for dim in [*filter(None, (self.batch, self.items)), *(pad.dim for pad in self.pads), *self.limits]:
            if dim not in known:
                raise ValueError(f"dim {dim!r} is in no input")
        for low, high in self.limits.values():
            if not 0 <= low <= high:
                raise ValueError(f"limits {low}..{high} are not in order")
        if self.items:
            self._check_items()

    def check(self, inputs: Mapping[str, Array], graph: str = "graph") -> dict[str, int]:
        """The size of each named dim, once every input has been found to fit.

        Raises SpecError that names graph, tensor, what was expected and what came.
        """
        if len(inputs) != len(self.inputs) or any(t.name not in inputs for t in self.inputs):
            self._refuse_names(inputs, graph)
        sizes: dict[str, int] = {}
        for tensor in self.inputs:
            array = inputs[tensor.name]
            shape = getattr(array, "shape", None)
            if shape is None or len(shape) != len(tensor.dims) or array.dtype != tensor.dtype:
                raise SpecError(f"[{graph}] {tensor.name}: expected {tensor.text}, got {describe(array)}", hint=FIX)
            for dim, size in zip(tensor.dims, shape, strict=True):
                if (sizes.setdefault(dim, size) if isinstance(dim, str) else dim) != size:
                    self._refuse_dim(graph, tensor, dim, sizes, array)
        for dim, (low, high) in self.limits.items():
            if not low <= sizes[dim] <= high:
                raise SpecError(f"[{graph}] {dim}: between {low} and {high}, got {sizes[dim]}", hint=FIX)
        return sizes

    def shapes(self, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]] | None:
        """Shape of each output, given the sizes from `check`; None if an output has a dim that no input has."""
        try:
            return {t.name: tuple(sizes[d] if isinstance(d, str) else d for d in t.dims) for t in self.outputs}
        except KeyError:
            return None

    def _check_items(self) -> None:
        if self.items == self.batch:
            raise ValueError(f"items: {self.items} is the batch axis")
        if any(t.dims.count(self.items) != 1 for t in self.outputs):
            raise ValueError(f"items: an output does not have {self.items} once")
        if any(t.dims.count(self.items) > 1 for t in self.inputs) or all(self.items in t.dims for t in self.inputs):
            raise ValueError(f"items: no input is without {self.items}, or one has it twice")

    def _refuse_names(self, inputs: Mapping[str, Array], graph: str) -> None:
        want = [t.name for t in self.inputs]
        raise SpecError(f"[{graph}] inputs: expected {_listed(want)}, got {_listed(inputs)}", hint=FIX)

    def _refuse_dim(
        self, graph: str, tensor: TensorSpec, dim: int | str, sizes: Mapping[str, int], array: Array
    ) -> None:
        why = f" with {dim} = {sizes[dim]} as in the inputs before" if isinstance(dim, str) else ""
        raise SpecError(f"[{graph}] {tensor.name}: expected {tensor.text}{why}, got {describe(array)}", hint=FIX)


FIX = "see the graph's inputs with `saccade inspect`; pictures pass through `preprocess` first"


def describe(value: Array) -> str:
    """Shape and dtype of an array as messages show them; the type's name for anything else."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"({', '.join(map(str, value.shape))}) {value.dtype}"
    return type(value).__name__


def _listed(names: Iterable[str]) -> str:
    shown = [repr(str(name)[:64])[1:-1] for name in list(names)[:16]]
    return ", ".join(shown) or "none"


def zeros(tensors: Iterable[TensorSpec], sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Arrays of zeros of the right shape and dtype; a named dim that `sizes` lacks is 1. NumPy has no bfloat16."""
    made = {}
    for t in tensors:
        dtype = "uint16" if t.dtype == "bfloat16" else t.dtype
        made[t.name] = np.zeros([sizes.get(d, 1) if isinstance(d, str) else d for d in t.dims], dtype)
    return made
