"""The recipe of sam-tiny: our decoding is the class's, the loss rewards what it should, and a few steps learn."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs the [export] extra")
pytest.importorskip("transformers", reason="training needs the [export] extra")

from saccade.zoo.recipes import sam, sam_model  # noqa: E402
from saccade.zoo.recipes.sam_loss import mask_losses, prompt_loss  # noqa: E402
from saccade.zoo.recipes.sam_rounds import BOX, Rounds  # noqa: E402
from saccade.zoo.recipes.targets import draw_batch, levels_at  # noqa: E402
from saccade.zoo.segmentation import one_click, target_pictures  # noqa: E402
from saccade.zoo.training import Schedule  # noqa: E402


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return sam_model.new_model(0).eval()


@pytest.fixture(scope="module")
def batch():
    return draw_batch(np.random.default_rng(1), 1.0, 6, 4, sam_model.SIZE)


def test_a_batch_is_pictures_with_targets_inside_them(batch):
    assert batch.pixels.shape == (6, 128, 128, 3)
    assert batch.masks.shape == (6, 4, 128, 128)
    assert batch.masks[:, :-1].any((2, 3)).all()
    many = draw_batch(np.random.default_rng(2), 0.5, 40, 2, 64)
    assert (many.inside.min(1) < 64).any()
    for pixels, masks, (height, width) in zip(many.pixels, many.masks, many.inside, strict=True):
        assert max(height, width) == 64
        assert not pixels[height:].any()
        assert not pixels[:, width:].any()
        assert not masks[:, height:].any()
        assert not masks[:, :, width:].any()


def test_the_mix_of_levels_gets_harder():
    early, late = levels_at(0.0), levels_at(1.0)
    assert early[0] > late[0]
    assert early[2] < late[2]
    assert sum(early) == pytest.approx(1)
    assert sum(late) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["click", "clicks", "box", "mask"])
def test_decoding_is_that_of_the_class(model, batch, kind):
    """Each prompt beside others of its picture equals SamModel's answer to it alone."""
    rng = np.random.default_rng(7)
    values = sam_model.pixel_values(batch.pixels[:3], batch.inside[:3])
    points = torch.from_numpy(rng.uniform(0, 127, (3, 3, 2))).float()
    labels = torch.tensor([[1, 0, -1]] * 3 if kind == "clicks" else [[1, -1, -1]] * 3)
    mask = torch.from_numpy(rng.normal(0, 4, (3, 64, 64))).float()
    own: dict[str, object] = {"input_points": points[:, None, :2], "input_labels": labels[:, None, :2]}
    if kind == "box":
        points[:, 1] = points[:, 0] + 20
        labels[:] = torch.tensor([2, 3, -1])
        own = {"input_boxes": points[:, None, :2].reshape(3, 1, 4)}
        points, labels = points[:, :2], labels[:, :2]  # no "not a point" beside a box
    elif kind != "clicks":
        own = {"input_points": points[:, None, :1], "input_labels": labels[:, None, :1]}
        points, labels = points[:, :2], labels[:, :2]
    if kind == "mask":
        own["input_masks"] = mask[:, None]
    with torch.no_grad():
        has_mask = torch.full((3,), kind == "mask")
        logits, iou = sam_model.decode(model, sam_model.encode(model, values), points, labels, mask, has_mask)
        for multimask, kept in ((True, slice(1, 4)), (False, slice(0, 1))):
            expected = model(pixel_values=values, multimask_output=multimask, **own)
            assert torch.allclose(logits[:, kept], expected.pred_masks[:, 0], atol=1e-4)
            assert torch.allclose(iou[:, kept], expected.iou_scores[:, 0], atol=1e-5)


def test_a_mask_is_given_to_some_prompts_only(model, batch):
    embedding = sam_model.encode(model, sam_model.pixel_values(batch.pixels[:1])).repeat(2, 1, 1, 1)
    points, labels = torch.full((2, 2, 2), 40.0), torch.tensor([[1, -1]] * 2)
    mask = torch.full((2, 64, 64), 3.0)
    both, _ = sam_model.decode(model, embedding, points, labels, mask, torch.tensor([True, False]))
    none, _ = sam_model.decode(model, embedding, points, labels, mask, torch.tensor([False, False]))
    assert torch.allclose(both[1], none[1], atol=1e-5)
    assert not torch.allclose(both[0], none[0], atol=1e-2)


