"""The Grounding DINO that is trained here: its sizes, its start values, and what its loss needs of a forward.

pixels, tokens -> GroundingDinoForObjectDetection -> proposals of the encoder, answers of each layer of the decoder
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import BertConfig, ConvNextConfig, GroundingDinoConfig, GroundingDinoForObjectDetection

from saccade.zoo import bert
from saccade.zoo.detection import FLOOR, Detect, Found, Spans

SIZE = 128
MEAN = (0.485, 0.456, 0.406)  # of the original's preprocessing
STD = (0.229, 0.224, 0.225)
WIDTH, QUERIES, LEVELS = 64, 30, 4
QUIET, CHANNEL = -3.0, 0  # what logits start at, and the channel that carries it


@dataclass(frozen=True, eq=False)
class Proposals:
    """What the encoder says at each of its S places: logits (B, S, N), boxes (B, S, 4) cx cy w h, shares of the
    picture shown, usable (B, S) bool"""

    logits: torch.Tensor
    boxes: torch.Tensor
    usable: torch.Tensor


@dataclass(frozen=True, eq=False)
class Answers:
    """What the L decoder layers say of Q queries: logits (L, B, Q, N), boxes (L, B, Q, 4) cx cy w h; and what they say
    it with: queries (B, L, Q, E), text (B, N, E)"""

    logits: torch.Tensor
    boxes: torch.Tensor
    queries: torch.Tensor
    text: torch.Tensor


def config() -> GroundingDinoConfig:
    """1.1 M parameters: a small ConvNext, two layers of text, two of the encoder, three of the decoder."""
    backbone = ConvNextConfig(
        hidden_sizes=[32, 56, 80, 112], depths=[1, 2, 2, 1], drop_path_rate=0.0, layer_scale_init_value=0.3,
        image_size=SIZE, out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    text = BertConfig(
        vocab_size=bert.SIZE, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, max_position_embeddings=bert.MAX_TOKENS,
    )  # fmt: skip
    return GroundingDinoConfig(
        backbone_config=backbone, text_config=text, d_model=WIDTH, num_queries=QUERIES, encoder_layers=2,
        decoder_layers=3, encoder_ffn_dim=192, decoder_ffn_dim=192, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_n_points=2, decoder_n_points=4, num_feature_levels=LEVELS, dropout=0.0,
        fusion_droppath=0.0, two_stage=True, auxiliary_loss=True, max_text_len=bert.MAX_TOKENS,
    )  # fmt: skip


def new_model(seed: int) -> GroundingDinoForObjectDetection:
    """A fresh model whose logits start near -3.

    A logit is the bare product of two normalised vectors, which starts with a deviation of 9 at this width: the norms
    before it get smaller weights, and one channel carries the start value.
    """
    torch.manual_seed(seed)
    model = GroundingDinoForObjectDetection(config())
    inner = model.model
    norms = {inner.decoder.layer_norm: QUIET, inner.enc_output_norm: QUIET,
             inner.encoder.layers[-1].text_enhancer_layer.layer_norm_after: 1.0}  # fmt: skip
    with torch.no_grad():
        for norm, start in norms.items():
            norm.weight.fill_(WIDTH**-0.25)
            norm.weight[CHANNEL], norm.bias[CHANNEL] = 0.0, start
        for layer in inner.encoder.layers:
            layer.fusion_layer.vision_param.fill_(0.1)  # stock 1e-4, which is for a pretrained backbone
            layer.fusion_layer.text_param.fill_(0.1)
        # beyond an oblong picture all is 0, where a norm without a bias before it has a gradient of 1 / epsilon
        torch.nn.init.normal_(inner.backbone.conv_encoder.model.embeddings.patch_embeddings.bias, std=0.2)
    return model


def pixel_values(pixels: NDArray[np.uint8], inside: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    """((B, 3, S, S) float32 normalised and 0 where there is no picture, (B, S, S) int64 mask) of padded pictures.

    inside: (B, 2) height and width of each
    """
    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    rows, columns = torch.arange(pixels.shape[1]), torch.arange(pixels.shape[2])
    height, width = torch.from_numpy(inside).T
    mask = (rows < height[:, None])[:, :, None] & (columns < width[:, None])[:, None]
    return (scaled.sub_(mean).div_(std) * mask[:, None]).contiguous(), mask.long()


def forward(
    model: GroundingDinoForObjectDetection,
    pixels: NDArray[np.uint8],
    inside: NDArray[np.int64],
    ids: NDArray[np.int64],
    half: bool = False,
) -> tuple[Proposals, Answers]:
    """Everything that the loss is made of. Only tokens that are not padding have finite logits.

    half: run the network's products in bfloat16; heads and all that follows are float32 anyway
    """
    values, mask = pixel_values(pixels, inside)
    tokens = torch.from_numpy(ids)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        said = model.model(values, tokens, attention_mask=(tokens > 0).long(), pixel_mask=mask)
    length = ids.shape[1]
    flat = said.enc_outputs_coord_logits.float()
    usable = torch.isfinite(flat).all(-1)
    proposals = Proposals(
        said.enc_outputs_class[..., :length].float(), torch.nan_to_num(flat, posinf=0.0).sigmoid(), usable
    )
    return proposals, _answers(model, said, tokens > 0)


def _answers(model: GroundingDinoForObjectDetection, said: object, told: torch.Tensor) -> Answers:
    hidden, text = said.intermediate_hidden_states.float(), said.encoder_last_hidden_state_text.float()  # type: ignore[attr-defined]
    first, later = said.init_reference_points, said.intermediate_reference_points  # type: ignore[attr-defined]
    logits, boxes = [], []
    for layer in range(hidden.shape[1]):
        reference = (first if layer == 0 else later[:, layer - 1]).float()
        boxes.append((model.bbox_embed[layer](hidden[:, layer]) + torch.special.logit(reference, eps=1e-5)).sigmoid())
        products = hidden[:, layer] @ text.transpose(-1, -2)
        logits.append(products.masked_fill(~told[:, None, :], float("-inf")))
    return Answers(torch.stack(logits), torch.stack(boxes), hidden, text)


def corners(boxes: torch.Tensor) -> torch.Tensor:
    """cx cy w h to x0 y0 x1 y1."""
    half = boxes[..., 2:] / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], -1)


def centres(inside: NDArray[np.int64], size: int = SIZE) -> torch.Tensor:
    """(B, S, 2) x and y of the middle of the encoder's places, shares of the picture shown."""
    places = []
    for stride in (8 * 2**level for level in range(LEVELS)):
        at = (torch.arange(size // stride) + 0.5) * stride
        y, x = torch.meshgrid(at, at, indexing="ij")
        places.append(torch.stack([x, y], -1).reshape(-1, 2))
    shown = torch.from_numpy(inside).flip(-1).float()
    return torch.cat(places)[None] / shown[:, None]


def detector(model: GroundingDinoForObjectDetection) -> Detect:
    """The model as the function that the metric asks for; a phrase's score is the best of its tokens."""

    def detect(picture: NDArray[np.uint8], text: str, spans: Spans) -> Found:
        """picture: at most SIZE x SIZE, and as large as training's."""
        height, width = picture.shape[:2]
        padded = np.zeros((1, SIZE, SIZE, 3), np.uint8)
        padded[0, :height, :width] = picture
        ids, places = bert.encode(text)
        with torch.no_grad():
            _, said = forward(model, padded, np.array([[height, width]]), np.array([ids]))
        share = said.logits[-1, 0].sigmoid().numpy()
        boxes = corners(said.boxes[-1, 0]).numpy() * np.array([width, height, width, height], np.float32)
        tokens = [[n for n, (a, b) in enumerate(places) if start <= a < b <= end] for start, end in spans]
        scores = np.stack([share[:, of].max(1) for of in tokens], 1)
        query, phrase = np.nonzero(scores >= FLOOR)
        return Found(boxes[query], scores[query, phrase], phrase)

    return detect
