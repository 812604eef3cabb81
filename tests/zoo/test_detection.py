"""Judging detectors: what the cases ask, and that a perfect, a blind and a confused detector get what they deserve."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.zoo import detection
from saccade.zoo.detection import Case, Found, average_precision, box_iou, pointed, recall
from saccade.zoo.words import HELD_OUT_PAIRS, SHAPES

MAKERS = {
    "category": lambda n, seed: detection.category_cases(n, "hard", seed),
    "attribute": lambda n, seed: detection.attribute_cases(n, seed=seed, pairs="held-out"),
    "relation": lambda n, seed: detection.relation_cases(n, seed=seed),
    "sentence": lambda n, seed: detection.relation_cases(n, seed=seed, sentence=True),
    "shape": lambda n, seed: detection.absent_cases(n, "shape", seed=seed),
    "pair": lambda n, seed: detection.absent_cases(n, "pair", seed=seed),
}


def oracle(cases: list[Case], *, score: float = 0.9, shift: float = 0.0, extra: bool = False) -> list[Found]:
    """The wanted boxes, moved to the right by a share of their width; and, below them, the whole picture of each."""
    found = []
    for case in cases:
        label = np.repeat(np.arange(len(case.wanted)), [len(w) for w in case.wanted])
        boxes = np.concatenate(case.wanted).reshape(-1, 4)
        boxes = boxes + shift * (boxes[:, 2] - boxes[:, 0])[:, None] * np.array([1, 0, 1, 0])
        scores = np.full(len(label), score)
        if extra:
            boxes = np.concatenate([boxes, [[0, 0, 128, 128]] * len(case.wanted)])
            label = np.concatenate([label, np.arange(len(case.wanted))])
            scores = np.concatenate([scores, np.full(len(case.wanted), score / 2)])
        found.append(Found(boxes.astype(np.float32), scores.astype(np.float32), label.astype(np.int64)))
    return found


@pytest.mark.parametrize("kind", MAKERS)
def test_cases_are_the_same_every_time_and_inside_the_picture(kind):
    cases, again = MAKERS[kind](6, 3), MAKERS[kind](6, 3)
    assert len(cases) == 6
    for case, other in zip(cases, again, strict=True):
        assert case.text == other.text
        assert np.array_equal(case.pixels, other.pixels)
        assert len(case.spans) == len(case.wanted)
        for start, end in case.spans:
            assert case.text[start:end].strip(" .") == case.text[start:end] != ""
        for boxes in case.wanted:
            assert ((boxes >= 0) & (boxes <= 128)).all()
            assert (boxes[:, 2:] - boxes[:, :2] >= 6).all()


def test_categories_are_all_shapes():
    (case,) = detection.category_cases(1, seed=5)
    assert [case.text[a:b] for a, b in case.spans] == list(SHAPES)
    assert 1 <= sum(map(len, case.wanted)) <= 4


def test_attributes_ask_for_one_target_among_what_shares_its_words():
    held_out = {f"{c} {s}" for c, s in HELD_OUT_PAIRS}
    for case in detection.attribute_cases(12, seed=1, pairs="held-out"):
        phrases = [case.text[a:b] for a, b in case.spans]
        assert len(set(phrases)) == 3
        assert held_out.issuperset(phrases)
        assert [len(w) for w in case.wanted].count(1) == 1
        assert sum(map(len, case.wanted)) == 1


def test_relations_leave_two_to_choose_from():
    for case in detection.relation_cases(12, seed=1):
        assert 0 < case.chance <= 0.75
        assert len(case.wanted) == 1
        assert len(case.wanted[0])
        assert any(word in case.text for word in ("left of", "right of", "above", "below"))
        assert case.text[slice(*case.spans[0])] + "." == case.text


def test_a_perfect_detector_is_perfect_and_a_blind_one_finds_nothing():
    cases = detection.attribute_cases(8, seed=2)
    exact = oracle(cases, extra=True)
    assert average_precision(cases, exact) == pytest.approx(1.0)
    assert average_precision(cases, exact, iou=0.75) == pytest.approx(1.0)
    assert recall(cases, exact, 0.5) == pointed(cases, exact) == 1.0
    nothing = [Found(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))] * 8
    assert average_precision(cases, nothing) == recall(cases, nothing, 0.5) == pointed(cases, nothing) == 0.0
    assert detection.alarms(nothing, 0.0) == 0.0


def test_a_box_that_is_a_little_off_passes_the_lower_bar_only():
    cases = detection.attribute_cases(8, seed=2)
    off = oracle(cases, shift=0.2)  # an IoU of 0.8 / 1.2
    assert average_precision(cases, off) == pytest.approx(1.0)
    assert average_precision(cases, off, iou=0.75) == 0.0


def test_a_box_counts_once_and_only_for_its_phrase():
    wanted = np.array([[10, 10, 30, 30]], np.float32)
    case = Case(np.zeros((64, 64, 3), np.uint8), "a. b.", ((0, 1), (3, 4)), (wanted, np.zeros((0, 4), np.float32)))
    twice = Found(np.repeat(wanted, 2, 0), np.array([0.6, 0.9], np.float32), np.array([0, 0]))
    assert average_precision([case], [twice]) == 1.0
    assert recall([case], [twice], 0.5) == 1.0
    other = Found(wanted, np.array([0.9], np.float32), np.array([1]))
    assert average_precision([case], [other]) == 0.0
    assert np.isnan(average_precision([case], [other], phrase=1))
    assert detection.alarms([other], 0.5) == 1.0
    assert detection.alarms([other], 0.95) == 0.0


def test_precision_is_the_area_under_its_curve():
    """Right, wrong, right of two wanted: 0.5 at a precision of 1 and 0.5 at 2/3."""
    wanted = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32)
    case = Case(np.zeros((64, 64, 3), np.uint8), "a.", ((0, 1),), (wanted,))
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [20, 20, 40, 40]], np.float32)
    found = Found(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int64))
    assert average_precision([case], [found]) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert pointed([case], [found]) == 1.0


def test_iou_of_boxes():
    a = np.array([[0, 0, 2, 2], [0, 0, 0, 0]])
    b = np.array([[1, 0, 3, 2], [5, 5, 6, 6]])
    assert box_iou(a, b) == pytest.approx(np.array([[1 / 3, 0], [0, 0]]))
