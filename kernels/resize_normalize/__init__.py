"""resize_normalize: Pillow's resize, a crop and (x · scale − mean) / std, in one pass over the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from saccade.kernels import native
from saccade.kernels.dispatch import Candidate, pick
from saccade.kernels.resize_normalize import launch, reference
from saccade.kernels.resize_normalize.request import Request, check

_FILTERS = {name: code for code, name in enumerate(reference.FILTERS)}  # enum saccade_filter has the same order
_OUTPUTS = {"uint8": 0, "float32": 1, "float16": 2}  # enum saccade_output


def _run(name: str, r: Request) -> np.ndarray:
    padded = r.out.shape[:2] if r.raw else r.out.shape[1:]
    output = _OUTPUTS[r.out.dtype.name]
    native.module.resize_normalize(
        name, r.image, _FILTERS[r.filter], r.region, r.size, r.crop, output, r.out, padded, r.pad_value, r.scale,
        r.mean, r.std, r.threads,
    )  # fmt: skip
    return r.out


CANDIDATES = (
    *launch.CANDIDATES,
    *(native.candidate("resize_normalize", name, _run) for name in ("avx512vnni", "avx2", "neon", "base")),
    Candidate("reference", lambda *_: "", reference.run),
)


def resize_normalize(
    image: np.ndarray,
    size: Sequence[int],
    *,
    filter: str = "bicubic",
    region: Sequence[float] | None = None,
    crop: Sequence[int] | None = None,
    scale: float = 1 / 255,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    out: np.ndarray | None = None,
    dtype: Any = np.float32,
    pad_to: Sequence[int] | None = None,
    pad_value: float = 0.0,
    impl: str | None = None,
    raw: bool = False,
    threads: int = 1,
) -> np.ndarray:
    """Resized, cropped and normalised picture, (3, h, w) float32 or float16; the bytes are those of Pillow 13.

    image: (H, W, 3) uint8 RGB, any strides; NumPy's or on a GPU (CuPy's, or any with __cuda_array_interface__), where
        the result is then
    size: (RH, RW) after resizing, of the whole picture or of `region`: left, top, right, bottom in pixels, fractions
        allowed; pixels beside it still contribute, as with Pillow's `box`
    filter: nearest, box, bilinear, hamming, bicubic or lanczos, as Image.resize((RW, RH), filter, region)
    crop: (top, left, h, w) in the resized picture; what lies outside of it is zero bytes, as with Image.crop; only what
        the crop needs is computed
    scale, mean, std: ((byte · scale) − mean) / std, each operation rounded to float32, then rounded to `dtype`
    pad_to: (height, width) of the result; the bottom and the right are filled with `pad_value`, in normalised units
    out: a C-contiguous array for the result, such as one picture of a batch; its dtype holds instead of `dtype`
    impl: a candidate to force: avx512vnni, avx2, neon, base or reference; on a GPU cuda
    raw: return the cropped bytes instead, (h, w, 3) uint8
    threads: how many share the rows of a native candidate; the result does not depend on it
    Raises SpecError for arguments that do not fit, KernelError if `impl` cannot run.
    """
    request = check(
        image, size, filter=filter, region=region, crop=crop, scale=scale, mean=mean, std=std, out=out, dtype=dtype,
        pad_to=pad_to, pad_value=pad_value, raw=raw, threads=threads,
    )  # fmt: skip
    result: np.ndarray = pick("resize_normalize", CANDIDATES, request, force=impl).run(request)
    return result
