"""What is asked about: masks that the model is not sure of, and regions without any."""

import numpy as np

from saccade.runtime.annotation import asks, stages
from saccade.runtime.annotation.record import annotation
from saccade.runtime.annotation.rules import rules
from saccade.runtime.image import decode
from saccade.runtime.rle import encode
from tests.runtime.annotation import fake


def test_covered_is_what_the_pixels_say():
    rng = np.random.default_rng()
    for _ in range(20):
        height, width = rng.integers(1, 60, 2)
        masks = rng.random((rng.integers(0, 4), height, width)) < 0.3
        points = rng.random((200, 2)).astype(np.float32) * (width, height)
        x, y = points.astype(np.int64).T
        want = masks.any(axis=0)[y, x] if len(masks) else np.zeros(200, bool)
        got = asks.covered(points, [annotation(encode(m), 1, 1) for m in masks])
        assert np.array_equal(got, want)


def asked(path, held=None, **given):
    """The asks of a picture, the fake's view, and what was sure."""
    chosen = rules("semi-automatic", **(held or {}))
    view = fake.Model().encode(decode(path))
    sure = stages.automatic(view, chosen)
    return asks.asks(view, sure, view.image.height, view.image.width, chosen), view, sure


def test_the_unsure_are_asked_about_by_a_point_in_them(tmp_path):
    kinds = [fake.SURE, fake.UNSURE, fake.DIM]
    made, view, sure = asked(fake.picture(tmp_path / "a.png", 5, kinds), {"ask_grid": 16})
    assert len(sure) == 1
    unsure = [a for a in made if a.why == "uncertain"]
    (one,) = unsure
    ((x, y),) = one.points
    assert tuple(view.image.pixels[int(y), int(x), :2]) == (round(one.score * 255), round(one.stability * 255))
    assert 160 < round(one.score * 255) <= 170
    left, top, right, bottom = one.region
    assert left <= x < right
    assert top <= y < bottom
    assert one.accept is None
    assert [a.ask for a in made] == list(range(len(made)))
    lower = asked(tmp_path / "a.png", {"ask_grid": 16, "ask_score": 0.1})[0]
    assert len([a for a in lower if a.why == "uncertain"]) >= 2  # the dim one too


def test_what_nothing_covers_is_asked_about_as_regions(tmp_path):
    made, view, _ = asked(fake.picture(tmp_path / "a.png", 5), {"ask_grid": 16})
    regions = [a for a in made if a.why == "uncovered"]
    assert regions
    for one in regions:
        left, top, right, bottom = one.region
        assert 0 <= left < right <= 64
        assert 0 <= top < bottom <= 48
        assert not one.points
        black = (view.image.pixels[int(top) : int(bottom), int(left) : int(right), 0] == 0).mean()
        assert black > 0.1
    sizes = [(r[2] - r[0]) * (r[3] - r[1]) for r in (one.region for one in regions)]
    assert sizes[0] == max(sizes)


def test_a_covered_picture_asks_for_nothing(tmp_path):
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[:, :20], pixels[:, 20:] = (250, 250, 1), (251, 250, 2)
    fake.Pillow.fromarray(pixels).save(tmp_path / "a.png")
    made, view, sure = asked(tmp_path / "a.png")
    assert (made, len(sure)) == ((), 2)
    assert view.model.batches == []


def test_no_more_than_somebody_works_through(tmp_path):
    rng = np.random.default_rng()
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[...] = (160, 160, 0)
    pixels[..., 2] = np.arange(256).reshape(16, 16).repeat(4, 0).repeat(4, 1)[rng.permutation(64)]
    fake.Pillow.fromarray(pixels).save(tmp_path / "a.png")
    made, *_ = asked(tmp_path / "a.png", {"ask_grid": 16})
    assert len(made) == asks.MOST
    assert all(a.score >= b.score for a, b in zip(made, made[1:], strict=False))


def test_a_small_picture_and_a_large_grid(tmp_path):
    fake.Pillow.fromarray(np.zeros((1, 1, 3), np.uint8)).save(tmp_path / "a.png")
    (made,) = asked(tmp_path / "a.png", {"ask_grid": 8})[0]
    assert made.region == (0.0, 0.0, 1.0, 1.0)
    assert asked(tmp_path / "a.png", {"ask_grid": 1})[0] == ()
