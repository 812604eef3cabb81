"""What ships is found by name, and the truth of the pictures says where each thing is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from saccade.runtime.errors import InputError
from saccade.zoo.shipped import bundle_path, names, pictures, truth


def test_bundles_are_found_by_name():
    assert "clip-tiny" in names()
    assert bundle_path("clip-tiny").is_dir()
    with pytest.raises(InputError) as error:
        bundle_path("sam-huge")
    assert "clip-tiny" in error.value.hint


def test_the_truth_names_and_places_every_thing():
    told = truth()
    assert sorted(told) == [path.name for path in pictures()]
    for path in pictures():
        shown = told[path.name]
        assert len(shown.labels) == len(shown.boxes) == len(shown.parts) > 0
        with Image.open(path) as picture:
            width, height = picture.size
        for x0, y0, x1, y1 in shown.boxes:
            assert 0 <= x0 < x1 <= width
            assert 0 <= y0 < y1 <= height
    assert any(any(shown.parts) for shown in told.values())


def test_a_box_holds_what_it_is_said_to_hold():
    """The one heart of the simplest picture is cyan: red is low inside its box and nowhere else that low and bright."""
    shown = truth()["cyan-heart.png"]
    assert shown.labels == ("a cyan heart",)
    path = next(path for path in pictures() if path.name == "cyan-heart.png")
    red, green, blue = np.asarray(Image.open(path).convert("RGB"), np.int64).transpose(2, 0, 1)
    rows, columns = np.nonzero(np.minimum(green, blue) - red > 60)
    found = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert np.abs(np.array(found) - shown.boxes[0]).max() <= 2
