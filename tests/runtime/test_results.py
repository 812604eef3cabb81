"""Embeddings, Scores, Matches: parallel arrays."""

import numpy as np
import pytest

from saccade.runtime.errors import SpecError
from saccade.runtime.results import Embeddings, Matches, Scores, normalise


def test_rows_have_unit_length_and_zero_stays_zero():
    rows = normalise(np.array([[3, 4], [0, 0], [-1e-3, 0]], np.float64))
    assert rows.dtype == np.float32
    assert np.allclose(rows, [[0.6, 0.8], [0, 0], [-1, 0]])


@pytest.mark.parametrize("which", [1, slice(1, 2), [1], np.array([False, True, False]), np.array([1])])
def test_everything_that_indexes_arrays_indexes_embeddings(which):
    some = Embeddings(np.eye(3, dtype=np.float32), ("a", "b", "c"))[which]
    assert some.names == ("b",)
    assert some.vectors.tolist() == [[0, 1, 0]]


def test_similarity_is_the_cosine_and_refuses_another_model():
    one = Embeddings.of(np.array([[1.0, 1.0]]), ("x",), "m1")
    two = Embeddings.of(np.array([[1.0, 0.0], [-2.0, -2.0]]), ("y", "z"), "m1")
    assert np.allclose(one.similarity(two), [[2**-0.5, -1]])
    with pytest.raises(SpecError, match="two models"):
        one.similarity(Embeddings(two.vectors, two.names, "m2"))


def test_top_is_ordered_and_stable_among_equals():
    scores = Scores(np.array([[0.2, 0.4, 0.4], [0.9, 0.05, 0.05]], np.float32), ("a", "b", "c"), ("p", "q"))
    assert [label for label, _ in scores.top(2)[0]] == ["b", "c"]
    assert scores.best == ("b", "a")
    assert len(scores.top(10)[0]) == 3
    assert scores[1].names == ("q",)
    assert scores[np.array([False, True])].best == ("a",)


def test_matches_are_indexed_together():
    found = Matches("q", ("a", "b", "c"), np.array([3, 2, 1], np.float32))
    assert found[:2].names == ("a", "b")
    assert found[found.scores < 3].scores.tolist() == [2, 1]
    assert len(found) == 3
