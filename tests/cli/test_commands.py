"""The commands do what the README says, in tables and in JSON."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import saccade
from saccade.cli import run
from saccade.zoo.shipped import names


@pytest.fixture
def folder(tmp_path, pictures, monkeypatch):
    (tmp_path / "photos").mkdir()
    for picture in pictures[:5]:
        shutil.copy(picture, tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(capfd, *arguments):
    capfd.readouterr()
    assert run([*arguments, "--json"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    return json.loads(out)


def test_classify(folder, capfd, pictures):
    names = [str(p) for p in pictures[:2]]
    labels = ["a red circle", "a blue star", "a green triangle"]
    rows = answer(capfd, "classify", "clip-tiny", *names, "--labels", *labels, "--top", "2")
    assert [row["picture"] for row in rows] == names
    assert all(len(row["labels"]) == 2 for row in rows)
    assert rows[0]["labels"][0]["score"] >= rows[0]["labels"][1]["score"]
    assert run(["classify", "clip-tiny", *names, "--labels", *labels, "-o", "sheet.png"]) == 0
    assert "a red circle" in capfd.readouterr().out
    with Image.open("sheet.png") as sheet:
        assert sheet.width > 400


def test_without_labels_the_bundles_are_used(folder, capfd, pictures, clip_bundle):
    (row,) = answer(capfd, "classify", "clip-tiny", str(pictures[0]), "--top", "100")
    named = saccade.Bundle.open(clip_bundle, hard_links=True).manifest.labels
    assert {entry["label"] for entry in row["labels"]} == set(named)


def test_a_saved_classifier_answers_alike(folder, capfd, pictures):
    name = str(pictures[0])
    direct = answer(
        capfd, "classify", "clip-tiny", name, "--labels", "a red ring", "a cross", "--save-classifier", "c.safetensors"
    )
    assert answer(capfd, "classify", "clip-tiny", name, "--classifier", "c.safetensors") == direct


def test_embed(folder, capfd, pictures):
    rows = answer(capfd, "embed", "clip-tiny", "--text", "a red circle", "a blue star", "-o", "v.safetensors")
    assert [row["name"] for row in rows] == ["a red circle", "a blue star"]
    from safetensors.numpy import load_file

    assert np.allclose(load_file("v.safetensors")["vectors"], [row["vector"] for row in rows])
    assert run(["embed", "clip-tiny", str(pictures[0])]) == 0
    assert pictures[0].name in capfd.readouterr().out.replace("\n", "")


def test_index_and_search_both_ways(folder, capfd):
    made = answer(capfd, "index", "clip-tiny", "photos", "-o", "photos.index")
    assert (made["entries"], made["skipped"]) == (5, [])
    rows = answer(capfd, "search", "clip-tiny", "photos.index", "a red circle", "--top", "3")
    assert len(rows) == 3
    own = answer(capfd, "search", "clip-tiny", "photos.index", "--image", f"photos/{rows[0]['name']}")
    assert own[0]["name"] == rows[0]["name"]
    assert run(["search", "clip-tiny", "photos.index", "a red circle", "-o", "found.png"]) == 0
    assert (folder / "found.png").exists()
    (folder / "captions.txt").write_text("a red circle\n\na blue star\n")
    assert answer(capfd, "index", "clip-tiny", "captions.txt", "-o", "captions.index")["kind"] == "texts"
    rows = answer(capfd, "search", "clip-tiny", "captions.index", "--image", f"photos/{own[0]['name']}")
    assert {row["name"] for row in rows} == {"a red circle", "a blue star"}


def test_an_index_with_a_bad_picture_says_so_by_its_exit_code(folder, capfd):
    (folder / "photos" / "bad.png").write_bytes(b"no")
    assert run(["index", "clip-tiny", "photos", "-o", "i"]) == 1
    out, err = capfd.readouterr()
    assert "1 skipped" in out
    assert "bad.png" in err


def test_inspect(capfd, clip_bundle):
    found = answer(capfd, "inspect", "clip-tiny", "--check")
    assert found["digest"] == saccade.Bundle.open(clip_bundle, hard_links=True).digest
    assert {v["precision"] for v in found["variants"]} == {"fp32", "fp16", "int8"}
    assert all(row["passed"] for row in found["golden"] if row["precision"] == "fp32")
    assert any(row["what"] == "kernel resize_normalize" and row["choice"] == "reference" for row in found["here"])
    assert run(["inspect", "clip-tiny"]) == 0
    out = capfd.readouterr().out
    for word in ("clip", "int8", "cosine", "licence", "resize_normalize"):
        assert word in out


def test_demo(folder, capfd):
    found = answer(capfd, "demo", "-o", "out")
    assert sum(row["right"] for row in found["classified"]) >= 0.75 * len(found["classified"])
    with Image.open("out/demo.png") as sheet:
        assert min(sheet.size) > 600
    if "sam-tiny" in names():
        assert np.mean([row["click_iou"] for row in found["segmented"]]) >= 0.8
        assert np.mean([row["box_iou"] for row in found["segmented"]]) >= 0.8
        assert sum(row["found"] for row in found["segmented"]) >= sum(row["things"] for row in found["segmented"]) / 2
        with Image.open(found["segment_sheet"]) as sheet:
            assert min(sheet.size) > 600
    if "grounding-tiny" in names():
        things = sum(row["things"] for row in found["detected"])
        assert sum(row["right"] for row in found["detected"]) >= 0.6 * things
        assert sum(row["wrong"] for row in found["detected"]) <= 0.1 * things
        with Image.open(found["detect_sheet"]) as sheet:
            assert min(sheet.size) > 600
    assert run(["demo", "-o", "out"]) == 0
    assert "open it" in capfd.readouterr().out


def test_bench_overhead_gives_complete_rows(folder, capfd, monkeypatch):
    """The figure itself is no test's business; the rows and the file are."""
    from saccade.benchmarks import overhead

    monkeypatch.setattr(overhead, "BATCH", 20)
    monkeypatch.setattr(overhead, "ROUNDS", 2)
    assert run(["bench", "overhead", "--json", "rows.jsonl"]) == 0
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert {"case", "p50_us", "machine", "versions", "commit"} <= set(rows[0])


