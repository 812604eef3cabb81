"""The committed grounding-tiny and its bundle: the official layout, and as good as its metrics.json says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from saccade.zoo import detection
from saccade.zoo.detection import average_precision, found_in
from saccade.zoo.grounding_metrics import SEED, THRESHOLD
from saccade.zoo.shipped import bundle_path, names

FOLDER = Path(__file__).parents[2] / "zoo" / "checkpoints" / "grounding-tiny"
OTHER = SEED + 1000  # neither that of the reported figures nor of the training curve


@pytest.fixture(scope="module")
def metrics() -> dict:
    return json.loads((FOLDER / "metrics.json").read_text())


@pytest.fixture(scope="module")
def detect():
    if "grounding-tiny" not in names():
        pytest.skip("grounding-tiny is not shipped in this build")
    from saccade.zoo.bundled import detector

    return detector(bundle_path("grounding-tiny"))


def test_the_official_files_are_there_and_small():
    files = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert {"config.json", "model.safetensors.index.json", "tokenizer.json", "preprocessor_config.json"} < set(files)
    assert max(files.values()) < 4_000_000
    assert "license: apache-2.0" in (FOLDER / "README.md").read_text()
    if "grounding-tiny" in names():
        sizes = [path.stat().st_size for path in bundle_path("grounding-tiny").iterdir()]
        assert max(sizes) < 4_000_000
        assert sum(sizes) < 12_000_000


def test_the_bundle_has_the_threshold_of_the_figures(metrics):
    assert metrics["threshold"] == THRESHOLD == json.loads((FOLDER / "config.json").read_text())["threshold"]
    if "grounding-tiny" in names():
        manifest = json.loads((bundle_path("grounding-tiny") / "bundle.json").read_text())
        assert manifest["config"]["threshold"] == THRESHOLD


def test_what_was_asked_of_precision_is_reached_as_reported(metrics):
    assert metrics["category"]["middle"]["ap50"] >= 0.95
    assert metrics["attribute"]["seen"]["ap50"] >= 0.95
    assert metrics["attribute"]["held-out"]["ap50"] >= 0.95
    assert metrics["category"]["middle"]["pictures"] >= 400


def test_other_pictures_give_the_same_figures_through_the_pipeline(detect, metrics):
    cases = detection.category_cases(60, "middle", OTHER)
    found = found_in(detect, cases)
    told = metrics["category"]["middle"]
    assert detection.recall(cases, found, THRESHOLD) == pytest.approx(told["recall"], abs=0.07)
    cases = detection.attribute_cases(60, "middle", OTHER, "held-out")
    found = found_in(detect, cases)
    assert average_precision(cases, found) == pytest.approx(metrics["attribute"]["held-out"]["ap50"], abs=0.06)
    # 60 pictures: three standard errors of a share near 0.05 are 0.085
    absent = found_in(detect, detection.absent_cases(60, "pair", "middle", OTHER))
    expected = metrics["absent"]["pair"]["false_positives"]
    assert detection.alarms(absent, THRESHOLD) == pytest.approx(expected, abs=0.09 + expected)


def test_relations_are_told_better_than_by_chance(detect, metrics):
    told = metrics["relation"]["any"]
    assert told["right_box_first"] > told["chance"]
    cases = detection.relation_cases(80, "middle", OTHER)
    # the standard error of 80 pictures is 0.05
    assert detection.pointed(cases, found_in(detect, cases)) == pytest.approx(told["right_box_first"], abs=0.18)
    assert np.mean([case.chance for case in cases]) == pytest.approx(told["chance"], abs=0.05)
