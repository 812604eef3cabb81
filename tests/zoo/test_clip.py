"""The recipe of clip-tiny: it learns within seconds, and writes what transformers reads."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs the [export] extra")
pytest.importorskip("transformers", reason="training needs the [export] extra")

from saccade.zoo import tokenizer  # noqa: E402
from saccade.zoo.evaluate import labelled_pictures, zero_shot  # noqa: E402
from saccade.zoo.recipes import clip  # noqa: E402
from saccade.zoo.recipes.contrast import contrastive_loss, draw_batch, mix_at  # noqa: E402
from saccade.zoo.training import Average, Schedule, optimiser  # noqa: E402
from saccade.zoo.words import HELD_OUT_PAIRS  # noqa: E402


def ticking(step_s: float = 0.1):
    """A clock that moves on by itself, so that a test of so many steps does not depend on the machine."""
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += step_s
        return now

    return clock


def test_batches_say_the_truth_and_name_no_held_out_pair():
    batch = draw_batch(np.random.default_rng(0), mix_at(1.0), 64, 48, 64)
    assert batch.pixels.shape == (64, 64, 64, 3)
    assert batch.true.shape == (112, 64)
    assert batch.true[:64].diagonal().all()  # the caption of each picture is true of it
    assert (~batch.true[64:].any(1)).mean() > 0.3  # many near misses are true of no picture at all
    assert not any(f"{c} {s}" in text for text in batch.texts for c, s in HELD_OUT_PAIRS)


def test_the_mix_moves_from_single_plain_things_to_the_hard_ones():
    early, late = mix_at(0.0), mix_at(1.0)
    assert early.counts[0] > late.counts[0]
    assert early.levels[2] == 0 < late.levels[2]
    assert sum(late.levels) == pytest.approx(1)


def test_with_one_positive_a_row_the_loss_is_that_of_clip():
    logits = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    both_ways = [torch.nn.functional.cross_entropy(way, torch.arange(6)).item() for way in (logits, logits.T)]
    found = contrastive_loss(logits, torch.eye(6, dtype=torch.bool)).item()
    assert found == pytest.approx(sum(both_ways) / 2, abs=1e-6)


def test_what_is_also_true_is_no_negative():
    logits = torch.tensor([[0.0, 9.0], [9.0, 0.0]])
    both = torch.ones(2, 2, dtype=torch.bool)
    assert contrastive_loss(logits, both).item() == pytest.approx(0.0, abs=1e-6)
    assert contrastive_loss(logits, torch.eye(2, dtype=torch.bool)).item() == pytest.approx(9.0, abs=1e-3)


def test_the_schedule_warms_up_and_ends_by_the_clock():
    now = 0.0
    schedule = Schedule(1.0, 1.0, lambda: now, warm_up=4, floor=0.1)
    schedule.start()
    assert schedule.rate() == pytest.approx(0.25)
    schedule.steps = 4
    assert schedule.rate() == pytest.approx(1.0)
    now = 30.0
    assert schedule.rate() == pytest.approx(0.55)
    now = 90.0
    assert schedule.progress == 1.0
    assert schedule.rate() == pytest.approx(0.1)


def test_only_matrices_decay():
    model = clip.new_model(tokenizer.build(), 0)
    decayed, spared = (group["params"] for group in optimiser(model, 0.1).param_groups)
    assert all(p.ndim >= 2 for p in decayed)
    assert any(p is model.text_model.embeddings.token_embedding.weight for p in spared)
    assert len(decayed) + len(spared) == len(list(model.parameters()))


def test_the_average_follows_the_weights():
    model = torch.nn.Linear(1, 1)
    average = Average(model, 0.5)
    before = average.model.weight.item()
    model.weight.data += 1.0
    average.update(model, 1000)
    assert average.model.weight.item() == pytest.approx(before + 0.5)


@pytest.mark.slow
def test_a_few_steps_of_training_learn(tmp_path):
    torch.set_num_threads(1)
    vocab = tokenizer.build()
    model = clip.new_model(vocab, 0)
    rows: list[dict[str, float]] = []
    saved: list[int] = []
    schedule = Schedule(10.0, 1e-3, ticking(), warm_up=5)
    trained = clip.train(
        model, vocab, schedule, 0, most_steps=24, report_every=8, report=rows.append,
        checkpoint=lambda averaged: saved.append(schedule.steps), checkpoint_every_s=4.0,
    )  # fmt: skip
    assert [row["step"] for row in rows] == [8, 16, 24]
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.1
    assert saved

    clip.save(trained, vocab, tmp_path)
    from transformers import AutoTokenizer, CLIPModel

    again, words = CLIPModel.from_pretrained(tmp_path).eval(), AutoTokenizer.from_pretrained(tmp_path)
    pictures = labelled_pictures(32, "easy", seed=1)
    expected, found = clip.encoders(trained, vocab), clip.encoders(again, words)
    assert np.array_equal(expected[0](pictures.pixels), found[0](pictures.pixels))
    assert np.array_equal(expected[1](pictures.texts), found[1](pictures.texts))
    assert 0 <= zero_shot(*found, pictures) <= 1
    preprocessor = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert preprocessor["size"] == {"shortest_edge": 64}
    assert preprocessor["image_processor_type"] == "CLIPImageProcessor"


def test_our_preprocessing_is_that_of_the_files(tmp_path):
    from transformers import AutoImageProcessor

    vocab = tokenizer.build()
    clip.save(clip.new_model(vocab, 0), vocab, tmp_path)
    pixels = labelled_pictures(4, "hard", seed=2).pixels
    official = AutoImageProcessor.from_pretrained(tmp_path)
    try:
        expected = official([Image.fromarray(p) for p in pixels], return_tensors="pt")["pixel_values"]
    except ImportError as trouble:  # without torchvision transformers falls back to Pillow, but not in all versions
        pytest.skip(str(trouble))
    assert torch.allclose(clip.pixel_values(pixels), expected, atol=1e-5)


def test_the_configuration_is_small_and_says_its_width_everywhere():
    vocab = tokenizer.build()
    settings = clip.config(vocab)
    assert settings.projection_dim == settings.text_config.projection_dim == settings.vision_config.projection_dim
    assert settings.text_config.eos_token_id == vocab.eos_token_id
    assert settings.text_config.vocab_size == len(vocab)
    assert sum(p.numel() for p in clip.new_model(vocab, 0).parameters()) < 1_200_000
