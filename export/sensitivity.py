"""Which products may be int8: those whose rounding is heard most in the answers stay float32 until the budget is kept.

    all in int8 ──judge──▶ inside? ──no──▶ each group alone ──▶ ranking ──judge, bisecting──▶ the fewest that must stay

A judge runs the whole graph and perhaps another behind it, so it is asked seldom. What a group does alone is measured
on a tail: the part of the graph behind its activation, fed with what one run of the float32 graph left at the cut.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from saccade.export.calibration import Seen, spread
from saccade.export.recipe import Inputs
from saccade.export.scales import Choice
from saccade.export.tail import answers, boundary, tail, values

MARGIN = 0.75
"""Share of the allowed loss that the samples may use, since other pictures fare a little worse."""
MOST = 0.5
"""Share of the groups that may stay float32; a variant that needs more is outside its budget."""
FEW, LARGE = 4, 1_000_000
"""Samples that a group alone is measured on; one if a sample has more numbers than LARGE."""
AT_ONCE = 16
"""Groups whose cuts are held at once; a cut of a ViT-B at 1024 x 1024 is 30 to 60 MB."""

Judge = Callable[[Any], float]
Quantise = Callable[[Any, Sequence["Group"], Sequence["Group"]], Any]
"""Of a model and all its groups, the model with the chosen groups in int8."""


@dataclass(eq=False)
class Group:
    """An activation and the matrix products that read it.

    weights: (C, K) each, by the name of their initializer
    norm: the LayerNormalization that makes the activation, if nobody else reads it, so that channels can be scaled
    alone: relative error of the answers with this group alone in int8, or None if that was not measured
    """

    tensor: str
    seen: Seen
    nodes: list[Any] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    norm: Any = None
    choice: Choice | None = None
    alone: float | None = None

    @property
    def work(self) -> float:
        """Multiplications for one sample, in millions."""
        return self.seen.each * sum(w.size for w in self.weights.values()) / 1e6

    @property
    def error(self) -> float:
        """Relative error of its own products."""
        return self.choice.error if self.choice is not None else 0.0


@dataclass(frozen=True)
class Effort:
    """How long a search may take and who hears of it.

    seconds: after so many the best that was found counts. A search that it ends is not repeatable to the byte
    thorough: measure each group alone, even when all in int8 keep to the budget
    expect: told how many steps come, and the stage they are of; step: called after each
    """

    seconds: float = 240.0
    thorough: bool = False
    expect: Callable[[int, str], None] = lambda count, stage: None
    step: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic


class Layer(msgspec.Struct, frozen=True):
    """A row of the report: products that read one activation.

    layers: names of their weights; bytes: of these in float32; work: their share of the products' multiplications
    error: of the products themselves, relative; alone: of the answers with these alone in int8, None if not measured
    kept: they stay float32; scaling, calibrator: what won; tried: for each way the error of the products
    """

    layers: tuple[str, ...]
    bytes: int
    work: float
    error: float
    alone: float | None
    kept: bool
    calibrator: str
    tried: dict[str, float]


class Report(msgspec.Struct, frozen=True):
    """What a search found.

    layers: the first to stay float32 first; judged: how many stayed float32, and the share of the allowed loss then
    spent: that share for the variant that was taken, None if nobody judged; complete: the time was enough
    """

    layers: tuple[Layer, ...]
    judged: tuple[tuple[int, float], ...]
    spent: float | None
    complete: bool
    seconds: float
    graph: str = ""


def search(
    equal: Any,
    groups: list[Group],
    samples: Sequence[Inputs],
    judge: Judge | None,
    quantise: Quantise,
    effort: Effort,
) -> tuple[Any, Report]:
    """The model with as many of the groups in int8 as the judge allows, and how that was found."""
    begun = effort.clock()
    ends = begun + effort.seconds
    judged: dict[int, float] = {}
    order, complete = list(groups), True

    def made(count: int) -> Any:
        return quantise(equal, groups, order[count:])

    def ask(count: int) -> bool:
        judged[count] = judge(made(count)) if judge is not None else 0.0
        effort.step()
        return judged[count] <= MARGIN

    effort.expect(1 if judge is not None and groups else 0, "judging int8")
    inside = not groups or judge is None or ask(0)
    if groups and (effort.thorough or not inside):
        complete = measure_alone(equal, groups, samples, quantise, effort, begun + effort.seconds / 2)
        order = ranked(groups)
    if not inside:
        complete &= _bisect(ask, judged, _guess(order, judged[0]), int(len(order) * MOST), effort, ends)
    count = _best(judged) if judged else 0
    rows = tuple(_layer(group, place < count, groups) for place, group in enumerate(order))
    score = judged.get(count) if judge is not None else None
    pairs = tuple((n, round(s, 4)) for n, s in judged.items()) if judge is not None else ()
    return made(count), Report(rows, pairs, score, complete, round(effort.clock() - begun, 1))


def measure_alone(
    equal: Any, groups: list[Group], samples: Sequence[Inputs], quantise: Quantise, effort: Effort, ends: float
) -> bool:
    """Set `alone` of the groups, those with the largest error of their own first. False if the time ended before."""
    exact = quantise(equal, groups, [])  # with every scaled channel's weights
    size = sum(array.size for array in samples[0].values())
    few = spread(list(samples), FEW if size <= LARGE else 1)
    waiting = sorted(groups, key=lambda group: -group.error)
    effort.expect(len(waiting), "each layer alone")
    for start in range(0, len(waiting), AT_ONCE):
        part = waiting[start : start + AT_ONCE]
        tails = [tail(exact, group.tensor) for group in part]
        cuts = [boundary(one) for one in tails]
        seen = values(exact, sorted({name for cut in cuts for name in cut}), few)
        for group, one, cut in zip(part, tails, cuts, strict=True):
            if effort.clock() > ends:
                return False
            own = [{name: arrays[name] for name in cut} for arrays in seen]
            group.alone = answers(quantise(one, [group], [group]), own, seen)
            effort.step()
    return True


def ranked(groups: list[Group]) -> list[Group]:
    """Groups in the order in which they should stay float32: most error for least work first.

    Errors of groups are nearly independent, so their squares add up. What was not measured is taken to be heard as its
    own error is, by the middle ratio of those that were. A group costs a little even without work: its two roundings.
    """
    known = [group.alone / group.error for group in groups if group.alone is not None and group.error > 0]
    ratio = float(np.median(known)) if known else 1.0
    whole, floor = sum(group.work for group in groups) or 1.0, 0.5 / len(groups)

    def worth(group: Group) -> float:
        alone = group.alone if group.alone is not None else ratio * group.error
        return alone**2 / (group.work / whole + floor)

    return sorted(groups, key=worth, reverse=True)


def _guess(order: list[Group], spent: float) -> int:
    """How many must stay float32 if the loss were as the square of the error; a first guess, seldom too many."""
    squares = [(group.alone if group.alone is not None else group.error) ** 2 for group in order]
    left, count = sum(squares), 0
    while count < len(order) and left > sum(squares) * MARGIN / spent:
        left -= squares[count]
        count += 1
    return max(count, 1)


def _bisect(
    ask: Callable[[int], bool], judged: dict[int, float], guess: int, most: int, effort: Effort, ends: float
) -> bool:
    """Judge counts until the least that passes is known to a quarter of itself. False if the time ended before."""
    low, high = 0, most + 1  # low fails; high is beyond what is allowed, or passes
    count = min(guess, most)
    while high - low > max(1, high // 4 if high <= most else 1):
        if effort.clock() > ends:
            return False
        effort.expect(1, f"judging with {count} of float32")
        if ask(count):
            high = count
        else:
            low = count
        count = (low + high) // 2 if high <= most else min(2 * low, most)
    return True


def _best(judged: dict[int, float]) -> int:
    """The least count that passes; if none does, the one that loses least."""
    passing = [count for count, score in judged.items() if score <= MARGIN]
    return min(passing) if passing else min(judged, key=lambda count: judged[count])


def _layer(group: Group, kept: bool, groups: list[Group]) -> Layer:
    assert group.choice is not None
    whole = sum(one.work for one in groups) or 1.0
    return Layer(
        layers=tuple(name.removeprefix("w.") for name in group.weights),
        bytes=4 * sum(w.size for w in group.weights.values()),
        work=round(group.work / whole, 5),
        error=float(f"{group.error:.4g}"),
        alone=None if group.alone is None else float(f"{group.alone:.4g}"),
        kept=kept,
        calibrator=group.choice.won,
        tried={name: float(f"{error:.4g}") for name, error in group.choice.tried.items()},
    )
