"""annotate: stages, going on, what changes and what is bad in the middle."""

import json
import os
import resource
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from saccade.runtime.annotation import annotate
from saccade.runtime.errors import AnnotationFileError, ImageError, InputError, NoSpace, SettingsError
from tests.runtime.annotation import fake
from tests.runtime.annotation.conftest import NAMES, prompts_file


def document(out: Path) -> dict:
    return json.loads((out / "annotations.json").read_bytes())


def test_automatic_finds_what_is_there(model, folder, tmp_path):
    run = annotate(model, folder, tmp_path / "out")
    made = document(tmp_path / "out")
    assert (run.pictures, run.masks, run.skipped, run.asked) == (5, 10, (), 0)
    assert [image["file_name"] for image in made["images"]] == sorted(NAMES)
    assert [image["id"] for image in made["images"]] == [1, 2, 3, 4, 5]
    assert [a["id"] for a in made["annotations"]] == list(range(1, 11))
    assert {(i["width"], i["height"]) for i in made["images"]} == {(64, 48)}
    assert made["categories"] == [{"id": 1, "name": "object", "supercategory": ""}]
    assert all(a["predicted_iou"] >= 0.88 and a["stability_score"] >= 0.95 for a in made["annotations"])
    for first, second in zip(made["annotations"][::2], made["annotations"][1::2], strict=True):
        assert first["image_id"] == second["image_id"]
        assert first["predicted_iou"] >= second["predicted_iou"]


def test_a_second_run_encodes_nothing_and_changes_nothing(model, folder, tmp_path):
    annotate(model, folder, tmp_path / "out")
    before = (tmp_path / "out" / "annotations.json").read_bytes()
    again = fake.Model()
    assert annotate(again, folder, tmp_path / "out").masks == 10
    assert again.encoded == 0
    assert (tmp_path / "out" / "annotations.json").read_bytes() == before


def test_only_the_new_and_the_changed_are_done_again(model, folder, tmp_path):
    annotate(model, folder, tmp_path / "out")
    fake.picture(folder / "a.png", 99)
    os.utime(folder / "a.png", ns=(1, 1))
    (folder / "b.png").unlink()
    fake.picture(folder / "new.png", 7)
    again = fake.Model()
    run = annotate(again, folder, tmp_path / "out")
    assert (again.encoded, run.pictures) == (2, 5)
    fresh = annotate(fake.Model(), folder, tmp_path / "fresh")
    assert fresh.masks == run.masks
    assert document(tmp_path / "fresh") == document(tmp_path / "out")


def test_a_file_written_anew_with_the_same_pixels_is_not_encoded(model, folder, tmp_path):
    annotate(model, folder, tmp_path / "out")
    before = (tmp_path / "out" / "annotations.json").read_bytes()
    for name in NAMES:
        os.utime(folder / name, ns=(1, 1))
    again = fake.Model()
    annotate(again, folder, tmp_path / "out")
    assert again.encoded == 0
    assert (tmp_path / "out" / "annotations.json").read_bytes() == before


