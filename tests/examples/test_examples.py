"""Every example runs, on shipped bundles where there are any, and leaves a picture."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.zoo.shipped import names

FOLDER = Path(__file__).parents[2] / "examples"
TOYS = {"text_to_masks": "a red heart. a blue star.", "caption": "a red heart next to a blue star"}
TOYS |= {"tree": "[red (a red circle, a red star), blue]"}
SHIPPED = {"text_to_masks", "caption", "tree", "two_stage"}


def play(name, *arguments):
    runpy.run_path(str(FOLDER / f"{name}.py"))["main"](*arguments)


def test_every_example_is_here():
    assert {path.stem for path in FOLDER.glob("*.py")} == SHIPPED | {"rerank"}  # test_rerank.py


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_it_leaves_a_picture(name, tmp_path, capsys, grounding_bundle, toy_sam, clip_bundle, coloured):
    out = tmp_path / "out.png"
    needed = {"two_stage": {"sam-tiny", "clip-tiny"}}.get(name, {"grounding-tiny", "sam-tiny", "clip-tiny"})
    if needed <= set(names()):
        play(name, str(out))
    elif name in TOYS:
        Image.fromarray(coloured).save(tmp_path / "photo.png")
        second = {"text_to_masks": [str(toy_sam)], "tree": [str(clip_bundle)], "caption": []}[name]
        play(name, str(out), str(grounding_bundle), *second, str(tmp_path / "photo.png"), TOYS[name])
    else:
        pytest.skip("no such bundles in this build")
    shown = capsys.readouterr().out
    assert f"wrote {out}" in shown
    assert len(shown.splitlines()) >= 2
    with Image.open(out) as opened:
        assert max(opened.size) >= 640
        assert np.asarray(opened).std() > 5
