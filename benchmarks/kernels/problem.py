"""What is measured: one op on one input, and who else can do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Peer:
    """Somebody else's way to the same result.

    run: the work without arguments, on inputs made before; whatever it returns goes to `error`
    error: how far that is from what was expected, as a number; above `tolerance` nothing of it is kept
    """

    name: str
    run: Callable[[], Any]
    error: Callable[[Any, Any], float]
    tolerance: float


@dataclass(frozen=True)
class Problem:
    """One op on one input.

    shape: the sizes by their letters (B, N, A, D, C, H, W, K, M …), of inputs and where it matters of the output
    run: the work by the candidate of that name; its result goes to `error` with what `expected` gives
    expected: the reference, in float64 unless results are defined to the bit
    bytes, flops: what any method must do at least: each input and output once, and the arithmetic; cases.py counts it
    roof: the peak that bounds the arithmetic, fp32_gflops or int8_gops
    facts: what else a row should tell, such as how many boxes stayed
    """

    case: str
    shape: Mapping[str, int]
    dtype: str
    run: Callable[[str], Any]
    expected: Callable[[], Any]
    error: Callable[[Any, Any], float]
    tolerance: float
    bytes: int
    flops: int
    peers: tuple[Peer, ...] = ()
    roof: str = "fp32_gflops"
    facts: Mapping[str, Any] = field(default_factory=dict)
