"""Prompts files: what is read, and each way to be wrong, with its place."""

import json

import pytest

from saccade.runtime.annotation import annotate
from saccade.runtime.annotation.prompts import read
from saccade.runtime.annotation.record import Prompted, Rle
from saccade.runtime.errors import AnnotationFileError
from tests.runtime.annotation.conftest import prompts_file


def one(prompt, **more):
    return {"file_name": "a.png", "prompts": [{"points": [[1, 2]]}, prompt], **more}


AT = "/pictures/0/prompts/1"
FULL = {"size": [2, 3], "counts": "06"}
BAD = [
    (one({"points": [[1, 2, 3]]}), f"{AT}/points/0"),
    (one({"points": [1, 2]}), f"{AT}/points/0"),
    (one({"points": [["1", 2]]}), f"{AT}/points/0/0"),
    (one({"points": [[1, 2]], "labels": [1, 1]}), f"{AT}/labels"),
    (one({"points": [[1, 2]], "labels": [2]}), f"{AT}/labels/0"),
    (one({"points": [[1, 2]], "labels": [-1]}), f"{AT}/labels/0"),
    (one({"points": [[1, 2]], "labels": [0]}), AT),
    (one({"labels": [1]}), f"{AT}/labels"),
    (one({}), AT),
    (one({"category": "x"}), AT),
    (one({"box": [1, 2, 1, 5]}), f"{AT}/box"),
    (one({"box": [5, 2, 1, 5]}), f"{AT}/box"),
    (one({"box": [1, 2, 3]}), f"{AT}/box"),
    (one({"box": "all"}), f"{AT}/box"),
    (one({"mask": {"size": [2, 3], "counts": "zzz"}}), f"{AT}/mask"),
    (one({"mask": {"size": [2, 3]}}), f"{AT}/mask"),
    (one({"mask": {"size": [0, 3], "counts": ""}}), f"{AT}/mask"),
    (one({"points": [[1, 2]], "accept": "yes"}), f"{AT}/accept"),
    (one({"points": [[1, 2]], "category": 3}), f"{AT}/category"),
    (one({"points": [[1, 2]], "colour": "red"}), AT),
    ({"prompts": []}, "/pictures/0"),
    ({"file_name": "a.png"}, "/pictures/0"),
    ({"file_name": "a.png", "prompts": {}}, "/pictures/0/prompts"),
    ({"file_name": 1, "prompts": []}, "/pictures/0/file_name"),
    ({"file_name": "a.png", "prompts": [{"points": [[0, 0]]}] * 10_001}, "/pictures/0/prompts"),
]


@pytest.mark.parametrize(("picture", "pointer"), BAD, ids=lambda v: str(v)[:60])
def test_the_pointer_says_where(picture, pointer, tmp_path):
    with pytest.raises(AnnotationFileError) as caught:
        read(prompts_file(tmp_path / "p.json", [picture]))
    assert caught.value.pointer == pointer
    assert f"p.json{pointer}" in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ("", ""),
        ("{", ""),
        ("[]", ""),
        ("null", ""),
        ('{"pictures": []}', "/format"),
        ('{"format": "saccade-prompts-2", "pictures": []}', "/format"),
        ('{"format": "saccade-prompts-1"}', ""),
        ('{"format": "saccade-prompts-1", "pictures": [], "x": 1}', ""),
        ('{"format": "saccade-prompts-1", "format": "saccade-prompts-1", "pictures": []}', ""),
        (
            '{"format": "saccade-prompts-1", "pictures": [{"file_name": "\\ud800", "prompts": []}]}',
            "/pictures/0/file_name",
        ),
        ('{"format": "saccade-prompts-1", "pictures": [1e999]}', "/pictures/0"),
        ('{"format": "saccade-prompts-1", "pictures": [NaN]}', ""),
        ("[" * 10_000, ""),
        ("\xff\xfe", ""),
    ],
)
def test_what_is_no_prompts_file(text, pointer, tmp_path):
    (tmp_path / "p.json").write_text(text, "latin-1")
    with pytest.raises(AnnotationFileError) as caught:
        read(tmp_path / "p.json")
    assert caught.value.pointer == pointer
    assert caught.value.hint


@pytest.mark.parametrize("name", ["none.json", "", "x" * 300, "a\0b"])
def test_a_file_that_cannot_be_read(name, tmp_path):
    with pytest.raises(AnnotationFileError, match="cannot read"):
        read(tmp_path / name)


def test_a_picture_that_stands_twice_or_nowhere(model, folder, tmp_path):
    twice = prompts_file(tmp_path / "p.json", [{"file_name": "a.png", "prompts": []}] * 2)
    with pytest.raises(AnnotationFileError, match="twice") as caught:
        read(twice)
    assert caught.value.pointer == "/pictures/1/file_name"
    rows = [{"file_name": name, "prompts": [{"points": [[1, 1]]}]} for name in ("a.png", "../a.png")]
    with pytest.raises(AnnotationFileError, match="no picture") as caught:
        annotate(model, folder, tmp_path / "o", stage="assisted", prompts=prompts_file(tmp_path / "p.json", rows))
    assert caught.value.pointer == "/pictures/1/file_name"
    assert "relative" in caught.value.hint
    assert model.encoded == 0


def test_another_runs_worklist_is_refused(model, folder, tmp_path):
    annotate(model, folder, tmp_path / "one", stage="semi-automatic", min_area=1)
    given = tmp_path / "one" / "worklist.json"
    with pytest.raises(AnnotationFileError, match="/run") as caught:
        annotate(model, folder, tmp_path / "two", stage="semi-automatic", prompts=given)
    assert caught.value.hint
    held = json.loads(given.read_text())
    del held["run"]
    for row in held["pictures"]:
        row["prompts"] = [p | {"accept": True} for p in row["prompts"] if "points" in p]
    given.write_text(json.dumps(held))
    run = annotate(model, folder, tmp_path / "two", stage="semi-automatic", prompts=given)
    assert run.masks == 15
    assert run.asked == annotate(model, folder, tmp_path / "three", stage="semi-automatic").asked


def test_what_is_left_out_has_its_default(tmp_path):
    held = read(
        prompts_file(
            tmp_path / "p.json",
            [
                {
                    "file_name": "a/b.png",
                    "prompts": [{"points": [[1, 2.5], [3, 4]]}, {"box": [0, 0, 1, 1], "accept": None}],
                },
                {"file_name": "c.png", "digest": "d" * 64, "width": 3, "height": 2, "prompts": [{"mask": FULL}]},
            ],
        )
    )
    first, second = held.of("a/b.png"), held.of("c.png")
    assert first.prompts[0] == Prompted(points=((1.0, 2.5), (3.0, 4.0)), labels=(1, 1))
    assert first.prompts[1].accept is None
    assert second.prompts[0].mask == Rle((2, 3), "06")
    assert second.prompts[0].prompt.mask.all()
    assert held.of("b.png") is None
    assert len(held) == 2
