"""The sheet of boxes: every row is drawn, with what was found, what was missed and what was not meant."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.zoo import show_boxes
from saccade.zoo.detection import Found
from saccade.zoo.show_boxes import COLUMNS, GAP, INKS, LEFT, LINE, LINES, ROWS, TILE, contact_sheet


@pytest.fixture(scope="module")
def asked() -> list[str]:
    return []


@pytest.fixture(scope="module")
def sheet(asked):
    def detect(picture, text, spans):
        asked.append(text)
        boxes = np.array([[10, 10, 60, 60], [70, 70, 120, 120]], np.float32)
        return Found(boxes, np.array([0.9, 0.2], np.float32), np.array([0, 0]))

    return np.asarray(contact_sheet(detect, 5))


def test_every_kind_of_prompt_is_asked(asked, sheet):
    assert len(asked) == COLUMNS * len(ROWS)
    assert any("circle. square." in text for text in asked)
    assert any(" a " in text for text in asked)
    assert sheet.shape[1] > LEFT + COLUMNS * TILE
    assert sheet.shape[0] > len(ROWS) * TILE


def test_only_what_is_above_the_threshold_is_drawn(sheet):
    row = list(ROWS).index("not there")
    top = GAP + row * (TILE + LINES * LINE + GAP)
    tile = sheet[top : top + TILE, LEFT : LEFT + TILE]
    scale = TILE / 128
    ink = (tile == INKS[0]).all(2)
    assert ink[round(11 * scale) : round(59 * scale), round(11 * scale) : round(59 * scale)].sum() > 100  # the cross
    assert not ink[round(65 * scale) :, round(65 * scale) :].any()


def test_words_keep_their_place_in_the_text():
    text = "a red circle. square."
    assert [text[at : at + len(word)] for word, at in show_boxes._words(text)] == text.split(" ")
