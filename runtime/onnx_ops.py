"""Which ops of ours an ONNX file has, read from its bytes as `onnx_scan` does.

An op of ours is a node of the domain `saccade`. The model carries its body as a function of the same name, so any
engine can run the file; a node without one would run only where our library is, and is refused.
"""

from __future__ import annotations

from saccade.runtime.errors import CorruptBundle
from saccade.runtime.onnx_scan import Scan

DOMAIN = "saccade"
# Field numbers of onnx.proto, where name and domain stand.
_NAMES = {"node": (4, 7), "function": (1, 10)}
_IMPORTS, _IMPORTED = 8, 1
_LONGEST = 128


def own_ops(data: bytes | memoryview, name: str) -> frozenset[str]:
    """Names of the ops of ours in the model `data`; each has a body in it.

    Raises CorruptBundle if one has none, or the model is not well-formed. A model that does not import the domain costs
    a look at its outermost fields.
    """
    with memoryview(data) as view:
        try:
            if not _imports(view):
                return frozenset()
            found = _named(view)
        except ValueError as error:
            raise CorruptBundle(name, "an ONNX model", str(error)[:120]) from None
    if bare := found["node"] - found["function"]:
        raise CorruptBundle(name, "a body for each op of saccade", f"none for {', '.join(sorted(bare))[:200]}")
    return frozenset(found["node"])


def _imports(view: memoryview) -> bool:
    scan = Scan(view)
    for field, wire, low, high in scan.fields(0, len(view)):
        if field == _IMPORTS and wire == 2 and _text(scan, low, high, _IMPORTED) == DOMAIN:
            return True
    return False


def _named(view: memoryview) -> dict[str, set[str]]:
    scan, found = Scan(view), {kind: set[str]() for kind in _NAMES}
    for kind, start, end in scan.messages():
        if kind in _NAMES:
            op, domain = (_text(scan, start, end, field) for field in _NAMES[kind])
            if domain == DOMAIN:
                found[kind].add(op)
    return found


def _text(scan: Scan, start: int, end: int, wanted: int) -> str:
    """The text of that field; "" without one. Where it stands twice parsers take the last."""
    text = ""
    for field, wire, low, high in scan.fields(start, end):
        if field == wanted:
            if wire != 2:
                raise ValueError(f"field {field}, a name, has wire type {wire}")
            text = bytes(scan.view[low : min(high, low + _LONGEST)]).decode(errors="replace")
    return text
