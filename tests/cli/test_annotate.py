"""saccade annotate and convert: what they print, and their exit codes."""

import json
import re
import shutil

import pytest

from saccade.cli import run

LOOSE = ["--min-score", "0.8", "--min-stability", "0.7", "--grid", "4", "--threads", "1"]


@pytest.fixture
def bundle(toy_sam):
    return str(toy_sam)


@pytest.fixture
def place(tmp_path, pictures, monkeypatch):
    """A folder `in` with two pictures, in the working directory."""
    (tmp_path / "in").mkdir()
    for picture in pictures[:2]:
        shutil.copy(picture, tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_in_words(place, bundle, capfd):
    assert run(["annotate", bundle, "in", "-o", "out", *LOOSE]) == 0
    out, err = capfd.readouterr()
    assert re.match(r"out: 2 pictures, \d+ masks\nwrote out/annotations.json\nwrote out/sheet.png\n$", out)
    assert err == ""


def test_as_json_twice_the_same(place, bundle, capfd):
    command = ["annotate", bundle, "in", "-o", "out", *LOOSE, "--json", "--no-sheet"]
    command += ["--format", "coco", "--format", "sa1b"]
    assert run(command) == 0
    first = json.loads(capfd.readouterr().out)
    assert run(command) == 0
    assert json.loads(capfd.readouterr().out) == first
    assert (first["pictures"], first["skipped"], sorted(first["files"])) == (2, [], ["coco", "sa1b"])
    assert len(json.loads((place / "out" / "annotations.json").read_bytes())["annotations"]) == first["masks"]
    assert run(["convert", "out/sa1b", "-o", "c.json"]) == 0
    assert capfd.readouterr().out == f"c.json: 2 pictures, {first['masks']} masks\n"
    assert run(["convert", "c.json", "-o", "again", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {"output": "again", "pictures": 2, "masks": first["masks"]}


def test_a_corrupt_picture_is_exit_code_1(place, bundle, capfd):
    (place / "in" / "bad\x1b[2J.png").write_bytes(b"\x89PNG")
    assert run(["annotate", bundle, "in", "-o", "out", *LOOSE]) == 1
    out, err = capfd.readouterr()
    assert "2 pictures" in out
    assert "1 pictures skipped" in out
    assert re.match(r"skipped bad\\x1b\[2J.png: .*\n$", err)
    assert "\x1b" not in out + err


def test_a_worklist_there_and_back(place, bundle, capfd):
    command = ["annotate", bundle, "in", "-o", "out", "--stage", "semi-automatic", "--json", "--grid", "4"]
    assert run([*command, "--worklist", "todo.json"]) == 0
    first = json.loads(capfd.readouterr().out)
    held = json.loads((place / "todo.json").read_text())
    assert first["asked"] == sum(len(row["prompts"]) for row in held["pictures"]) > 0
    for row in held["pictures"]:
        for prompt in row["prompts"]:
            prompt |= {"accept": "points" in prompt, "category": "disc"}
    (place / "todo.json").write_text(json.dumps(held))
    command += ["--prompts", "todo.json", "--worklist", "todo.json"]
    assert run(command) == 0
    second = json.loads(capfd.readouterr().out)
    assert second["asked"] == 0
    assert second["masks"] > first["masks"]


def test_assisted_with_categories_in_a_row(place, bundle, capfd):
    name = next((place / "in").iterdir()).name
    rows = [{"file_name": name, "prompts": [{"box": [10, 10, 60, 60], "category": "b"}]}]
    (place / "p.json").write_text(json.dumps({"format": "saccade-prompts-1", "pictures": rows}))
    command = ["annotate", bundle, "in", "-o", "out", "--stage", "assisted", "--prompts", "p.json", "--threads", "1"]
    assert run([*command, "--categories", "a", "b"]) == 0
    held = json.loads((place / "out" / "annotations.json").read_bytes())
    assert [c["name"] for c in held["categories"]] == ["a", "b"]
    assert [row["category_id"] for row in held["annotations"]] == [2]


ASSISTED = ["in", "-o", "out", "--stage", "assisted"]
CASES = [
    (["nowhere", "-o", "out"], "nowhere"),
    (["empty", "-o", "out"], "no pictures"),
    (["in", "-o", "in"], "holds the pictures"),
    (["in", "-o", "full"], "not empty"),
    (["in", "-o", "out", "--stage", "manual"], "manual"),
    (ASSISTED, "without prompts"),
    ([*ASSISTED, "--prompts", "none.json"], "none.json"),
    ([*ASSISTED, "--prompts", "full/x.txt"], "x.txt: not strict JSON"),
    ([*ASSISTED, "--prompts", "bad.json"], "bad.json/pictures/0/prompts/0/box"),
    ([*ASSISTED, "--prompts", "other.json"], "no picture 'other.png'"),
    ([*ASSISTED, "--prompts", "empty"], "no JSON"),
    (["in", "-o", "out", "--min-score", "2"], "min_score"),
    (["in", "-o", "out", "--format", "yolo"], "yolo"),
    (["in"], "output"),
]


@pytest.mark.parametrize(("arguments", "says"), CASES, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_two_lines_and_exit_code_2(place, bundle, capfd, arguments, says):
    (place / "empty").mkdir()
    (place / "full").mkdir()
    (place / "full" / "x.txt").write_text("x")
    for name, picture in (("bad", next((place / "in").iterdir()).name), ("other", "other.png")):
        row = {"file_name": picture, "prompts": [{"box": [5, 5, 1, 1] if name == "bad" else [1, 1, 5, 5]}]}
        (place / f"{name}.json").write_text(json.dumps({"format": "saccade-prompts-1", "pictures": [row]}))
    assert run(["annotate", bundle, *arguments]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith("error: ")
    assert re.search(says, first)
    assert second.startswith(" hint: ")
    assert not (place / "out" / "annotations.json").exists()


def test_a_bundle_of_another_family(place, capfd):
    assert run(["annotate", "clip-tiny", "in", "-o", "out"]) == 2
    assert "clip-tiny does not segment" in capfd.readouterr().err
    assert not (place / "out").exists()


def test_another_runs_folder(place, bundle, capfd):
    assert run(["annotate", bundle, "in", "-o", "out", *LOOSE]) == 0
    capfd.readouterr()
    assert run(["annotate", bundle, "in", "-o", "out", *LOOSE, "--min-area", "9"]) == 2
    error = capfd.readouterr().err
    assert "min_area 0, not 9" in error
    assert "--restart" in error
    assert run(["annotate", bundle, "in", "-o", "out", *LOOSE, "--min-area", "9", "--restart"]) == 0


def test_ctrl_c_is_130_and_goes_on(place, bundle, capfd, monkeypatch):
    from saccade.runtime.annotation import picture

    calls = []

    def interrupted(image):
        calls.append(image)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(image)

    real = picture.decode
    with monkeypatch.context() as patch:
        patch.setattr(picture, "decode", interrupted)
        assert run(["annotate", bundle, "in", "-o", "out", *LOOSE]) == 130
    assert "go on" in capfd.readouterr().err
    assert len(list((place / "out" / "shards").rglob("*.json"))) == 1
    assert run(["annotate", bundle, "in", "-o", "out", *LOOSE]) == 0
