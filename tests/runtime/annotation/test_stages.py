"""The stages on one picture: which masks are kept, which answer a prompt gets."""

import numpy as np
import pytest

from saccade.runtime.annotation import stages
from saccade.runtime.annotation.record import Annotation, Prompted, annotation
from saccade.runtime.annotation.rules import rules
from saccade.runtime.image import decode
from saccade.runtime.prompt import Prompt
from saccade.runtime.rle import decode as pixels
from saccade.runtime.rle import encode
from tests.runtime.annotation import fake


def rectangle(left, top, right, bottom, score=0.9, size=(40, 50)) -> Annotation:
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return annotation(encode(mask), score, 0.96)


@pytest.fixture
def view(tmp_path):
    return fake.Model().encode(decode(fake.picture(tmp_path / "a.png", 3)))


def test_box_and_area_are_of_the_pixels():
    rng = np.random.default_rng()
    for _ in range(20):
        height, width = rng.integers(1, 40, 2)
        mask = rng.random((height, width)) < rng.random()
        made = annotation(encode(mask), 0.123456789, 0.5, points=((1.0, 2.0),))
        assert np.array_equal(pixels(made.segmentation.coco), mask)
        assert made.area == mask.sum()
        assert made.predicted_iou == 0.123457
        x, y, w, h = made.bbox
        assert (mask[y : y + h, x : x + w].sum(), w * h > 0) == (mask.sum(), mask.any())
        if mask.any():
            assert mask[:, x].any()
            assert mask[:, x + w - 1].any()
            assert mask[y].any()
            assert mask[y + h - 1].any()
        assert made.crop_box == (0, 0, width, height)


@pytest.mark.parametrize("most", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_apart_is_the_plain_greedy_one(most):
    rng = np.random.default_rng()
    some = []
    for _ in range(60):
        left, top = rng.integers(0, 30, 2)
        some.append(rectangle(left, top, left + rng.integers(1, 20), min(40, top + rng.integers(1, 20))))
    some += some[:5]
    kept: list[Annotation] = []
    for one in some:
        if not kept or stages.overlaps([one], kept).max() <= most:
            kept.append(one)
    assert stages.apart(some, most) == kept
    assert stages.apart([], most) == []


def test_of_two_that_overlap_the_better_stays(view, monkeypatch):
    masks = view.everything(grid=32, crops=0, min_score=0.1, min_stability=0.1)
    doubled = masks[[*range(len(masks)), *range(len(masks))]]
    doubled.score[len(masks) :] += 0.01
    monkeypatch.setattr(view, "everything", lambda **_: doubled)
    found = stages.automatic(view, rules("automatic", min_score=0.1, min_stability=0.1))
    assert len(found) == len(masks)
    assert [a.predicted_iou for a in found] == sorted((round(float(s) + 0.01, 6) for s in masks.score), reverse=True)
    both = stages.automatic(view, rules("automatic", min_score=0.1, min_stability=0.1, max_overlap=1.0))
    assert len(both) == 2 * len(masks)


def test_a_point_gets_the_best_of_three_and_a_box_its_one(view):
    colour = view.image.pixels[np.nonzero(view.image.pixels[..., 0] > 240)][0]
    y, x = np.argwhere((view.image.pixels == colour).all(axis=2))[0]
    point, box = Prompt([(x, y)]), Prompt(box=(x, y, x + 1, y + 1))
    answers = stages.best(view, [box, point, box])
    assert [pixels(a.rle).sum() for a in answers] == [(view.image.pixels == colour).all(axis=2).sum()] * 3
    assert sorted(view.model.batches) == [(1, True), (2, False)]


def test_many_prompts_are_asked_in_parts_and_stay_in_order(view):
    rng = np.random.default_rng()
    places = rng.integers(0, (64, 48), (150, 2))
    prompts = [Prompt([p]) if i % 3 else Prompt(box=(*p, *(p + 1))) for i, p in enumerate(places)]
    alone = [stages.best(view, [prompt])[0] for prompt in prompts]
    view.model.batches.clear()
    assert stages.best(view, prompts) == alone
    assert sorted(view.model.batches) == [(36, True), (50, False), (64, True)]
    assert stages.best(view, []) == []


def test_prompted_keeps_the_order_and_what_was_said(view):
    given = [
        Prompted(points=((5.0, 5.0),), accept=None),
        Prompted(box=(0.0, 0.0, 3.0, 3.0), category="b"),
        Prompted(points=((60.0, 45.0),), labels=(1,), category="a"),
        Prompted(points=((5.0, 5.0),), accept=False),
    ]
    found = stages.prompted(view, given, rules("semi-automatic"))
    assert [a.category for a in found.annotations] == ["b", "a"]
    assert found.annotations[1].point_coords == ((60.0, 45.0),)
    strict = stages.prompted(view, given, rules("assisted", min_score=0.999))
    assert (strict.annotations, strict.dropped) == ((), 2)
    large = stages.prompted(view, given, rules("semi-automatic", min_area=48 * 64 + 1))
    assert (large.annotations, large.dropped) == ((), 2)


def test_what_a_prompted_mask_replaces():
    found = [rectangle(0, 0, 10, 10), rectangle(20, 20, 30, 30), rectangle(0, 0, 10, 9)]
    by = [rectangle(0, 0, 10, 10), rectangle(30, 30, 40, 40)]
    assert stages.replaced(found, by, rules("semi-automatic", max_overlap=0.85)) == (0, 2)
    assert stages.replaced(found, by, rules("semi-automatic", max_overlap=0.95)) == (0,)
    assert stages.replaced(found, [], rules("semi-automatic")) == ()
    assert stages.replaced([], by, rules("semi-automatic")) == ()
