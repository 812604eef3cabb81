"""Two answers of a detector are alike whatever their slots, and nothing lost, invented or not a number goes unseen."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.runtime.matching import APART, LEAST, MOST, likeness, overlap, said_by, scores_of

Answer = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng()


def drawn(rng: np.random.Generator, count: int = 40, tokens: int = 3) -> Answer:
    corner = rng.random((count, 2)) * 0.6
    return np.concatenate([corner, corner + 0.1 + 0.3 * rng.random((count, 2))], 1), rng.random((count, tokens))


def test_overlap_is_that_of_pixels(rng: np.random.Generator) -> None:
    a, b = (rng.integers(0, 12, (7, 2, 2)) for _ in range(2))
    a, b = (np.concatenate([x.min(1), x.max(1)], 1) for x in (a, b))
    y, x = np.mgrid[:12, :12] + 0.5
    masks = [[(x > r[0]) & (x < r[2]) & (y > r[1]) & (y < r[3]) for r in rows] for rows in (a, b)]
    for i in range(7):
        for j in range(7):
            either = (masks[0][i] | masks[1][j]).sum()
            want = (masks[0][i] & masks[1][j]).sum() / either if either else 0.0
            assert overlap(a, b)[i, j] == pytest.approx(want)


def test_slots_do_not_matter(rng: np.random.Generator) -> None:
    boxes, scores = drawn(rng)
    order = rng.permutation(len(boxes))
    found = likeness((boxes, scores), (boxes[order], scores[order]), 0.3)
    np.testing.assert_allclose(found.iou, 1)
    np.testing.assert_allclose(found.score, 1)


def test_two_queries_on_one_object_are_paired_with_two() -> None:
    boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0.2, 0.2, 0.4, 0.4]], float)
    scores = np.array([[0.9], [0.9], [0.8]])
    one = scores.copy()
    one[1] = 0.1
    assert likeness((boxes, scores), (boxes, scores), 0.3).iou.min() == 1
    assert likeness((boxes, scores), (boxes, one), 0.3).iou.min() == 0  # the second is no longer sure


@pytest.mark.parametrize("way", [0, 1])
def test_a_lost_box_and_an_invented_one_are_both_seen(rng: np.random.Generator, way: int) -> None:
    boxes, scores = drawn(rng, 12)
    scores = scores * 0.05
    scores[0, 1] = 0.95
    other = scores.copy()
    other[0] = 0.01
    answers = [(boxes, scores), (boxes, other)]
    found = likeness(answers[way], answers[1 - way], 0.3)
    assert found.iou.min() == 0
    assert found.score.min() < 0.2


def test_a_moved_box_costs_its_overlap_and_a_score_its_difference() -> None:
    boxes, scores = np.array([[0.1, 0.1, 0.5, 0.5]]), np.array([[0.8, 0.1]])
    moved = likeness((boxes, scores), (boxes + [0.04, 0, 0.04, 0], scores), 0.3)
    np.testing.assert_allclose(moved.iou, [0.36 / 0.44] * 2)
    less = likeness((boxes, scores), (boxes, scores - [APART / 2, 0]), 0.3)
    np.testing.assert_allclose(less.score, [1 - APART / 2] * 2)
    np.testing.assert_allclose(less.iou, 1)
    assert likeness((boxes, scores), (boxes, scores - [APART * 1.1, 0]), 0.3).iou.max() == 0


@pytest.mark.parametrize("way", [0, 1])
@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_no_number_is_like_nothing(rng: np.random.Generator, way: int, part: int, wrong: float) -> None:
    good = drawn(rng, 4)
    bad = tuple(np.full_like(array, wrong) if i == part else array for i, array in enumerate(good))
    found = likeness(*((good, bad) if way else (bad, good)), 0.3)  # type: ignore[arg-type]
    assert not found.iou.any()
    assert not found.score.any()


def test_how_many_are_looked_at(rng: np.random.Generator) -> None:
    boxes, scores = drawn(rng, 200)
    assert len(likeness((boxes, scores), (boxes, scores), 0.1).iou) == 2 * MOST
    quiet = scores * 1e-3
    assert len(likeness((boxes, quiet), (boxes, quiet), 0.3).iou) == 2 * LEAST
    few = boxes[:2], quiet[:2]
    assert len(likeness(few, few, 0.3).iou) == 4


def test_scores_are_of_tokens_that_say_something() -> None:
    attends = np.eye(5, dtype=bool)[None]
    attends[0, 1, 2] = attends[0, 2, 1] = True
    inputs = {"text_mask": np.array([[True, True, True, True, False]]), "attends": attends}
    assert said_by(inputs, 0).tolist() == [False, True, True, False, False]
    assert said_by({"text_mask": inputs["text_mask"]}, 0).sum() == 4
    out = {"logits": np.array([[[9.0, 0.0, -800.0, 5.0, 7.0]]], np.float32)}
    np.testing.assert_allclose(scores_of(out, 0, said_by(inputs, 0)), [[0.5, 0.0]])
    central = scores_of({**out, "centerness": np.zeros((1, 1))}, 0, said_by(inputs, 0))
    np.testing.assert_allclose(central, [[0.5, 0.0]])
