"""Whether a candidate computes what its reference does, on one small case each. `saccade doctor` asks on the device.

The tests go far beyond; this is for the machine that nobody has tested: a new processor, another compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import numpy as np

from saccade.runtime.errors import KernelError


def agrees(op: str, candidate: str) -> bool:
    """Run `candidate` of `op`, which must be usable here, and compare. Raises KernelError for an unknown op."""
    if op not in PROOFS:
        raise KernelError(f"[{op}] no proof of it is known", hint=f"known: {', '.join(PROOFS)}")
    return PROOFS[op](candidate)


def _resize_normalize(candidate: str) -> bool:
    op = import_module("saccade.kernels.resize_normalize")
    image = np.random.default_rng(1).integers(0, 256, (61, 83, 3), np.uint8)
    ours, reference = (
        op.resize_normalize(image, (40, 54), filter="bicubic", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), impl=name)
        for name in (candidate, "reference")
    )
    return bool(np.array_equal(ours, reference))


def _nms(candidate: str) -> bool:
    op = import_module("saccade.kernels.nms")
    rng = np.random.default_rng(2)
    corners = rng.random((300, 2), np.float32) * 60
    boxes = np.concatenate([corners, corners + 5 + 20 * rng.random((300, 2), np.float32)], 1).astype(np.float32)
    scores, classes = rng.random(300, np.float32), rng.integers(0, 3, 300)
    ours, reference = (op.nms(boxes, scores, classes, impl=name) for name in (candidate, "reference"))
    return bool(np.array_equal(ours, reference))


def _decode_boxes(candidate: str) -> bool:
    op = import_module("saccade.kernels.decode_boxes")
    rng = np.random.default_rng(3)
    logits = rng.standard_normal((70, 9)).astype(np.float32)
    boxes = rng.random((70, 4), np.float32)
    ours, reference = (op.decode_boxes(logits, boxes, (480, 640), impl=name) for name in (candidate, "reference"))
    return len(ours.scores) == len(reference.scores) and bool(
        np.allclose(ours.boxes, reference.boxes, atol=1e-3) and np.array_equal(ours.classes, reference.classes)
    )


def _mask_decode(candidate: str) -> bool:
    op = import_module("saccade.kernels.mask_decode")
    low = np.random.default_rng(4).standard_normal((3, 64, 64)).astype(np.float32).cumsum(1)
    sizes = (256, 256), (256, 171), (300, 200)
    ours, reference = (op.mask_decode(low, *sizes, impl=name) for name in (candidate, "reference"))
    return ours.rle == reference.rle and bool(np.array_equal(ours.area, reference.area))


def _relpos_attention(candidate: str) -> bool:
    op = import_module("saccade.kernels.relpos_attention")
    rng = np.random.default_rng(5)
    q, k, v = (rng.standard_normal((2, 3, 35, 24)).astype(np.float32) for _ in range(3))
    rh, rw = (rng.standard_normal((2, 3, 35, n)).astype(np.float32) for n in (5, 7))
    ours, reference = (op.relpos_attention(q, k, v, rh, rw, impl=name) for name in (candidate, "reference"))
    return bool(np.abs(ours - reference).max() < 1e-4)


def _deformable_attention(candidate: str) -> bool:
    op = import_module("saccade.kernels.deformable_attention")
    rng = np.random.default_rng(6)
    value, sizes = rng.standard_normal((2, 41, 3, 24)).astype(np.float32), ((5, 7), (2, 3))
    locations = (rng.random((2, 19, 3, 2, 4, 2)) * 1.2 - 0.1).astype(np.float32)
    weights = rng.random((2, 19, 3, 2, 4), np.float32)
    ours, reference = (
        op.deformable_attention(value, sizes, locations, weights, impl=name) for name in (candidate, "reference")
    )
    return bool(np.abs(ours - reference).max() < 1e-4)


PROOFS: dict[str, Callable[[str], bool]] = {
    "resize_normalize": _resize_normalize,
    "decode_boxes": _decode_boxes,
    "nms": _nms,
    "mask_decode": _mask_decode,
    "relpos_attention": _relpos_attention,
    "deformable_attention": _deformable_attention,
}
