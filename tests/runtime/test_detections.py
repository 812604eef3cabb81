"""Detections: parallel arrays that stay parallel, pictures of them, and what other programs read."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image as Pillow

from saccade.runtime import overlay, rle
from saccade.runtime.detections import Detections
from saccade.runtime.errors import InputError, MissingExtra
from saccade.runtime.image import decode
from saccade.runtime.masks import Masks

SIZE = (60, 83)
BOXES = [(5, 5, 25, 30), (40.5, 10, 70, 55.25), (6, 5, 25, 30), (0, 0, 83, 60)]


@pytest.fixture
def found():
    picture = decode(np.random.default_rng(1).integers(0, 255, (*SIZE, 3), np.uint8))
    dense = np.zeros((4, *SIZE), bool)
    for mask, (left, top, right, bottom) in zip(dense, np.array(BOXES).astype(int), strict=True):
        mask[top + 1 : bottom, left + 1 : right] = True
    masks = Masks.from_rle([rle.encode(mask) for mask in dense], SIZE)
    return Detections(
        np.array(BOXES, np.float32), np.array([0.9, 0.8, 0.7, 0.6], np.float32), np.array([0, 2, 0, 1]),
        ("a cat", "a room", "a dog"), SIZE, (((0, 5),), ((7, 13),), ((15, 20),)), picture, masks,
        ("old", "", "young", ""), np.array([0.5, 0, 0.25, 0], np.float32), np.array([3, 3, 3, -1]),
    )  # fmt: skip


@pytest.mark.parametrize("which", [1, -1, slice(1, 3), [3, 0], np.array([True, False, True, False]), np.zeros(4, bool)])
def test_indexing_keeps_everything_parallel(found, which):
    part = found[which]
    at = np.atleast_1d(np.arange(4)[which])
    assert len(part) == len(at)
    for name in ("boxes", "score", "label", "kind_score"):
        assert np.array_equal(getattr(part, name), getattr(found, name)[at]), name
    assert part.kind == tuple(found.kind[i] for i in at)
    assert part.names == tuple(found.names[i] for i in at)
    assert part.masks.rle == [found.masks.rle[i] for i in at]
    assert part.phrases == found.phrases


def test_parents_follow_or_are_forgotten(found):
    assert found[[3, 1]].parent.tolist() == [-1, 0]
    assert found[[0, 1]].parent.tolist() == [-1, -1]


def test_a_phrase_and_its_boxes(found):
    assert len(found.of("a cat")) == 2
    assert len(found.of("a room")) == 1
    assert [len(one) for one in found] == [1] * 4
    assert "2 × a cat" in repr(found)
    with pytest.raises(InputError, match="not asked") as caught:
        found.of("a horse")
    assert "a dog" in caught.value.hint


def test_suppression_is_within_a_phrase_or_across(found):
    assert found.nms(0.5).score.tolist() == pytest.approx([0.9, 0.8, 0.6])
    assert len(found.nms(1.0)) == 4
    assert len(found.nms(0.2, across=True)) == 2


def test_coco(found):
    rows = found.to_coco(image_id=7, first_id=10)
    assert [row["id"] for row in rows] == [10, 11, 12, 13]
    assert rows[1]["bbox"] == [40.5, 10, 29.5, 45.25]
    assert rows[1]["category_id"] == 3
    assert rows[1]["area"] == found.masks.area[1]
    assert np.array_equal(rle.decode(rows[0]["segmentation"]), found.masks.at(0))
    from dataclasses import replace

    bare = replace(found, masks=None).to_coco()
    assert bare[1]["area"] == 29.5 * 45.25
    assert bare[1]["segmentation"] == [[40.5, 10, 70, 10, 70, 55.25, 40.5, 55.25]]
    assert found.coco_categories()[2] == {"id": 3, "name": "a dog"}
    json.dumps(rows)
    coco = pytest.importorskip("pycocotools.coco").COCO()
    coco.dataset = {"images": [{"id": 7}], "annotations": rows, "categories": found.coco_categories()}
    coco.createIndex()
    assert len(coco.getAnnIds(imgIds=7, catIds=[1])) == 2


def test_the_fields_are_json_and_say_all(found):
    fields = json.loads(json.dumps(found.fields()))
    assert fields["size"] == list(SIZE)
    first = fields["detections"][0]
    assert first["phrase"] == "a cat"
    assert first["spans"] == [[0, 5]]
    assert (first["kind"], first["parent"]) == ("old", 3)
    assert "kind" not in fields["detections"][1]
    assert np.array_equal(rle.decode(first["mask"]), found.masks.at(0))


def test_supervision_gets_what_it_takes(found, monkeypatch):
    taken = {}
    monkeypatch.setitem(
        __import__("sys").modules, "supervision", SimpleNamespace(Detections=lambda **given: taken.update(given))
    )
    found.to_supervision()
    assert taken["xyxy"].shape == (4, 4)
    assert taken["mask"].shape == (4, *SIZE)
    assert taken["class_id"].tolist() == [0, 2, 0, 1]
    assert taken["data"]["class_name"].tolist() == ["a cat", "a dog", "a cat", "a room"]


def test_supervision_may_be_missing(found, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "supervision", None)
    with pytest.raises(MissingExtra):
        found.to_supervision()


def test_the_drawing_has_each_phrases_colour_where_its_box_is(found, tmp_path):
    drawn = np.asarray(found.draw())
    factor = -(-640 // 83)
    assert drawn.shape == (60 * factor, 83 * factor, 3)
    middle = int((10 + 55.25) / 2 * factor)
    edge = {tuple(pixel) for pixel in drawn[middle, int(70 * factor) - 5 : int(70 * factor)].tolist()}
    assert overlay.colour(2) in edge
    assert overlay.colour(0) not in edge
    assert found.save(tmp_path / "out.png") == str(tmp_path / "out.png")
    with Pillow.open(tmp_path / "out.png") as opened:
        assert np.array_equal(np.asarray(opened), drawn)
    found.save(tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == found.fields()


def test_a_large_picture_is_drawn_as_it_is():
    picture = decode(np.zeros((700, 900, 3), np.uint8))
    none = Detections.none(("a",), picture)
    assert none.draw().size == (900, 700)
    assert not np.asarray(none.draw()).any()
    assert none.fields()["detections"] == []


def test_many_boxes_at_one_place_and_strange_words():
    picture = decode(np.zeros((40, 30, 3), np.uint8))
    count = 60
    boxes = np.tile(np.array([[1, 1, 20, 20]], np.float32), (count, 1))
    boxes[1] = 0, 0, 0.01, 0.01
    phrases = ("кошка 猫 " * 40, "b\nc")
    found = Detections(boxes, np.ones(count, np.float32), np.arange(count) % 2, phrases, (40, 30), picture=picture)
    assert found.draw().size == (480, 640)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda f, p: f.draw(np.zeros((5, 5, 3), np.uint8)), "5 x 5"),
        (lambda f, p: f.save(p / "out.gif"), "cannot write"),
        (lambda f, p: f.save(p / "out"), "cannot write"),
        (lambda f, p: Detections(f.boxes, f.score, f.label, f.phrases, f.size).draw(), "no picture"),
    ],
)
def test_what_cannot_be_drawn(found, tmp_path, call, says):
    with pytest.raises(InputError, match=says) as caught:
        call(found, tmp_path)
    assert caught.value.hint
