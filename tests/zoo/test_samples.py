"""What ships beside the code is what the code draws: the sample pictures and the contact sheet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.zoo import samples
from saccade.zoo.show import contact_sheet

FOLDER = Path(__file__).parents[2] / "zoo" / "pictures"
TRUTH = json.loads((FOLDER / "captions.json").read_text())


@pytest.mark.parametrize(("chosen", "row"), list(zip(samples.CHOSEN, TRUTH["pictures"], strict=True)))
def test_each_picture_is_drawn_again_byte_for_byte(chosen, row):
    picture = samples.draw(*chosen[1:])
    shipped = np.asarray(Image.open(FOLDER / row["file"]))
    assert np.array_equal(shipped, picture.pixels)
    assert row == {"file": f"{chosen[0]}.png", "level": chosen[1], **samples.truth_of(picture)}


def test_the_folder_holds_just_these_and_stays_small():
    files = sorted(path.name for path in FOLDER.iterdir())
    assert files == sorted(["captions.json", *(row["file"] for row in TRUTH["pictures"])])
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 400_000


def test_all_levels_and_both_kinds_of_pair_are_there():
    rows = TRUTH["pictures"]
    assert {row["level"] for row in rows} == {"easy", "middle", "hard"}
    assert {thing["held_out"] for row in rows for thing in row["things"]} == {True, False}
    assert any(len(row["things"]) == 2 for row in rows)


def test_drawing_all_writes_the_same_files(tmp_path):
    samples.draw_all(tmp_path / "new")
    assert (tmp_path / "new" / "captions.json").read_text() == (FOLDER / "captions.json").read_text()


def test_the_contact_sheet_is_drawn():
    sheet = contact_sheet(3)
    assert sheet.mode == "RGB"
    assert sheet.width > 1000
    assert len(sheet.resize((64, 48)).getcolors(64 * 48)) > 200
