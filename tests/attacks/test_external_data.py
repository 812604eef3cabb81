"""ONNX files that point outside themselves (row B7): found wherever they hide, before any engine sees them."""

from __future__ import annotations

import os

import numpy as np
import pytest
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper

from saccade.runtime import onnx_scan
from saccade.runtime.bundle import Bundle, write
from saccade.runtime.errors import CorruptBundle, UnsafePath
from tests.attacks.conftest import GOOD, WEIGHTS, model, outside, relist, replace, with_external


def test_external_data_that_is_listed_works(split, attempt):
    opened = Bundle.open(split)
    assert opened.has_external("add.onnx")
    assert np.array_equal(attempt(split)["add"], np.tile(1 + WEIGHTS, (2, 1)))


@pytest.mark.parametrize(
    "entries", [{"location": "w.data"}, {**GOOD, "checksum": "00"}, {"location": "w.data", "offset": "0"}]
)
def test_offset_and_length_may_be_left_out(entries, split, attempt):
    replace(split, model(weights=outside(entries)))
    assert np.array_equal(attempt(split)["add"], np.tile(1 + WEIGHTS, (2, 1)))


LOCATIONS = [
    "../w.data", "junk/../../w.data", "./w.data", "/etc/passwd", "/dev/zero", "", ".", "..", "w.data/",
    "w.data\0",
    "W.data", "w.data ", "other.data", "add.onnx", "labels.txt", "bundle.json", "\\w.data", "C:\\w.data", "file://w.data",
    "*/_ORT_MEM_ADDR_/*", "\x1b[2J.data", "x" * 5000, "é.data",
]  # fmt: skip


@pytest.mark.parametrize("location", LOCATIONS, ids=lambda v: ascii(v)[:30])
def test_locations(location, split, watch, attempt):
    (split.parent / "w.data").write_bytes(WEIGHTS.tobytes())
    (split / "other.data").write_bytes(WEIGHTS.tobytes())  # there, but not listed
    replace(split, model(weights=outside({**GOOD, "location": location})))
    with watch.refused(UnsafePath):
        attempt(split)


RANGES = [
    {"offset": "-4"}, {"offset": "4"}, {"offset": "17"}, {"offset": "9" * 18}, {"offset": "9" * 19},
    {"offset": "9" * 5000},
    {"offset": "0x0"}, {"offset": " 0"}, {"offset": "0 "}, {"offset": "+0"}, {"offset": "1_0"}, {"offset": "٠"},
    {"offset": "1e0"}, {"offset": "0.0"}, {"offset": "\n"}, {"length": "-1"}, {"length": "0"}, {"length": "15"},
    {"length": "17"}, {"length": str(2**50)}, {"length": str(2**64)}, {"length": "x"}, {"basepath": "/"}, {"": "x"},
    {"prepacked_0": "x|0;4;4;"},
]  # fmt: skip


@pytest.mark.parametrize("entries", RANGES, ids=lambda v: ascii(v)[:30])
def test_ranges(entries, split, watch, attempt):
    replace(split, model(weights=outside({**GOOD, **entries})))
    with watch.refused(CorruptBundle):
        attempt(split)


@pytest.mark.parametrize(
    "dims", [(5,), (3,), (), (2**40, 2**20), (-4,), (-2, -2), (2**62, 4), (2**63 - 1,) * 20, (4, 0), (4,) + (1,) * 64]
)
def test_dims(dims, split, watch, attempt):
    replace(split, model(weights=outside(GOOD, dims)))
    with watch.refused(CorruptBundle):
        attempt(split)


@pytest.mark.parametrize("dtype", [0, TensorProto.STRING, 99, TensorProto.DOUBLE, TensorProto.INT4])
def test_dtypes(dtype, split, watch, attempt):
    weights = outside(GOOD)
    weights.data_type = dtype
    replace(split, model(weights=weights))
    with watch.refused(CorruptBundle):
        attempt(split)


def test_location_without_entries_and_entries_without_location(split, watch, attempt):
    replace(split, model(weights=outside({})))
    with watch.refused(UnsafePath):
        attempt(split)
    weights = outside({**GOOD, "location": "/etc/passwd"})
    weights.data_location = TensorProto.DEFAULT
    replace(split, model(weights=weights))
    with watch.refused(UnsafePath):
        attempt(split)


def test_an_entry_given_twice(split, watch, attempt):
    weights = outside(GOOD)
    weights.external_data.add(key="location", value="../w.data")
    replace(split, model(weights=weights))
    with watch.refused(CorruptBundle):
        attempt(split)


# Where a tensor can stand


def _node(**attribute) -> ModelProto:
    made = model()
    made.graph.node[0].attribute.append(AttributeProto(name="hidden", **attribute))
    return made


def _graph() -> GraphProto:
    return helper.make_graph([], "inner", [], [], [EVIL])


EVIL = outside({"location": "../secret", "offset": "0", "length": "16"})


