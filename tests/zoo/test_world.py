"""The world: the same bytes every time, and ground truth that agrees with the pixels."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest

from saccade.zoo.scene import ODD_DISTANCE
from saccade.zoo.shapes import REACH, SIGNED_DISTANCE, coverage, pattern, turn
from saccade.zoo.words import (
    ALL_PAIRS,
    CLASSES,
    COLOURS,
    HELD_OUT_PAIRS,
    SEEN_PAIRS,
    SHAPES,
    TEXTURES,
    class_index,
    is_held_out,
    size_word,
)
from saccade.zoo.world import LEVELS, Light, Scene, Thing, render, sample_scene

PINNED = {
    "easy": "adf9d60b8fd36279",
    "middle": "d69cf17ea702fb52",
    "hard": "d2fb865f2f3c5a78",
}


def draw(level: str, count: int = 40, seed: int = 0, size: int = 64, **options):
    rng = np.random.default_rng(seed)
    return [render(sample_scene(rng, level, **options), size) for _ in range(count)]


def digest(level: str) -> str:
    found = hashlib.sha256()
    for picture in draw(level, 12):
        for array in (picture.pixels, picture.masks, picture.boxes, picture.classes):
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


@pytest.mark.parametrize("level", LEVELS)
def test_the_bytes_are_pinned(level):
    assert digest(level) == PINNED[level]


def test_same_scene_same_bytes_other_seed_other_bytes():
    first, again, other = draw("hard", 5), draw("hard", 5), draw("hard", 5, seed=1)
    assert all(np.array_equal(a.pixels, b.pixels) and a.scene == b.scene for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("size", [64, 97, (80, 144), 256])
def test_boxes_are_the_extent_of_masks_and_masks_do_not_overlap(level, size):
    for picture in draw(level, 15, size=size):
        count = len(picture.scene.things)
        height, width = picture.pixels.shape[:2]
        assert (height, width) == (size if isinstance(size, tuple) else (size, size))
        assert picture.masks.shape == (count, height, width)
        assert picture.boxes.shape == (count, 4)
        assert picture.masks.sum(0).max(initial=0) <= 1
        for box, mask in zip(picture.boxes, picture.masks, strict=True):
            y, x = np.nonzero(mask)
            expected = (x.min(), y.min(), x.max() + 1, y.max() + 1) if len(x) else (0, 0, 0, 0)
            assert tuple(box) == expected


@pytest.mark.parametrize("level", LEVELS)
def test_nearly_everything_drawn_can_be_seen(level):
    masks = [mask.sum() for picture in draw(level, 100) for mask in picture.masks]
    assert np.mean(np.array(masks) >= 12) > (0.97 if level == "hard" else 0.995)


def test_a_mask_has_the_colour_of_its_thing():
    for picture in draw("easy"):
        for thing, mask in zip(picture.scene.things, picture.masks, strict=True):
            nearest = min(COLOURS, key=lambda c: np.abs(np.median(picture.pixels[mask], 0) - COLOURS[c]).sum())
            assert nearest == thing.colour


def test_what_lies_in_front_hides_what_lies_behind():
    back = Thing("red", "square", "plain", 0.5, 0.5, 0.3, 0, COLOURS["red"])
    front = Thing("blue", "circle", "plain", 0.5, 0.5, 0.15, 0, COLOURS["blue"], part_of=0)
    picture = render(Scene((back, front), (40, 40, 40)), 100)
    assert picture.masks[1][50, 50]
    assert not picture.masks[0][50, 50]
    assert tuple(picture.pixels[50, 50]) == COLOURS["blue"]
    assert picture.whole(0)[50, 50]
    assert picture.whole(0).sum() == picture.masks.sum()
    assert picture.whole(1).sum() == picture.masks[1].sum()


def test_a_thing_out_of_sight_has_an_empty_mask_and_a_zero_box():
    hidden = Thing("red", "circle", "plain", 0.5, 0.5, 0.1, 0, COLOURS["red"])
    cover = Thing("blue", "square", "plain", 0.5, 0.5, 0.3, 0, COLOURS["blue"])
    picture = render(Scene((hidden, cover), (40, 40, 40)), 64)
    assert not picture.masks[0].any()
    assert not picture.boxes[0].any()


def test_light_tints_everything():
    red = render(Scene((), (100, 100, 100), light=Light((1.1, 1.0, 0.9), 0.2, 0.0)), 64).pixels
    assert red[..., 0].mean() == pytest.approx(110, abs=1)
    assert red[..., 2].mean() == pytest.approx(90, abs=1)
    assert red[:, -1, 1].mean() - red[:, 0, 1].mean() == pytest.approx(20, abs=1)


def test_levels_differ_as_promised():
    scenes = {level: [p.scene for p in draw(level, 150)] for level in LEVELS}
    assert all(t.texture == "plain" for s in scenes["easy"] for t in s.things)
    assert all(len(s.things) <= 2 for s in scenes["easy"])
    assert {t.texture for s in scenes["middle"] for t in s.things} == set(TEXTURES)
    assert not any(t.part_of >= 0 for s in scenes["middle"] for t in s.things)
    assert any(t.part_of >= 0 for s in scenes["hard"] for t in s.things)
    assert max(sum(t.part_of < 0 for t in s.things) for s in scenes["hard"]) == 6
    noise = {level: np.mean([s.noise for s in scenes[level]]) for level in LEVELS}
    assert noise["easy"] < noise["middle"] < noise["hard"]


def test_parts_lie_on_their_thing_in_another_colour():
    found = 0
    for picture in draw("middle", 60, parts=True):
        for index, thing in enumerate(picture.scene.things):
            if thing.part_of >= 0:
                found += 1
                assert thing.colour != picture.scene.things[thing.part_of].colour
                assert thing.part_of == index - 1
                assert picture.whole(thing.part_of).sum() > picture.masks[index].sum()
    assert found > 10
    assert not any(t.part_of >= 0 for p in draw("hard", 60, parts=False) for t in p.scene.things)


def test_the_held_out_table_leaves_enough_to_learn_from():
    assert len(HELD_OUT_PAIRS) == 32
    assert len(SEEN_PAIRS) == 40
    assert set(HELD_OUT_PAIRS) | set(SEEN_PAIRS) == set(ALL_PAIRS)
    assert all(is_held_out(*pair) for pair in HELD_OUT_PAIRS)
    assert set(Counter(shape for _, shape in SEEN_PAIRS).values()) == {5}
    assert min(Counter(colour for colour, _ in SEEN_PAIRS).values()) >= 4
    assert [class_index(c, s) for c, s in ALL_PAIRS] == list(range(len(CLASSES)))
    assert CLASSES[class_index("red", "circle")] == "red circle"


@pytest.mark.parametrize("level", LEVELS)
def test_held_out_pairs_are_never_drawn_for_training(level):
    rng = np.random.default_rng(3)
    for _ in range(1500):
        scene = sample_scene(rng, level, pairs="seen")
        assert not any(is_held_out(t.colour, t.shape) for t in scene.things)


def test_colours_without_a_name_are_far_from_all_that_have_one():
    found = 0
    for picture in draw("middle", 80, pairs="seen", unnamed=0.5):
        for thing, label in zip(picture.scene.things, picture.classes, strict=True):
            assert (label == -1) == (thing.colour == "")
            if not thing.colour:
                found += 1
                assert min(np.linalg.norm(np.subtract(thing.rgb, rgb)) for rgb in COLOURS.values()) >= ODD_DISTANCE
    assert 50 < found < 150


def test_classes_name_the_things():
    for picture in draw("middle", 10):
        names = [f"{t.colour} {t.shape}" for t in picture.scene.things]
        assert [CLASSES[i] for i in picture.classes] == names
        assert len(set(names)) == len(names)


def test_an_unknown_level_is_an_error():
    with pytest.raises(KeyError):
        sample_scene(np.random.default_rng(0), "impossible")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [7.0, 16.0, 60.0])
def test_shapes_stay_within_their_circle_and_fill_a_fair_part(shape, radius):
    axis = (np.arange(256) + 0.5) / 128 * 1.2 - 1.2
    u, v = axis[None, :], axis[:, None]
    filled = coverage(shape, u, v, radius)
    assert filled.shape == (256, 256)
    assert not filled[np.hypot(u, v) > REACH + 1 / radius].any()  # a sharp corner fades over a pixel
    assert 0.7 < filled.sum() * (2.4 / 256) ** 2 < 2.7
    assert set(SIGNED_DISTANCE) == set(SHAPES)


@pytest.mark.parametrize("texture", TEXTURES[1:])
def test_textures_paint_about_a_third_to_two_thirds(texture):
    axis = (np.arange(200) + 0.5) / 100 - 1
    ink = pattern(texture, axis[None, :], axis[:, None], 20.0)
    assert 0.2 < np.broadcast_to(ink, (200, 200)).mean() < 0.7
    assert pattern("plain", axis, axis, 20.0) is None


@pytest.mark.parametrize("degrees", [-180, -91, -30, 0, 7, 45, 90, 179, 180, 359])
def test_turn_is_cosine_and_sine(degrees):
    angle = np.deg2rad(degrees)
    assert turn(degrees) == pytest.approx((np.cos(angle), np.sin(angle)), abs=1e-12)


def test_size_words():
    assert [size_word(r) for r in (0.1, 0.16, 0.25)] == ["small", "", "large"]
