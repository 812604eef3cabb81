"""Phrases: what a text-prompted detector is asked for, as tokens, and which tokens say which phrase.

labels or prompt ──spell──▶ tokens ──runs of equal weight──▶ Wording ──▶ text encoder, detector

Captions with spans: captions.py.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.runtime.errors import TextError
from saccade.runtime.text import Spelling, Tokenizer

MAX_PHRASES = 20_000
"""In one request: what bounds the time that a caller can ask for."""
Ints = NDArray[np.int64]
Spans = tuple[tuple[int, int], ...]


class Rules(NamedTuple):
    """How a model reads; from its bundle's config.

    max_tokens: in one run, special ones among them
    blocks: a phrase's tokens attend only to each other, and their positions begin anew (Grounding DINO)
    separators: ids that end a phrase
    max_labels: phrases in one run
    """

    max_tokens: int = 256
    blocks: bool = True
    separators: tuple[int, ...] = ()
    max_labels: int = 80


class Said(NamedTuple):
    """tokens: where in its run the phrase (an index) is said."""

    phrase: int
    tokens: Ints


@dataclass(frozen=True, eq=False)
class Wording:
    """C runs of N tokens that together say K phrases. What is beyond the end of a shorter run attends to itself alone.

    ids, positions: (C, N) int64; mask: (C, N) bool, True at tokens; attends: (C, N, N) bool
    said: for each run its phrases
    phrases: K strings; spans: for each the characters (start, end) of the prompt or caption; None for labels
    """

    ids: Ints
    positions: Ints
    mask: NDArray[np.bool_]
    attends: NDArray[np.bool_]
    said: tuple[tuple[Said, ...], ...]
    phrases: tuple[str, ...]
    spans: tuple[Spans, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)


def layout(ids: Ints, separators: Sequence[int], blocks: bool = True) -> tuple[NDArray[np.bool_], Ints]:
    """(attends, positions) of ids (B, N): (B, N, N) bool and (B, N) int64.

    A block ends with a separator and holds it. The first and the last token, and what no separator ends, see only
    themselves: transformers' generate_masks_with_special_tokens_and_transfer_map. Without blocks all see all.
    """
    batch, count = ids.shape
    place = np.broadcast_to(np.arange(count), ids.shape)
    if not blocks:
        return np.ones((batch, count, count), bool), place.copy()
    ends = np.isin(ids, np.asarray(separators, np.int64))
    following = np.minimum.accumulate(np.where(ends, place, count)[:, ::-1], axis=1)[:, ::-1]
    before = np.full(ids.shape, -1, np.int64)
    before[:, 1:] = np.maximum.accumulate(np.where(ends, place, -1), axis=1)[:, :-1]
    inside = (following != 0) & (following < count - 1)
    attends = (following[:, :, None] == following[:, None, :]) & inside[:, None, :] | np.eye(count, dtype=bool)
    return attends, np.where(inside, place - before - 1, 0)


def word_labels(labels: Sequence[str], tokenizer: Tokenizer, rules: Rules) -> Wording:
    """K labels, joined as "a cat. a dog.", in as few runs as `rules` allow, of nearly the same number of tokens each.

    A detector's image features see the whole run, so the score of a label depends a little on how many others are in
    it: runs of equal weight keep scores comparable. What is a separator within a label is read as a blank.
    Raises TextError for what is no list of labels, one that says nothing, stands twice, holds what the vocabulary
    lacks or is too long, and for more than MAX_PHRASES.
    """
    names = _listed(labels)
    stops = tokenizer.characters(rules.separators)
    plain = [" ".join("".join(" " if c in stops else c for c in name).split()) for name in names]
    _refuse(names, plain)
    return _join([name.strip() for name in names], plain, tokenizer, rules, None)


def word_prompt(prompt: str, tokenizer: Tokenizer, rules: Rules) -> Wording:
    """The phrases of "a cat. a remote control.": what stands between separators. Raises TextError as `word_labels`."""
    spelled = closed(prompt, tokenizer, rules)
    spans = _between(spelled, rules)
    names = [prompt[start:end] for start, end in spans]
    if not names:
        raise TextError(
            f"[text] the prompt {prompt[:40]!a} says nothing", hint='name things, such as "a cat. a remote control."'
        )
    _listed(names)
    _refuse(names, names)
    places = tuple(((start, end),) for start, end in spans)
    if len(spelled.ids) > rules.max_tokens or len(names) > rules.max_labels:
        return _join(names, names, tokenizer, rules, places)
    at = Places(spelled, rules)
    said = tuple(Said(k, at.of([span])) for k, span in enumerate(spans))
    known(names, [(spelled, said)], tokenizer)
    return stacked([spelled], [said], tuple(names), places, tokenizer, rules)


def label_list(labels: Any) -> list[str]:
    """The labels as given, without blanks around them. Raises TextError as `word_labels`."""
    names = [name.strip() for name in _listed(labels)]
    _refuse(names, names)
    return names


def _listed(labels: Any) -> list[str]:
    if isinstance(labels, str) or not isinstance(labels, Sequence) or not all(isinstance(n, str) for n in labels):
        raise TextError("[text] labels are a list of strings", hint='such as ["a cat", "a dog"]')
    if not 0 < len(labels) <= MAX_PHRASES:
        raise TextError(f"[text] {len(labels)} labels; between 1 and {MAX_PHRASES}", hint="give at least one label")
    return list(labels)


def _refuse(names: Sequence[str], plain: Sequence[str]) -> None:
    """Labels that say nothing or that stand twice."""
    seen: set[str] = set()
    for place, (name, text) in enumerate(zip(names, plain, strict=True)):
        if not any(c.isalnum() for c in text):
            raise TextError(f"[text] label {place}, {name[:40]!a}, says nothing", hint="a label is one or more words")
        key = " ".join(text.lower().split())
        if key in seen:
            raise TextError(f"[text] the label {name[:80]!a} stands twice", hint="give each label once")
        seen.add(key)


def _join(
    names: list[str], plain: list[str], tokenizer: Tokenizer, rules: Rules, spans: tuple[Spans, ...] | None
) -> Wording:
    alone = tokenizer.spell([f"{text}." for text in plain])
    weights = [len(s.ids) - sum(s.special) for s in alone]
    room = rules.max_tokens - sum(alone[0].special)
    if max(weights) > room:
        long = names[int(np.argmax(weights))]
        raise TextError(f"[text] a label of {max(weights)} tokens: {long[:40]!a}", hint=f"at most {room} are read")
    for spare in range(room - max(weights) + 1):
        runs = _split(weights, room - spare, rules.max_labels)
        read = tokenizer.spell([". ".join(plain[run]) + "." for run in runs])
        if max(len(s.ids) for s in read) <= rules.max_tokens:  # joined texts may be spelled otherwise than their parts
            break
    else:
        raise TextError("[text] labels that do not fit", hint="give shorter labels")
    said = []
    for run, spelled in zip(runs, read, strict=True):
        starts = np.cumsum([0] + [len(text) + 2 for text in plain[run]])
        each = zip(range(run.start, run.stop), starts[:-1].tolist(), plain[run], strict=True)
        places = Places(spelled, rules)
        said.append(tuple(Said(k, places.of([(at, at + len(text))])) for k, at, text in each))
    known(names, list(zip(read, said, strict=True)), tokenizer)
    return stacked(read, said, tuple(names), spans, tokenizer, rules)


def _split(weights: Sequence[int], room: int, most: int) -> list[slice]:
    """Runs of at most `room` tokens and `most` labels: as few as can be or a quarter more, so that they are even; where
    that does not help, as few as can be with the heaviest as light as can be."""
    fewest = len(_filled(weights, room, most))
    total = np.cumsum(np.maximum(np.array(weights) / room, 1 / most))  # in runs, by whichever limit is nearer
    for count in range(fewest, min(fewest * 5 // 4 + 1, len(weights)) + 1):
        places = np.searchsorted(total, total[-1] * np.arange(1, count) / count).tolist()
        edges = sorted({0, *places, len(weights)})
        runs = [slice(low, high) for low, high in zip(edges[:-1], edges[1:], strict=True)]
        if all(sum(weights[run]) <= room and run.stop - run.start <= most for run in runs):
            return runs
    lightest = bisect.bisect_left(
        range(room), True, max(weights), key=lambda n: len(_filled(weights, n, most)) <= fewest
    )
    return _filled(weights, lightest, most)


def _filled(weights: Sequence[int], room: int, most: int) -> list[slice]:
    """Runs that are each filled up before the next begins."""
    edges, held = [0], 0
    for place, weight in enumerate(weights):
        if held + weight > room or place - edges[-1] == most:
            edges.append(place)
            held = 0
        held += weight
    return [slice(low, high) for low, high in zip(edges, [*edges[1:], len(weights)], strict=True)]


def closed(text: str, tokenizer: Tokenizer, rules: Rules) -> Spelling:
    """The text's tokens, with a full stop behind it where no separator ends it."""
    (spelled,) = tokenizer.spell([text])
    last = next((id for id, s in zip(reversed(spelled.ids), reversed(spelled.special), strict=True) if not s), None)
    if last is None or last in rules.separators or "." not in tokenizer.characters(rules.separators):
        return spelled
    return tokenizer.spell([text.rstrip() + "."])[0]


