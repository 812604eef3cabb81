"""The sheet of masks: every row is drawn, from whatever encoder and decoder it is given."""

from __future__ import annotations

import numpy as np

from saccade.zoo.segmentation import target_pictures
from saccade.zoo.show_masks import LEFT, ROWS, SCALE, _nested, contact_sheet


def test_parts_come_after_the_thing_that_they_are_on():
    targets = target_pictures(30, "middle", 2, parts=True)
    found = _nested(targets, 2)
    assert len(found) == 4
    assert [bool(targets.part[i]) for i in found] == [False, True, False, True]
    for whole, part in ((found[0], found[1]), (found[2], found[3])):
        assert (targets.masks[part] <= targets.masks[whole]).all()


def test_the_sheet_has_a_row_a_prompt_and_a_column_a_target():
    asked: list[int] = []

    def decode(pixels, picture, points, labels, mask, has_mask):
        asked.append(points.shape[1])
        logits = np.full((len(points), 4, 32, 32), -4.0, np.float32)
        logits[:, :, 8:24, 8:24] = 4.0
        return logits, np.tile(np.float32([0.5, 0.2, 0.9, 0.3]), (len(points), 1))

    sheet = contact_sheet(lambda pixels: pixels, decode, 3)
    tile = round(SCALE * 128)
    assert sheet.width > LEFT + 10 * tile
    assert sheet.height > len(ROWS) * tile
    assert asked[:5] == [2, 2, 3, 4, 2]  # one click; three clicks, each answered; a box
    middle = np.asarray(sheet)[tile + 20 : 2 * tile, LEFT : LEFT + tile]
    assert (middle == (64, 200, 255)).all(2).any()  # the edge of a mask
