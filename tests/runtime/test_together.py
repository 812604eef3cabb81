"""Several models together: boxes to masks, boxes to kinds, trees, and regions that a CLIP names."""

import numpy as np
import pytest

import saccade
from saccade.runtime.errors import Closed, InputError, TextError
from saccade.zoo.shipped import pictures, truth

LABELS = ("red circle", "a blue star", "a white thing")


@pytest.fixture(scope="module")
def detector(grounding_bundle):
    with saccade.load(grounding_bundle, threads=1) as model:
        yield model


@pytest.fixture(scope="module")
def sam(toy_sam):
    with saccade.load(toy_sam, threads=1) as model:
        yield model


@pytest.fixture(scope="module")
def clip(clip_bundle):
    with saccade.load(saccade.Bundle.open(clip_bundle, hard_links=True), threads=1) as model:
        yield model


def test_boxes_get_masks(detector, sam, coloured):
    found = saccade.Together(detector, sam).detect(coloured, LABELS)
    assert found.names == LABELS[:2]
    assert len(found.masks) == 2
    want = sam.segment(coloured, boxes=found.boxes, multimask=False).best
    assert found.masks.rle == want.rle
    assert [prompt.box.tolist() for prompt in found.masks.prompts] == found.boxes.tolist()
    grounded = saccade.Together(detector, sam).ground(coloured, "a blue star next to the grass")
    assert grounded.names == ("blue star",)
    assert len(grounded.masks) == 1


def test_more_boxes_than_one_request_takes(detector, sam, coloured, monkeypatch):
    from saccade.runtime.pipelines import composed

    both = saccade.Together(detector, sam)
    whole = both.detect(coloured, ["red", "blue", "green"], threshold=0.0, every=True)
    monkeypatch.setattr(composed, "MOST", 30)
    parts = both.detect(coloured, ["red", "blue", "green"], threshold=0.0, every=True)
    assert len(parts.masks) == len(parts) == 72
    assert parts.masks.rle == whole.masks.rle
    assert parts.masks.prompt.tolist() == list(range(72))
    assert len(parts.masks.prompts) == 72


def test_nothing_found_has_no_masks_and_no_kinds(detector, sam, clip, coloured):
    found = saccade.Together(detector, sam, clip).detect(coloured, ["white"], kinds=("a", "b"))
    assert len(found) == len(found.masks) == 0
    assert found.kind == ()
    assert found.fields()["detections"] == []
    found.draw()


def test_boxes_get_kinds(detector, clip, coloured):
    kinds = ("a red square", "a blue square", "a green square")
    found = saccade.Together(detector, clip).detect(coloured, ["red", "blue", "green"], kinds=kinds)
    assert found.names == ("red", "blue")
    assert found.kind == ("a red square", "a blue square")
    assert ((found.kind_score > 0.5) & (found.kind_score <= 1)).all()


def test_a_tree_looks_within(detector, clip, coloured):
    """A cell within a box: too small for the whole picture, large enough in the crop."""
    picture = coloured.repeat(2, axis=0).repeat(2, axis=1)  # cells of the input are 32 pixels here
    picture[40:48, 76:84] = 255, 255, 0  # a quarter of the red cell's side
    together = saccade.Together(detector, clip)
    assert "yellow" not in together.detect(picture, ["yellow", "red"]).names
    found = together.detect(picture, "[red [yellow] (a red square, a blue square), blue, white [star]]", threshold=0.2)
    assert found.phrases == ("red", "yellow", "blue", "white", "star")
    assert set(found.names) == {"blue", "red", "yellow"}
    red, place = found.names.index("red"), found.names.index("yellow")
    inner = found.of("yellow")
    assert set(found.parent[np.array(found.names) == "yellow"].tolist()) == {red}
    assert found.parent[red] == -1
    assert (inner.boxes >= [60, 28, 60, 28]).all()  # within the red box and its margin
    assert (inner.boxes <= [100, 68, 100, 68]).all()
    assert any(left <= 80 <= right and top <= 44 <= bottom for left, top, right, bottom in inner.boxes.tolist())
    assert found.kind[red] == "a red square"
    assert found.kind[place] == ""
    assert found.fields()["detections"][place]["parent"] == red
    found.draw()


