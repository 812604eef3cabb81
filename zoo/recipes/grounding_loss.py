"""The losses of a grounding model: of the encoder's proposals, one box to many places, and of its decoder, one to one.

transformers' own loss does not train the proposals and mixes up the prompts of a batch, so these are written from the
papers: varifocal loss (Zhang et al. 2021), task-aligned choice (Feng et al. 2021, TOOD), Hungarian matching (Carion et
al. 2020). Targets are per token: a phrase's words are positive for the boxes that it means.
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment

from saccade.zoo.recipes.grounding_model import Answers, Proposals, corners

CLASS, L1, GIOU = 2.0, 5.0, 2.0
ALPHA, GAMMA = 0.75, 2.0  # of the varifocal loss
PLACES = 5  # of the encoder that a box trains
POWERS = (0.5, 4.0)  # of the score and of the IoU in the measure of how well a place does both


def varifocal(logits: torch.Tensor, target: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
    """The sum over all tokens that are told: cross-entropy, weighted by the target or, where it is 0, by the mistake.

    logits: -inf allowed where told (broadcast) is False
    """
    logits = torch.where(told, logits, -20.0)
    weight = torch.where(target > 0, target, ALPHA * logits.sigmoid() ** GAMMA)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (loss * weight * told).sum()


def centred(boxes: torch.Tensor) -> torch.Tensor:
    """x0 y0 x1 y1 to cx cy w h."""
    return torch.cat([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], -1)


def overlap(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(IoU, generalised IoU) of boxes x0 y0 x1 y1 that broadcast."""
    both = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    either = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - both
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    iou = both / either.clamp(min=1e-7)
    return iou, iou - (hull - either) / hull.clamp(min=1e-7)


def proposal_loss(
    said: Proposals, places: torch.Tensor, boxes: torch.Tensor, cued: torch.Tensor, told: torch.Tensor
) -> torch.Tensor:
    """The encoder's loss. Each box trains the PLACES that name and cover it best, to the degree that they do.

    places: (B, S, 2) the middle of each place; boxes: (B, M, 4) x0 y0 x1 y1; cued: (B, M, N) bool; told: (B, N) bool
    """
    wanted = cued.any(-1)
    found = corners(said.boxes)
    with torch.no_grad():
        target, of = _aligned(said, places, found, boxes, cued, wanted)
    picked = target > 0
    batch, place = picked.nonzero(as_tuple=True)
    weight, thing = target[picked], of[picked]
    tokens = torch.zeros_like(said.logits)
    tokens[batch, place] = weight[:, None] * cued[batch, thing]
    _, giou = overlap(found[picked], boxes[batch, thing])
    far = (said.boxes[picked] - centred(boxes[batch, thing])).abs().sum(-1)
    usable = told[:, None] & said.usable[..., None]
    total = CLASS * varifocal(said.logits, tokens, usable) + (weight * (L1 * far + GIOU * (1 - giou))).sum()
    return total / weight.sum().clamp(min=1)


def _aligned(
    said: Proposals,
    places: torch.Tensor,
    found: torch.Tensor,
    boxes: torch.Tensor,
    cued: torch.Tensor,
    wanted: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(target (B, S), thing (B, S)): how well each place should say that it shows which thing; 0 for none."""
    words = cued.float() / cued.sum(-1, keepdim=True).clamp(min=1)
    score = torch.nan_to_num(said.logits, neginf=-20.0).sigmoid() @ words.transpose(-1, -2)
    iou, _ = overlap(found[:, :, None], boxes[:, None])
    at = places[:, :, None]
    inside = ((at > boxes[:, None, :, :2]) & (at < boxes[:, None, :, 2:])).all(-1)
    allowed = inside & wanted[:, None] & said.usable[..., None]
    fit = score ** POWERS[0] * iou ** POWERS[1] * allowed
    best = fit.topk(min(PLACES, fit.shape[1]), 1)
    chosen = torch.zeros_like(fit).scatter(1, best.indices, (best.values > 0).float())
    peak_iou = (iou * chosen).amax(1, keepdim=True)
    target = chosen * fit / fit.amax(1, keepdim=True).clamp(min=1e-12) * peak_iou
    of = (iou * chosen).argmax(-1)  # a place that two things choose goes to the one it covers better
    return target.gather(-1, of[..., None])[..., 0], of


def answer_loss(said: Answers, boxes: torch.Tensor, meant: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
    """The decoder's loss, summed over its layers, each matched on its own; per meant box of the batch.

    boxes: (B, M, 4) x0 y0 x1 y1; meant: (B, M, N) bool; told: (B, N) bool
    """
    layers = len(said.logits)
    found = corners(said.boxes)
    iou, giou = overlap(found[..., None, :], boxes[None, :, None])
    far = (said.boxes[..., None, :] - centred(boxes)[None, :, None]).abs().sum(-1)
    with torch.no_grad():
        index = _match(said.logits, iou, giou, far, meant)
    layer, batch, query, thing = index
    tokens = torch.zeros_like(said.logits)
    tokens[layer, batch, query] = iou.detach()[index][:, None] * meant[batch, thing]
    count = max(1.0, len(layer) / layers)
    boxed = (L1 * far[index] + GIOU * (1 - giou[index])).sum()
    return (CLASS * varifocal(said.logits, tokens, told[None, :, None]) + boxed) / count


def _match(
    logits: torch.Tensor, iou: torch.Tensor, giou: torch.Tensor, far: torch.Tensor, meant: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """(layer, picture, query, thing) of each pair of the cheapest matching of queries to meant boxes."""
    p = torch.nan_to_num(logits, neginf=-20.0).sigmoid().clamp(1e-6, 1 - 1e-6)
    gain = 0.25 * (1 - p) ** 2 * -p.log() - 0.75 * p**2 * -(1 - p).log()
    words = meant.float() / meant.sum(-1, keepdim=True).clamp(min=1)
    cost = CLASS * (gain @ words.transpose(-1, -2)[None]) + L1 * far - GIOU * giou
    rows: list[tuple[int, int, int, int]] = []
    table = cost.numpy()
    for picture in range(meant.shape[0]):
        things = meant[picture].any(-1).nonzero()[:, 0].numpy()
        if len(things):
            for layer in range(len(logits)):
                queries, columns = linear_sum_assignment(table[layer, picture][:, things])
                rows += [(layer, picture, q, things[c]) for q, c in zip(queries, columns, strict=True)]
    return tuple(torch.tensor(rows, dtype=torch.int64).reshape(-1, 4).T)


class Guides(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
    """Two linear readings that only training has: of each query where it is, of a relation's words where its second
    thing is. A logit is the product of the two, so with both told it can tell left from right."""

    def __init__(self, width: int):
        super().__init__()
        self.here, self.there = torch.nn.Linear(width, 2), torch.nn.Linear(width, 2)

    def forward(self, said: Answers, anchors: torch.Tensor) -> torch.Tensor:
        """The mean distance of both; anchors: (B, N, 2) centres, NaN for words without one."""
        wanted = said.boxes[..., :2].detach().transpose(0, 1)
        here = (self.here(said.queries) - wanted).abs().mean()
        some = ~anchors[..., 0].isnan()
        return here + ((self.there(said.text) - anchors)[some].abs().mean() if some.any() else 0.0)
