"""Contact sheets: everything is on them, and odd input does not break them."""

import numpy as np
from PIL import Image

from saccade.runtime.draw import TILE, Row, Section, Sheet, Tile, scores_sheet
from saccade.runtime.results import Scores


def test_each_picture_is_on_the_sheet():
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    pictures = [np.full((40, 60, 3), colour, np.uint8) for colour in colours]
    drawn = np.asarray(Sheet("t", [Section("s", [Tile(p, "x") for p in pictures])], columns=2).draw())
    for colour in colours:
        share = (drawn == colour).all(axis=2).sum() / TILE**2
        assert 0.4 < share < 0.8  # 60×40 fitted into a square


def test_names_of_any_kind_and_no_rows_at_all():
    tile = Tile(
        np.zeros((1, 300, 3), np.uint8), "日本語 \x1b[31m\n" + "long " * 80, [Row("", 7.0, "x"), Row("y" * 500, -1.0)]
    )
    assert Sheet("", []).draw().size[0] > 0
    assert Sheet("title " * 100, [Section("", []), Section("h", [tile])], note="n").draw().mode == "RGB"


def test_scores_are_drawn_and_saved(tmp_path):
    pictures = [np.zeros((8, 8, 3), np.uint8)] * 2
    scores = Scores(np.array([[0.9, 0.1], [0.2, 0.8]], np.float32), ("a", "b"), ("one.png", ""))
    target = tmp_path / "sheet.png"
    scores_sheet(pictures, scores).save_png(target)
    with Image.open(target) as opened:
        assert opened.format == "PNG"