def test_a_tree_without_kinds_needs_no_clip(detector, coloured):
    found = saccade.Together(detector).detect(coloured, "[red [red], blue]")
    assert found.kind is None
    assert set(found.parent.tolist()) >= {-1, 0}


def test_an_example_gets_masks(owl_bundle, sam, coloured):
    with saccade.load(owl_bundle, threads=1) as owl:
        found = saccade.Together(owl, sam).find(coloured, coloured, box=(24, 0, 48, 24))
        assert len(found.masks) == len(found) >= 1


@pytest.mark.parametrize(
    ("ask", "error", "says"),
    [
        (lambda d, s, c, p: saccade.Together(s).detect(p, "red"), InputError, "a detector is missing"),
        (lambda d, s, c, p: saccade.Together(d).detect(p, "red", kinds=("a",)), InputError, "a CLIP is missing"),
        (lambda d, s, c, p: saccade.Together(d).detect(p, "[red (a, b)]"), InputError, "a CLIP is missing"),
        (lambda d, s, c, p: saccade.Together(d).find(p, p), InputError, "by example is missing"),
        (lambda d, s, c, p: saccade.Together(s).ground(p, "a dog"), InputError, "grounds is missing"),
        (lambda d, s, c, p: saccade.Together(d).detect(p, "[red"), TextError, "expected"),
        (lambda d, s, c, p: saccade.TwoStage(s, d), InputError, "a CLIP is missing"),
        (lambda d, s, c, p: saccade.TwoStage(d, c).detect(p, []), TextError, "0 labels"),
        (lambda d, s, c, p: saccade.TwoStage(d, c).detect(p, ["a"], threshold=2), InputError, "threshold"),
        (lambda d, s, c, p: saccade.Together(d, c).detect(p, "red", kinds=("a", "a")), TextError, "twice"),
    ],
)
def test_what_cannot_be_done_together(detector, sam, clip, coloured, ask, error, says):
    with pytest.raises(error, match=says) as caught:
        ask(detector, sam, clip, coloured)
    assert caught.value.hint


def test_a_closed_model_answers_nothing(grounding_bundle, sam, coloured):
    model = saccade.load(grounding_bundle, threads=1)
    both = saccade.Together(model, sam)
    model.close()
    with pytest.raises(Closed):
        both.detect(coloured, "red")


def test_two_stages_from_a_detectors_regions(toy_grounding, clip, coloured, tmp_path):
    """The detector is asked for things, of whatever kind; here a thing is what is red or blue."""
    toy_grounding.write_grounding(tmp_path / "any.bundle")
    labels = ["a red square", "a blue square", "a green star"]
    with saccade.load(tmp_path / "any.bundle", threads=1) as proposals:
        found = saccade.TwoStage(proposals, clip).detect(coloured, labels, threshold=0.0, background=())
        assert found.phrases == tuple(labels)
        assert np.isfinite(found.score).all()
        none = saccade.TwoStage(proposals, clip).detect(coloured, labels, threshold=0.99)
        assert len(none) == 0


def test_two_stages_from_everything_find_the_shipped_pictures_things(sam_bundle, clip):
    """Trained models of the zoo; vocabulary chosen here. Tiny ones, so that a right answer for most is asked."""
    if "toy" in str(sam_bundle):
        pytest.skip("no trained SAM in this build")
    known, paths = truth(), pictures()[:3]
    labels = sorted({label for shown in known.values() for label in shown.labels})
    right = total = 0
    with saccade.load(saccade.Bundle.open(sam_bundle, hard_links=True), threads=1) as sam:
        model = saccade.TwoStage(sam, clip)
        for path in paths:
            shown = known[path.name]
            found = model.detect(path, labels, background=(), grid=12, min_score=0.6, min_stability=0.6)
            assert len(found.masks) == len(found)
            centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
            for label, (left, top, right_edge, bottom) in zip(shown.labels, shown.boxes, strict=True):
                inside = (centres > [left, top]).all(axis=1) & (centres < [right_edge, bottom]).all(axis=1)
                right += any(found.names[i] == label for i in np.flatnonzero(inside))
                total += 1
    assert right >= 0.5 * total
