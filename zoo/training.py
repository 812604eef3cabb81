"""What every recipe of the zoo trains with: AdamW, a schedule by the clock, and a moving average of the weights.

A schedule by elapsed time, not by steps, ends when it was told to on any machine. What reads a clock takes it as an
argument.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(slots=True)
class Schedule:
    """How far a training is and how fast it learns: a linear warm-up by steps, then a cosine by the clock."""

    minutes: float
    peak: float
    clock: Callable[[], float]  # seconds
    warm_up: int = 200
    floor: float = 0.01  # of the peak, at the end
    steps: int = 0
    started: float = 0.0

    def start(self) -> None:
        self.started = self.clock()

    @property
    def elapsed_s(self) -> float:
        return self.clock() - self.started

    @property
    def progress(self) -> float:
        """0 at the start, 1 when the time is up."""
        return min(1.0, self.elapsed_s / (60 * self.minutes))

    def rate(self) -> float:
        """The learning rate of the next step."""
        cosine = self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * self.progress))
        return self.peak * cosine * min(1.0, (self.steps + 1) / self.warm_up)


def optimiser(model: torch.nn.Module, decay: float, betas: tuple[float, float] = (0.9, 0.98)) -> torch.optim.AdamW:
    """AdamW that decays matrices only: norms, biases, scales and embeddings are left alone."""
    embeddings = {p for m in model.modules() if isinstance(m, torch.nn.Embedding) for p in m.parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim >= 2 and p not in embeddings]
    others = [p for p in trained if p.ndim < 2 or p in embeddings]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=True)


class Average:
    """An exponential moving average of a model's weights, held in `model`, a copy to evaluate and save."""

    def __init__(self, model: torch.nn.Module, decay: float = 0.998):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    def update(self, model: torch.nn.Module, step: int) -> None:
        """Take one step's weights in; early steps count more, or the start would linger."""
        decay = min(self.decay, (1 + step) / (10 + step))
        mine, theirs = list(self.model.parameters()), [p.detach() for p in model.parameters()]
        with torch.no_grad():
            torch._foreach_lerp_(mine, theirs, 1 - decay)
