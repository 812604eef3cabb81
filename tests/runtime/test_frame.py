"""Coordinates to a model's input and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.runtime.errors import SpecError
from saccade.runtime.frame import Frame

SAM = Frame((1080, 1920), (576, 1024), (1024, 1024))
CROPPED = Frame((1080, 1920), (224, 398), (224, 224), (0, -87))
SIZE = st.integers(1, 5000)


def test_edges_meet_edges():
    corners = [[0, 0], [1920, 1080]]
    assert SAM.apply_points(corners).tolist() == [[0, 0], [1024, 576]]
    assert SAM.restore_points([[0, 0], [1024, 576]]).tolist() == corners
    assert CROPPED.apply_points([[960, 540]]).tolist() == [[112, 112]]


def test_axes_have_their_own_scale():
    assert CROPPED.scale == (224 / 1080, 398 / 1920)


def test_window_is_what_shows_the_picture():
    assert SAM.window == (0, 0, 576, 1024)
    assert CROPPED.window == (0, 0, 224, 224)
    assert Frame((10, 10), (10, 10), (20, 30), (5, 10)).window == (5, 10, 15, 20)


@given(SIZE, SIZE, SIZE, SIZE, st.integers(-999, 999), st.integers(-999, 999))
def test_there_and_back(height, width, resized_height, resized_width, top, left):
    frame = Frame((height, width), (resized_height, resized_width), (1024, 1024), (top, left))
    points = np.random.default_rng(0).random((2, 5, 2)) * (width, height)
    there = frame.apply_points(points)
    assert there.dtype == np.float32
    ulp = np.float32(6000) / 2**23
    bound = ulp * max(1.0, *(1 / s for s in frame.scale))
    np.testing.assert_allclose(frame.restore_points(there), points, atol=bound)
    boxes = np.concatenate([points, points + 1], axis=-1)
    np.testing.assert_array_equal(frame.apply_boxes(boxes)[..., :2], there)


def test_boxes_are_clipped_unless_told():
    box = [[-10, -10, 2000, 2000]]
    assert SAM.restore_boxes(box).tolist() == [[0, 0, 1920, 1080]]
    assert SAM.restore_boxes(box, clip=False)[0, 0] < 0
    assert SAM.restore_points([[-10, 5000]], clip=True).tolist() == [[0, 1080]]


def test_nothing_is_fine():
    assert SAM.apply_boxes(np.zeros((0, 4))).shape == (0, 4)


@pytest.mark.parametrize("points", [3, [1, 2, 3], [], "ab", [[1], [2, 3]], None])
def test_other_shapes_are_refused(points):
    with pytest.raises(SpecError, match=r"\(\.\.\., 2\)"):
        SAM.apply_points(points)
