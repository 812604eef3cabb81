"""GLIP's network: the published names, and each part against NumPy or transformers, which share no code with it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.benchmarks.glip_checkpoint import SMALL, Sizes, drawn, names
from saccade.export.models.glip import GLIP, Detector
from saccade.export.models.glip_dyconv import DyConv, deform_conv
from saccade.export.models.glip_fusion import Fusion
from saccade.export.models.glip_head import Head
from saccade.export.models.glip_swin import Pyramid, Swin
from saccade.export.models.glip_text import HEAD, Bert, BertLayer
from saccade.export.recipes.glip import UNREAD

HERE = Path(__file__).parent


def sibling(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


plain = sibling("glip_numpy")


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
def weights() -> dict[str, Tensor]:
    return {name: tensor for name, tensor in drawn(names(SMALL)).items() if not UNREAD.fullmatch(name)}


@pytest.fixture(scope="module")
def model(weights: dict[str, Tensor]) -> GLIP:
    made = GLIP(weights)
    made.load_state_dict(weights)
    return made.eval().requires_grad_(False)


def under(weights: dict[str, Tensor], prefix: str) -> dict[str, Any]:
    """In double precision, which NumPy's loops keep."""
    found = {name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}
    return {name: tensor.numpy().astype(np.float64) for name, tensor in found.items()}


def close(got: Any, want: Any, share: float = 2e-5) -> None:
    want = np.asarray(want)
    assert np.shape(got) == want.shape
    assert np.abs(np.asarray(got) - want).max() <= share * np.abs(want).max()


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("height", "width", "stride"), [(7, 5, 1), (7, 6, 2), (1, 1, 1), (2, 9, 2)])
def test_deformable_convolution_is_that_of_loops_grid_sample_and_onnx_runtime(
    height: int, width: int, stride: int
) -> None:
    h, w = (height - 1) // stride + 1, (width - 1) // stride + 1
    x, weight, bias = noise(1, 2, 4, height, width), noise(2, 3, 4, 3, 3), noise(3, 3)
    offset, mask = 3 * noise(4, 2, 18, h, w), torch.rand(2, 9, h, w)
    offset[0, :4] = torch.tensor([-1.0, 0.0, float(height), 0.5])[:, None, None]  # onto and over the edges
    got = deform_conv(x, offset, weight, bias, mask, stride)
    arrays = [t.double().numpy() for t in (x, offset, weight, bias, mask)]
    for b in range(2):
        close(got[b], plain.deform_conv(arrays[0][b], arrays[1][b], *arrays[2:4], arrays[4][b], stride))
    close(got, sampled_by_grid(x, offset, weight, bias, mask, stride))
    close(got, run_node(x, offset, weight, bias, mask, stride))


