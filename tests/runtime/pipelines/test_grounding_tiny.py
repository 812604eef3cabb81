"""The shipped tiny detector: right answers on shipped pictures, whatever else is asked beside, and how it is asked."""

import numpy as np
import pytest

import saccade
from saccade.zoo.shipped import names, open_bundle, pictures, truth

pytestmark = pytest.mark.skipif("grounding-tiny" not in names(), reason="no trained detector in this build")
KNOWN = truth()
LABELS = sorted({label for shown in KNOWN.values() for label in shown.labels})


@pytest.fixture(scope="module")
def model():
    with saccade.load(open_bundle("grounding-tiny"), threads=1) as model:
        yield model


def iou(box, boxes):
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    both = np.maximum(high - low, 0).prod(axis=1)
    return both / ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + np.prod(np.subtract(box[2:], box[:2])) - both)


def hits(found, shown):
    """For each thing that a picture shows the best score of a right box, 0 where there is none."""
    made = []
    for label, box in zip(shown.labels, shown.boxes, strict=True):
        right = (iou(box, found.boxes) > 0.5) & (np.array(found.names) == label) if len(found) else np.zeros(0, bool)
        made.append(float(found.score[right].max(initial=0)))
    return made


def test_it_finds_what_its_captions_name(model):
    """It saw words for a shape with its colour; crowds of overlapping things are beyond it (docs/zoo.md)."""
    scores = [
        s for p in pictures() for s in hits(model.detect(p, list(dict.fromkeys(KNOWN[p.name].labels))), KNOWN[p.name])
    ]
    assert np.mean(np.array(scores) > 0) >= 0.6


def test_scores_of_a_vocabulary_in_runs_stay_comparable(model):
    """All labels at once, and four a run: the same things are found, with nearly the same scores."""
    rules = model.pipeline.rules
    by = {}
    try:
        for most in (80, 4):
            model.pipeline.rules = rules._replace(max_labels=most)
            by[most] = np.array([s for p in pictures() for s in hits(model.detect(p, LABELS), KNOWN[p.name])])
    finally:
        model.pipeline.rules = rules
    both = (by[80] > 0) & (by[4] > 0)
    assert both.sum() >= 0.8 * max((by[80] > 0).sum(), (by[4] > 0).sum())
    assert np.median(np.abs(by[80] - by[4])[both]) < 0.05


def test_a_batch_changes_nothing(model):
    paths = pictures()[:5]
    for path, found in zip(paths, model.detect(paths, LABELS[:6]), strict=True):
        alone = model.detect(path, LABELS[:6])
        assert found.names == alone.names
        assert np.allclose(found.boxes, alone.boxes, atol=0.1)
        assert np.allclose(found.score, alone.score, atol=1e-3)


def test_words_padded_beside_longer_ones_score_the_same(model):
    path = pictures()[2]
    asked = [["a blue heart"], ["a yellow star", "an orange cross", "a blue heart", "a red circle"]]
    alone = [model.detect(path, words) for words in asked]
    with saccade.Scheduler(model) as scheduler:
        futures = [scheduler.submit(model.pipeline.detect(path, words)) for words in asked * 3]
        for future, want in zip(futures, alone * 3, strict=True):
            found = future.result()
            assert found.names == want.names
            assert np.allclose(found.score, want.score, atol=1e-3)


def test_a_caption_is_grounded(model):
    path = next(p for p in pictures() if p.name == "cross-heart-star.png")
    caption = "a yellow star next to a blue heart and an orange cross"
    found = model.ground(path, caption)
    assert found.phrases == ("yellow star", "blue heart", "orange cross")
    shown = KNOWN[path.name]
    for label, box in zip(shown.labels, shown.boxes, strict=True):
        mine = found.of(label.partition(" ")[2])
        assert (iou(box, mine.boxes[:1]) > 0.5).all()
        assert len(mine)


def test_what_it_never_read_is_refused(model):
    with pytest.raises(saccade.SaccadeError, match="vocabulary"):
        model.detect(pictures()[0], "a zebra")
