"""COCO's layout: what pycocotools makes of it, and what is read."""

import json

import numpy as np
import pytest

from saccade.runtime.annotation import annotate, coco, convert
from saccade.runtime.annotation.finished import Finished
from saccade.runtime.annotation.record import annotation
from saccade.runtime.annotation.rules import in_order
from saccade.runtime.errors import AnnotationFileError, InputError
from saccade.runtime.rle import encode
from tests.runtime.annotation import fake
from tests.runtime.annotation.conftest import prompts_file

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools


@pytest.fixture
def masks():
    """Masks of a picture of 37 x 53: noise, a bar, nothing, everything."""
    rng = np.random.default_rng()
    noise = rng.random((3, 37, 53)) < rng.random((3, 1, 1))
    bar = np.zeros((37, 53), bool)
    bar[5:9, 10:40] = True
    return [*noise, bar, np.zeros_like(bar), np.ones_like(bar)]


def test_pycocotools_reads_what_is_written(masks, tmp_path, capsys):
    tools = pytest.importorskip("pycocotools.coco")
    made = [annotation(encode(m), 0.9, 0.8, category=c) for m, c in zip(masks, "cabbac", strict=True)]
    pictures = [Finished("a.png", 37, 53, tuple(made[:2])), Finished("b.png", 37, 53, tuple(made[2:]))]
    coco.write(tmp_path / "c.json", lambda: pictures, in_order, {"description": "x"})
    held = tools.COCO(str(tmp_path / "c.json"))
    assert held.getImgIds() == [1, 2]
    assert [c["name"] for c in held.loadCats(held.getCatIds())] == ["a", "b", "c"]
    rows = held.loadAnns(held.getAnnIds())
    assert [row["image_id"] for row in rows] == [1, 1, 2, 2, 2, 2]
    for row, mask in zip(rows, masks, strict=True):
        assert np.array_equal(held.annToMask(row), mask)
        runs = held.annToRLE(row)
        assert row["area"] == tools.maskUtils.area(runs) == mask.sum()
        assert row["bbox"] == tools.maskUtils.toBbox(runs).tolist()


def test_the_whole_run_goes_round_through_pycocotools(model, folder, tmp_path, capsys):
    tools = pytest.importorskip("pycocotools.coco")
    annotate(model, folder, tmp_path / "out")
    held = tools.COCO(str(tmp_path / "out" / "annotations.json"))
    for image in held.loadImgs(held.getImgIds()):
        pixels = np.asarray(fake.Pillow.open(folder / image["file_name"]))
        assert pixels.shape[:2] == (image["height"], image["width"])
        rows = held.loadAnns(held.getAnnIds(image["id"]))
        assert len(rows) == 2
        for row in rows:
            mask = held.annToMask(row).astype(bool)
            (colour,) = np.unique(pixels[mask], axis=0)
            assert np.array_equal(mask, (pixels == colour).all(axis=2))
            assert row["area"] == mask.sum()
            assert row["bbox"] == tools.maskUtils.toBbox(held.annToRLE(row)).tolist()
    answers = held.loadRes([{**row, "score": 0.5} for row in held.loadAnns(held.getAnnIds())])
    assert len(answers.getAnnIds()) == 10


def test_converted_there_and_back_it_is_the_same(model, folder, tmp_path):
    given = prompts_file(tmp_path / "p", [{"file_name": "a.png", "prompts": [{"points": [[9, 9]], "category": "x"}]}])
    annotate(model, folder, tmp_path / "out", stage="semi-automatic", prompts=given)
    first = tmp_path / "out" / "annotations.json"
    count = len(json.loads(first.read_bytes())["annotations"])
    assert convert(first, tmp_path / "sa1b") == (5, count)
    assert convert(tmp_path / "sa1b", tmp_path / "again.json") == (5, count)
    before, after = (json.loads(p.read_bytes()) for p in (first, tmp_path / "again.json"))
    assert [i["file_name"] for i in after["images"]] == [i["file_name"] for i in before["images"]]
    assert [c["name"] for c in after["categories"]] == ["object"]  # SA-1B has none
    for one, other in zip(before["annotations"], after["annotations"], strict=True):
        assert {**one, "category_id": 1} == other
    with pytest.raises(InputError, match="exists"):
        convert(first, tmp_path / "sa1b")
    with pytest.raises(InputError, match="cannot write COCO"):
        convert(tmp_path / "sa1b", tmp_path / "again.txt")
    with pytest.raises(InputError, match="no JSON"):
        convert(folder, tmp_path / "again.json")


def test_no_pictures_and_no_masks_are_coco_too(tmp_path):
    for pictures in ([], [Finished("a.png", 3, 4, ())]):
        coco.write(tmp_path / "c.json", lambda held=pictures: held, in_order, {})
        held = json.loads((tmp_path / "c.json").read_bytes())
        assert (len(held["images"]), held["annotations"], held["categories"]) == (len(pictures), [], [])
        assert coco.read(tmp_path / "c.json") == pictures


IMAGES = [{"id": i, "file_name": f"{name}.png", "width": 3, "height": 2} for i, name in ((7, "b"), (3, "a"))]
MASK = {"size": [2, 3], "counts": "06"}


def given(target, *rows, images=IMAGES):
    target.write_text(json.dumps({"images": images, "annotations": rows, "categories": [{"id": 9, "name": "dog"}]}))
    return target


def test_coco_of_others_is_read(tmp_path):
    rows = [{"image_id": 7, "category_id": 9, "segmentation": MASK, "bbox": [9, 9, 9, 9], "extra": 1}]
    first, second = coco.read(given(tmp_path / "c.json", *rows))
    assert (first.name, second.name) == ("a.png", "b.png")
    (one,) = second.annotations
    assert (one.category, one.area, one.bbox, one.predicted_iou) == ("dog", 6, (0, 0, 3, 2), 1.0)


@pytest.mark.parametrize(
    ("row", "pointer"),
    [
        ({"image_id": 8, "segmentation": MASK}, "/annotations/0/image_id"),
        ({"image_id": 7, "segmentation": [[1, 2, 3, 4, 5, 6]]}, "/annotations/0/segmentation"),
        ({"image_id": 7, "segmentation": {"size": [2, 3], "counts": [0, 6]}}, "/annotations/0/segmentation/counts"),
        ({"image_id": 7, "segmentation": {"size": [2, 3], "counts": "0"}}, "/annotations/0/segmentation"),
        ({"image_id": 7, "segmentation": {"size": [3, 2], "counts": "06"}}, "/annotations/0/segmentation/size"),
        ({"image_id": 7}, "/annotations/0"),
    ],
)
def test_coco_that_is_none(row, pointer, tmp_path):
    with pytest.raises(AnnotationFileError) as caught:
        coco.read(given(tmp_path / "c.json", row))
    assert caught.value.pointer == pointer
    with pytest.raises(AnnotationFileError, match="twice"):
        coco.read(given(tmp_path / "c.json", images=[IMAGES[0], {**IMAGES[0], "id": 1}]))
