"""What pipelines return: parallel arrays under names, indexed like arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.runtime.errors import SpecError

Floats = NDArray[np.float32]
Index = int | slice | NDArray[Any] | list[int]


@dataclass(frozen=True)
class Embeddings:
    """N vectors of unit length.

    vectors: (N, E) float32
    names: N strings: file names, labels or texts; may be empty strings
    model: digest of the bundle that made them
    """

    vectors: Floats
    names: tuple[str, ...]
    model: str = ""

    @classmethod
    def of(cls, raw: NDArray[Any], names: tuple[str, ...], model: str = "") -> Embeddings:
        """Scale `raw` (N, E) to unit length; a zero vector stays zero."""
        return cls(normalise(raw), names, model)

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, which: Index) -> Embeddings:
        """The chosen rows: a number, slice, mask or list of numbers."""
        return Embeddings(np.atleast_2d(self.vectors[which]), _pick(self.names, which), self.model)

    def similarity(self, other: Embeddings) -> Floats:
        """Cosine of each of these N with each of the other M: (N, M) float32.

        Raises SpecError if the two were made by different models.
        """
        same_model(self.model, other.model)
        return self.vectors @ other.vectors.T


@dataclass(frozen=True)
class Scores:
    """N pictures against K labels.

    values: (N, K) float32; each row sums to one if the model was trained with softmax (CLIP), and each value is a
        probability of its own if it was trained with sigmoid (SigLIP)
    labels: K strings
    names: N strings
    """

    values: Floats
    labels: tuple[str, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, which: Index) -> Scores:
        """The chosen pictures: a number, slice, mask or list of numbers."""
        return Scores(np.atleast_2d(self.values[which]), self.labels, _pick(self.names, which))

    @property
    def best(self) -> tuple[str, ...]:
        """For each picture the label with the highest score; the first of equals."""
        return tuple(self.labels[i] for i in self.values.argmax(axis=1))

    def top(self, count: int = 5) -> list[list[tuple[str, float]]]:
        """For each picture its `count` best (label, score), best first, equals in the labels' order."""
        order = np.argsort(-self.values, axis=1, kind="stable")[:, :count]
        return [[(self.labels[i], float(row[i])) for i in best] for row, best in zip(self.values, order, strict=True)]


@dataclass(frozen=True)
class Matches:
    """What a search found for one query, best first.

    names: picture paths or texts
    scores: cosine, (len(names),) float32
    """

    query: str
    names: tuple[str, ...]
    scores: Floats

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, which: Index) -> Matches:
        return Matches(self.query, _pick(self.names, which), np.atleast_1d(self.scores[which]))


def normalise(raw: NDArray[Any]) -> Floats:
    """Rows of `raw` (N, E) scaled to unit length in float32; a zero row stays zero."""
    rows = np.asarray(raw, np.float32)
    scaled: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
    return scaled


def same_model(one: str, other: str) -> None:
    """Raise SpecError if two digests are known and differ: vectors of two models mean nothing to each other."""
    if one and other and one != other:
        raise SpecError(
            f"[embeddings] made by two models: {one[:12]} and {other[:12]}", hint="embed both with the same bundle"
        )


def _pick(names: tuple[str, ...], which: Index) -> tuple[str, ...]:
    if isinstance(which, int | np.integer):
        return (names[which],)
    if isinstance(which, slice):
        return names[which]
    return tuple(np.asarray(names, object)[which])
