"""Classifiers are values: saved, loaded, and refused where they do not belong."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from saccade.runtime.classifier import Classifier, sigmoid, softmax
from saccade.runtime.errors import IndexFileError, SpecError
from saccade.runtime.results import Embeddings


@pytest.fixture
def classifier():
    weights = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    return Classifier(weights, ("right", "up", "ünder 'quotes'"), ("{}",), "model-1", "softmax", 10.0, 0.0)


def test_scores_are_the_softmax_of_scaled_cosines(classifier):
    seen = Embeddings(np.array([[1, 0]], np.float32), ("p",), "model-1")
    logits = np.array([10, 0, 6], np.float64)
    want = np.exp(logits) / np.exp(logits).sum()
    assert np.allclose(classifier(seen).values, want, atol=1e-7)


def test_saved_and_loaded_it_is_the_same_to_the_bit(classifier, tmp_path):
    classifier.save(tmp_path / "c.safetensors")
    again = Classifier.load(tmp_path / "c.safetensors")
    assert again.weights.tobytes() == classifier.weights.tobytes()
    assert (again.labels, again.templates, again.model) == (classifier.labels, classifier.templates, classifier.model)
    assert (again.scoring, again.logit_scale, again.logit_bias) == ("softmax", 10.0, 0.0)


def test_pictures_of_another_model_are_refused(classifier):
    with pytest.raises(SpecError, match="two models"):
        classifier(Embeddings(np.ones((1, 2), np.float32), ("p",), "model-2"))


def test_what_is_no_classifier_is_refused(classifier, tmp_path):
    path = tmp_path / "c.safetensors"
    for content in (b"", b"garbage", b"\x80\x04N."):
        path.write_bytes(content)
        with pytest.raises(IndexFileError) as caught:
            Classifier.load(path)
        assert caught.value.hint
    save_file({"weights": np.zeros((1, 2), np.float32)}, path)
    with pytest.raises(IndexFileError, match="not a classifier"):
        Classifier.load(path)
    with pytest.raises(IndexFileError, match="no such file"):
        Classifier.load(tmp_path / "none")


def test_a_truncated_or_inconsistent_file_is_refused(classifier, tmp_path):
    path = tmp_path / "c.safetensors"
    classifier.save(path)
    whole = path.read_bytes()
    for cut in (7, 40, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(IndexFileError):
            Classifier.load(path)
    about = {"format": "saccade-classifier-1", "labels": '["a"]', "templates": '["{}"]', "model": "m"}
    about |= {"scoring": "softmax", "logit_scale": "1", "logit_bias": "0"}
    for weights in (np.zeros((2, 2), np.float32), np.full((1, 2), np.nan, np.float32), np.zeros((1, 2), np.float64)):
        save_file({"weights": weights}, path, metadata=about)
        with pytest.raises(IndexFileError, match="damaged"):
            Classifier.load(path)


def test_scorings_do_not_overflow():
    extreme = np.array([[-1e4, 0, 1e4]], np.float32)
    assert np.array_equal(softmax(extreme), [[0, 0, 1]])
    assert np.array_equal(sigmoid(extreme), [[0, 0.5, 1]])
    assert np.allclose(sigmoid(np.float32([-2, 3])), 1 / (1 + np.exp([2.0, -3.0])), atol=1e-7)
