"""SA-1B's layout: what is written, what is read, and masks that are found anew."""

import json

import numpy as np
import pytest

from saccade.runtime.annotation import annotate, convert, sa1b
from saccade.runtime.errors import AnnotationFileError, InputError
from saccade.runtime.rle import encode
from tests.runtime.annotation import fake
from tests.runtime.annotation.conftest import NAMES

KEYS = {"id", "segmentation", "bbox", "area", "predicted_iou", "stability_score", "crop_box", "point_coords"}


def test_a_json_for_each_picture(model, folder, tmp_path):
    annotate(model, folder, tmp_path / "out", formats=("sa1b",))
    assert not (tmp_path / "out" / "annotations.json").exists()
    files = sorted(str(p.relative_to(tmp_path / "out" / "sa1b")) for p in (tmp_path / "out" / "sa1b").rglob("*.json"))
    assert files == ["a.json", "b.json", "deep/d.json", "deep/er/c.json", "z z.json"]
    held = json.loads((tmp_path / "out" / "sa1b" / "deep" / "er" / "c.json").read_bytes())
    assert held["image"] == {"image_id": 4, "width": 64, "height": 48, "file_name": "c.png"}
    assert all(set(row) == KEYS for row in held["annotations"])
    assert [row["id"] for row in held["annotations"]] == [7, 8]
    for row in held["annotations"]:
        assert row["crop_box"] == [0, 0, 64, 48]
        ((x, y),) = row["point_coords"]
        left, top, width, height = row["bbox"]
        assert left <= x < left + width
        assert top <= y < top + height


def test_what_belongs_to_no_picture_any_more_goes(model, folder, tmp_path):
    annotate(model, folder, tmp_path / "out", formats=("sa1b",))
    kept = tmp_path / "out" / "sa1b" / "b.json"
    before = kept.stat().st_ino
    (folder / NAMES[-1]).unlink()
    annotate(model, folder, tmp_path / "out", formats=("sa1b",))
    assert not (tmp_path / "out" / "sa1b" / "z z.json").exists()
    assert kept.stat().st_ino == before  # right already: not written


def test_names_that_meet_are_refused_before_anything_is_done(model, folder, tmp_path):
    fake.picture(folder / "a.webp", 3)
    with pytest.raises(InputError, match="2 pictures would be described by a.json") as caught:
        annotate(model, folder, tmp_path / "out", formats=("sa1b",))
    assert caught.value.hint
    assert model.encoded == 0


def theirs(folder, name="sa_1", **changes):
    """A file as SA-1B has them: numbers as floats, a box without the last pixel."""
    mask = np.zeros((48, 64), bool)
    mask[10:20, 4:30] = True
    runs = encode(mask)
    row = {
        "id": 531,
        "segmentation": {"size": [48, 64], "counts": runs["counts"].decode()},
        "bbox": [4.0, 10.0, 25.0, 9.0],
        "area": 260,
        "predicted_iou": 0.91,
        "stability_score": 0.97,
        "crop_box": [0.0, 0.0, 64.0, 48.0],
        "point_coords": [[12.5, 15.0]],
    }
    image = {"image_id": 1, "width": 64, "height": 48, "file_name": f"{name}.png"}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({"image": image, "annotations": [{**row, **changes}]}))
    return folder


def test_the_published_layout_is_read(tmp_path):
    (picture,) = sa1b.read_folder(theirs(tmp_path / "s" / "deep"))
    assert (picture.name, picture.height, picture.width) == ("sa_1.png", 48, 64)
    (one,) = picture.annotations
    assert (one.area, one.bbox, one.crop_box) == (260, (4, 10, 26, 10), (0, 0, 64, 48))
    assert one.point_coords == ((12.5, 15.0),)
    assert convert(tmp_path / "s", tmp_path / "c.json") == (1, 1)
    held = json.loads((tmp_path / "c.json").read_bytes())
    assert held["images"][0]["file_name"] == "deep/sa_1.png"


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"segmentation": {"size": [48, 63], "counts": "0"}}, "/annotations/0/segmentation/size"),
        ({"segmentation": {"size": [48, 64], "counts": "0"}}, "/annotations/0/segmentation/counts"),
        ({"segmentation": {"size": [48, 64], "counts": "\x7f"}}, "/annotations/0/segmentation/counts"),
        ({"segmentation": [[1, 2, 3]]}, "/annotations/0/segmentation"),
        ({"predicted_iou": "high"}, "/annotations/0/predicted_iou"),
        ({"point_coords": [[1]]}, "/annotations/0/point_coords/0"),
        ({"crop_box": None}, "/annotations/0/crop_box"),
    ],
)
def test_what_is_no_sa1b(changes, pointer, model, tmp_path):
    with pytest.raises(AnnotationFileError) as caught:
        list(sa1b.read_folder(theirs(tmp_path / "s", **changes)))
    assert caught.value.pointer == pointer
    assert f"sa_1.json{pointer}" in str(caught.value)
    with pytest.raises(AnnotationFileError):
        sa1b.prompts(tmp_path / "s")


def test_masks_are_found_anew(model, folder, tmp_path):
    """What one model found is the prompt of another, which says how sure it is."""
    annotate(model, folder, tmp_path / "first", formats=("sa1b",))
    given = {"stage": "assisted", "prompts": tmp_path / "first" / "sa1b"}
    run = annotate(fake.Model("e" * 64), folder, tmp_path / "second", formats=("sa1b",), **given)
    assert (run.pictures, run.masks) == (5, 10)
    for one in (tmp_path / "first" / "sa1b").rglob("*.json"):
        other = tmp_path / "second" / "sa1b" / one.relative_to(tmp_path / "first" / "sa1b")
        assert other.read_bytes() == one.read_bytes()


def test_two_files_for_one_picture_are_refused(tmp_path):
    theirs(tmp_path / "s")
    (tmp_path / "s" / "copy.json").write_bytes((tmp_path / "s" / "sa_1.json").read_bytes())
    with pytest.raises(AnnotationFileError, match="twice"):
        sa1b.prompts(tmp_path / "s")
