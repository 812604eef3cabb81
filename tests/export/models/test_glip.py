"""GLIP's network: the published names, and each part against NumPy or transformers, which share no code with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.benchmarks.glip_checkpoint import SMALL, Sizes, names
from saccade.export.models.glip import GLIP, Detector
from saccade.export.models.glip_fusion import Fusion
from saccade.export.models.glip_head import Head
from saccade.export.models.glip_text import HEAD, Bert, BertLayer
from saccade.export.recipes.glip import UNREAD

HERE = Path(__file__).parent


def published() -> dict[str, dict[str, tuple[int, ...]]]:
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for line in (HERE / "glip_names.txt").read_text("utf-8").splitlines():
        if line.startswith("["):
            found[line[1 : line.index("]")]] = {}
        elif not line.startswith("#"):
            name, size = line.split()
            found[list(found)[-1]][name] = tuple(map(int, size.split("x")))
    return found


CONFIGS = {
    "glip_Swin_T_O365_GoldG": Sizes(),
    "glip_A_Swin_T_O365": Sizes(fused=False),
    "glip_Swin_L": Sizes(192, (2, 2, 18, 2), (6, 12, 24, 48), 12, steps=8),
}


@pytest.mark.parametrize("config", CONFIGS)
def test_the_module_has_the_published_names_and_shapes(config: str) -> None:
    want = published()[config]
    with torch.device("meta"):
        model = GLIP({name: torch.empty(shape) for name, shape in want.items()})
    got = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert not set(got) - set(want)
    unread = set(want) - set(got)
    assert all(UNREAD.fullmatch(name) for name in unread)
    kinds = {name.rpartition(".")[2] if "index" in name else name for name in unread}
    assert kinds == {"relative_position_index", "rpn.head.cls_logits.weight", "rpn.head.cls_logits.bias"}
    assert all(want[name] == shape for name, shape in got.items())


@pytest.mark.parametrize("config", CONFIGS)
def test_made_checkpoints_have_the_published_names_and_shapes(config: str) -> None:
    assert names(CONFIGS[config]) == published()[config]


@pytest.fixture(scope="module")
def model(weights: dict[str, Tensor]) -> GLIP:
    made = GLIP(weights)
    made.load_state_dict(weights)
    return made.eval().requires_grad_(False)


def test_bert_is_that_of_transformers(weights: dict[str, Tensor], plain: Any) -> None:
    from transformers import BertConfig, BertModel

    w = plain.under(weights, "language_backbone.body.model.")
    tensors = {name: torch.from_numpy(array).float() for name, array in w.items()}
    mine = Bert({name: array.shape for name, array in w.items()})
    mine.load_state_dict(tensors)
    theirs = BertModel(
        BertConfig(
            vocab_size=SMALL.vocabulary, hidden_size=SMALL.words, num_hidden_layers=SMALL.layers,
            num_attention_heads=SMALL.words // HEAD, intermediate_size=4 * SMALL.words,
            max_position_embeddings=SMALL.positions,
        ),
        add_pooling_layer=False,
    ).eval()  # fmt: skip
    assert not theirs.load_state_dict(tensors, strict=False).unexpected_keys
    ids = torch.randint(1, SMALL.vocabulary, (2, 9), generator=torch.Generator().manual_seed(6))
    known = torch.arange(9) < torch.tensor([[9], [5]])
    with torch.no_grad():
        want = theirs(input_ids=ids, attention_mask=known.long()).last_hidden_state
        got = mine.eval()(ids, torch.arange(9).expand(2, -1), attending(known))
    plain.close(got[known], want[known])


def attending(known: Tensor) -> Tensor:
    return known[:, None] & known[:, :, None] | torch.eye(known.shape[1], dtype=torch.bool)


def test_fusion_is_that_of_numpy_and_padded_words_change_nothing(
    weights: dict[str, Tensor], plain: Any, noise: Any
) -> None:
    w = plain.under(weights, "rpn.head.dyhead_tower.0.")
    step = Fusion(SMALL.channels, SMALL.words, SMALL.inner)
    step.load_state_dict({name: torch.from_numpy(array).float() for name, array in w.items()})
    inner = {name.removeprefix("b_attn."): array for name, array in w.items()}
    maps, t = [noise(7, 2, SMALL.channels, 4, 3), noise(8, 2, SMALL.channels, 2, 2)], noise(9, 2, 6, SMALL.words)
    known = torch.arange(6) < torch.tensor([[6], [4]])
    with torch.no_grad():
        got, words = step(maps, t, known)
    for b, count in ((0, 6), (1, 4)):
        want, told = plain.fused([one[b].double().numpy() for one in maps], t[b].double().numpy(), count, inner)
        plain.close(words[b, :count], told[:count])
        for one, right in zip(got, want, strict=True):
            plain.close(one[b], right)


def test_the_heads_bert_layer_is_that_of_numpy(weights: dict[str, Tensor], plain: Any, noise: Any) -> None:
    w = plain.under(weights, "rpn.head.dyhead_tower.1.")
    layer = BertLayer(SMALL.words, 4 * SMALL.words, clamped=True)
    layer.load_state_dict({name: torch.from_numpy(array).float() for name, array in w.items()})
    t, known = noise(10, 1, 7, SMALL.words), torch.arange(7)[None] < 5
    with torch.no_grad():
        got = layer(t, attending(known))
    plain.close(got[0, :5], plain.bert_layer(t[0].double().numpy(), 5, w, SMALL.words // HEAD)[:5])


def test_logits_boxes_and_centerness_are_those_of_numpy(
    model: GLIP, weights: dict[str, Tensor], plain: Any, noise: Any
) -> None:
    head, anchors, w = model.rpn["head"], model.rpn["anchor_generator"], plain.under(weights, "rpn.head.")
    sizes = [(4, 5), (2, 3), (1, 2), (1, 1), (1, 1)]
    maps = [noise(20 + i, 1, SMALL.channels, *size) for i, size in enumerate(sizes)]
    t = noise(30, 1, 4, SMALL.words)
    bare = Head({name: array.shape for name, array in w.items() if not name.startswith("dyhead_tower.2")} | TOWERLESS)
    bare.dyhead_tower, bare.fused = torch.nn.ModuleList(), True
    for name in ("bbox_pred", "centerness", "dot_product_projection_text", "scales"):
        setattr(bare, name, getattr(head, name))
    bare.log_scale, bare.bias0, bare.bias_lang = head.log_scale, head.bias0, head.bias_lang
    with torch.no_grad():
        logits, numbers, central = bare(maps, t, torch.ones(1, 4, dtype=torch.bool), attending(torch.ones(1, 4) > 0))
        got = anchors(3 * numbers, maps, torch.tensor([[40.0, 30.0]]))
    want = plain.answers([m[0].double().numpy() for m in maps], t[0].double().numpy(), w)
    for mine, right in zip((logits, numbers, central), want, strict=True):
        plain.close(mine[0], right)
    plain.close(got[0], plain.boxes(3 * want[1], sizes, 30, 40))


TOWERLESS = {f"dyhead_tower.2.{name}": shape for name, shape in (
    ("DyConv.0.conv.weight", (32, 32, 3, 3)), ("relu.fc.0.weight", (8, 32)),
)}  # fmt: skip


def asked(model: GLIP, count: int, size: tuple[int, int], noise: Any) -> list[Tensor]:
    """pixels, shown, text, text_mask, attends of two pictures and `count` words, five of them there."""
    known = (torch.arange(count) < 5).expand(2, -1)
    ids = torch.randint(1, SMALL.vocabulary, (2, 5), generator=torch.Generator().manual_seed(40))
    attends = attending(known)
    text = model.text(F.pad(ids, (0, count - 5)), torch.arange(count).expand(2, -1), attends)
    return [noise(41, 2, 3, *size), torch.ones(2, *size, dtype=torch.bool), text, known, attends]


def test_padded_words_change_no_answer(weights: dict[str, Tensor], plain: Any, noise: Any) -> None:
    model = GLIP(weights)
    model.load_state_dict(weights)
    detector = Detector(model).eval()
    with torch.no_grad():
        few, many = detector(*asked(model, 5, (64, 96), noise)), detector(*asked(model, 12, (64, 96), noise))
    plain.close(many[0][..., :5], few[0])
    plain.close(many[1], few[1])
    plain.close(many[2], few[2])
    assert all(torch.isfinite(one).all() for one in many)


def test_boxes_are_shares_of_what_is_shown(weights: dict[str, Tensor], plain: Any, noise: Any) -> None:
    model = GLIP(weights)
    model.load_state_dict(weights)
    detector = Detector(model).eval()
    given = asked(model, 5, (64, 96), noise)
    with torch.no_grad():
        whole = detector(*given)[1]
        given[1][1, 48:] = given[1][1, :, 48:] = False
        part = detector(*given)[1]
    plain.close(part[0], whole[0])
    plain.close(part[1], (whole[1] * torch.tensor([2, 64 / 48, 2, 64 / 48])).clamp(0, 1))


def test_the_first_kernel_is_turned_round_for_red_first(weights: dict[str, Tensor]) -> None:
    model = GLIP(weights)
    model.load_state_dict(weights)
    Detector(model)
    kernel = model.backbone["body"].patch_embed.proj.weight
    assert torch.equal(kernel, weights["backbone.body.patch_embed.proj.weight"].flip(1))
