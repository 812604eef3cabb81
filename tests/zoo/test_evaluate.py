"""The metrics: right for encoders whose answers are known, on pictures that are what they say."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.zoo.evaluate import (
    evaluation_rng,
    labelled_pictures,
    retrieval,
    retrieval_pictures,
    scene_of,
    similarity,
    zero_shot,
)
from saccade.zoo.words import HELD_OUT_PAIRS, is_held_out
from saccade.zoo.world import LEVELS, render


@pytest.mark.parametrize("level", LEVELS)
def test_labelled_pictures_show_what_they_are_labelled(level):
    pictures = labelled_pictures(64, level, seed=5)
    assert pictures.pixels.shape == (64, 64, 64, 3)
    assert pictures.pixels.dtype == np.uint8
    assert len(pictures.texts) == len(HELD_OUT_PAIRS)
    assert set(np.bincount(pictures.labels)) == {2}
    rng = evaluation_rng(5)
    for pixels, label in zip(pictures.pixels, pictures.labels, strict=True):
        colour, shape = HELD_OUT_PAIRS[label]
        scene = scene_of(rng, level, colour, shape)
        assert [(t.colour, t.shape) for t in scene.things] == [(colour, shape)]
        assert is_held_out(colour, shape)
        assert np.array_equal(render(scene, 64).pixels, pixels)
        assert pictures.texts[label].endswith(f"{colour} {shape}")


def test_labels_take_the_right_article_and_template():
    texts = labelled_pictures(1, pairs="any", template="we see {}.").texts
    assert "we see an orange circle." in texts
    assert "we see a red circle." in texts
    assert len(texts) == 72


def test_held_out_pictures_can_be_told_among_all_classes():
    few, all_of_them = labelled_pictures(40, "easy", 1), labelled_pictures(40, "easy", 1, among="any")
    assert np.array_equal(few.pixels, all_of_them.pixels)
    assert len(all_of_them.texts) == 72
    assert [few.texts[i] for i in few.labels] == [all_of_them.texts[i] for i in all_of_them.labels]


def test_a_gallery_has_one_answer_to_each_question():
    gallery = retrieval_pictures(40, "middle", seed=1, detail=0.5)
    assert len(set(gallery.captions)) == 40
    assert gallery.pixels.shape == (40, 64, 64, 3)
    shown = [sorted((t.colour, t.shape) for t in s.things) for s in gallery.scenes]
    assert all(1 <= len(things) <= 2 for things in shown)


def test_captions_of_a_gallery_are_true():
    gallery = retrieval_pictures(20, "easy", seed=2)
    for text, scene in zip(gallery.captions, gallery.scenes, strict=True):
        for thing in scene.things:
            assert f"{thing.colour} {thing.shape}" in text


def test_a_perfect_model_scores_one_and_a_broken_one_less():
    pictures = labelled_pictures(64, "easy", seed=3)
    answers = np.eye(len(pictures.texts))
    assert zero_shot(lambda _: 3 * answers[pictures.labels], lambda _: answers, pictures) == 1.0
    assert zero_shot(lambda _: answers[(pictures.labels + 1) % 32], lambda _: answers, pictures) == 0.0


def test_retrieval_counts_both_directions():
    gallery = retrieval_pictures(4, "easy", seed=3)
    images = np.eye(4)
    texts = np.eye(4)
    texts[1] = [1.0, 0.9, 0, 0]  # text 1 finds picture 0; picture 1 still finds text 1
    found = retrieval(lambda _: images, lambda _: texts, gallery)
    assert found.text_to_image == 0.75
    assert found.image_to_text == 1.0


def test_similarity_is_the_cosine_whatever_the_scale_or_dtype():
    rows = np.array([[3.0, 4.0], [-1.0, 0.0]], np.float16)
    assert similarity(rows, 10 * rows.astype(np.float64)) == pytest.approx(np.array([[1, -0.6], [-0.6, 1]]))


def test_evaluation_never_shares_a_seed_with_training():
    contrast = pytest.importorskip("saccade.zoo.recipes.contrast", reason="training needs the [export] extra")
    ours, theirs = evaluation_rng(0).random(64), np.random.default_rng([contrast.TRAINING_STREAM, 0]).random(64)
    assert not np.intersect1d(ours, theirs).size
