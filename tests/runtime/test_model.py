"""load and Model: options, life and end."""

import msgspec
import pytest

import saccade
from saccade.runtime import bundle as bundles
from saccade.runtime.engines import Engines, Options
from saccade.runtime.errors import BundleError, Closed, ManifestError, SettingsError


@pytest.fixture(scope="module")
def bundle(clip_bundle):
    return saccade.Bundle.open(clip_bundle, hard_links=True)


def test_engines_open_at_their_first_use(bundle, pictures):
    with saccade.load(bundle) as model:
        assert not model._engines._opened
        model.encode_image(pictures[0])
        assert [graph.name for graph in model._engines._opened] == ["image"]
        model.warm_up()
        assert len(model._engines._opened) == 2
        assert model.about["image"]["backend"] == "onnxruntime"


def test_closed_is_closed(bundle, pictures):
    model = saccade.load(bundle)
    model.encode_image(pictures[0])
    model.close()
    model.close()
    with pytest.raises(Closed):
        model.encode_image(pictures[0])


def test_engines_given_are_shared_and_not_closed(bundle, pictures):
    engines = Engines(Options())
    one, two = saccade.load(bundle, engines=engines), saccade.load(bundle, engines=engines)
    one.encode_image(pictures[0])
    one.close()
    two.encode_image(pictures[0])
    engines.close()
    with pytest.raises(Closed):
        two.encode_image(pictures[0])


def test_the_methods_are_the_pipelines(bundle):
    model = saccade.load(bundle, backend="null")
    assert {"classify", "encode_image", "search", "close"} <= set(dir(model))
    assert "Scores" in model.classify.__doc__
    assert "clip" in repr(model)
    with pytest.raises(AttributeError):
        model.segment  # noqa: B018


def test_the_null_back_end_gives_shapes(bundle, pictures):
    with saccade.load(bundle, backend="null") as model:
        assert model.encode_image(pictures[:3]).vectors.shape[0] == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"backend": "magic"}, "backend"),
        ({"precision": "fp12"}, "precision"),
        ({"device": "tpu"}, "device"),
        ({"threads": -1}, "threads"),
    ],
)
def test_options_that_mean_nothing_are_refused(bundle, options, says):
    with pytest.raises(SettingsError, match=says) as caught:
        saccade.load(bundle, **options)
    assert caught.value.hint


def test_the_environment_is_used_and_the_argument_wins(bundle, monkeypatch):
    monkeypatch.setenv("SACCADE_BACKEND", "null")
    assert saccade.load(bundle).about["image"]["backend"] == "null"
    assert saccade.load(bundle, backend="onnxruntime").about["image"]["backend"] == "onnxruntime"
    monkeypatch.setenv("SACCADE_THREADS", "many")
    with pytest.raises(SettingsError, match="SACCADE_THREADS"):
        saccade.load(bundle)


def test_an_unknown_family_and_a_missing_folder_are_typed(bundle, tmp_path):
    with pytest.raises(BundleError, match="no such folder"):
        saccade.load(tmp_path / "none")
    with pytest.raises(BundleError, match="no bundle"):
        saccade.load(tmp_path)
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    bundles.write(tmp_path / "x", msgspec.structs.replace(bundle.manifest, family="quux\n"), files)
    with pytest.raises(ManifestError, match="quux") as caught:
        saccade.load(tmp_path / "x")
    assert "\n" not in str(caught.value)


def test_the_working_directory_may_change_before_an_engine_opens(clip_bundle, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(clip_bundle.parent)
    model = saccade.load(saccade.Bundle.open(clip_bundle.name, hard_links=True))
    monkeypatch.chdir(tmp_path)
    assert len(model.encode_image(pictures[0])) == 1