def sampled_by_grid(x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, mask: Tensor, stride: int) -> Tensor:
    """Nine calls of grid_sample, in double precision since it works in shares of the picture."""
    height, width = x.shape[-2:]
    made = bias.double()[:, None, None].expand(len(x), -1, *mask.shape[-2:])
    for tap in range(9):
        rows = torch.arange(mask.shape[-2])[:, None] * stride - 1 + tap // 3 + offset[:, 2 * tap].double()
        columns = torch.arange(mask.shape[-1]) * stride - 1 + tap % 3 + offset[:, 2 * tap + 1].double()
        grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], -1)
        seen = F.grid_sample(x.double(), grid, align_corners=False) * mask[:, tap : tap + 1]
        made = made + torch.einsum("ec,bchw->behw", weight[:, :, tap // 3, tap % 3].double(), seen)
    return made


def run_node(x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, mask: Tensor, stride: int) -> Any:
    from onnx import TensorProto, helper

    from saccade.export.to_onnx import session

    given = {"x": x, "weight": weight, "offset": offset, "bias": bias, "mask": mask}
    node = helper.make_node(
        "DeformConv", list(given), ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[stride, stride]
    )
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(t.shape)) for name, t in given.items()]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "deform", values, [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return session(model)({name: t.numpy() for name, t in given.items()})["y"]


def test_swin_is_that_of_transformers_where_windows_reach_over_the_edge(weights: dict[str, Tensor]) -> None:
    from transformers import SwinBackbone, SwinConfig

    w = under(weights, "backbone.body.")
    body = Swin({name: array.shape for name, array in w.items()})
    body.load_state_dict({name: torch.from_numpy(array).float() for name, array in w.items()})
    config = SwinConfig(
        image_size=(56, 76), embed_dim=SMALL.width, depths=list(SMALL.depths), num_heads=list(SMALL.heads),
        window_size=SMALL.window, out_features=["stage2", "stage3", "stage4"], drop_path_rate=0.0,
    )  # fmt: skip
    theirs = SwinBackbone(config).eval()
    lost = theirs.load_state_dict(for_transformers(w), strict=False)
    assert set(lost.missing_keys) == {"swin.layernorm.weight", "swin.layernorm.bias"}  # behind the last map, unread
    assert not lost.unexpected_keys
    pixels = noise(5, 2, 3, 56, 76)
    with torch.no_grad():
        for got, want in zip(body(pixels), theirs(pixels).feature_maps, strict=True):
            close(got, want, 1e-4)


def for_transformers(w: dict[str, Any]) -> dict[str, Tensor]:
    """The names of transformers' Swin, whose queries, keys and values are apart."""
    found: dict[str, Any] = {}
    renamed = (
        ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
        ("patch_embed.norm", "embeddings.norm"),
        ("layers.", "encoder.layers."),
        ("norm1.", "layernorm_before."),
        ("norm2.", "layernorm_after."),
        ("attn.proj", "attention.o_proj"),
        ("attn.relative", "attention.relative_position_bias.relative"),
    )
    for name, array in w.items():
        if name.startswith("norm"):
            found[f"hidden_states_norms.stage{int(name[4]) + 1}{name[5:]}"] = array
            continue
        if ".qkv." in name:
            base, _, kind = name.replace("layers.", "swin.encoder.layers.").partition(".attn.qkv.")
            for part, piece in zip("qkv", np.split(array, 3), strict=True):
                found[f"{base}.attention.{part}_proj.{kind}"] = piece
            continue
        for old, new in renamed:
            name = name.replace(old, new, 1)
        found[f"swin.{name}"] = array
    return {name: torch.from_numpy(array).float() for name, array in found.items()}


def test_the_pyramid_is_that_of_numpy(weights: dict[str, Tensor]) -> None:
    w = under(weights, "backbone.fpn.")
    fpn = Pyramid({name: array.shape for name, array in w.items()})
    fpn.load_state_dict({name: torch.from_numpy(array).float() for name, array in w.items()})
    maps = [noise(i, 1, SMALL.width * 2 ** (i + 1), 12 >> i, 8 >> i) for i in range(3)]
    inner = [np.einsum("ec,chw->ehw", w[f"fpn_inner{i + 2}.weight"][:, :, 0, 0], maps[i][0]) for i in range(3)]
    inner = [one + w[f"fpn_inner{i + 2}.bias"][:, None, None] for i, one in enumerate(inner)]
    for i in (1, 0):
        inner[i] = inner[i] + inner[i + 1].repeat(2, 1).repeat(2, 2)
    conv = lambda x, name: plain.plain_conv(x, w[f"{name}.weight"], w[f"{name}.bias"])  # noqa: E731
    want = [conv(one, f"fpn_layer{i + 2}") for i, one in enumerate(inner)]
    want.append(conv(want[2], "top_blocks.p6")[:, ::2, ::2])  # a stride of 2 is every second answer
    want.append(conv(np.maximum(want[3], 0), "top_blocks.p7")[:, ::2, ::2])
    with torch.no_grad():
        for got, right in zip(fpn(maps), want, strict=True):
            close(got[0], right)


def test_bert_is_that_of_transformers(weights: dict[str, Tensor]) -> None:
    from transformers import BertConfig, BertModel

    w = under(weights, "language_backbone.body.model.")
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
    close(got[known], want[known])


def attending(known: Tensor) -> Tensor:
    return known[:, None] & known[:, :, None] | torch.eye(known.shape[1], dtype=torch.bool)


STEP = "rpn.head.dyhead_tower."


def test_fusion_is_that_of_numpy_and_padded_words_change_nothing(weights: dict[str, Tensor]) -> None:
    w = under(weights, f"{STEP}0.")
    step = Fusion(SMALL.channels, SMALL.words, SMALL.inner)
    step.load_state_dict({name: torch.from_numpy(array).float() for name, array in w.items()})
    inner = {name.removeprefix("b_attn."): array for name, array in w.items()}
    maps, t = [noise(7, 2, SMALL.channels, 4, 3), noise(8, 2, SMALL.channels, 2, 2)], noise(9, 2, 6, SMALL.words)
    known = torch.arange(6) < torch.tensor([[6], [4]])
    with torch.no_grad():
        got, words = step(maps, t, known)
    for b, count in ((0, 6), (1, 4)):
        want, told = plain.fused([one[b].double().numpy() for one in maps], t[b].double().numpy(), count, inner)
        close(words[b, :count], told[:count])
        for one, right in zip(got, want, strict=True):
            close(one[b], right)


def test_the_heads_bert_layer_is_that_of_numpy(weights: dict[str, Tensor]) -> None:
    w = under(weights, f"{STEP}1.")
    layer = BertLayer(SMALL.words, 4 * SMALL.words, clamped=True)
    layer.load_state_dict({name: torch.from_numpy(array).float() for name, array in w.items()})
    t, known = noise(10, 1, 7, SMALL.words), torch.arange(7)[None] < 5
    with torch.no_grad():
        got = layer(t, attending(known))
    close(got[0, :5], plain.bert_layer(t[0].double().numpy(), 5, w, SMALL.words // HEAD)[:5])


def test_one_step_over_the_levels_is_that_of_numpy(weights: dict[str, Tensor]) -> None:
    w = under(weights, f"{STEP}2.")
    step = DyConv(SMALL.channels, SMALL.channels, SMALL.channels // 4)
    step.load_state_dict({name: torch.from_numpy(array).float() for name, array in w.items()})
    sizes = [(5, 6), (3, 3), (2, 2)]
    maps = [noise(11 + i, 1, SMALL.channels, *size) for i, size in enumerate(sizes)]
    with torch.no_grad():
        got = step(maps)
    for one, want in zip(got, plain.dyconv([m[0].double().numpy() for m in maps], w), strict=True):
        close(one[0], want, 1e-4)


def test_logits_boxes_and_centerness_are_those_of_numpy(model: GLIP, weights: dict[str, Tensor]) -> None:
    head, anchors, w = model.rpn["head"], model.rpn["anchor_generator"], under(weights, "rpn.head.")
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
        close(mine[0], right)
    close(got[0], plain.boxes(3 * want[1], sizes, 30, 40))


TOWERLESS = {f"dyhead_tower.2.{name}": shape for name, shape in (
    ("DyConv.0.conv.weight", (32, 32, 3, 3)), ("relu.fc.0.weight", (8, 32)),
)}  # fmt: skip


def asked(model: GLIP, count: int, size: tuple[int, int]) -> list[Tensor]:
    """pixels, shown, text, text_mask, attends of two pictures and `count` words, five of them there."""
    known = (torch.arange(count) < 5).expand(2, -1)
    ids = torch.randint(1, SMALL.vocabulary, (2, 5), generator=torch.Generator().manual_seed(40))
    attends = attending(known)
    text = model.text(F.pad(ids, (0, count - 5)), torch.arange(count).expand(2, -1), attends)
    return [noise(41, 2, 3, *size), torch.ones(2, *size, dtype=torch.bool), text, known, attends]


def test_padded_words_change_no_answer(weights: dict[str, Tensor]) -> None:
    model = GLIP(weights)
    model.load_state_dict(weights)
    detector = Detector(model).eval()
    with torch.no_grad():
        few, many = detector(*asked(model, 5, (64, 96))), detector(*asked(model, 12, (64, 96)))
    close(many[0][..., :5], few[0])
    close(many[1], few[1])
    close(many[2], few[2])
    assert all(torch.isfinite(one).all() for one in many)


def test_boxes_are_shares_of_what_is_shown(weights: dict[str, Tensor]) -> None:
    model = GLIP(weights)
    model.load_state_dict(weights)
    detector = Detector(model).eval()
    given = asked(model, 5, (64, 96))
    with torch.no_grad():
        whole = detector(*given)[1]
        given[1][1, 48:] = given[1][1, :, 48:] = False
        part = detector(*given)[1]
    close(part[0], whole[0])
    close(part[1], (whole[1] * torch.tensor([2, 64 / 48, 2, 64 / 48])).clamp(0, 1))


def test_the_first_kernel_is_turned_round_for_red_first(weights: dict[str, Tensor]) -> None:
    model = GLIP(weights)
    model.load_state_dict(weights)
    Detector(model)
    kernel = model.backbone["body"].patch_embed.proj.weight
    assert torch.equal(kernel, weights["backbone.body.patch_embed.proj.weight"].flip(1))