@pytest.fixture
def roofs(monkeypatch):
    """Peaks without the seconds that they take."""
    from saccade.benchmarks.kernels import peaks

    monkeypatch.setattr(peaks, "measure", lambda: {"read_gbps": 40.0, "fp32_gflops": 100.0})


def test_bench_kernels_gives_complete_rows_and_a_picture(folder, capfd, roofs):
    assert run(["bench", "kernels", "decode_boxes", "--quick", "--json", "rows.jsonl", "--plot", "roof.svg"]) == 0
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert {"base"} <= {row["impl"] for row in rows}
    for row in rows:
        assert row["achieved"]["of_peak"] > 0
        assert row["machine"]["peaks"] == {"read_gbps": 40.0, "fp32_gflops": 100.0}
        assert {"cpu", "isa", "threads", "gpu"} <= set(row["machine"])
        assert {"op", "shape", "dtype", "backend", "error", "tolerance", "versions", "commit"} <= set(row)
        assert "numpy" in [peer["name"] for peer in row["baselines"]]
    assert (folder / "roof.svg").stat().st_size > 1000
    assert "peaks of one core: read 40 GB/s · fp32 100 GFLOP/s" in capfd.readouterr().out


def test_bench_kernels_peaks_alone_and_one_candidate(folder, capfd, roofs):
    assert run(["bench", "kernels", "--peaks", "--json", "rows.jsonl"]) == 0
    (row,) = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert (row["op"], row["machine"]["peaks"]["read_gbps"]) == ("peaks", 40)
    assert run(["bench", "kernels", "decode_boxes", "--quick", "--impl", "base", "--json", "rows.jsonl"]) == 0
    assert [json.loads(line)["impl"] for line in (folder / "rows.jsonl").read_text().splitlines()] == ["base"]
    assert run(["bench", "kernels", "quux"]) == 2
    capfd.readouterr()
    assert run(["bench", "kernels", "decode_boxes", "--impl", "quux"]) != 0
    assert "quux" in capfd.readouterr().err


def test_a_wrong_kernel_is_named_and_leaves_no_row(folder, capfd, roofs, monkeypatch):
    from dataclasses import replace

    from saccade.benchmarks.kernels import decode_boxes

    honest = decode_boxes.problems
    monkeypatch.setattr(
        decode_boxes, "problems", lambda quick: (replace(p, error=lambda *_: 3.0, peers=()) for p in honest(quick))
    )
    assert run(["bench", "kernels", "decode_boxes", "--quick", "--json", "rows.jsonl"]) == 1
    assert "wrong: [decode_boxes] 300 queries, 80 classes: base: error 3, allowed" in capfd.readouterr().err
    assert (folder / "rows.jsonl").read_text() == ""


def test_bench_loading_measures_each_case(folder, capfd, monkeypatch):
    from saccade.benchmarks import loading

    measured = loading.rows
    monkeypatch.setattr(loading, "rows", lambda path: measured(path, rounds=1))
    assert run(["bench", "loading", "clip-tiny", "--json", "rows.jsonl"]) == 0
    rows = {row["case"]: row for row in map(json.loads, (folder / "rows.jsonl").read_text().splitlines())}
    assert set(rows) == {"verify", "stamped", "by-name", "memory"}
    assert all(row["p50_ms"] > 0 and row["peak_mb"] > 10 for row in rows.values())
    assert rows["by-name"]["file"] == "image.fp32.onnx"


def test_from_a_shell(folder):
    done = subprocess.run(
        [sys.executable, "-m", "saccade", "--version"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == f"saccade {saccade.__version__}\n"
    bad = subprocess.run([sys.executable, "-m", "saccade", "inspect", "x"], capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("error: ")


def test_bench_everything_names_its_cases(capfd):
    assert run(["bench", "everything", "giant"]) == 2
    err = capfd.readouterr().err
    assert "giant" in err
    assert "vit-b" in err


def test_bench_everything_needs_the_checkpoint(folder, capfd):
    pytest.importorskip("pycocotools")
    pytest.importorskip("torch")
    assert run(["bench", "everything", "tiny", "--checkpoint", "nowhere"]) == 2
    assert "--checkpoint" in capfd.readouterr().err


def test_inspect_resident(capfd):
    found = answer(capfd, "inspect", "clip-tiny", "sam-tiny", "--resident")
    names = {"clip-tiny.image", "clip-tiny.text", "sam-tiny.encoder", "sam-tiny.decoder"}
    assert {row["graph"] for row in found["engines"]} == names
    assert all(row["resident"] and row["bytes"] > 0 and row["opened"] == 1 for row in found["engines"])
    assert found["used_bytes"] == sum(row["bytes"] for row in found["engines"]) < found["process_bytes"]
    small = answer(capfd, "inspect", "clip-tiny", "sam-tiny", "--resident", "--budget-mb", "5")  # their files have 6 MB
    assert small["evictions"] >= 1
    assert not all(row["resident"] for row in small["engines"])
    assert run(["inspect", "clip-tiny", "--resident"]) == 0
    assert "engines together" in capfd.readouterr().out
    assert run(["inspect", "clip-tiny", "sam-tiny"]) == 2
    assert run(["inspect", "clip-tiny", "--resident", "--budget-mb", "1"]) == 3