def test_sharpening_scales_the_logits_and_nothing_else(batch):
    model = sam_model.new_model(3).eval()
    sharper = copy.deepcopy(model)
    sam_model.sharpen(sharper, 4.0)
    embedding = sam_model.encode(model, sam_model.pixel_values(batch.pixels[:2]))
    points, labels = torch.full((2, 2, 2), 40.0), torch.tensor([[1, -1]] * 2)
    mask, given = torch.randn(2, 64, 64), torch.tensor([True, False])
    with torch.no_grad():
        logits, iou = sam_model.decode(model, embedding, points, labels, mask, given)
        sharp, same = sam_model.decode(sharper, embedding, points, labels, 4 * mask, given)
    assert torch.allclose(sharp, 4 * logits, atol=1e-4)
    assert torch.allclose(same, iou, atol=1e-5)


def test_a_saved_model_is_taken_on_as_it_was(tmp_path):
    model = sam_model.new_model(4)
    sam.save(model, tmp_path)
    again = sam.start(5, tmp_path)
    for (name, one), other in zip(model.named_parameters(), again.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-6), name
    assert not torch.equal(sam.start(5).vision_encoder.pos_embed, model.vision_encoder.pos_embed)


def test_start_values_are_not_those_of_the_class(model):
    shared = model.shared_image_embedding.positional_embedding
    assert shared is model.prompt_encoder.shared_embedding.positional_embedding
    assert 0.7 < shared.std() < 1.3  # the class would give 48
    assert all(p.std() > 1e-3 for n, p in model.named_parameters() if n.endswith("weight") and p.ndim > 1)
    assert model.config.vision_config.scale == 1.0


def test_the_loss_prefers_the_right_mask_and_a_soft_edge():
    wanted = torch.zeros(1, 16, 16)
    wanted[:, 4:10, 4:10] = 1.0
    wanted[:, 10, 4:10] = 0.25
    right = torch.where(wanted > 0.5, 8.0, -8.0)
    soft = torch.where(wanted == 0.25, torch.tensor(0.25).logit(), right)
    shifted = right.roll(3, 2)
    losses, iou = mask_losses(torch.stack([right, soft, shifted, -right], 1), wanted)
    assert losses.argsort().tolist() == [[1, 0, 2, 3]]
    assert iou[0].tolist() == pytest.approx([1, 1, 18 / 54, 0])


def test_a_lone_click_is_judged_by_its_best_mask_and_several_prompts_by_the_single_one():
    per_mask = torch.tensor([[9.0, 0.1, 9.0, 9.0]] * 2)
    exact = torch.ones(2, 4)
    alone, several = prompt_loss(per_mask, exact, exact, torch.tensor([True, False]))
    assert alone < several
    off = prompt_loss(per_mask, exact - 0.2, exact, torch.tensor([True, False]))
    assert (off - torch.stack([alone, several])).tolist() == pytest.approx([0.2, 0.2], abs=1e-5)


