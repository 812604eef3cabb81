"""mask_decode: SAM's logits to run lengths, boxes, areas and stability at the size of the original picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from saccade.kernels import native
from saccade.kernels.dispatch import Candidate, pick
from saccade.kernels.mask_decode import launch, reference
from saccade.kernels.mask_decode.request import Request, check


class DecodedMasks(NamedTuple):
    """Parallel values of M masks on an original of (H, W) pixels.

    rle: COCO's run lengths, {"size": [H, W], "counts": bytes}, as pycocotools takes them
    boxes: (M, 4) int32, left, top, right, bottom, both ends inclusive; zeros for an empty mask
    area: (M,) int64, pixels
    stability: (M,) float32, area at threshold + offset over area at threshold - offset; 0 where that is empty
    dense: (D, H, W) bool, the masks that were asked for, in the order asked; None if none were
    """

    rle: list[dict[str, Any]]
    boxes: np.ndarray
    area: np.ndarray
    stability: np.ndarray
    dense: np.ndarray | None


def _run(name: str, r: Request) -> list[bytes]:
    counts: list[bytes] = native.module.mask_decode(name, *r)
    return counts


CANDIDATES = (
    *launch.CANDIDATES,
    *(native.candidate("mask_decode", name, _run) for name in ("avx512", "avx2", "neon", "base")),
    Candidate("reference", lambda *_: "", reference.run),
)


def mask_decode(
    low: np.ndarray,
    model: Sequence[int],
    valid: Sequence[int],
    original: Sequence[int],
    *,
    threshold: float = 0.0,
    offset: float = 1.0,
    dense: bool | Sequence[int] = False,
    impl: str | None = None,
    threads: int = 1,
) -> DecodedMasks:
    """Masks at the size of the original; the full-size logits and masks never exist unless asked for.

    low: (M, h, w) float32, NumPy's or on a GPU (CuPy's, or any with __cuda_array_interface__), where `dense` stays
        then; all else comes back to the host. Logits, usually 256 x 256; a NaN belongs to no mask
    model: (height, width) that the model saw, usually (1024, 1024); no smaller than the logits
    valid: (height, width) of the picture within it, at the top left; the rest is padding
    original: (H, W) of the picture as it came
    threshold: logits above it are the mask; offset: distance of the two areas that make the stability score. A score
        of 0/0 is 0: SAM's generator has NaN there, and drops the mask by the same comparison
    dense: True for the masks themselves, or the indices of those wanted
    impl: a candidate to force: avx512, avx2, neon, base or reference; on a GPU cuda or triton
    threads: how many share the masks of a native candidate; the result does not depend on it
    Raises SpecError for arguments that do not fit, KernelError if `impl` cannot run.
    Source: Segment Anything (arXiv 2304.02643), postprocessing and appendix B; pixels are torch's but for rounding: at
    most 1 in 10⁶ differs, all within 1e-4 of the threshold.
    """
    request = check(low, model, valid, original, threshold, offset, dense, threads)
    counts = pick("mask_decode", CANDIDATES, request, force=impl).run(request)
    rle = [{"size": list(request.original), "counts": text} for text in counts]
    masks = None if isinstance(dense, bool) and not dense else request.dense
    return DecodedMasks(rle, request.boxes, request.area, request.stability, masks)
