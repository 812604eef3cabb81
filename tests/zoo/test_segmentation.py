"""The metric of promptable segmentation: right for segmenters whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.zoo.segmentation import (
    Targets,
    boxed,
    clicks_on_nothing,
    iou,
    one_click,
    target_pictures,
    three_clicks,
    upsample,
)


def knowing(targets: Targets, masks: np.ndarray, predicted: np.ndarray, asked: list | None = None):
    """(encode, decode) of a segmenter that finds `masks` (M, 4, S, S) of the target that is meant, in turn.

    It goes by the order in which the targets are asked about, so one run of a metric may ask once a target.
    """
    at = [0]

    def encode(pixels):
        return pixels

    def decode(pixels, picture, points, labels, mask, has_mask):
        rows = slice(at[0], at[0] + len(points))
        at[0] += len(points)
        assert np.array_equal(pixels[picture], targets.pixels[targets.picture[rows]])
        if asked is not None:
            asked.append((points, labels, has_mask))
        return np.where(masks[rows], 5.0, -5.0).astype(np.float32), predicted[rows].astype(np.float32)

    return encode, decode


@pytest.fixture(scope="module")
def targets() -> Targets:
    return target_pictures(70, "middle", 3, parts=True, size=64)


def halves_of(masks: np.ndarray) -> np.ndarray:
    """The upper half of each mask's rows."""
    kept = masks.copy()
    for mask in kept:
        rows = np.flatnonzero(mask.any(1))
        mask[rows[len(rows) // 2] :] = False
    return kept


def test_targets_are_things_and_the_parts_that_lie_in_them(targets):
    assert len(targets) >= 70
    assert targets.masks.shape[1:] == targets.pixels.shape[1:3] == (64, 64)
    assert targets.part.any()
    for number in np.flatnonzero(targets.part):
        wholes = targets.masks[(targets.picture == targets.picture[number]) & ~targets.part]
        assert any((targets.masks[number] <= whole).all() for whole in wholes)
    assert not target_pictures(30, "middle", 3, size=64).part.any()  # the level has no parts of its own


def test_finer_pictures_show_the_same_scenes():
    plain, finer = (target_pictures(12, "easy", 6, size=64, finer=k) for k in (1, 2))
    assert np.array_equal(plain.picture, finer.picture)
    assert finer.pixels.shape == plain.pixels.shape
    assert iou(plain.masks, finer.masks).min() > 0.9
    assert np.abs(plain.pixels.astype(float) - finer.pixels).mean() < 4


def test_other_seeds_give_other_pictures(targets):
    again, other = (target_pictures(5, "middle", seed, parts=True, size=64) for seed in (3, 4))
    assert np.array_equal(again.pixels, targets.pixels[: len(again.pixels)])
    assert not np.array_equal(again.pixels[0], other.pixels[0])


def test_a_perfect_segmenter_scores_one(targets):
    masks = np.repeat(targets.masks[:, None], 4, 1)
    for way in (one_click, boxed):
        score = way(*knowing(targets, masks, np.ones((len(targets), 4))), targets)
        for values in (score.single, score.picked, score.best):
            assert values.shape == (len(targets),)
            assert (values == 1).all()
        assert not score.error.any()


def test_the_three_masks_are_told_from_the_single_one(targets):
    masks = np.zeros((len(targets), 4, 64, 64), bool)
    masks[:, 0] = halves_of(targets.masks)
    masks[:, 2] = targets.masks
    liked = np.tile([0.9, 0.2, 0.4, 0.6], (len(targets), 1))  # prefers the empty mask 3 to the right one
    score = one_click(*knowing(targets, masks, liked), targets)
    assert (score.best == 1).all()
    assert (score.picked == 0).all()
    assert (score.chosen == 3).all()
    assert score.single.mean() == pytest.approx(0.5, abs=0.1)
    assert score.error[:, 1:] == pytest.approx(np.tile([0.2, 0.6, 0.6], (len(targets), 1)))


def test_a_click_is_inside_and_a_box_is_tight(targets):
    asked: list = []
    masks = np.repeat(targets.masks[:, None], 4, 1)
    one_click(*knowing(targets, masks, np.ones((len(targets), 4)), asked), targets)
    boxed(*knowing(targets, masks, np.ones((len(targets), 4)), asked), targets)
    half = len(asked) // 2
    clicks, boxes = (np.concatenate([a[0] for a in part]) for part in (asked[:half], asked[half:]))
    x, y = clicks[:, 0].T.astype(int)
    assert targets.masks[np.arange(len(targets)), y, x].all()
    assert all((a[1] == [1, -1]).all() and not a[2].any() for a in asked[:half])
    assert all((a[1] == [2, 3]).all() for a in asked[half:])
    (x0, y0), (x1, y1) = boxes[0].astype(int)
    inside = targets.masks[0, y0:y1, x0:x1]
    assert inside.sum() == targets.masks[0].sum()
    assert inside[0].any()
    assert inside[-1].any()
    assert inside[:, 0].any()
    assert inside[:, -1].any()


@pytest.mark.parametrize("feed_back", [True, False])
def test_three_clicks_correct_what_was_found(feed_back: bool):
    targets = target_pictures(20, "middle", 8, size=64)
    seen: list = []

    def decode(pixels, picture, points, labels, mask, has_mask):
        seen.append((points, labels, mask, has_mask))
        found = np.where(halves_of(targets.masks), 5.0, -5.0)[:, None].repeat(4, 1)
        return found.astype(np.float32), np.tile(np.float32([0.1, 0.2, 0.9, 0.3]), (len(points), 1))

    score = three_clicks(lambda pixels: pixels, decode, targets, feed_back=feed_back)
    assert [points.shape[1] for points, *_ in seen] == [2, 3, 4]
    points, labels, mask, has_mask = seen[1]
    missing = targets.masks & ~halves_of(targets.masks)
    x, y = points[:, 0].T.astype(int)
    assert missing[np.arange(len(targets)), y, x].all()
    assert (labels[:, 0] == 1).all()
    assert (labels[:, -1] == -1).all()
    assert (has_mask == float(feed_back)).all()
    if feed_back:
        assert np.array_equal(mask > 0, halves_of(targets.masks))
    assert score.single.mean() == pytest.approx(0.5, abs=0.1)


def test_iou_counts_pixels():
    a, b = np.zeros((2, 4, 4), bool)
    assert iou(a, b) == 0
    a[:2], b[1:3] = True, True
    assert iou(a, b) == pytest.approx(4 / 12)
    assert iou(np.stack([a, b]), a).tolist() == pytest.approx([1, 4 / 12])


@pytest.mark.parametrize(
    ("short", "long"), [((4, 4), (8, 8)), ((5, 3), (13, 7)), ((1, 6), (9, 6)), ((16, 16), (33, 20))]
)
def test_upsampling_is_that_of_the_reference(short, long):
    torch = pytest.importorskip("torch", reason="the reference is torch's")
    maps = np.random.default_rng(0).normal(size=(2, 3, *short)).astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(maps), size=long, mode="bilinear").numpy()
    assert upsample(maps, long) == pytest.approx(expected, abs=1e-5)


def test_a_click_on_nothing_is_on_nothing_and_the_surest_mask_counts():
    asked = []

    def decode(pixels, picture, points, labels, mask, has_mask):
        x, y = points[0, 0].astype(int)
        asked.append(pixels[0, y, x])
        return np.zeros((1, 4, 16, 16), np.float32), np.float32([[0.99, 0.1, 0.7, 0.3]])

    sure = clicks_on_nothing(lambda pixels: pixels, decode, 12, "easy", 4, size=64)
    assert sure == pytest.approx(np.full(12, 0.7))
    assert max(int(pixel.max()) for pixel in asked) < 90  # the backdrop of the easy level is dark