def test_rounds_begin_with_a_click_or_a_box_and_correct_what_is_wrong():
    masks = target_pictures(60, "middle", 5).masks[:60, None]
    rounds = Rounds(masks, ~masks[:, 0], np.random.default_rng(4), 2)
    points, labels, mask, has_mask = rounds.prompt
    assert not mask.any()
    assert not has_mask.any()
    boxed = labels[:, 0] == 2
    assert boxed.float().mean() == pytest.approx(BOX, abs=0.2)
    assert torch.equal(rounds.alone, ~boxed)
    assert (labels[boxed] == torch.tensor([2, 3])).all()
    assert (labels[~boxed] == torch.tensor([1, -1])).all()
    at = points[~boxed][:, 0].add(0.5).div(2).long()
    assert (rounds.wanted[~boxed][torch.arange(len(at)), at[:, 1], at[:, 0]] >= 0.5).all()

    logits = torch.where(rounds.wanted > 0.5, 5.0, -5.0)[:, None].repeat(1, 4, 1, 1)
    logits[:, 2] = -5.0  # the mask that is liked best is empty, and the single one is right
    picked = rounds.advance(logits, torch.tensor([[0.9, 0.1, 0.8, 0.3]]).repeat(60, 1))
    assert torch.equal(picked, torch.where(boxed, 0, 2))
    points, labels, mask, has_mask = rounds.prompt
    assert not rounds.alone.any()
    assert torch.equal(mask, logits[torch.arange(60), picked])
    if points.shape[1] == 3:
        assert (labels[:, 2] == 1).all()  # all that is wrong with an empty mask is missing


@pytest.mark.slow
def test_a_few_steps_of_training_learn(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(sam, "PICTURES", 3)
    now = [0.0]

    def clock() -> float:
        now[0] += 0.1
        return now[0]

    rows: list[dict[str, float]] = []
    saved: list[int] = []
    schedule = Schedule(1.0, 1e-3, clock, warm_up=5)
    trained = sam.train(
        sam_model.new_model(0), schedule, 0, most_steps=24, report_every=8, report=rows.append,
        checkpoint=lambda averaged: saved.append(schedule.steps), checkpoint_every_s=4.0,
    )  # fmt: skip
    assert [row["step"] for row in rows] == [8, 16, 24]
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.1
    assert saved

    sam.save(trained, tmp_path)
    from transformers import SamModel

    again = SamModel.from_pretrained(tmp_path).eval()
    targets = target_pictures(6, "easy", seed=1)
    expected, found = (one_click(*sam_model.halves(m), targets) for m in (trained, again))
    assert found.error == pytest.approx(expected.error, abs=1e-5)
    preprocessor = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert preprocessor["size"] == {"longest_edge": 128}


def test_our_preprocessing_is_that_of_the_files(model, tmp_path):
    from transformers import AutoImageProcessor

    sam.save(model, tmp_path)
    pixels = draw_batch(np.random.default_rng(9), 0.5, 12, 1, 128)
    try:
        official = AutoImageProcessor.from_pretrained(tmp_path)
        shown = [Image.fromarray(p[:h, :w]) for p, (h, w) in zip(pixels.pixels, pixels.inside, strict=True)]
        expected = torch.cat([official(picture, return_tensors="pt")["pixel_values"] for picture in shown])
    except ImportError as trouble:  # some versions ask for torchvision here
        pytest.skip(str(trouble))
    assert (pixels.inside.min(1) < 128).any()
    assert torch.allclose(sam_model.pixel_values(pixels.pixels, pixels.inside), expected, atol=1e-5)


def test_the_configuration_is_small(model):
    assert sum(p.numel() for p in model.parameters()) < 1_000_000
    assert model.config.vision_config.num_pos_feats * 2 == model.config.mask_decoder_config.hidden_size


def test_a_click_on_the_backdrop_means_nothing():
    many = draw_batch(np.random.default_rng(3), 0.5, 20, 3, 64)
    empty = ~many.masks.any((2, 3))
    assert 0.4 < empty[:, -1].mean() <= 1.0
    assert not empty[:, :-1].any()
    assert not (many.masks.any(1) & many.backdrop).any()
    rounds = Rounds(many.masks, many.backdrop, np.random.default_rng(4), 2)
    for _ in range(3):
        points, labels, _, _ = rounds.prompt
        rows = np.flatnonzero(empty.ravel())
        assert (labels[rows, 0] == 1).all()
        assert (labels[rows, 1] == -1).all()
        assert (labels[rows, 2:] == 0).all()
        x, y = (points[rows, 0].add(0.5).div(2).long() * 2).T.numpy()
        assert many.backdrop[rows // 3, y, x].all()
        rounds.advance(torch.full((60, 4, 32, 32), -5.0), torch.ones(60, 4))
