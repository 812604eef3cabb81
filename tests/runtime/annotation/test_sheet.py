"""The contact sheet: masks where they are, on pictures of any size."""

import numpy as np
import pytest
from PIL import Image as Pillow

from saccade.runtime.annotation import annotate, sheet
from saccade.runtime.annotation.finished import Finished
from saccade.runtime.annotation.record import annotation
from saccade.runtime.image import decode
from saccade.runtime.rle import encode


@pytest.mark.parametrize(("height", "width"), [(100, 100), (300, 900), (700, 33), (1, 1), (37, 1000)])
def test_masks_are_painted_where_they_are(height, width):
    image = decode(np.full((height, width, 3), 128, np.uint8))
    mask = np.zeros((height, width), bool)
    mask[height // 3 : height - height // 3, width // 4 : width - width // 4] = True
    made = sheet.overlay(image, [annotation(encode(mask), 1, 1)], 64)
    assert max(made.shape[:2]) == min(64, max(height, width))
    y = ((np.arange(made.shape[0]) + 0.5) / made.shape[0] * height).astype(int)
    x = ((np.arange(made.shape[1]) + 0.5) / made.shape[1] * width).astype(int)
    assert np.array_equal((made != 128).any(axis=2), mask[y][:, x])


def test_small_masks_lie_on_large_ones_each_in_its_colour():
    image = decode(np.full((60, 60, 3), 128, np.uint8))
    large, small = np.ones((60, 60), bool), np.zeros((60, 60), bool)
    small[20:40, 20:40] = True
    for order in ([large, small], [small, large]):
        made = sheet.overlay(image, [annotation(encode(m), 1, 1) for m in order], 60)
        assert not np.array_equal(made[30, 30], made[10, 10])
        assert not np.array_equal(made[20, 20], made[30, 30])  # an outline


def test_a_picture_that_is_gone_or_has_another_size_does_no_harm(tmp_path):
    Pillow.new("RGB", (20, 10)).save(tmp_path / "a.png")
    masks = (annotation(encode(np.ones((5, 5), bool)), 1, 1),)
    made = sheet.draw(tmp_path, [Finished("gone.png", 5, 5, masks), Finished("a.png", 5, 5, masks)], "x")
    assert [tile.title for tile in made.sections[0].tiles] == ["a.png"]
    assert made.draw().size[0] > 100


def test_a_run_draws_some_of_its_pictures(model, folder, tmp_path, monkeypatch):
    from saccade.runtime.annotation import outputs

    drawn = []
    real = sheet.draw
    monkeypatch.setattr(outputs, "PICTURES", 2)
    monkeypatch.setattr(outputs, "draw_sheet", lambda *given: (drawn.append(real(*given)), drawn[-1])[1])
    made = annotate(model, folder, tmp_path / "out")
    assert decode(made.files["sheet"]).height > 300
    assert [tile.title for tile in drawn[0].sections[0].tiles] == ["a.png", "z z.png"]
    assert "5 pictures, 10 masks" in drawn[0].title
    assert "sheet" not in annotate(model, folder, tmp_path / "other", sheet=False).files
