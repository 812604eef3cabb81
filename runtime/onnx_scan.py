"""What an ONNX file points at, read from its bytes before any engine sees them.

A model may keep tensors in other files. The engine would follow such a name wherever it leads, so the names are found
first, by walking the protobuf wire format (https://protobuf.dev/programming-guides/encoding) through the messages of
onnx.proto that can hold a tensor. Nothing is decoded but the fields that say where data lies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from saccade.runtime.errors import CorruptBundle, UnsafePath

# message → field number → message of that field; the numbers are onnx.proto's and never change.
_CHILDREN = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_DIMS, _DTYPE, _EXTERNAL, _LOCATION = 1, 2, 13, 14
_ITEM_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16}
_ITEM_BITS |= {17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4}
_MAX_DEPTH = 64


@dataclass(frozen=True)
class External:
    """Where a tensor's data lies outside the model file, in bytes; length -1 means to the file's end."""

    location: str
    offset: int
    length: int
    nbytes: int


def external(data: bytes | memoryview, name: str) -> list[External]:
    """The external tensors of the ONNX model in `data`. Raises CorruptBundle if it is not well-formed protobuf."""
    view = memoryview(data)
    found: list[External] = []
    stack = [("model", 0, len(view), 0)]
    try:
        while stack:
            kind, start, end, depth = stack.pop()
            if depth > _MAX_DEPTH:
                raise ValueError("nested too deeply")
            if kind == "tensor":
                found += _tensor(view, start, end)
                continue
            children = _CHILDREN[kind]
            for field, wire, low, high in _fields(view, start, end):
                if field in children:
                    if wire != 2:
                        raise ValueError(f"field {field} of a {kind} is no message")
                    stack.append((children[field], low, high, depth + 1))
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise CorruptBundle(name, "an ONNX model", str(error)[:120]) from None
    return found


def refuse_outside(data: bytes | memoryview, name: str, sizes: Mapping[str, int]) -> bool:
    """Whether the model has external tensors, all of them inside files of `sizes` (name → bytes).

    Raises UnsafePath for a name that is not listed as a .data file, CorruptBundle for a range outside the file.
    """
    tensors = external(data, name)
    for tensor in tensors:
        if tensor.location not in sizes or not tensor.location.endswith(".data"):
            raise UnsafePath(
                f"[bundle] {name}: external data in {tensor.location[:128]!r}, which is not a listed .data file",
                hint="export the model again; a bundle lists every file that its models name",
            )
        length = sizes[tensor.location] - tensor.offset if tensor.length < 0 else tensor.length
        if tensor.offset < 0 or length != tensor.nbytes or tensor.offset + length > sizes[tensor.location]:
            raise CorruptBundle(name, f"external data inside {tensor.location}", f"{tensor.offset}+{tensor.length}")
    return bool(tensors)


def _tensor(view: memoryview, start: int, end: int) -> list[External]:
    entries: dict[str, str] = {}
    dims: list[int] = []
    dtype = location = 0
    for field, wire, low, high in _fields(view, start, end):
        if field == _DIMS and wire == 2:
            at = low
            while at < high:
                size, at = _varint(view, at, high)
                dims.append(size)
        elif field == _DIMS:
            dims.append(low)
        elif field == _DTYPE:
            dtype = low
        elif field == _LOCATION:
            location = low
        elif field == _EXTERNAL:
            parts = {f: bytes(view[a:b]).decode() for f, w, a, b in _fields(view, low, high) if w == 2}
            entries[parts.get(1, "")] = parts.get(2, "")
    if not location and not entries:
        return []
    if dtype not in _ITEM_BITS or len(dims) > 64:
        raise ValueError(f"an external tensor of type {dtype} with {len(dims)} dims")
    bits = _ITEM_BITS[dtype]
    for dim in dims:
        bits *= dim
    offset, length = int(entries.get("offset", "0")), int(entries.get("length", "-1"))
    return [External(entries.get("location", ""), offset, length, (bits + 7) // 8)]


def _fields(view: memoryview, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(field, wire type, low, high): the value itself in `low` for a number, the range of its bytes otherwise."""
    while at < end:
        tag, at = _varint(view, at, end)
        field, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(view, at, end)
            yield field, wire, value, 0
            continue
        if wire == 2:
            size, at = _varint(view, at, end)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if size > end - at:
            raise ValueError(f"a field of {size} bytes where {end - at} are left")
        yield field, wire, at, at + size
        at += size


def _varint(view: memoryview, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= end or shift > 63:
            raise ValueError("a number that does not end")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
