"""relpos_attention, the specification: decomposed relative positions (MViTv2, arXiv 2112.01526, eq. 4) as SAM has them.

    s[n, m] = scale · q[n]·k[m] + rh[n, m // Wk] + rw[n, m % Wk]        out[n] = Σₘ softmax(s[n])[m] · v[m]

A row of which every s is −inf gives zeros. NaN, and inf in a value, go where the arithmetic takes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from saccade.kernels.relpos_attention import Request


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, rh: np.ndarray, rw: np.ndarray, scale: float) -> np.ndarray:
    """One head: q, k, v (N, D), rh (N, Hk), rw (N, Wk); (N, D), all in one dtype, which is computed in."""
    count, (rows, columns) = len(q), (rh.shape[1], rw.shape[1])
    with np.errstate(all="ignore"):
        scores = (q @ k.T) * q.dtype.type(scale)
        scores = scores.reshape(count, rows, columns) + rh[:, :, None] + rw[:, None, :]
        scores = scores.reshape(count, count)
        top = scores.max(1, keepdims=True, initial=-np.inf)
        dead = top == -np.inf
        weights = np.exp(scores - np.where(dead, q.dtype.type(0), top))
        out: np.ndarray = np.where(dead, q.dtype.type(0), (weights / weights.sum(1, keepdims=True)) @ v)
    return out


def run(r: Request) -> None:
    """Fills `r.out`, head by head; half precision is computed in float32 and rounded once."""
    wide = np.float32 if r.q.dtype == np.float16 else r.q.dtype
    for place in np.ndindex(r.q.shape[:2]):
        q, k, v, rh, rw = (array[place].astype(wide, copy=False) for array in (r.q, r.k, r.v, r.rh, r.rw))
        r.out[place] = attend(q, k, v, rh, rw, r.scale)
