"""saccade segment: prompts of every kind in, pictures and JSON out; and what is refused."""

import json

import numpy as np
import pytest
from PIL import Image

import saccade
from saccade.cli import run
from saccade.runtime import rle


@pytest.fixture
def place(tmp_path, toy_sam, monkeypatch):
    """A folder with a picture, a mask of it, prompts and a SAM, as the working directory."""
    rng = np.random.default_rng(4)
    Image.fromarray(rng.integers(0, 255, (70, 111, 3), np.uint8)).save(tmp_path / "photo.png")
    half = np.zeros((70, 111), np.uint8)
    half[:, 50:] = 255
    Image.fromarray(half).save(tmp_path / "half.png")
    asked = [{"points": [[30, 40]]}, {"box": [10, 10, 60, 50]}, {"points": [[30, 40], [9, 9]], "labels": [1, 0]}]
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    (tmp_path / "broken.json").write_text("[{")
    (tmp_path / "none.json").write_text("[]")
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "bad.json").write_text('[{"points": [[1, 2]], "labels": [7]}]')
    (tmp_path / "text.npy").write_text("nothing")
    np.save(tmp_path / "small.npy", np.zeros((3, 3), np.float32))
    (tmp_path / "toy.bundle").symlink_to(toy_sam)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(capfd, *arguments):
    capfd.readouterr()
    assert run(["segment", "toy.bundle", "photo.png", *arguments, "--json"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    return json.loads(out)


def test_a_point_gives_its_best_mask(place, capfd):
    found = answer(capfd, "--point", "30,40")
    assert found["size"] == [70, 111]
    assert found["prompts"] == [{"points": [[30.0, 40.0]], "labels": [1]}]
    (row,) = found["masks"]
    with saccade.load("toy.bundle") as sam:
        want = sam.segment("photo.png", points=[(30, 40)]).best
    assert np.array_equal(rle.decode(row["segmentation"]), want.at(0))
    assert row["box"] == want.boxes[0].tolist()
    assert len(answer(capfd, "--point", "30,40", "--all")["masks"]) == 3


def test_points_make_one_object_or_several(place, capfd):
    two = ["--point", "30,40", "--point", "50.5,20"]
    one = answer(capfd, *two, "--label", "1", "--label", "0")
    assert one["prompts"] == [{"points": [[30.0, 40.0], [50.5, 20.0]], "labels": [1, 0]}]
    assert len(one["masks"]) == 1
    each = answer(capfd, *two, "--each")
    assert [p["points"] for p in each["prompts"]] == [[[30.0, 40.0]], [[50.5, 20.0]]]
    assert [m["prompt"] for m in each["masks"]] == [0, 1]


def test_boxes_masks_and_a_file_of_prompts(place, capfd):
    boxes = answer(capfd, "--box", "10,10,60,50", "--box", "60,20,100,60")
    assert [m["prompt"] for m in boxes["masks"]] == [0, 1]
    both = answer(capfd, "--box", "10,10,60,50", "--point", "30,40", "--mask", "half.png")
    assert set(both["prompts"][0]) == {"points", "labels", "box", "mask"}
    assert rle.decode(both["prompts"][0]["mask"]).sum() == 70 * 61
    asked = answer(capfd, "--prompts", "asked.json")
    assert [m["prompt"] for m in asked["masks"]] == [0, 1, 2]
    (place / "saved.json").write_text(json.dumps(asked))
    assert answer(capfd, "--prompts", "saved.json") == asked  # a saved result can be asked again


def test_logits_written_are_logits_read(place, capfd):
    assert run(["segment", "toy.bundle", "photo.png", "--point", "30,40", "--logits", "low.npy"]) == 0
    assert np.load("low.npy").shape == (1, 32, 32)
    again = answer(capfd, "--point", "30,40", "--point", "32,40", "--mask", "low.npy")
    assert again["masks"][0]["area"] != answer(capfd, "--point", "30,40", "--point", "32,40")["masks"][0]["area"]


def test_everything_and_the_pictures(place, capfd):
    arguments = ["--everything", "--grid", "8", "--min-region", "20"]
    assert run(["segment", "toy.bundle", "photo.png", *arguments, "-o", "out.png", "--masks", "each"]) == 0
    out = capfd.readouterr().out
    found = answer(capfd, *arguments)
    count = len(found["masks"])
    assert count > 3
    assert f"{count} masks" in out
    assert "wrote out.png" in out
    names = sorted((place / "each").iterdir())
    assert len(names) == count
    with Image.open(names[0]) as mask:
        assert np.array_equal(np.asarray(mask), rle.decode(found["masks"][0]["segmentation"]))
    with Image.open("out.png") as drawn:
        assert drawn.size == (111, 70)
    loose = answer(capfd, *arguments, "--min-score", "0.5", "--min-stability", "0.5", "--crops", "1")
    assert len(loose["masks"]) > count


P = ["--point", "30,40"]
CASES = [
    ([], 2, "nothing is asked"),
    (["--everything", *P], 2, "exclude"),
    (["--point", "30"], 2, "cannot read '30'"),
    (["--point", "30;40"], 2, "cannot read"),
    (["--point", "nan,3"], 2, "NaN"),
    (["--point", "300,40"], 2, "outside"),
    (["--point", "-3,40"], 2, "outside"),
    ([*P, "--label", "2"], 2, "labels"),
    ([*P, "--label", "1", "--label", "0"], 2, "2 labels for 1"),
    (["--label", "1"], 2, "labels without points"),
    (["--box", "1,2,3"], 2, "cannot read '1,2,3'"),
    (["--box", "30,40,30,60"], 2, "a box"),
    ([*P, "--box", "1,2,30,40", "--box", "1,2,30,50"], 2, "1 and 2 objects"),
    (["--each", "--box", "1,2,3,4"], 2, "--each"),
    (["--prompts", "asked.json", *P], 2, "--prompts and"),
    (["--prompts", "missing.json"], 2, "missing.json"),
    (["--prompts", "broken.json"], 2, "broken.json"),
    (["--prompts", "other.json"], 2, "other.json"),
    (["--prompts", "none.json"], 2, "no prompt"),
    (["--prompts", "bad.json"], 2, "labels"),
    (["--mask", "missing.npy"], 2, "missing.npy"),
    (["--mask", "text.npy"], 2, "text.npy"),
    (["--mask", "small.npy"], 2, "a mask"),
    (["--mask", "asked.json"], 2, "asked.json"),
    (["--everything", "--grid", "0"], 2, "grid"),
    (["--everything", "--crops", "9"], 2, "crops"),
    ([*P, "-o", "out.gif"], 2, "out.gif"),
    ([*P, "--logits", "out.txt"], 2, "out.txt"),
    (["--everything", "--logits", "out.npy"], 2, "not kept"),
]


@pytest.mark.parametrize(("arguments", "code", "says"), CASES, ids=[" ".join(c[0]) or "none" for c in CASES])
def test_bad_input_is_two_lines_and_a_code(place, capfd, arguments, code, says):
    before = sorted(place.iterdir())
    assert run(["segment", "toy.bundle", "photo.png", *arguments]) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert says in err
    assert "\n hint: " in err
    assert err.count("\n") == 2
    assert sorted(place.iterdir()) == before


def test_a_bundle_of_another_family_is_refused(place, capfd):
    assert run(["segment", "clip-tiny", "photo.png", *P]) == 2
    assert "family 'clip'" in capfd.readouterr().err
