"""A bundle behind the metric's two functions: what reaches the graphs has the shapes of the sam family."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from saccade.zoo import bundled


@pytest.fixture
def calls(monkeypatch):
    seen: dict[str, dict[str, np.ndarray]] = {}

    def open_engine(bundle, graph, options):
        assert options.threads == 1
        assert options.precision == "int8"

        def run(**inputs):
            seen[graph] = inputs
            if graph == "encoder":
                return {"embedding": inputs["pixels"].mean((2, 3), keepdims=True)}
            images = len(inputs["points"])
            return {"logits": np.zeros((images, 1, 4, 8, 8), np.float32), "iou": np.zeros((images, 1, 4), np.float32)}

        return run

    monkeypatch.setattr(bundled, "open_engine", open_engine)
    size = SimpleNamespace(batch=lambda pictures: (np.stack([p.pixels for p in pictures]).transpose(0, 3, 1, 2), []))
    monkeypatch.setattr(bundled.Preprocess, "read", staticmethod(lambda said: size))
    return seen


def test_each_target_is_an_image_with_one_prompt(calls):
    bundle = SimpleNamespace(manifest=SimpleNamespace(preprocess={}, config={"low": [8, 8]}))
    encode, decode = bundled.halves(bundle, "int8")
    pixels = np.zeros((2, 32, 32, 3), np.uint8)
    pixels[1] = 200
    embeddings = encode(pixels)
    points, labels = np.zeros((3, 2, 2), np.float32), np.ones((3, 2), np.int64)
    logits, iou = decode(embeddings, np.array([1, 0, 1]), points, labels, np.zeros((3, 1, 1), np.float32), np.zeros(3))
    given = calls["decoder"]
    assert [given[name].shape for name in ("points", "labels", "mask", "has_mask")] == [
        (3, 1, 2, 2), (3, 1, 2), (3, 1, 8, 8), (3, 1)
    ]  # fmt: skip
    assert given["embedding"].max((1, 2, 3)).tolist() == [200, 0, 200]
    assert logits.shape == (3, 4, 8, 8)
    assert iou.shape == (3, 4)


def test_a_grounding_bundle_answers_for_each_span(monkeypatch):
    """What the pipeline is asked: the text as it is, its spans, and every box with any chance."""
    asked = {}

    def load(folder, **told):
        assert told == {"precision": "fp16", "threads": 1}

        def ground(picture, text, *, spans, threshold, every):
            asked.update(text=text, spans=spans, threshold=threshold, every=every, shape=picture.shape)
            return SimpleNamespace(
                boxes=np.ones((2, 4), np.float32), score=np.float32([0.9, 0.1]), label=np.array([1, 0])
            )

        return SimpleNamespace(ground=ground)

    monkeypatch.setattr(bundled, "load", load)
    found = bundled.detector("of.bundle", "fp16")(
        np.zeros((128, 96, 3), np.uint8), "a star. a ring.", ((0, 6), (8, 14))
    )
    assert asked == {
        "text": "a star. a ring.",
        "spans": ((0, 6), (8, 14)),
        "threshold": 0.05,
        "every": True,
        "shape": (128, 96, 3),
    }
    assert found.phrases.tolist() == [1, 0]
