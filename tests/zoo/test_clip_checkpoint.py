"""The committed clip-tiny: the official layout, and as good as its metrics.json says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.zoo.evaluate import labelled_pictures, retrieval, retrieval_pictures, similarity, zero_shot

torch = pytest.importorskip("torch", reason="loading a checkpoint needs the [export] extra")
transformers = pytest.importorskip("transformers", reason="loading a checkpoint needs the [export] extra")

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "zoo" / "checkpoints" / "clip-tiny"
METRICS = json.loads((FOLDER / "metrics.json").read_text())
SEED = 2000  # neither that of the reported figures nor of the training curve


@pytest.fixture(scope="module")
def encoders():
    from saccade.zoo.recipes.clip import encoders as of

    torch.set_num_threads(1)
    model = transformers.CLIPModel.from_pretrained(FOLDER).eval()
    return of(model, transformers.CLIPTokenizer.from_pretrained(FOLDER))


def test_the_official_files_are_there():
    names = {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "preprocessor_config.json",
        "README.md",
    }
    assert names < {path.name for path in FOLDER.iterdir()}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 5_000_000


@pytest.mark.parametrize("level", ["easy", "middle", "hard"])
def test_zero_shot_on_held_out_pairs_is_as_reported(encoders, level):
    reported = METRICS["zero_shot"]["held_out_32_way"][level]
    found = zero_shot(*encoders, labelled_pictures(480, level, SEED))
    assert found == pytest.approx(reported, abs=0.06)  # 480 pictures: three standard errors are 0.04 to 0.07


def test_among_all_classes_it_is_as_reported(encoders):
    reported = METRICS["zero_shot"]["held_out_among_all_72"]["middle"]
    found = zero_shot(*encoders, labelled_pictures(480, "middle", SEED, among="any"))
    assert found == pytest.approx(reported, abs=0.07)


def test_retrieval_is_as_reported(encoders):
    reported = METRICS["retrieval"]["of_64"]
    found = retrieval(*encoders, retrieval_pictures(64, "middle", SEED))
    assert found.text_to_image == pytest.approx(reported["text_to_image_r1"], abs=0.15)
    assert found.image_to_text == pytest.approx(reported["image_to_text_r1"], abs=0.15)


def test_the_sample_pictures_of_one_thing_are_named(encoders):
    rows = json.loads((ROOT / "zoo" / "pictures" / "captions.json").read_text())["pictures"]
    single = [row for row in rows if len(row["things"]) == 1]
    opened = [Image.open(ROOT / "zoo" / "pictures" / row["file"]).resize((64, 64), 3) for row in single]
    texts = labelled_pictures(1, pairs="any").texts
    best = similarity(encoders[0](np.stack([np.asarray(p) for p in opened])), encoders[1](texts)).argmax(1)
    assert [texts[i].removeprefix("a photo of ") for i in best] == [row["caption"] for row in single]