def _between(spelled: Spelling, rules: Rules) -> list[tuple[int, int]]:
    """The characters of each run of tokens that are no separators."""
    found: list[tuple[int, int]] = []
    begun = False
    for id, (start, end), special in zip(*spelled, strict=True):
        if special or id in rules.separators:
            begun = False
        elif begun:
            found[-1] = found[-1][0], end
        else:
            found.append((start, end))
            begun = True
    return found


class Places:
    """Where the tokens of one run stand in its text; separators and special tokens say nothing."""

    def __init__(self, spelled: Spelling, rules: Rules):
        self._at = np.array(spelled.spans, np.int64).reshape(-1, 2)
        self._says = ~(np.array(spelled.special, bool) | np.isin(spelled.ids, np.asarray(rules.separators, np.int64)))

    def of(self, spans: Sequence[tuple[int, int]]) -> Ints:
        """Tokens with a character in one of the spans."""
        touched = np.zeros(len(self._at), bool)
        for start, end in spans:
            touched |= (self._at[:, 0] < end) & (self._at[:, 1] > start)
        return np.flatnonzero(touched & self._says)


def known(names: Sequence[str], runs: list[tuple[Spelling, tuple[Said, ...]]], tokenizer: Tokenizer) -> None:
    """A phrase with a word that the model cannot read would be looked for as another phrase, in silence."""
    if tokenizer.unknown is None:
        return
    for spelled, said in runs:
        strange = np.array(spelled.ids) == tokenizer.unknown
        for phrase, tokens in said if strange.any() else ():
            if not len(tokens) or strange[tokens].any():
                raise TextError(
                    f"[text] {names[phrase][:40]!r} has a word that the model's vocabulary lacks",
                    hint="use other words, or a model that was trained on more",
                )


def stacked(
    read: Sequence[Spelling],
    said: Sequence[tuple[Said, ...]],
    names: tuple[str, ...],
    spans: tuple[Spans, ...] | None,
    tokenizer: Tokenizer,
    rules: Rules,
) -> Wording:
    count = max(len(s.ids) for s in read)
    shape = len(read), count
    ids = np.full(shape, tokenizer.spec.pad_id, np.int64)
    positions, mask = np.zeros(shape, np.int64), np.zeros(shape, bool)
    attends = np.tile(np.eye(count, dtype=bool), (len(read), 1, 1))
    for row, spelled in enumerate(read):
        size = len(spelled.ids)
        ids[row, :size], mask[row, :size] = spelled.ids, True
        among, places = layout(np.array([spelled.ids], np.int64), rules.separators, rules.blocks)
        attends[row, :size, :size], positions[row, :size] = among[0], places[0]
    return Wording(ids, positions, mask, attends, tuple(said), names, spans)
