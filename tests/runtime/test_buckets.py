"""Buckets: which size a picture goes to, and where it lies there."""

import numpy as np
import pytest

from saccade.runtime.buckets import Buckets
from saccade.runtime.errors import InputError, ManifestError
from saccade.runtime.image import decode
from saccade.runtime.preprocess import Preprocess

SIZES = [[480, 640], [640, 480], [800, 1333], [480, 480]]
PLAIN = Preprocess(resize="shortest", edge=800, limit=1333, filter="bilinear", mean=(0.5,) * 3, pad_value=7.0)


@pytest.mark.parametrize(
    ("picture", "size"),
    [
        ((480, 640), (480, 640)),
        ((1200, 1600), (480, 640)),
        ((640, 480), (640, 480)),
        ((300, 300), (480, 480)),
        ((3, 4), (480, 640)),
        ((800, 1333), (800, 1333)),
        ((3000, 5000), (800, 1333)),
        ((500, 3), (640, 480)),
        ((1, 9000), (800, 1333)),
    ],
)
def test_the_choice(picture, size):
    assert Buckets(SIZES, PLAIN).choose(*picture) == size


def test_of_buckets_of_one_shape_the_smallest_that_does_not_shrink():
    buckets = Buckets([[240, 320], [480, 640], [960, 1280]], PLAIN)
    assert buckets.choose(240, 320) == (240, 320)
    assert buckets.choose(241, 321) == (480, 640)
    assert buckets.choose(4000, 5000) == (960, 1280)


@pytest.mark.parametrize("shape", [(480, 640), (100, 77), (3, 500), (500, 3), (1, 1), (1, 20000)])
def test_a_picture_lies_in_the_corner_and_the_rest_is_padding(shape):
    buckets = Buckets([[96, 128]], PLAIN)
    image = decode(np.full((*shape, 3), 255, np.uint8))
    pixels, shown = buckets.fill([image, image], (96, 128))
    assert pixels.shape == (2, 3, 96, 128)
    assert shown.dtype == bool
    assert np.array_equal(shown[0], shown[1])
    high, wide = shown[0].any(1).sum(), shown[0].any(0).sum()
    assert shown[0, :high, :wide].all()
    assert high == 96 or wide == 128
    factor = min(96 / shape[0], 128 / shape[1])
    assert (high, wide) == (max(round(shape[0] * factor), 1), max(round(shape[1] * factor), 1))
    assert np.allclose(pixels[0][:, shown[0]], 0.5)
    assert (pixels[0][:, ~shown[0]] == 7).all()


def test_a_bundle_that_stretches_shows_everything():
    buckets = Buckets([[32, 64]], Preprocess(size=(32, 64), resize="squash"))
    _, shown = buckets.fill([decode(np.zeros((90, 10, 3), np.uint8))], (32, 64))
    assert shown.all()


@pytest.mark.parametrize("sizes", [None, [], [[480]], [[480, 0]], [[480, 640.0]], 7, [[True, 5]], [7], [[1, 99999]]])
def test_what_are_no_sizes(sizes):
    with pytest.raises(ManifestError, match="sizes"):
        Buckets(sizes, PLAIN)


@pytest.mark.parametrize("size", [(1, 2), "large", 480, (480,), None])
def test_a_size_that_there_is_not(size):
    with pytest.raises(InputError, match="no input size") as caught:
        Buckets(SIZES, PLAIN).named(size)
    assert "800x1333" in caught.value.hint
    assert Buckets(SIZES, PLAIN).named([480, 640]) == (480, 640)
