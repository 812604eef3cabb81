"""Captions: a sentence as it stands, and the phrases in it that boxes are wanted for.

caption, spans (given, or found by nouns.py) ──spell──▶ tokens ──cut behind sentences──▶ Wording
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from saccade.runtime.errors import TextError
from saccade.runtime.phrases import MAX_PHRASES, Places, Rules, Said, Spans, Wording, closed, known, stacked
from saccade.runtime.text import Spelling, Tokenizer


def word_caption(caption: str, spans: Sequence[Any], tokenizer: Tokenizer, rules: Rules) -> Wording:
    """A caption as it stands, and in it the phrases at `spans`: (start, end), or a list of such for a phrase in parts.

    A caption that is too long for one run is cut behind sentences, or between words where a sentence is too long.
    Raises TextError for spans outside the caption or without a token, and as `word_labels`.
    """
    places = [_span(span, caption) for span in spans]
    if not places or len(places) > MAX_PHRASES:
        raise TextError(f"[text] {len(places)} spans", hint=f"give 1 to {MAX_PHRASES}, each (start, end)")
    names = tuple(" … ".join(caption[start:end] for start, end in parts) for parts in places)
    whole = closed(caption, tokenizer, rules)
    read, said = [], []
    for first, last in _windows(whole, places, rules, caption):
        inside = [
            (k, [(s - first, e - first) for s, e in parts if first <= s < last]) for k, parts in enumerate(places)
        ]
        if any(parts for _, parts in inside):
            spelled = whole if (first, last) == (0, len(caption)) else closed(caption[first:last], tokenizer, rules)
            read.append(spelled)
            at = Places(spelled, rules)
            said.append(tuple(Said(k, at.of(parts)) for k, parts in inside if parts))
    empty = next((one for some in said for one in some if not len(one.tokens)), None)
    if empty is not None:
        raise TextError(f"[text] no word at the span of {names[empty.phrase][:40]!a}", hint="give spans of words")
    known(names, list(zip(read, said, strict=True)), tokenizer)
    return stacked(read, said, names, tuple(places), tokenizer, rules)


def _span(span: Any, caption: str) -> Spans:
    try:
        given = np.asarray(span)
        rows = given.reshape(-1, 2).tolist()
        fits = given.dtype.kind in "iu" and all(0 <= start < end <= len(caption) for start, end in rows)
    except (ValueError, TypeError):
        rows, fits = [], False
    if not fits or not rows:
        raise TextError(
            f"[text] not a span of the caption: {str(span)[:40]}",
            hint=f"(start, end) of 0 to {len(caption)} characters",
        )
    return tuple((start, end) for start, end in rows)


def _windows(whole: Spelling, places: list[Spans], rules: Rules, caption: str) -> list[tuple[int, int]]:
    """Parts (start, end) of the caption that fit into a run each; none ends within a span."""
    if len(whole.ids) <= rules.max_tokens:
        return [(0, len(caption))]
    room = rules.max_tokens - sum(whole.special) - 1  # a full stop may be added
    ids, starts, ends = (
        np.array([row[i] for row in zip(whole.ids, *zip(*whole.spans, strict=True), strict=True)])[
            ~np.array(whole.special)
        ]
        for i in range(3)
    )
    free = _free(starts, places)
    blank = np.array([caption[at - 1 : at].isspace() for at in starts.tolist()])
    behind = np.concatenate([[False], np.isin(ids[:-1], np.asarray(rules.separators, np.int64))])
    found, first = [], 0
    while first < len(ids):
        cut = first + room if first + room < len(ids) else len(ids)
        if cut < len(ids):
            here = np.arange(len(ids))
            near = free & (here > first) & (here <= cut)
            if not near.any():
                raise TextError(
                    f"[text] a span of more than {room} tokens near character {starts[first]}",
                    hint="give shorter spans",
                )
            best = next(where for where in (near & behind, near & blank, near) if where.any())
            cut = int(np.flatnonzero(best)[-1])
        found.append((int(starts[first]), int(ends[cut - 1])))
        first = cut
    return found


def _free(starts: Any, places: list[Spans]) -> Any:
    """For each token whether the caption may be cut before it: no span goes on there."""
    free = np.ones(len(starts), bool)
    for parts in places:
        for start, end in parts:
            free &= (starts <= start) | (starts >= end)
    return free
