"""Scores of phrases from scores of tokens, against the formulas written out in float64."""

import numpy as np
import pytest

from saccade.runtime.errors import BadOutput
from saccade.runtime.phrase_scores import Found, boxes_of, decode, merge, phrase_logits
from saccade.runtime.phrases import Said

SAID = tuple(Said(k, np.array(tokens)) for k, tokens in enumerate([[1, 2], [4], [2, 6, 7], [9]]))


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


@pytest.fixture
def logits():
    return np.random.default_rng(3).normal(-1, 3, (50, 11)).astype(np.float32)


def test_the_largest_of_a_phrases_tokens(logits):
    made = phrase_logits(logits, SAID, "max")
    want = np.stack([sigmoid(logits[:, tokens]).max(axis=1) for _, tokens in SAID], axis=1)
    assert np.allclose(sigmoid(made), want, rtol=1e-6)


@pytest.mark.parametrize("centred", [False, True])
def test_the_mean_of_a_phrases_tokens(logits, centred):
    centerness = np.random.default_rng(4).normal(0, 2, 50).astype(np.float32)
    made = phrase_logits(logits, SAID, "mean", centerness if centred else None)
    want = np.stack([sigmoid(logits[:, tokens]).mean(axis=1) for _, tokens in SAID], axis=1)
    if centred:
        want = np.sqrt(want * sigmoid(centerness)[:, None])
    assert np.allclose(sigmoid(made), want, rtol=1e-5, atol=1e-7)


def test_certainty_is_no_overflow():
    logits = np.array([[200, -200]], np.float32)
    both = (Said(0, np.array([0])), Said(1, np.array([1])))
    assert sigmoid(phrase_logits(logits, both, "mean")).tolist() == [[1, 0]]


@pytest.mark.parametrize("every", [False, True])
def test_boxes_labels_and_order(logits, every):
    rng = np.random.default_rng(5)
    corner = rng.uniform(0, 0.6, (50, 2))
    corners = np.concatenate([corner, corner + rng.uniform(0.05, 0.4, (50, 2))], axis=1).astype(np.float32)
    out = {"logits": logits[None], "boxes": corners[None]}
    said = tuple(Said(10 + k, tokens) for k, tokens in SAID)
    found = boxes_of(out, 0, said, (37, 91), "max", 0.4, every)
    scores = np.stack([sigmoid(logits[:, tokens]).max(axis=1) for _, tokens in SAID], axis=1)
    best = scores.argmax(axis=1)
    want = [
        (scores[q, k], 10 + k, corners[q] * [91, 37, 91, 37])
        for q in range(50)
        for k in range(4)
        if scores[q, k] > 0.4 and (every or k == best[q])
    ]
    want.sort(key=lambda row: -row[0])
    assert len(want) == len(found.score) > 10
    assert np.allclose(found.score, [row[0] for row in want], rtol=1e-6)
    assert found.label.tolist() == [row[1] for row in want]
    assert np.allclose(found.boxes, [row[2] for row in want], atol=1e-3)


def test_boxes_without_area_are_dropped():
    corners = np.array([[0.1, 0.1, 0.1, 0.5], [0.1, 0.1, 0.2, 0.5], [1.2, 0.1, 1.5, 0.5]], np.float32)
    found = decode(np.full((3, 1), 5, np.float32), corners, (10, 10), 0.5, False)
    assert np.allclose(found.boxes, [[1, 1, 2, 5]])


@pytest.mark.parametrize("where", ["logits", "boxes"])
def test_nan_is_an_error_and_not_an_empty_answer(logits, where):
    out = {"logits": logits[None].copy(), "boxes": np.full((1, 50, 4), 0.5, np.float32)}
    out[where][0, 3, 1] = np.nan
    with pytest.raises(BadOutput, match="NaN") as caught:
        boxes_of(out, 0, SAID, (9, 9), "max", 0.3, False)
    assert caught.value.hint
    out["logits"][0] = logits
    out["logits"][0, 3, 0] = np.nan  # a token that no phrase is said by
    out["boxes"][:] = 0.5
    boxes_of(out, 0, SAID, (9, 9), "max", 0.3, False)


def test_runs_merge_as_if_they_had_been_one():
    def part(rows):
        boxes = np.array([row[0] for row in rows], np.float32).reshape(-1, 4)
        zeros = np.zeros(len(rows), np.int64)
        return Found(boxes, np.array([r[1] for r in rows], np.float32), np.array([r[2] for r in rows], np.int64), zeros)

    near, same, far = (10, 10, 50, 50), (11, 10, 50, 50), (60, 60, 90, 90)
    one = part([(near, 0.9, 0), (same, 0.5, 1), (far, 0.4, 0)])
    two = part([(same, 0.8, 2), (far, 0.7, 3), ((30, 10, 70, 50), 0.6, 2)])
    made = merge([one, two], every=False)
    assert made.score.tolist() == pytest.approx([0.9, 0.7, 0.6, 0.5])  # within a run nothing is suppressed
    assert made.label.tolist() == [0, 3, 2, 1]
    assert len(merge([one, two], every=True).score) == 6
    assert merge([one], every=False).score.tolist() == pytest.approx([0.9, 0.5, 0.4])
    assert len(merge([part([]), part([])], every=False).score) == 0
