"""Layout: how calls of one graph become one run, and its outputs their answers again.

    inputs ── pad ── concatenate along the batch axis ──▶ engine ──▶ cut ── copy ── each caller's outputs
                     or, of one picture, along its items

Works on whatever np.concatenate takes, so CuPy arrays stay on their device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from saccade.runtime.errors import BadOutput
from saccade.runtime.spec import Array, GraphSpec, Padding, TensorSpec, describe

Sizes = Mapping[str, int]
Outputs = dict[str, Array]


class Layout:
    """What a spec says about merging.

    refusal: why calls of this graph never merge; empty if they may
    pads: the dims that may be padded: each input that has one has a value for it
    shared: the inputs without the spec's items; calls in which they are the same arrays may be joined
    """

    def __init__(self, spec: GraphSpec):
        self.spec = spec
        self.refusal = _refusal(spec)
        self.pads: dict[str, Padding] = {}
        self.shared: tuple[str, ...] = ()
        if self.refusal:
            return
        self.pads = {
            pad.dim: pad
            for pad in spec.pads
            if pad.dim != spec.batch and all(t.name in pad.values for t in spec.inputs if pad.dim in t.dims)
        }
        if spec.items:
            self.shared = tuple(t.name for t in spec.inputs if spec.items not in t.dims)
        self._rows = {t.name: t.dims.index(spec.batch) for t in (*spec.inputs, *spec.outputs)}

    def gather(self, parts: Sequence[tuple[Mapping[str, Array], Sizes]], rows: int, to: Sizes) -> dict[str, Array]:
        """The inputs of one run.

        parts: each call's inputs and sizes; rows: of the run: the last row is repeated where the calls have fewer
        to: the size of each padded dim in the run
        """
        missing = rows - sum([sizes[self.spec.batch] for _, sizes in parts])
        return {t.name: self._gathered(t, parts, missing, to) for t in self.spec.inputs}

    def split(self, outputs: Outputs, parts: Sequence[Sizes], to: Sizes) -> list[Outputs]:
        """Each call's outputs, copied: a slice would keep the whole batch alive as long as its caller keeps it."""
        if not any(sizes.get(dim, size) != size for dim, size in to.items() for sizes in parts) and not any(
            self._rows[t.name] for t in self.spec.outputs
        ):
            return _split_rows([(t.name, outputs[t.name]) for t in self.spec.outputs], parts, self.spec.batch)
        answers, start = [], 0
        for sizes in parts:
            stop = start + sizes[self.spec.batch]
            bounds = {**sizes, self.spec.batch: None}
            cut = {}
            for t in self.spec.outputs:
                where = [slice(start, stop) if d == self.spec.batch else slice(bounds.get(str(d))) for d in t.dims]
                cut[t.name] = outputs[t.name][tuple(where)].copy()
            answers.append(cut)
            start = stop
        return answers

    def join(self, parts: Sequence[tuple[Mapping[str, Array], Sizes]], to: Sizes) -> dict[str, Array]:
        """The inputs of one run of calls whose shared inputs are the same: those once, the items one behind the other.

        to: the size of each padded dim in the run, but for the items themselves
        """
        made = {}
        for tensor in self.spec.inputs:
            arrays = [inputs[tensor.name] for inputs, _ in parts]
            for dim in to:
                if dim in tensor.dims:
                    arrays = [
                        _padded(a, tensor.dims.index(dim), to[dim], self.pads[dim].values[tensor.name]) for a in arrays
                    ]
            own = self.spec.items in tensor.dims
            made[tensor.name] = np.concatenate(arrays, tensor.dims.index(self.spec.items)) if own else arrays[0]
        return made

    def part(self, outputs: Outputs, parts: Sequence[Sizes]) -> list[Outputs]:
        """Each joined call's outputs, copied, without padding."""
        answers, start, items = [], 0, self.spec.items
        for sizes in parts:
            stop = start + sizes[items]
            cut = {}
            for t in self.spec.outputs:
                where = [slice(start, stop) if d == items else slice(sizes.get(str(d))) for d in t.dims]
                cut[t.name] = outputs[t.name][tuple(where)].copy()
            answers.append(cut)
            start = stop
        return answers

    def _gathered(
        self, tensor: TensorSpec, parts: Sequence[tuple[Mapping[str, Array], Sizes]], missing: int, to: Sizes
    ) -> Array:
        name, axis = tensor.name, self._rows[tensor.name]
        arrays = [inputs[name] for inputs, _ in parts]
        for dim in to:
            if dim in tensor.dims:
                arrays = [_padded(a, tensor.dims.index(dim), to[dim], self.pads[dim].values[name]) for a in arrays]
        if missing:
            last = arrays[-1][(slice(None),) * axis + (slice(-1, None),)]
            arrays += [last] * missing  # a real row: zeros could make NaN
        return np.concatenate(arrays, axis) if len(arrays) > 1 else arrays[0]


def refuse_bad(graph: str, spec: GraphSpec, outputs: Outputs, sizes: Sizes, *, nan: bool) -> None:
    """Raise BadOutput unless each output is there and has its shape, and, without `nan`, holds no NaN."""
    for tensor in spec.outputs:
        array = outputs.get(tensor.name)
        shape = getattr(array, "shape", ())
        want = tuple(sizes.get(dim) if isinstance(dim, str) else dim for dim in tensor.dims)
        if array is None or shape != want:
            fits = len(shape) == len(want) and all(w in (None, s) for w, s in zip(want, shape, strict=True))
            if array is None or not fits:
                text = f"({', '.join(str(d if w is None else w) for d, w in zip(tensor.dims, want, strict=True))})"
                raise BadOutput(f"[{graph}] {tensor.name}: expected {text}, got {describe(array)}", hint=_HINT)
        if not nan and array.dtype.kind == "f" and array.size:
            least = array.min()
            if least != least:
                raise BadOutput(f"[{graph}] {tensor.name}: the engine returned NaN", hint=_HINT)


_HINT = "run the same input with backend='onnxruntime', precision='fp32'; if it is fine there, the engine is at fault"


def _refusal(spec: GraphSpec) -> str:
    if not spec.batch:
        return "its spec names no batch axis"
    for tensor in (*spec.inputs, *spec.outputs):
        if tensor.dims.count(spec.batch) != 1:
            return f"{tensor.name} has the batch axis {spec.batch} {tensor.dims.count(spec.batch)} times"
    return ""


def _padded(array: Array, axis: int, size: int, value: float) -> Array:
    have = array.shape[axis]
    if have == size:
        return array
    shape = (*array.shape[:axis], size - have, *array.shape[axis + 1 :])
    return np.concatenate([array, np.full_like(array, value, shape=shape)], axis)


def _split_rows(outputs: list[tuple[str, Array]], parts: Sequence[Sizes], batch: str) -> list[Outputs]:
    one = parts[0]
    if one[batch] == 1 and all([sizes is one for sizes in parts]) and all([type(a) is np.ndarray for _, a in outputs]):
        # A row each, the usual case: stepping through an array is faster than slicing it.
        columns = [[row.copy() for row in array[: len(parts), None]] for _, array in outputs]
        names = [name for name, _ in outputs]
        if len(names) == 1:
            return [{names[0]: row} for row in columns[0]]
        return [dict(zip(names, rows, strict=True)) for rows in zip(*columns, strict=True)]
    answers: list[Outputs] = []
    start = 0
    for sizes in parts:
        stop = start + sizes[batch]
        answers.append({name: array[start:stop].copy() for name, array in outputs})
        start = stop
    return answers
