"""The rounds of prompts that one batch is trained with: a click or a box first, then clicks where the mask is wrong.

    target masks -> prompt -> (decoder) -> picked mask -> wrong region -> next click, the mask itself as a prompt -> ...

Kirillov et al. 2023, arXiv 2304.02643, appendix A. Everything happens on the decoder's grid of low-resolution masks.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from saccade.zoo.clicks import scattered

ROUNDS = (0.25, 0.35, 0.40)  # chance of one, two, three rounds
BOX, JITTER = 0.4, 0.06  # share of first prompts; standard deviation of a corner, share of the side
MASK_ONLY, MASKLESS = 0.1, 0.3  # chance of a round without a new click; share of later prompts without a mask
LOGIT = 20.0  # a fed-back logit is kept within this

Prompt = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


class Rounds:
    """Owns the prompts of Q targets from round to round.

    wanted: (Q, h, w) float, the share of each cell that the target covers; alone: (Q,) bool, a single click so far
    """

    def __init__(
        self,
        masks: NDArray[np.bool_],
        backdrop: NDArray[np.bool_],
        rng: np.random.Generator,
        stride: int,
        most: int = 3,
    ):
        """masks: (B, P, S, S), an empty one for a click on the backdrop; backdrop: (B, S, S)"""
        flat = masks.reshape(-1, *masks.shape[2:])
        self.rng, self.stride = rng, stride
        self.count = min(most, 1 + int(rng.choice(len(ROUNDS), p=ROUNDS)))
        self.wanted = torch.nn.functional.avg_pool2d(torch.from_numpy(flat).float(), stride)
        self.solid: NDArray[np.bool_] = self.wanted.numpy() >= 0.5
        empty = ~self.solid.any((1, 2))
        bare = backdrop[:, ::stride, ::stride].repeat(masks.shape[1], 0)
        self.home: NDArray[np.bool_] = np.where(empty[:, None, None], bare, self.solid)
        boxed = (rng.random(len(flat)) < BOX) & ~empty
        self.alone = torch.from_numpy(~boxed)
        self.points, self.labels = self._clicks(self.home)
        self.labels[:] = 1  # whoever clicks on the backdrop takes it for a thing
        self._first(flat, boxed)
        self.mask = torch.zeros_like(self.wanted)
        self.has_mask = torch.zeros(len(flat), dtype=torch.bool)

    @property
    def prompt(self) -> Prompt:
        """points (Q, N, 2), labels (Q, N), mask (Q, h, w), has_mask (Q,)"""
        points, labels = torch.from_numpy(self.points).float(), torch.from_numpy(self.labels)
        return points, labels, self.mask, self.has_mask

    def advance(self, logits: torch.Tensor, iou: torch.Tensor) -> torch.Tensor:
        """Make the next round's prompts from what was found; returns which mask was picked, (Q,).

        logits: (Q, 4, h, w); iou: (Q, 4) predicted. Of a single click the best of the three, else mask 0.
        """
        picked = torch.where(self.alone, iou[:, 1:].argmax(1) + 1, torch.zeros(len(iou), dtype=torch.long))
        self.mask = logits[torch.arange(len(picked)), picked].clamp(-LOGIT, LOGIT)
        self.has_mask = torch.from_numpy(self.rng.random(len(picked)) >= MASKLESS)
        if self.rng.random() < MASK_ONLY:
            self.has_mask |= True
        else:
            points, labels = self._clicks((self.mask.numpy() > 0) != self.solid)
            self.points = np.concatenate([self.points, points], 1)
            self.labels = np.concatenate([self.labels, labels], 1)
        self.alone = torch.zeros_like(self.alone)
        return picked

    def _clicks(self, wrong: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        centred = self.rng.choice([0.0, 1.0, 3.0], len(wrong))
        regions = np.where(np.asarray(wrong.any((1, 2)))[:, None, None], wrong, self.home)
        cells, labels = scattered(self.rng, self.solid, regions, centred)
        # anywhere in the cell; a pixel's own coordinate is its index, the class adds the half
        points = (cells + self.rng.random(cells.shape)) * self.stride - 0.5
        return points[:, None], labels[:, None]

    def _first(self, masks: NDArray[np.bool_], boxed: NDArray[np.bool_]) -> None:
        """One click and "not a point", or the two corners of a box: two tokens either way."""
        self.points = np.concatenate([self.points, np.zeros_like(self.points)], 1)
        self.labels = np.concatenate([self.labels, np.full_like(self.labels, -1)], 1)
        for row in np.flatnonzero(boxed):
            self.points[row] = _jittered(self.rng, masks[row])
            self.labels[row] = 2, 3


def _jittered(rng: np.random.Generator, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(2, 2) corners of the mask's box, each moved by a share of the side, at most 20 pixels."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    corners = np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]], np.float64)
    sides = corners[1] - corners[0]
    moved = corners + np.clip(rng.normal(0, JITTER, (2, 2)) * sides, -20, 20)
    return np.asarray(np.clip(moved, 0, [mask.shape[1], mask.shape[0]]), np.float64)
