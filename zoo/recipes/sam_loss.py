"""SAM's loss: focal and dice of the best of three masks, and what the head that predicts IoU is held to.

Kirillov et al. 2023, arXiv 2304.02643, appendix A: focal : dice : IoU = 20 : 1 : 1, the minimum over the three masks.
Here the IoU head learns from all four masks, not only from the best one: at use it is asked about all of them.
"""

from __future__ import annotations

import torch
from torch.nn.functional import softplus

FOCAL, DICE, IOU = 20.0, 1.0, 1.0
OTHER_KIND = 0.3  # weight of the single-mask token where the three are asked for, and the other way round
EVERY = 0.03  # weight of all three masks beside the best: a token that never wins would never learn


def mask_losses(logits: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each mask against its target: the loss and the true IoU, (Q, 4) each; the latter without gradient.

    logits: (Q, 4, h, w); wanted: (Q, h, w), 0 to 1, the share of each cell that the target covers: with it the edge
    comes to lie within a cell, where upsampling finds it again
    """
    z, t = logits.flatten(2), wanted.flatten(1)[:, None]
    p = torch.sigmoid(z)
    focal = ((p - t).square() * (softplus(z) - z * t)).mean(2)
    both, sizes = (p @ t.transpose(1, 2)).squeeze(2), p.sum(2) + t.sum(2)
    dice = 1 - (2 * both + 1) / (sizes + 1)
    with torch.no_grad():
        found, true = (z > 0).float(), (t >= 0.5).float()
        overlap = (found @ true.transpose(1, 2)).squeeze(2)
        iou = overlap / (found.sum(2) + true.sum(2) - overlap).clamp_min(1)
    return FOCAL * focal + DICE * dice, iou


def prompt_loss(
    per_mask: torch.Tensor, predicted: torch.Tensor, true: torch.Tensor, alone: torch.Tensor
) -> torch.Tensor:
    """(Q,) the loss of each prompt.

    per_mask, predicted, true: (Q, 4) loss, predicted and true IoU of each mask, 0 the single-mask token's
    alone: (Q,) bool, a single click, which may mean several things
    """
    single, several = per_mask[:, 0], per_mask[:, 1:]
    best = several.min(1).values + EVERY * several.mean(1)
    masks = torch.where(alone, best + OTHER_KIND * single, single + OTHER_KIND * best)
    return masks + IOU * (predicted - true).abs().mean(1)
