"""saccade detect, ground, find: folders and patterns in, pictures and JSON out; and what is refused."""

import json

import numpy as np
import pytest
from PIL import Image

from saccade.cli import run, spread

RED, BLUE = [32, 16, 48, 32], [0, 48, 16, 64]


@pytest.fixture
def place(tmp_path, grounding_bundle, owl_bundle, toy_sam, coloured, monkeypatch):
    """A folder with pictures, one of them damaged, and models, as the working directory."""
    (tmp_path / "photos" / "more").mkdir(parents=True)
    Image.fromarray(coloured).save(tmp_path / "photos" / "a.png")
    Image.fromarray(coloured[:, ::-1]).save(tmp_path / "photos" / "b.png")
    Image.fromarray(coloured[::-1]).save(tmp_path / "photos" / "more" / "a.png")
    (tmp_path / "photos" / "bad.png").write_bytes(b"no picture")
    Image.fromarray(coloured[16:32, 32:48]).save(tmp_path / "ball.png")
    (tmp_path / "labels.txt").write_text("red\nblue\n")
    (tmp_path / "empty").mkdir()
    for name, bundle in (("g", grounding_bundle), ("o", owl_bundle), ("s", toy_sam)):
        (tmp_path / f"{name}.bundle").symlink_to(bundle)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(capfd, *arguments, code=0):
    capfd.readouterr()
    assert run([*arguments, "--json"]) == code
    return json.loads(capfd.readouterr().out)


def test_labels_prompts_and_files_of_labels(place, capfd):
    (one,) = answer(capfd, "detect", "g.bundle", "photos/a.png", "--labels", "red", "blue")
    assert one["picture"] == "photos/a.png"
    assert [row["phrase"] for row in one["detections"]] == ["red", "blue"]
    assert np.allclose([row["box"] for row in one["detections"]], [RED, BLUE], atol=1e-3)
    (two,) = answer(capfd, "detect", "g.bundle", "photos/a.png", "--prompt", "red. blue.")
    assert [row["box"] for row in two["detections"]] == [row["box"] for row in one["detections"]]
    assert answer(capfd, "detect", "g.bundle", "photos/a.png", "--labels-file", "labels.txt") == [one]


def test_a_folder_with_a_damaged_picture_goes_on(place, capfd):
    assert run(["detect", "g.bundle", "photos", "--labels", "red", "-o", "out"]) == 1
    shown, err = capfd.readouterr()
    assert "3 boxes on 3 pictures" in shown
    assert "skipped photos/bad.png" in err
    assert sorted(p.name for p in (place / "out").iterdir()) == ["a-2.png", "a.png", "b.png"]
    with Image.open("out/a.png") as opened:
        assert opened.size == (96 * 7, 64 * 7)
    rows = answer(capfd, "detect", "g.bundle", "photos", "--labels", "red", code=1)
    assert [("error" in row) for row in rows] == [False, False, True, False]


def test_patterns(place, capfd):
    rows = answer(capfd, "detect", "g.bundle", "photos/[ab].png", "photos/a.png", "--labels", "red")
    assert [row["picture"] for row in rows] == ["photos/a.png", "photos/b.png"]
    rows = answer(capfd, "detect", "o.bundle", "photos/**/a.png", "--labels", "red")
    assert len(rows) == 2


def test_masks_kinds_and_trees(place, capfd):
    (one,) = answer(capfd, "detect", "g.bundle", "photos/a.png", "--prompt", "red. blue", "--masks", "s.bundle")
    assert {"mask", "area"} <= set(one["detections"][0])
    kinds = ["--classify", "clip-tiny", "--kinds", "a red square", "a blue square"]
    (one,) = answer(capfd, "detect", "g.bundle", "photos/a.png", "--labels", "red", "blue", *kinds)
    assert [row["kind"] for row in one["detections"]] == ["a red square", "a blue square"]
    tree = ["--prompt", "[red (a red square, a blue square), blue]", "--classify", "clip-tiny"]
    assert run(["detect", "g.bundle", "photos/a.png", *tree, "-o", "tree.png"]) == 0
    shown = capfd.readouterr().out
    assert "a red square" in shown
    assert "wrote tree.png" in shown
    assert (place / "tree.png").exists()


