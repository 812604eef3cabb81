"""Merging and taking apart: each caller gets its own rows, whatever was padded, filled or next to it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.runtime.errors import BadOutput
from saccade.runtime.scheduling.merge import Layout, refuse_bad
from saccade.runtime.spec import GraphSpec, Padding, TensorSpec
from tests.runtime.scheduling.conftest import line_spec

TOKENS = GraphSpec(
    inputs=(TensorSpec("ids", "int64", ("B", "N")), TensorSpec("seen", "float32", ("B", 3, "N"))),
    outputs=(TensorSpec("each", "float32", ("B", "N", 2)), TensorSpec("all", "float32", ("B",))),
    batch="B",
    pads=(Padding("N", {"ids": -2, "seen": 0.5}),),
)
TURNED = GraphSpec(  # the batch axis is not the first one
    inputs=(TensorSpec("x", "float32", (2, "B", "K")),), outputs=(TensorSpec("y", "float32", ("K", "B")),), batch="B"
)


def tokens(rows, size, value):
    ids = np.full((rows, size), value) + np.arange(rows)[:, None]
    seen = np.full((rows, 3, size), value, np.float32)
    return {"ids": ids, "seen": seen}, {"B": rows, "N": size}


def run(inputs):
    """What an engine could do: each row for itself, padding (-2) left out."""
    ids = inputs["ids"]
    each = np.stack([ids, ids * 10], -1).astype(np.float32)
    return {"each": each, "all": np.where(ids == -2, 0, ids).sum(1).astype(np.float32)}


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 6)), min_size=1, max_size=6), st.integers(0, 4))
def test_answers_do_not_depend_on_neighbours_padding_or_filling(shapes, fill):
    layout = Layout(TOKENS)
    parts = [tokens(rows, size, 100 * (i + 1)) for i, (rows, size) in enumerate(shapes)]
    sizes = [s for _, s in parts]
    rows, to = sum(s["B"] for s in sizes) + fill, {"N": max(s["N"] for s in sizes)}
    merged = layout.gather(parts, rows, to)
    assert merged["ids"].shape == (rows, to["N"])
    assert merged["seen"].shape == (rows, 3, to["N"])
    outputs = run(merged)
    for (inputs, _), answer in zip(parts, layout.split(outputs, sizes, to), strict=True):
        want = run(inputs)
        for name, array in want.items():
            np.testing.assert_array_equal(answer[name], array)
            assert answer[name].base is None  # nothing keeps the batch alive
            assert not np.shares_memory(answer[name], outputs[name])


def test_padding_takes_the_values_of_the_spec():
    merged = Layout(TOKENS).gather([tokens(1, 2, 7), tokens(1, 4, 9)], 2, {"N": 4})
    assert merged["ids"].tolist() == [[7, 7, -2, -2], [9, 9, 9, 9]]
    assert merged["seen"][0, 0].tolist() == [7, 7, 0.5, 0.5]
    assert merged["ids"].dtype == np.int64


def test_a_batch_is_filled_with_its_last_row():
    parts = [
        ({"x": np.array([[1, 1]], np.float32)}, {"B": 1}),
        ({"x": np.array([[2, 2], [3, 3]], np.float32)}, {"B": 2}),
    ]
    assert Layout(line_spec()).gather(parts, 5, {})["x"][:, 0].tolist() == [1, 2, 3, 3, 3]
    assert Layout(line_spec()).gather(parts[:1], 3, {})["x"][:, 0].tolist() == [1, 1, 1]


def test_the_batch_axis_may_be_any():
    layout = Layout(TURNED)
    parts = [({"x": np.full((2, rows, 3), rows, np.float32)}, {"B": rows, "K": 3}) for rows in (1, 2, 3)]
    merged = layout.gather(parts, 7, {})
    assert merged["x"].shape == (2, 7, 3)
    answers = layout.split({"y": merged["x"][0].T}, [s for _, s in parts], {})
    assert [a["y"].tolist() for a in answers] == [[[float(n)] * n] * 3 for n in (1, 2, 3)]


def test_zero_rows_are_a_size_like_any_other():
    layout = Layout(line_spec())
    parts = [({"x": np.full((rows, 2), rows, np.float32)}, {"B": rows}) for rows in (2, 0, 1)]
    merged = layout.gather(parts, 3, {})
    answers = layout.split({"y": merged["x"]}, [s for _, s in parts], {})
    assert [a["y"].shape for a in answers] == [(2, 2), (0, 2), (1, 2)]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (line_spec(batch=""), "names no batch axis"),
        (
            GraphSpec((TensorSpec("x", "float32", ("B",)), TensorSpec("k", "float32", ())), line_spec().outputs, "B"),
            "k",
        ),
        (GraphSpec(line_spec().inputs, (TensorSpec("y", "float32", (2,)),), "B"), "y has the batch axis B 0 times"),
        (GraphSpec(line_spec().inputs, (TensorSpec("y", "float32", ("B", "B")),), "B"), "2 times"),
    ],
)
def test_what_cannot_be_told_apart_does_not_merge(spec, says):
    assert says in Layout(spec).refusal


def test_a_pad_without_a_value_for_each_input_forbids_padding():
    spec = GraphSpec(TOKENS.inputs, TOKENS.outputs, "B", (Padding("N", {"ids": 0}),))
    assert Layout(TOKENS).pads
    assert not Layout(spec).pads


def test_outputs_are_checked():
    spec, sizes, good = line_spec(), {"B": 2}, np.zeros((2, 2), np.float32)
    refuse_bad("g", spec, {"y": good}, sizes, nan=False)
    bad = np.full((2, 2), np.nan, np.float32)
    refuse_bad("g", spec, {"y": bad}, sizes, nan=True)
    infinite = np.array([[np.inf, -np.inf], [0, 0]], np.float32)
    refuse_bad("g", spec, {"y": infinite}, sizes, nan=False)  # a masked logit is -inf
    for outputs in ({}, {"y": None}, {"y": good[:1]}, {"y": good[0]}, {"y": bad}, {"y": good.tolist()}):
        with pytest.raises(BadOutput, match=r"\[g\] y: ") as caught:
            refuse_bad("g", spec, outputs, sizes, nan=False)
        assert caught.value.hint
    refuse_bad("g", GraphSpec(spec.inputs, (TensorSpec("y", "int64", ("B", "M")),)), {"y": good}, sizes, nan=False)
    refuse_bad("g", spec, {"y": good[:0]}, {"B": 0}, nan=False)
