"""annotate with a real bundle in ONNX Runtime: a SAM of a few nodes (tests/toy_sam.py), which finds discs."""

import json
import shutil

import numpy as np
import pytest

import saccade
from saccade.runtime.errors import AnnotationFileError, Closed
from saccade.zoo.shipped import bundle_path, names

LOOSE = {"min_score": 0.8, "min_stability": 0.7, "grid": 8}


@pytest.fixture
def bundle(toy_sam):
    return toy_sam


@pytest.fixture
def some(tmp_path, pictures):
    (tmp_path / "in").mkdir()
    for picture in pictures[:3]:
        shutil.copy(picture, tmp_path / "in")
    return tmp_path / "in"


def test_a_model_annotates(bundle, some, tmp_path):
    with saccade.load(bundle, threads=1) as sam:
        assert "annotate" in dir(sam)
        run = sam.annotate(some, tmp_path / "out", formats=("coco", "sa1b"), **LOOSE)
        alone = {p.name: sam.everything(p, grid=8, min_score=0.8, min_stability=0.7) for p in some.iterdir()}
    assert run.pictures == 3
    held = json.loads((tmp_path / "out" / "annotations.json").read_bytes())
    assert held["annotations"]
    for image in held["images"]:
        rows = [row for row in held["annotations"] if row["image_id"] == image["id"]]
        masks = alone[image["file_name"]]
        found = {r["counts"].decode(): i for i, r in enumerate(masks.rle)}
        assert 0 < len(rows) <= len(masks)
        for row in rows:
            at = found[row["segmentation"]["counts"]]
            assert row["area"] == masks.area[at]
            assert row["predicted_iou"] == round(float(masks.score[at]), 6)
            assert row["stability_score"] == round(float(masks.stability[at]), 6)
            assert row["point_coords"] == masks.prompts[masks.prompt[at]].points.tolist()
            left, top, right, bottom = masks.boxes[at].tolist()
            assert row["bbox"] == [left, top, right - left + 1, bottom - top + 1]


def test_crops_are_kept(bundle, some, tmp_path):
    with saccade.load(bundle, threads=1) as sam:
        sam.annotate(some, tmp_path / "out", crops=1, formats=("sa1b",), **LOOSE)
    rows = [row for f in (tmp_path / "out" / "sa1b").iterdir() for row in json.loads(f.read_bytes())["annotations"]]
    assert len({tuple(row["crop_box"]) for row in rows}) > 1
    for row in rows:
        x, y, width, height = row["crop_box"]
        ((px, py),) = row["point_coords"]
        assert x <= px <= x + width
        assert y <= py <= y + height


def test_prompts_are_answered_as_by_segment(bundle, some, tmp_path):
    name = next(some.iterdir()).name
    given = {"points": [[40, 50]], "labels": [1], "category": "disc"}
    box = {"box": [20, 30, 90, 100]}
    file = {"format": "saccade-prompts-1", "pictures": [{"file_name": name, "prompts": [given, box]}]}
    (tmp_path / "p.json").write_text(json.dumps(file))
    with saccade.load(bundle, threads=1) as sam:
        run = sam.annotate(some, tmp_path / "out", stage="assisted", prompts=tmp_path / "p.json")
        view = sam.encode(some / name)
        best = view.segment(points=[(40, 50)], multimask=True).best
        boxed = view.segment(boxes=[20, 30, 90, 100])
    assert (run.pictures, run.masks) == (1, 2)
    rows = json.loads((tmp_path / "out" / "annotations.json").read_bytes())["annotations"]
    assert [row["segmentation"]["counts"] for row in rows] == [m.rle[0]["counts"].decode() for m in (best, boxed)]


def test_semi_automatic_with_a_detector_that_fills_the_worklist(bundle, some, tmp_path):
    out = tmp_path / "out"
    given = {"stage": "semi-automatic", "min_score": 0.99, "min_stability": 0.9, "grid": 4}
    with saccade.load(bundle, threads=1) as sam:
        first = sam.annotate(some, out, **given)
        held = json.loads((out / "worklist.json").read_text())
        assert first.asked > 0
        for row in held["pictures"]:
            for prompt in row["prompts"]:
                prompt["accept"] = "points" in prompt
        (tmp_path / "filled.json").write_text(json.dumps(held))
        second = sam.annotate(some, out, prompts=tmp_path / "filled.json", **given)
    uncertain = sum("points" in prompt for row in held["pictures"] for prompt in row["prompts"])
    assert uncertain > 0
    assert (second.masks, second.asked) == (first.masks + uncertain, 0)
    scores = {p["score"] for row in held["pictures"] for p in row["prompts"] if "points" in p}
    made = json.loads((out / "annotations.json").read_bytes())["annotations"]
    assert scores <= {row["predicted_iou"] for row in made}  # the same point, the same mask


def test_another_bundle_is_refused_and_a_closed_one(bundle, write_toy, some, tmp_path):
    write_toy(tmp_path / "other.bundle", name="other", note="another")
    with saccade.load(bundle, threads=1) as sam:
        sam.annotate(some, tmp_path / "out", **LOOSE)
    with saccade.load(tmp_path / "other.bundle", threads=1) as other, pytest.raises(AnnotationFileError, match="model"):
        other.annotate(some, tmp_path / "out", **LOOSE)
    with pytest.raises(Closed):
        sam.annotate(some, tmp_path / "closed", **LOOSE)


@pytest.mark.skipif("sam-tiny" not in names(), reason="no tiny SAM is shipped")
def test_the_shipped_sam_annotates_the_shipped_pictures(some, tmp_path, capsys):
    tools = pytest.importorskip("pycocotools.coco")
    with saccade.load(bundle_path("sam-tiny"), threads=1) as sam:
        run = sam.annotate(some, tmp_path / "out", grid=8, min_score=0.7, min_stability=0.8)
    assert run.pictures == 3
    assert run.masks >= 3
    held = tools.COCO(str(tmp_path / "out" / "annotations.json"))
    for row in held.loadAnns(held.getAnnIds()):
        runs = held.annToRLE(row)
        assert row["area"] == tools.maskUtils.area(runs)
        assert row["bbox"] == tools.maskUtils.toBbox(runs).tolist()


def test_a_clip_does_not_annotate(clip_bundle):
    with saccade.load(clip_bundle) as clip:
        assert "annotate" not in dir(clip)
        with pytest.raises(AttributeError):
            _ = clip.annotate


def test_an_answer_is_not_decided_by_its_neighbours(bundle, some, tmp_path):
    """The same prompts, alone and among a hundred others."""
    name = next(some.iterdir()).name
    rng = np.random.default_rng()
    points = rng.integers(5, 100, (100, 2)).tolist()

    def rows(prompts, out):
        file = {"format": "saccade-prompts-1", "pictures": [{"file_name": name, "prompts": prompts}]}
        (tmp_path / "p.json").write_text(json.dumps(file))
        with saccade.load(bundle, threads=1) as sam:
            sam.annotate(some, tmp_path / out, stage="assisted", prompts=tmp_path / "p.json", sheet=False)
        return json.loads((tmp_path / out / "annotations.json").read_bytes())["annotations"]

    many = rows([{"points": [p]} for p in points], "many")
    few = rows([{"points": [p]} for p in points[:3]], "few")
    assert [r["segmentation"] for r in many[:3]] == [r["segmentation"] for r in few]