def test_assisted_takes_points_boxes_and_masks(model, folder, tmp_path):
    pixels = np.asarray(fake.Pillow.open(folder / "a.png"))
    squares = [np.argwhere(pixels[..., 2] // 7 * 7 == pixels[..., 2].max() // 7 * 7 - 7 * k) for k in range(3)]
    (y, x), low, high = squares[0][0], squares[1].min(0), squares[1].max(0)
    given = [
        {"points": [[int(x), int(y)], [0, 0]], "labels": [1, 0], "category": "dog"},
        {"box": [int(low[1]), int(low[0]), int(high[1]) + 1, int(high[0]) + 1], "category": "cat"},
        {"points": [[int(x), int(y)]]},
        {"points": [[1, 1]], "accept": False},
        {"points": [[1, 1]], "accept": None},
    ]
    pictures = [{"file_name": "a.png", "prompts": given}, {"file_name": "b.png", "prompts": []}]
    run = annotate(model, folder, tmp_path / "o", stage="assisted", prompts=prompts_file(tmp_path / "p", pictures))
    made = document(tmp_path / "o")
    assert (run.pictures, run.masks, run.dropped) == (2, 3, 0)
    assert [image["file_name"] for image in made["images"]] == ["a.png", "b.png"]
    names = {c["id"]: c["name"] for c in made["categories"]}
    assert [names[a["category_id"]] for a in made["annotations"]] == ["dog", "cat", "object"]
    assert sorted(names.values()) == ["cat", "dog", "object"]
    assert made["annotations"][1]["bbox"] == [low[1], low[0], high[1] - low[1] + 1, high[0] - low[0] + 1]
    assert made["annotations"][0]["point_coords"] == [[x, y], [0, 0]]
    assert sorted(model.batches) == [(1, True), (2, False)]
    assert model.encoded == 1  # b.png has no prompt to be asked


def test_prompts_of_another_file_are_added_and_changed_ones_replace(model, folder, tmp_path):
    def given(**pictures):
        rows = [{"file_name": f"{n}.png", "prompts": p} for n, p in pictures.items()]
        return {"stage": "assisted", "prompts": prompts_file(tmp_path / "p", rows)}

    one, two = {"points": [[0, 0]]}, {"points": [[0, 0], [63, 47]], "category": "x"}
    out = tmp_path / "out"
    annotate(model, folder, out, **given(a=[one]))
    assert annotate(model, folder, out, **given(b=[one, two])).masks == 3
    encoded = model.encoded
    assert annotate(model, folder, out, **given(b=[one, two])).masks == 3
    assert model.encoded == encoded
    assert annotate(model, folder, out, **given(b=[two])).masks == 2
    assert model.encoded == encoded + 1


def test_semi_automatic_asks_and_takes_the_answers(model, folder, tmp_path):
    out = tmp_path / "out"
    first = annotate(model, folder, out, stage="semi-automatic")
    held = json.loads((out / "worklist.json").read_text())
    uncertain = [[p for p in row["prompts"] if p["why"] == "uncertain"] for row in held["pictures"]]
    assert first.masks == 10
    assert [len(rows) for rows in uncertain] == [1] * 5
    assert first.asked == sum(len(row["prompts"]) for row in held["pictures"])
    assert all(p["accept"] is None for row in held["pictures"] for p in row["prompts"])
    for rows in uncertain:
        rows[0] |= {"accept": True, "category": "unsure thing"}
    others = [p for p in held["pictures"][0]["prompts"] if p["why"] != "uncertain"]
    for other in others:
        other["accept"] = False
    (out / "worklist.json").write_text(json.dumps(held))  # filled in place
    given = {"stage": "semi-automatic", "prompts": out / "worklist.json"}
    second = annotate(model, folder, out, **given)
    assert (second.masks, second.asked) == (15, first.asked - 5 - len(others))
    made = document(out)
    assert [c["name"] for c in made["categories"]] == ["object", "unsure thing"]
    assert sum(a["category_id"] == 2 for a in made["annotations"]) == 5
    again = json.loads((out / "worklist.json").read_text())
    decided = [[p for p in row["prompts"] if p.get("accept", True) is not None] for row in again["pictures"]]
    assert [len(rows) for rows in decided] == [1 + len(others), 1, 1, 1, 1]
    encoded = model.encoded
    before = (out / "annotations.json").read_bytes(), (out / "worklist.json").read_bytes()
    annotate(model, folder, out, **given)  # what is given back twice changes nothing
    annotate(model, folder, out, stage="semi-automatic")  # nor what is not given back
    assert model.encoded == encoded
    assert ((out / "annotations.json").read_bytes(), (out / "worklist.json").read_bytes()) == before


def test_a_prompted_mask_takes_the_place_of_the_automatic_one(model, folder, tmp_path):
    out = tmp_path / "out"
    annotate(model, folder, out, stage="semi-automatic")
    box = document(out)["annotations"][0]["bbox"]
    point = {"points": [[box[0] + box[2] / 2, box[1] + box[3] / 2]], "category": "named"}
    given = prompts_file(tmp_path / "p", [{"file_name": "a.png", "prompts": [point]}])
    assert annotate(model, folder, out, stage="semi-automatic", prompts=given).masks == 10
    made = document(out)
    named = [a for a in made["annotations"] if a["category_id"] == 1]
    assert made["categories"][0]["name"] == "named"
    assert [a["bbox"] for a in named] == [box]


def test_filters(model, folder, tmp_path):
    fake.picture(folder / "few.png", 3, kinds=[(255, 255), (240, 250), (225, 255)])
    default = annotate(model, folder, tmp_path / "0")
    scored = annotate(model, folder, tmp_path / "1", min_score=0.95, min_stability=0.1)
    large = annotate(model, folder, tmp_path / "2", min_area=230)
    assert default.masks > scored.masks > 0
    areas = [a["area"] for a in document(tmp_path / "0")["annotations"]]
    assert [a["area"] for a in document(tmp_path / "2")["annotations"]] == [n for n in areas if n >= 230]
    assert 0 < large.masks < default.masks
    assert all(a["predicted_iou"] >= 0.95 for a in document(tmp_path / "1")["annotations"])


def test_assisted_drops_only_what_is_asked_to(model, folder, tmp_path):
    dim = fake.picture(folder / "dim.png", 5, kinds=[fake.DIM])
    y, x = np.argwhere(np.asarray(fake.Pillow.open(dim))[..., 0])[0]
    given = prompts_file(tmp_path / "p", [{"file_name": "dim.png", "prompts": [{"points": [[int(x), int(y)]]}]}])
    kept = annotate(model, folder, tmp_path / "1", stage="assisted", prompts=given)
    assert (kept.masks, kept.dropped) == (1, 0)
    dropped = annotate(model, folder, tmp_path / "2", stage="assisted", prompts=given, min_score=0.5)
    assert (dropped.masks, dropped.dropped) == (0, 1)


def test_a_corrupt_picture_in_the_middle_is_skipped_and_tried_again(model, folder, tmp_path):
    good = (folder / "b.png").read_bytes()
    (folder / "b.png").write_bytes(good[:60])
    run = annotate(model, folder, tmp_path / "out", formats=("coco", "sa1b"))
    assert (run.pictures, run.masks) == (4, 8)
    assert [name for name, _ in run.skipped] == ["b.png"]
    assert [i["file_name"] for i in document(tmp_path / "out")["images"]] == sorted({*NAMES} - {"b.png"})
    assert not (tmp_path / "out" / "sa1b" / "b.json").exists()
    (folder / "b.png").write_bytes(good)
    again = fake.Model()
    run = annotate(again, folder, tmp_path / "out")
    assert (again.encoded, run.pictures, run.skipped) == (1, 5, ())
    assert (tmp_path / "out" / "sa1b" / "b.json").exists()  # what was there is kept up to date


def test_prompts_outside_of_their_picture_skip_it(model, folder, tmp_path):
    rows = [
        {"file_name": "a.png", "prompts": [{"points": [[1, 1]]}, {"points": [[64.5, 1]]}]},
        {"file_name": "b.png", "prompts": [{"box": [1, 1, 65, 5]}]},
        {"file_name": "z z.png", "digest": "0" * 64, "prompts": [{"points": [[1, 1]]}]},
        {"file_name": "deep/d.png", "prompts": [{"points": [[64, 48]]}]},
    ]
    run = annotate(model, folder, tmp_path / "o", stage="assisted", prompts=prompts_file(tmp_path / "p", rows))
    assert run.pictures == 1
    reasons = dict(run.skipped)
    assert "/pictures/0/prompts/1/points/0" in reasons["a.png"]
    assert "/pictures/1/prompts/0/box" in reasons["b.png"]
    assert "/pictures/2/digest" in reasons["z z.png"]


def test_a_prompted_picture_that_changes_is_not_answered_with_old_prompts(model, folder, tmp_path):
    rows = [{"file_name": n, "prompts": [{"points": [[1, 1]]}]} for n in ("a.png", "b.png")]
    given = prompts_file(tmp_path / "p", rows)
    annotate(model, folder, tmp_path / "o", stage="semi-automatic", prompts=given)
    fake.picture(folder / "a.png", 77)
    os.utime(folder / "a.png", ns=(5, 5))
    run = annotate(model, folder, tmp_path / "o", stage="semi-automatic")
    assert [(name, "changed" in why) for name, why in run.skipped] == [("a.png", True)]
    assert run.pictures == 4
    run = annotate(model, folder, tmp_path / "o", stage="semi-automatic", prompts=given)
    assert (run.pictures, run.skipped) == (5, ())


@pytest.mark.parametrize("after", [0, 2, 4, 7])
def test_a_full_disk_loses_nothing(after, model, folder, tmp_path, monkeypatch):
    from saccade.runtime import files

    real, left = os.fsync, [after]

    def full(fd):
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        left[0] -= 1
        real(fd)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(NoSpace) as caught:
            annotate(model, folder, out)
    assert caught.value.hint
    assert not (out / "annotations.json").exists()
    assert not list(out.rglob("*.tmp"))
    done = len(list(out.rglob("*.automatic.json")))
    again = fake.Model()
    assert annotate(again, folder, out).masks == 10
    assert again.encoded == 5 - done
    annotate(fake.Model(), folder, tmp_path / "other")
    assert document(out) == document(tmp_path / "other")


def test_a_limit_on_file_sizes_stands_in_for_a_full_disk(model, folder, tmp_path):
    """Shards fit, the JSON of all does not: NoSpace, and the shards stay."""
    for seed in range(20):
        fake.picture(folder / f"more{seed}.png", seed)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(NoSpace, match="annotations.json"):
            annotate(model, folder, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    again = fake.Model()
    assert annotate(again, folder, tmp_path / "out").pictures == 25
    assert again.encoded == 0


def test_odd_names(model, tmp_path):
    names = ['q"uo\\te.png', "new\nline.png", "ü 猫.png", "\x1b[2J.png", "x" * 251 + ".png", "-o.png", "%s{}.png"]
    for seed, name in enumerate(names):
        fake.picture(tmp_path / "in" / name, seed)
    shutil.copy(tmp_path / "in" / "-o.png", os.fsencode(tmp_path / "in") + b"/\xff\xfe.png")
    (tmp_path / "in" / "gone.png").symlink_to("nowhere")
    run = annotate(model, tmp_path / "in", tmp_path / "out")
    assert run.pictures == len(names)
    assert [i["file_name"] for i in document(tmp_path / "out")["images"]] == sorted(names)
    ((name, reason),) = run.skipped
    assert name.isprintable()
    assert "UTF-8" in reason
    with pytest.raises(InputError, match="too long"):
        annotate(model, tmp_path / "in", tmp_path / "out", formats=["sa1b"])


def test_the_output_may_lie_among_the_pictures(model, folder):
    annotate(model, folder, folder / "out")
    assert (folder / "out" / "sheet.png").exists()
    assert annotate(model, folder, folder / "out").pictures == 5
    with pytest.raises(InputError, match="holds the pictures"):
        annotate(model, folder, folder)


def test_memory_does_not_grow_with_the_folder(model, tmp_path):
    def peak(count: int) -> int:
        for seed in range(count):
            fake.picture(tmp_path / str(count) / f"{seed}.png", seed)
        tracemalloc.start()
        annotate(model, tmp_path / str(count), tmp_path / f"out{count}", sheet=False, formats=("coco", "sa1b"))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(3)
    few, many = peak(10), peak(60)
    assert many - few < 50 * 1500  # names, places and ids; an annotated picture is 3 kB of objects and more


def test_settings_that_cannot_be(model, folder, tmp_path):
    for given in (
        {"stage": "manual"},
        {"stage": "assisted"},
        {"prompts": tmp_path / "p"},
        {"formats": ["yolo"]},
        {"formats": []},
        {"worklist": tmp_path / "w.json"},
        {"min_score": 1.5},
        {"min_score": float("nan")},
        {"grid": 0},
        {"grid": 2.5},
        {"min_area": -1},
        {"categories": ("a", "a")},
        {"categories": ("",)},
    ):
        with pytest.raises(SettingsError) as caught:
            annotate(model, folder, tmp_path / "out", **given)
        assert caught.value.hint
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="no such folder"):
        annotate(model, tmp_path / "none", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        annotate(model, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(TypeError):
        annotate(model, folder, tmp_path / "out", min_skore=1)


def test_categories_have_the_order_that_is_given(model, folder, tmp_path):
    prompts = [{"points": [[1, 1]], "category": c} for c in ("b", "a", "")]
    given = prompts_file(tmp_path / "p", [{"file_name": "a.png", "prompts": prompts}])
    annotate(model, folder, tmp_path / "o", stage="assisted", prompts=given, categories=("z", "b", "a"))
    made = document(tmp_path / "o")
    assert [c["name"] for c in made["categories"]] == ["z", "b", "a", "object"]
    assert [a["category_id"] for a in made["annotations"]] == [2, 3, 4]
    with pytest.raises(AnnotationFileError, match="/pictures/0/prompts/0/category") as caught:
        annotate(model, folder, tmp_path / "p2", stage="assisted", prompts=given, categories=("a",))
    assert caught.value.pointer == "/pictures/0/prompts/0/category"


def test_an_engine_that_fails_stops_the_run_and_loses_nothing(folder, tmp_path):
    class Failing(fake.Model):
        def encode(self, image):
            if self.encoded == 3:
                raise RuntimeError("out of memory")
            return super().encode(image)

    with pytest.raises(RuntimeError):
        annotate(Failing(), folder, tmp_path / "out")
    again = fake.Model()
    annotate(again, folder, tmp_path / "out")
    assert again.encoded == 2


def test_progress_counts_every_picture(model, folder, tmp_path):
    (folder / "b.png").write_text("no picture")
    seen = []
    annotate(model, folder, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 5) for n in range(1, 6)]


def test_what_is_skipped_is_an_image_error_or_worse_for_its_prompts(folder):
    from saccade.runtime.image import decode

    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ImageError):
        decode(folder / "bad.png")
