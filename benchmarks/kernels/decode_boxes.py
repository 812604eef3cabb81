"""decode_boxes against NumPy, which is the reference, and torch as it is usually done: sigmoid of all, then top-k.

torch orders equal scores as it likes and does not clip, so its scores alone are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from saccade.benchmarks.kernels.problem import Peer, Problem
from saccade.kernels.decode_boxes import DecodedBoxes, decode_boxes
from saccade.kernels.decode_boxes.cases import BENCHMARKS, TOLERANCE, Case, inputs, work

THRESHOLD = 0.3


def problems(quick: bool) -> Iterator[Problem]:
    """The heads of Grounding DINO and of a COCO detector."""
    yield from map(_problem, BENCHMARKS[-1:] if quick else BENCHMARKS)


def error(ours: DecodedBoxes, expected: DecodedBoxes) -> float:
    """The largest difference of two scores; infinite if anything else differs."""
    same = all(np.array_equal(getattr(ours, name), getattr(expected, name)) for name in ("boxes", "classes", "queries"))
    return _apart(ours.scores, expected.scores) if same else np.inf


def by_torch(logits: Any, boxes: Any, size: tuple[int, int], limit: int) -> tuple[Any, ...]:
    """As transformers does for Deformable DETR and its like: scores, labels and boxes above the threshold."""
    import torch

    scores, best = torch.topk(logits.sigmoid().flatten(), min(limit, logits.numel()))
    queries, labels = best // logits.shape[1], best % logits.shape[1]
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    corners = torch.cat([centre - half, centre + half], dim=1)[queries] * torch.tensor([*size[::-1], *size[::-1]])
    keep = scores > THRESHOLD
    return scores[keep], labels[keep], corners[keep]


def _problem(case: Case) -> Problem:
    logits, boxes = inputs(case)
    run = partial(decode_boxes, logits, boxes, case.size, threshold=THRESHOLD, limit=case.limit)
    expected = run(impl="reference")
    bytes_, flops = work(case, len(expected.scores))
    peers = [Peer("numpy", partial(run, impl="reference"), error, 0.0)]
    if find_spec("torch"):
        import torch

        theirs = partial(by_torch, torch.from_numpy(logits), torch.from_numpy(boxes), case.size, case.limit or 0)
        peers.append(Peer("torch", theirs, lambda out, right: _apart(out[0].numpy(), right.scores), 1e-6))
    return Problem(
        case=case.name,
        shape={"N": case.queries, "K": case.classes, "M": len(expected.scores)},
        dtype="fp32",
        run=lambda impl: run(impl=impl),
        expected=lambda: expected,
        error=error,
        tolerance=TOLERANCE,
        bytes=bytes_,
        flops=flops,
        peers=tuple(peers),
    )


def _apart(ours: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(ours - expected).max(initial=0)) if ours.shape == expected.shape else np.inf
