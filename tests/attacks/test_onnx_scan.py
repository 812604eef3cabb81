"""ONNX bytes that parsers read differently, or that cost more to walk than to send (rows B7 and B8)."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto

from saccade.runtime import onnx_scan
from saccade.runtime.errors import BundleError, CorruptBundle, SaccadeError
from tests.attacks.conftest import GOOD, assert_shown_well, digested, model, outside, replace

EVIL = outside({"location": "../secret", "offset": "0", "length": "16"})


def varint(value: int) -> bytes:
    made = b""
    while value > 127:
        made, value = made + bytes([value & 127 | 128]), value >> 7
    return made + bytes([value])


def message(field: int, content: bytes, above: int = 0) -> bytes:
    return varint((field << 3 | 2) + above) + varint(len(content)) + content


EVIL_GRAPH = model(weights=EVIL).graph.SerializeToString()


def _merged_tensor() -> bytes:
    """One attribute whose tensor comes in two parts, each harmless by itself."""
    parts = [outside(GOOD).SerializeToString(), TensorProto(dims=[1000]).SerializeToString()]
    node = message(5, b"".join(message(5, part) for part in parts))
    return message(7, message(1, node))


DIFFERENTIAL = {
    "tag above 32 bits": message(7, EVIL_GRAPH, above=1 << 32),
    "tag above 35 bits": message(7, EVIL_GRAPH, above=1 << 35),
    "graph in two parts": message(7, b"") + message(7, EVIL_GRAPH),
    "tensor in two parts": _merged_tensor(),
    "group": b"\x3b" + EVIL_GRAPH + b"\x3c",
    "field 0": b"\0\0" + message(7, EVIL_GRAPH),
    "graph as a number": b"\x38\x01",
    "number above 64 bits": b"\x08" + b"\xff" * 9 + b"\x7f",
    "number without end": b"\x08" + b"\xff" * 20,
    "longer than the file": b"\x3a\x7f",
    "length above 64 bits": b"\x3a" + b"\x80" * 9 + b"\x02",
    "dims of another wire type": message(7, message(5, b"\x09" + bytes(8))),
    "dtype of another wire type": message(7, message(5, message(2, b"\x01"))),
    "location of another wire type": message(7, message(5, message(14, b"\x01"))),
}


@pytest.mark.parametrize("what", DIFFERENTIAL)
def test_where_parsers_differ(what, split, watch, attempt):
    replace(split, DIFFERENTIAL[what])
    with watch.refused(CorruptBundle):
        attempt(split)


def test_a_model_under_another_kinds_name_is_not_run(split, watch, attempt):
    """Only .onnx files are scanned, so only they may be a graph's."""
    text = (split / "bundle.json").read_bytes().replace(b"add.onnx", b"add.json")
    (split / "add.onnx").rename(split / "add.json")
    (split / "bundle.json").write_bytes(digested(text))
    with watch.refused(BundleError):
        attempt(split)


@pytest.mark.parametrize(
    "make",
    [
        lambda: message(7, message(1, b"") * 3_000_000),
        lambda: b"\x18\0" * 3_000_000,
        lambda: message(7, message(5, message(1, b"\1" * 3_000_000))),
        lambda: message(7, message(5, b"\x08\1" * 3_000_000)),
        lambda: message(7, message(5, message(13, message(1, b"x" * 3_000_000)))),
        lambda: message(7, message(5, message(13, b"") * 1_000_000)),
    ],
)
def test_work_is_bounded(make):
    data = make()
    started = time.process_time()
    with pytest.raises(CorruptBundle):
        onnx_scan.external(data, "x.onnx")
    assert time.process_time() - started < 10


def test_memory_is_bounded(monkeypatch):
    """Each message that waits costs about 150 bytes; their number is capped."""
    monkeypatch.setattr(onnx_scan, "_MAX_FIELDS", 20_000)
    data = message(7, message(1, b"") * 1_000_000)
    tracemalloc.start()
    with pytest.raises(CorruptBundle, match="more than 20000 fields"):
        onnx_scan.external(data, "x.onnx")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * 20_000


def test_ten_thousand_subgraphs_deep():
    data = b""
    for _ in range(10_000):
        data = message(1, message(5, message(6, data)))
    with pytest.raises(CorruptBundle, match="deep"):
        onnx_scan.external(message(7, data), "x.onnx")


WHOLE = model(weights=outside(GOOD)).SerializeToString()


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_random_bytes(data):
    _scanned(data)


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_random_mutations(data):
    made = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        at, length = data.draw(st.integers(0, len(made))), data.draw(st.integers(0, 8))
        made[at : at + length] = data.draw(st.binary(max_size=8))
    _scanned(bytes(made))


def _scanned(data: bytes) -> None:
    try:
        tensors = onnx_scan.external(data, "x.onnx")
        onnx_scan.refuse_outside(data, "x.onnx", {"w.data": 16})
    except SaccadeError as error:
        assert_shown_well(error)
        return
    try:
        read = ModelProto.FromString(data)
    except Exception:
        return  # what nobody can parse holds nothing
    really = [t for t in read.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    assert len(really) <= len(tensors)
    assert all(e.value == "w.data" for t in really for e in t.external_data if e.key == "location")