def _in_function() -> ModelProto:
    body = helper.make_node("Constant", [], ["y"], value=EVIL)
    made = model()
    made.functions.append(helper.make_function("saccade", "f", [], ["y"], [body], [helper.make_opsetid("", 17)]))
    return made


def _in_function_default() -> ModelProto:
    made = _in_function()
    del made.functions[0].node[:]
    made.functions[0].attribute_proto.append(AttributeProto(name="a", t=EVIL, type=AttributeProto.TENSOR))
    return made


def _in_training(field: str) -> ModelProto:
    made = model()
    getattr(made.training_info.add(), field).CopyFrom(_graph())
    return made


def _in_sparse_initializer(field: str) -> ModelProto:
    made = model()
    getattr(made.graph.sparse_initializer.add(), field).CopyFrom(EVIL)
    return made


def _sparse():
    return helper.make_sparse_tensor(EVIL, helper.make_tensor("i", TensorProto.INT64, [4], range(4)), [9])


def _in_if() -> ModelProto:
    made = model()
    inner = helper.make_graph([helper.make_node("Constant", [], ["c"], value=EVIL)], "then", [], [])
    loop = helper.make_node("Loop", ["n"], ["z"], body=helper.make_graph([], "body", [], [], [outside(GOOD)]))
    other = helper.make_graph([loop], "else", [], [])
    made.graph.node.append(helper.make_node("If", ["c"], ["o"], then_branch=inner, else_branch=other))
    return made


def _deep() -> ModelProto:
    graph = _graph()
    for _ in range(15):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["o"], then_branch=graph)], "g", [], [])
    return _node(g=graph)


HIDDEN = {
    "initializer": lambda: model(weights=EVIL),
    "constant": lambda: _node(t=EVIL),
    "list of tensors": lambda: _node(tensors=[TensorProto(), EVIL]),
    "subgraph": lambda: _node(g=_graph()),
    "list of subgraphs": lambda: _node(graphs=[_graph()]),
    "sparse attribute": lambda: _node(sparse_tensor=_sparse()),
    "sparse attributes": lambda: _node(sparse_tensors=[_sparse()]),
    "if and loop": _in_if,
    "15 subgraphs deep": _deep,
    "function": _in_function,
    "default of a function": _in_function_default,
    "training, initialization": lambda: _in_training("initialization"),
    "training, algorithm": lambda: _in_training("algorithm"),
    "sparse values": lambda: _in_sparse_initializer("values"),
    "sparse indices": lambda: _in_sparse_initializer("indices"),
}


@pytest.mark.parametrize("where", HIDDEN)
def test_hidden(where, split, watch, attempt):
    replace(split, HIDDEN[where]())
    with watch.refused(UnsafePath):
        attempt(split)
    (split.parent / "cwd").mkdir()
    (split.parent / "secret").write_bytes(WEIGHTS.tobytes())
    held, files = with_external()
    with watch.refused(UnsafePath):  # and it cannot be written either
        write(split.parent / "new.bundle", held, {**files, "add.onnx": HIDDEN[where]().SerializeToString()})


def test_every_message_that_can_hold_a_tensor_is_walked():
    """The table in onnx_scan against onnx's own descriptors: a new place for tensors in onnx.proto fails here."""
    names = {"model": "ModelProto", "training": "TrainingInfoProto", "function": "FunctionProto", "graph": "GraphProto"}
    names |= {
        "node": "NodeProto",
        "attribute": "AttributeProto",
        "sparse": "SparseTensorProto",
        "tensor": "TensorProto",
    }
    kinds = {f"onnx.{full}": kind for kind, full in names.items()}
    todo, seen = [ModelProto.DESCRIPTOR], {}
    while todo:
        message = todo.pop()
        fields = [f for f in message.fields if f.message_type is not None]
        if message.full_name not in seen:
            seen[message.full_name] = {f.number: f.message_type.full_name for f in fields}
            todo += [f.message_type for f in fields]
    holding = {"onnx.TensorProto"}
    while more := {name for name, of in seen.items() if holding & set(of.values())} - holding:
        holding |= more
    for name in holding - {"onnx.TensorProto"}:
        want = {number: kinds[kind] for number, kind in seen[name].items() if kind in holding}
        assert onnx_scan._CHILDREN[kinds[name]] == want


@pytest.mark.parametrize("name", ["w.data", "add.onnx"])
def test_wrong_digest_or_length_of_the_data(name, split, watch, attempt):
    data = (split / name).read_bytes()
    for new in (data[:-1], data + b"\0", data[:-1] + b"\xee", b""):
        (split / name).write_bytes(new)
        with watch.refused(CorruptBundle):
            attempt(split)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_data_behind_a_link(link, split, watch, attempt):
    (split / "w.data").rename(split.parent / "w.data")
    link(split.parent / "w.data", split / "w.data")
    with watch.refused(UnsafePath):
        attempt(split)


def test_data_shorter_than_the_tensor_but_as_listed(split, watch, attempt):
    (split / "w.data").write_bytes(b"123")
    relist(split)
    with watch.refused(CorruptBundle):
        attempt(split)