def test_a_caption_and_an_example(place, capfd):
    caption = ["--caption", "A red dog is on the blue grass"]
    (one,) = answer(capfd, "ground", "g.bundle", "photos/a.png", *caption)
    assert [(row["phrase"], row["spans"]) for row in one["detections"]] == [
        ("red dog", [[2, 9]]),
        ("blue grass", [[20, 30]]),
    ]
    (two,) = answer(capfd, "ground", "g.bundle", "photos/a.png", *caption, "--span", "2,5")
    assert [row["phrase"] for row in two["detections"]] == ["red"]
    assert run(["ground", "g.bundle", "photos/a.png", *caption, "-o", "out.json"]) == 0
    assert json.loads((place / "out.json").read_text())["phrases"] == ["red dog", "blue grass"]
    (three,) = answer(capfd, "find", "o.bundle", "photos/a.png", "--example", "ball.png", "--threshold", "0.5")
    assert {row["phrase"] for row in three["detections"]} == {"ball"}
    (four,) = answer(capfd, "find", "o.bundle", "photos/a.png", "--example", "photos/a.png", "--box", "0,48,16,64")
    assert len(four["detections"]) == 1


def test_kinds_may_stand_in_a_row():
    assert spread(["--kinds", "a", "b"]) == ["--kinds", "a", "--kinds", "b"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["detect", "g.bundle", "photos/a.png"], "no labels given"),
        (["detect", "g.bundle", "photos/a.png", "--prompt", ""], "empty"),
        (["detect", "g.bundle", "photos/a.png", "--prompt", "a", "--labels", "b"], "exclude"),
        (["detect", "g.bundle", "photos/a.png", "--prompt", "a", "--threshold", "1.5"], "threshold"),
        (["detect", "g.bundle", "photos/a.png", "--prompt", "a", "--classify", "clip-tiny"], "without kinds"),
        (["detect", "g.bundle", "photos/a.png", "--prompt", "a", "--kinds", "b"], "without --classify"),
        (["detect", "g.bundle", "photos/a.png", "--prompt", "[a (b"], "expected"),
        (["detect", "g.bundle", "photos/bad.png", "--prompt", "a"], "bad.png"),
        (["detect", "g.bundle", "empty", "--prompt", "a"], "no pictures at empty"),
        (["detect", "g.bundle", "none*.png", "--prompt", "a"], "no pictures at none"),
        (["detect", "g.bundle", "none.png", "--prompt", "a"], "none.png"),
        (["detect", "g.bundle", "photos", "--prompt", "a", "-o", "out.png"], "for 4 pictures"),
        (["detect", "g.bundle", "photos/a.png", "--prompt", "a", "-o", "out.gif"], "cannot write"),
        (["detect", "s.bundle", "photos/a.png", "--prompt", "a"], "a detector is missing"),
        (["detect", "g.bundle", "photos/a.png", "--prompt", "кошка"], "vocabulary"),
        (["ground", "g.bundle", "photos/a.png", "--caption", "it is"], "no phrase"),
        (["ground", "g.bundle", "photos/a.png", "--caption", "a dog", "--span", "x"], "cannot read"),
        (["ground", "o.bundle", "photos/a.png", "--caption", "a dog"], "grounds is missing"),
        (["find", "o.bundle", "photos/a.png", "--example", "ball.png", "--box", "1,2,1,5"], "without area"),
        (["find", "o.bundle", "photos/a.png", "--example", "ball.png", "--box", "1,2"], "cannot read"),
        (["find", "g.bundle", "photos/a.png", "--example", "ball.png"], "by example is missing"),
    ],
)
def test_what_is_refused(place, capfd, arguments, says):
    assert run(arguments) == 2
    out, err = capfd.readouterr()
    assert err.startswith("error: ")
    assert says in err
    assert " hint: " in err
    assert out == ""
