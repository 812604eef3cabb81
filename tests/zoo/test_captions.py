"""Captions: true of their scene, spans on the right characters, and no held-out pair where training listens."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.zoo.captions import (
    TEMPLATES,
    Phrase,
    absent_phrases,
    describe,
    fits,
    holds,
    near_miss,
    phrase_of,
    relations,
    truth,
    write,
)
from saccade.zoo.words import COLOURS, RELATIONS, is_held_out
from saccade.zoo.world import LEVELS, Scene, Thing, sample_scene


def thing(colour: str, shape: str, x: float, y: float, radius: float = 0.2, texture: str = "plain") -> Thing:
    return Thing(colour, shape, texture, x, y, radius, 0, COLOURS[colour])


def scenes(count: int, level: str = "middle", seed: int = 0, **options) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [sample_scene(rng, level, **options) for _ in range(count)]


def test_the_sentences_of_the_grammar():
    red, orange = Phrase("red", "circle"), Phrase("orange", "star", "striped", "small")
    assert write([red]).text == "a red circle"
    assert write([Phrase("orange", "heart")]).text == "an orange heart"
    assert write([red], article=False).text == "red circle"
    assert write([red, orange]).text == "a red circle and a small striped orange star"
    told = write([red, orange], relation="left of", template="a picture of {}", stop=True)
    assert told.text == "a picture of a red circle left of a small striped orange star."
    assert [told.text[a:b] for a, b in told.spans] == ["red circle", "small striped orange star"]
    assert write([Phrase("red")]).text == "a red shape"


@pytest.mark.parametrize("level", LEVELS)
def test_captions_are_true_and_their_spans_name_the_things(level):
    rng = np.random.default_rng(1)
    told_relations = set()
    for scene in scenes(300, level):
        caption = describe(rng, scene, most=3, terse=0.2)
        assert holds(caption, scene)
        told_relations.add(caption.relation)
        for phrase, (start, end), index in zip(caption.phrases, caption.spans, caption.things, strict=True):
            assert caption.text[start:end] == str(phrase)
            assert fits(phrase, scene.things[index])
            assert scene.things[index].part_of < 0
    assert told_relations == {*RELATIONS, ""}


def test_attributes_only_when_told():
    rng = np.random.default_rng(0)
    for scene in scenes(100):
        plain = describe(rng, scene, detail=0.0, paraphrase=False)
        assert not any(p.texture or p.size or not p.colour or not p.shape for p in plain.phrases)
    small = thing("red", "circle", 0.5, 0.5, 0.1, "dotted")
    assert str(phrase_of(small)) == "red circle"
    assert str(phrase_of(small, texture=True, size=True)) == "small dotted red circle"


def test_relations_go_by_centres():
    left, right = thing("red", "circle", 0.2, 0.5), thing("blue", "star", 0.8, 0.45)
    assert relations(left, right) == ("left of",)
    assert relations(right, left) == ("right of",)
    low = thing("green", "ring", 0.35, 0.9)
    assert relations(low, left) == ("below", "right of")
    assert relations(left, low) == ("above", "left of")


def test_what_holds_and_what_does_not():
    scene = Scene((thing("red", "circle", 0.2, 0.5), thing("blue", "star", 0.8, 0.5)), (0, 0, 0))
    red, blue = Phrase("red", "circle"), Phrase("blue", "star")
    for caption, expected in (
        (write([red]), True),
        (write([Phrase("red", "star")]), False),
        (write([Phrase("red")]), True),
        (write([red, red]), False),  # two phrases want two things
        (write([red, blue]), True),
        (write([blue, red]), True),
        (write([red, blue], relation="left of"), True),
        (write([blue, red], relation="left of"), False),
        (write([red, blue], relation="above"), False),
        (write([Phrase("red", "circle", "striped")]), False),
        (write([Phrase("red", "circle", size="large")]), True),
    ):
        assert holds(caption, scene) is expected, caption.text
        assert truth([caption], [scene]).item() is expected, caption.text


def test_truth_agrees_with_holds():
    rng = np.random.default_rng(5)
    shown = [s for level in LEVELS for s in scenes(25, level)]
    captions = [describe(rng, s, terse=0.3, detail=0.4) for s in shown]
    captions += [near_miss(rng, c) for c in captions]
    expected = np.array([[holds(c, s) for s in shown] for c in captions])
    assert np.array_equal(truth(captions, shown), expected)
    assert truth([captions[0]], [Scene((), (0, 0, 0))]).sum() == 0


def test_a_colour_without_a_name_is_never_told():
    rng = np.random.default_rng(8)
    shown = scenes(150, pairs="seen", unnamed=0.6)
    captions = [describe(rng, scene, terse=0.5) for scene in shown]
    captions += [near_miss(rng, caption, pairs="seen") for caption in captions]
    for caption, scene in zip(captions, shown, strict=False):
        assert holds(caption, scene)
        for phrase, index in zip(caption.phrases, caption.things, strict=True):
            assert phrase.shape or scene.things[index].colour
    assert np.array_equal(truth(captions, shown), [[holds(c, s) for s in shown] for c in captions])
    assert not any(p.colour and p.shape and is_held_out(p.colour, p.shape) for c in captions for p in c.phrases)


def test_near_misses_are_mostly_false_and_never_held_out():
    rng = np.random.default_rng(2)
    wrong, total = 0, 0
    for scene in scenes(600, pairs="seen"):
        caption = near_miss(rng, describe(rng, scene, terse=0.2), pairs="seen")
        wrong += not holds(caption, scene)
        total += 1
        assert not any(p.colour and p.shape and is_held_out(p.colour, p.shape) for p in caption.phrases)
    assert wrong / total > 0.75


def test_absent_phrases_are_false_and_the_nearest_come_first():
    rng = np.random.default_rng(4)
    for scene in scenes(100):
        absent = absent_phrases(rng, scene, 5)
        assert len(absent) == 5
        assert not any(fits(p, t) for p in absent for t in scene.things)
        colours, shapes = {t.colour for t in scene.things}, {t.shape for t in scene.things}
        near = [(p.colour in colours) + (p.shape in shapes) for p in absent]
        assert near == sorted(near, reverse=True)


def test_paraphrases_are_varied():
    rng = np.random.default_rng(6)
    scene = Scene((thing("red", "circle", 0.5, 0.5),), (0, 0, 0))
    texts = {describe(rng, scene, detail=0.0).text for _ in range(3000)}
    assert {"red circle", "a red circle", "a photo of a red circle."} <= texts
    assert len(texts) == 4 * len(TEMPLATES)
