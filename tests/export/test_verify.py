"""What a variant loses is measured, and said in the bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade.export import Labelled, export, scales
from saccade.export.recipe import Checkpoint, Material, read
from saccade.export.to_onnx import reference, to_onnx
from saccade.export.verify import Verifier, golden
from saccade.runtime.bundle import Bundle
from saccade.runtime.engines import Options, choose, open_engine
from saccade.runtime.errors import EngineError, SettingsError
from saccade.runtime.image import decode
from saccade.runtime.precision import golden_check


@pytest.fixture(scope="module")
def recipe(clip_folder: Path) -> Any:
    return read(Checkpoint(clip_folder, "m"))


@pytest.fixture(scope="module")
def verifier(recipe: Any, photos: Path) -> Verifier:
    pictures = [decode(file) for file in sorted(photos.iterdir())[:6]]
    texts = ["a red circle", "two blue squares", "a ring"]
    return Verifier(recipe, recipe.samples(Material(pictures, texts), ["image", "text"], reference), [0, 1, 2, 0, 1, 2])


@pytest.fixture(scope="module")
def image(recipe: Any) -> Any:
    return to_onnx(recipe.graphs[0])


def figures(variant: Any) -> dict[str, Any]:
    return {m.metric: m for m in variant.measured}


def test_the_exported_graph_itself_loses_nothing(verifier: Verifier, recipe: Any, image: Any) -> None:
    variant = verifier.variant(recipe.graphs[0], "fp32", "image.fp32.onnx", image)
    found = figures(variant)
    assert set(found) == {"cosine", "top1_agreement", "accuracy"}
    assert (found["cosine"].mean, found["cosine"].samples) == (1.0, 6)
    assert found["accuracy"].mean == found["accuracy"].reference
    assert variant.within_budget


def test_a_damaged_variant_is_outside_its_budget(verifier: Verifier, recipe: Any, image: Any) -> None:
    import onnx

    damaged = type(image)()
    damaged.CopyFrom(image)
    tensor = max(damaged.graph.initializer, key=lambda t: t.ByteSize())
    tensor.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(tensor), tensor.name))
    variant = verifier.variant(recipe.graphs[0], "int8", "image.int8.onnx", damaged)
    assert not variant.within_budget
    assert figures(variant)["cosine"].mean < 0.99


def test_a_variant_that_does_not_run_is_an_error(verifier: Verifier, recipe: Any, image: Any) -> None:
    broken = type(image)()
    broken.CopyFrom(image)
    broken.graph.node[1].op_type = "NoSuchOperator"
    with pytest.raises(EngineError, match=r"\[image\] int8 does not run"):
        verifier.variant(recipe.graphs[0], "int8", "image.int8.onnx", broken)


def test_golden_set_is_small_and_is_the_trained_models(verifier: Verifier, recipe: Any) -> None:
    found = golden(recipe, verifier.samples)
    assert set(found) == {"image.pixels", "image.embedding", "text.input_ids", "text.embedding"}
    assert found["image.pixels"].shape == (2, 3, 32, 32)
    assert np.array_equal(found["image.pixels"][:1], verifier.samples["image"][0]["pixels"])


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_variant_passes_its_own_golden_check(exported: Bundle, precision: str) -> None:
    for name, entry in exported.graphs.items():
        engine = open_engine(exported, name, Options(precision=precision))
        found = golden_check(exported, name, engine)
        engine.close()
        variant = entry.variant(precision)
        assert variant is not None
        assert variant.within_budget
        assert found.mean >= 0.999
        assert found.backend == variant.measured[0].backend == "onnxruntime"


def test_a_bad_int8_is_flagged_in_the_bundle_and_not_chosen(
    clip_folder: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scales a hundred times too wide: the file runs, and is wrong even with half its layers in float32."""
    monkeypatch.setattr(
        scales, "_ways", lambda rows, weights, low, high: {"wide": scales._steps(100 * low, 100 * high)}
    )
    pictures = sorted(photos.iterdir())
    labelled = Labelled(pictures[:4], [0, 1, 0, 1], ["a red circle", "a blue ring"])
    bundle = export(
        clip_folder, tmp_path / "bad.bundle", precisions=("int8", "fp32"), calibrate=pictures, labelled=labelled
    )
    entry = bundle.graphs["image"]
    fp32, int8 = entry.variants
    assert (fp32.precision, fp32.within_budget) == ("fp32", True)
    assert (int8.precision, int8.within_budget) == ("int8", False)
    assert figures(int8)["accuracy"].samples == 4
    assert choose(entry, "image", "").precision == "fp32"


def test_a_budget_is_kept_in_the_bundle_and_the_search_is_told(clip_folder: Path, photos: Path, tmp_path: Path) -> None:
    """A budget that int8 cannot keep: the variant is flagged, and the report says how it went."""
    told: list[Any] = []
    stages: list[str] = []
    bundle = export(
        clip_folder,
        tmp_path / "strict.bundle",
        precisions=("fp32", "int8"),
        calibrate=photos,
        budget="cosine=0.9999999,top1_agreement=0.5",
        report=told.append,
        stage=stages.append,
    )
    assert bundle.manifest.budgets == {"cosine": 0.9999999, "top1_agreement": 0.5}
    fp32, int8 = bundle.graphs["image"].variants
    assert (fp32.within_budget, int8.within_budget) == (True, False)
    assert [report.graph for report in told] == ["image", "text"]
    assert told[0].judged[0][0] == 0
    assert told[0].spent > 1
    assert "image: each layer alone" in stages
    assert all(layer.alone is not None for layer in told[0].layers)


@pytest.mark.parametrize("budget", ["mask_iou=0.98", "cosine=2", {"cosin": 0.9}])
def test_a_budget_that_the_family_lacks_is_refused(clip_folder: Path, tmp_path: Path, budget: Any) -> None:
    with pytest.raises(SettingsError, match=r"\[budget\]"):
        export(clip_folder, tmp_path / "x.bundle", budget=budget)
    assert not (tmp_path / "x.bundle").exists()
