"""What an ONNX file points at, read from its bytes before any engine sees them.

A model may keep tensors in other files. The engine would follow such a name wherever it leads, so the names are found
first, by walking the protobuf wire format (https://protobuf.dev/programming-guides/encoding) through the messages of
onnx.proto that can hold a tensor. Nothing is decoded but the fields that say where data lies. Where parsers are known
to differ (numbers too long for their type, a message given twice, a field of another wire type) the file is refused,
so that no engine can see a tensor that was not seen here.
"""

from __future__ import annotations

import re
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
_SINGLE = {"model": {7}, "training": {1, 2}, "attribute": {5, 6, 22}, "sparse": {1, 2}}  # twice means merged
_DIMS, _DTYPE, _EXTERNAL, _LOCATION = 1, 2, 13, 14
_KEYS = ("location", "offset", "length", "checksum")
_ITEM_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128}
_ITEM_BITS |= {16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4}
_MAX_DEPTH = 64
_MAX_DIMS = 64
_MAX_FIELDS = 1 << 21  # 15 to 20 of them make a node; 2 s of one core and 300 MB at most
_MAX_TAG = (1 << 32) - 1  # C++ drops what is above and would read another field's number


@dataclass(frozen=True)
class External:
    """Where a tensor's data lies outside the model file, in bytes; length -1 means to the file's end."""

    location: str
    offset: int
    length: int
    nbytes: int


def external(data: bytes | memoryview, name: str) -> list[External]:
    """The external tensors of the ONNX model in `data`.

    Raises CorruptBundle if it is not well-formed, or has more parts or depth than a model needs. Time is bounded by the
    number of fields, memory by the number of messages.
    """
    with memoryview(data) as view:  # given back even while an error's traceback still knows it: mmap waits for that
        try:
            return list(Scan(view).tensors())
        except ValueError as error:
            raise CorruptBundle(name, "an ONNX model", str(error)[:120]) from None


def refuse_outside(data: bytes | memoryview, name: str, sizes: Mapping[str, int]) -> bool:
    """Whether the model has external tensors, all of them inside files of `sizes` (name → bytes).

    Raises UnsafePath for a name that is not listed as a .data file, CorruptBundle for a range outside the file.
    """
    tensors = external(data, name)
    for tensor in tensors:
        if tensor.location not in sizes or not tensor.location.endswith(".data"):
            raise UnsafePath(
                f"[bundle] {name}: external data in {tensor.location[:128]!a}, which is not a listed .data file",
                hint="export the model again; a bundle lists every file that its models name",
            )
        length = sizes[tensor.location] - tensor.offset if tensor.length < 0 else tensor.length
        if length != tensor.nbytes or tensor.offset + length > sizes[tensor.location]:
            raise CorruptBundle(
                name,
                f"external data inside the {sizes[tensor.location]} bytes of {tensor.location}",
                f"{tensor.nbytes} bytes of which {length} are at {tensor.offset}",
            )
    return bool(tensors)


class Scan:
    """One walk over the bytes of a model; `left` is how many fields it may still meet."""

    def __init__(self, view: memoryview):
        self.view, self.left = view, _MAX_FIELDS

    def messages(self) -> Iterator[tuple[str, int, int]]:
        """Each message that _CHILDREN names, as (kind, start, end). Raises ValueError for what is not well-formed."""
        stack = [("model", 0, len(self.view), 0)]
        while stack:
            kind, start, end, depth = stack.pop()
            if depth > _MAX_DEPTH:
                raise ValueError("nested too deeply")
            yield kind, start, end
            children, single = _CHILDREN.get(kind, {}), set(_SINGLE.get(kind, ()))
            seen = set()
            for field, wire, low, high in self.fields(start, end) if children else ():
                if field in children:
                    if wire != 2 or field in seen:
                        raise ValueError(f"field {field} of a {kind} is no message, or stands twice")
                    if field in single:
                        seen.add(field)
                    stack.append((children[field], low, high, depth + 1))

    def tensors(self) -> Iterator[External]:
        for kind, start, end in self.messages():
            if kind == "tensor":
                yield from self.tensor(start, end)

    def tensor(self, start: int, end: int) -> Iterator[External]:
        entries: dict[str, str] = {}
        dims: list[int] = []
        dtype = location = 0
        for field, wire, low, high in self.fields(start, end):
            if field == _DIMS and wire == 2:
                self.packed(low, high, dims)
            elif field in (_DIMS, _DTYPE, _LOCATION) and wire != 0 or field == _EXTERNAL and wire != 2:
                raise ValueError(f"field {field} of a tensor has wire type {wire}")
            elif field == _DIMS:
                dims.append(low)
            elif field == _DTYPE:
                dtype = low
            elif field == _LOCATION:
                location = low
            elif field == _EXTERNAL:
                key, value = self.entry(low, high)
                if key not in _KEYS or key in entries:
                    raise ValueError(f"external data with {key[:32]!a}, or that twice")
                entries[key] = value
            if len(dims) > _MAX_DIMS:
                raise ValueError(f"a tensor of more than {_MAX_DIMS} dims")
        if location or entries:
            bits = _ITEM_BITS.get(dtype, 0)
            if not bits:
                raise ValueError(f"an external tensor of type {dtype}")
            for dim in dims:
                bits *= dim
            length = _bytes(entries["length"]) if "length" in entries else -1
            yield External(entries.get("location", ""), _bytes(entries.get("offset", "0")), length, (bits + 7) // 8)

    def packed(self, at: int, end: int, dims: list[int]) -> None:
        while at < end and len(dims) <= _MAX_DIMS:
            dim, at = self.varint(at, end)
            dims.append(dim)

    def entry(self, start: int, end: int) -> tuple[str, str]:
        parts = {1: "", 2: ""}
        for field, wire, low, high in self.fields(start, end):
            if field not in parts or wire != 2 or parts[field]:
                raise ValueError("an entry of external data is not one key and one value")
            parts[field] = bytes(self.view[low : min(high, low + 4096)]).decode(errors="replace")
        return parts[1], parts[2]

    def fields(self, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """(field, wire type, low, high): the value itself in `low` for a number, the range of its bytes otherwise."""
        while at < end:
            self.left -= 1
            if self.left < 0:
                raise ValueError(f"more than {_MAX_FIELDS} fields")
            tag, at = self.varint(at, end)
            field, wire = tag >> 3, tag & 7
            if tag > _MAX_TAG or not field:
                raise ValueError("a field number that is out of range")
            if wire == 0:
                value, at = self.varint(at, end)
                yield field, wire, value, 0
                continue
            if wire == 2:
                size, at = self.varint(at, end)
            elif wire in (1, 5):
                size = 8 if wire == 1 else 4
            else:
                raise ValueError(f"wire type {wire}")
            if size > end - at:
                raise ValueError(f"a field of {size} bytes where {end - at} are left")
            yield field, wire, at, at + size
            at += size

    def varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while at < end:
            byte = self.view[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 64:
                    break
                return value, at
            shift += 7
            if shift > 63:
                break
        raise ValueError("a number that does not end, or has more than 64 bits")


def _bytes(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValueError("an offset or length of external data that is no number")
    return int(text)
