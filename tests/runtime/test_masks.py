"""Masks: parallel arrays that stay parallel, pixels on demand, and what other programs read."""

import json

import numpy as np
import pytest
from PIL import Image as Pillow

from saccade.runtime import rle
from saccade.runtime.errors import InputError
from saccade.runtime.image import decode
from saccade.runtime.masks import Masks
from saccade.runtime.prompt import Prompt

SIZE = (60, 83)


@pytest.fixture
def low():
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:32, :32]
    middles = [(8, 8), (16, 20), (20, 12), (40, 40)]  # the last one outside: an empty mask
    made = [7 - np.hypot(y - a, x - b) + rng.normal(0, 0.3, (32, 32)) for a, b in middles]
    return np.array(made, np.float32)


@pytest.fixture
def masks(low):
    picture = decode(np.random.default_rng(1).integers(0, 255, (*SIZE, 3), np.uint8))
    prompts = (Prompt(points=[(20, 15)]), Prompt(box=(10, 10, 50, 50)))
    score = np.array([0.4, 0.9, 0.6, 0.1], np.float32)
    window = ((128, 128), (93, 128), SIZE)
    return Masks.of(low, score, np.array([0, 0, 1, 1]), prompts, window, picture=picture)


def test_pixels_areas_and_boxes_agree(masks):
    dense = masks.dense()
    assert dense.shape == (4, *SIZE)
    assert dense.sum(axis=(1, 2)).tolist() == masks.area.tolist()
    assert masks.area[3] == 0 < masks.area[:3].min()
    assert np.array_equal(dense[1], masks.at(1))
    for mask, (left, top, right, bottom) in zip(dense[:3], masks.boxes, strict=False):
        rows, columns = np.nonzero(mask)
        assert (columns.min(), rows.min(), columns.max(), rows.max()) == (left, top, right, bottom)
    assert 0 < masks.nbytes < dense.nbytes + masks.low.nbytes


@pytest.mark.parametrize("which", [1, -1, slice(1, 3), [3, 0], np.array([True, False, True, False])])
def test_indexing_keeps_everything_parallel(masks, which):
    part = masks[which]
    at = np.atleast_1d(np.arange(4)[which])
    assert len(part) == len(at)
    for name in ("boxes", "area", "stability", "score", "prompt", "low", "crops"):
        assert np.array_equal(getattr(part, name), getattr(masks, name)[at]), name
    assert part.rle == [masks.rle[i] for i in at]
    assert np.array_equal(part.at(0), masks.at(int(at[0])))


def test_parts_join_to_what_they_were(masks, low):
    again = Masks.join([masks[:1], masks[1:]])
    assert again.rle == masks.rle
    assert np.array_equal(again.low, low)
    assert [len(m) for m in masks] == [1] * 4
    nothing = masks[masks.score > 2]
    assert len(nothing) == 0
    assert "Masks(0" in repr(nothing)
    assert nothing.dense().shape == (0, *SIZE)
    assert nothing.to_coco() == []


def test_the_best_of_each_prompt(masks):
    assert masks.best.score.tolist() == pytest.approx([0.9, 0.6])
    assert masks.best.prompt.tolist() == [0, 1]
    assert masks[[3, 2, 0]].best.score.tolist() == pytest.approx([0.4, 0.6])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools', of its own arrays
def test_coco_reads_what_is_written(masks):
    coco = pytest.importorskip("pycocotools.mask")
    rows = json.loads(json.dumps(masks.to_coco(7, 3, first_id=10)))
    assert [row["id"] for row in rows] == [10, 11, 12, 13]
    for i, row in enumerate(rows):
        assert (row["image_id"], row["category_id"]) == (7, 3)
        assert np.array_equal(coco.decode(row["segmentation"]).astype(bool), masks.at(i))
        assert row["area"] == coco.area(row["segmentation"])
        if row["area"]:
            assert row["bbox"] == coco.toBbox(row["segmentation"]).tolist()


def test_supervision_reads_it(masks):
    supervision = pytest.importorskip("supervision")
    found = masks[:3].to_supervision()
    assert len(found) == 3
    assert np.array_equal(found.xyxy, supervision.mask_to_xyxy(found.mask))
    assert np.array_equal(found.confidence, masks.score[:3])


def test_without_supervision_the_error_says_what_to_install(masks, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "supervision", None)
    with pytest.raises(InputError.__mro__[1], match="supervision") as caught:
        masks.to_supervision()
    assert "pip install" in caught.value.hint


def test_masks_of_run_lengths_from_elsewhere(masks):
    given = [{"size": r["size"], "counts": rle.runs(r).tolist()} for r in masks.rle]
    made = Masks.from_rle(given, SIZE, score=masks.score)
    assert made.rle == masks.rle
    assert np.array_equal(made.boxes, masks.boxes)
    assert np.array_equal(made.area, masks.area)
    with pytest.raises(InputError, match="not kept"):
        made.low  # noqa: B018
    with pytest.raises(InputError, match="another size"):
        Masks.from_rle(given, (83, 60))
    assert made.iou(masks).diagonal()[:3].tolist() == [1, 1, 1]


def test_the_drawing_shows_masks_outlines_and_prompts(masks):
    plain = masks.picture.pixels
    drawn = np.asarray(masks.draw(prompts=False))
    changed = (drawn != plain).any(axis=2)
    assert not changed[~masks.dense().any(axis=0)].any()
    assert changed[masks.dense().any(axis=0)].mean() > 0.9
    asked = np.asarray(masks.draw())
    assert (asked != drawn).any()
    assert tuple(asked[15, 20]) == (0x3F, 0x8F, 0x5B)  # the point, in the colour of what is right
    with pytest.raises(InputError, match="their|60 x 83"):
        masks.draw(np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(InputError, match="no picture"):
        Masks.from_rle(masks.rle, SIZE).draw()


def test_files_hold_the_masks(masks, tmp_path):
    assert masks.save(tmp_path / "all.png") == [str(tmp_path / "all.png")]
    assert decode(tmp_path / "all.png").pixels.shape == (*SIZE, 3)
    names = masks.save(tmp_path / "each")
    assert len(names) == 4
    for i, name in enumerate(names):
        with Pillow.open(name) as opened:
            assert opened.mode == "1"
            assert np.array_equal(np.asarray(opened), masks.at(i))
    masks.save(tmp_path / "labels.png", kind="labels")
    with Pillow.open(tmp_path / "labels.png") as opened:
        numbers = np.asarray(opened)
    assert numbers.dtype == np.uint8
    assert np.array_equal(numbers > 0, masks.dense().any(axis=0))
    smallest = int(masks[:3].area.argmin())
    assert (numbers[masks.at(smallest)] == smallest + 1).all()
    masks.save(tmp_path / "all.json")
    read = json.loads((tmp_path / "all.json").read_text())
    assert read["size"] == list(SIZE)
    assert np.array_equal(rle.decode(read["masks"][2]["segmentation"]), masks.at(2))
    assert Prompt.read(read["prompts"][1]).box.tolist() == [10, 10, 50, 50]
    for name, kind, says in (("x.gif", "", "x.gif"), ("x.png", "video", "video")):
        with pytest.raises(InputError, match=says):
            masks.save(tmp_path / name, kind=kind)
