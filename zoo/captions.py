"""Captions: sentences that are true of a scene, with the characters that name each thing.

    scene -> describe(rng, scene) -> Caption(text, phrases, spans, things, relation)
    caption -> near_miss(rng, caption) -> a caption with one word exchanged, mostly false of the scene
    holds(caption, scene) -> bool; truth(captions, scenes) -> (T, B) bool, the same at once

The grammar: [template] [article] [size] [texture] colour shape [and | relation [article] ... ] [.] where a word that is
not told is left out, and "shape" stands for a shape that is not told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from saccade.zoo.scene import PAIRS, Scene, Thing
from saccade.zoo.words import COLOURS, RELATIONS, SHAPES, SIZES, TEXTURES, size_word

TEMPLATES = (
    "{}", "a picture of {}", "a photo of {}", "an image of {}", "a drawing of {}",
    "there is {}", "this is {}", "we see {}",
)  # fmt: skip
LEAST_GAP = 0.1  # share of the side by which one thing must lie beyond another for a relation to hold
COLOUR_NAMES = tuple(COLOURS)
TEXTURE = 2  # which of the four codes is never -1 for a thing


@dataclass(frozen=True, slots=True)
class Phrase:
    """What is told of one thing; an empty word is not told."""

    colour: str = ""
    shape: str = ""
    texture: str = ""
    size: str = ""

    def __str__(self) -> str:
        return " ".join(w for w in (self.size, self.texture, self.colour, self.shape or "shape") if w)


@dataclass(frozen=True, slots=True)
class Caption:
    """A sentence and what it means. P is the number of phrases.

    spans: P pairs (start, end) of characters; text[start:end] is the phrase without its article
    things: P indices into the scene's things; -1 for a thing that is not there
    relation: between the first two phrases, one of RELATIONS, or "" for "and"
    """

    text: str
    phrases: tuple[Phrase, ...]
    spans: tuple[tuple[int, int], ...]
    things: tuple[int, ...]
    relation: str = ""


def write(
    phrases: Sequence[Phrase],
    things: Sequence[int] = (),
    *,
    relation: str = "",
    template: str = "{}",
    article: bool = True,
    stop: bool = False,
) -> Caption:
    """The caption of these phrases: "a picture of a red circle left of an orange star."

    things: the thing that each phrase means; unknown (-1) if left out
    relation: between the first two phrases; "and" joins all others
    """
    text, spans = template.partition("{}")[0], []
    for number, phrase in enumerate(phrases):
        if number:
            text += f" {relation} " if relation and number == 1 else " and "
        words = str(phrase)
        if article:
            text += "an " if words[0] in "aeiou" else "a "
        spans.append((len(text), len(text) + len(words)))
        text += words
    text += template.partition("{}")[2] + ("." if stop else "")
    return Caption(text, tuple(phrases), tuple(spans), tuple(things) or (-1,) * len(phrases), relation)


def phrase_of(thing: Thing, *, texture: bool = False, size: bool = False) -> Phrase:
    """Colour and shape of a thing; texture and size only when asked for. A middling size has no word."""
    return Phrase(thing.colour, thing.shape, thing.texture if texture else "", size_word(thing.radius) if size else "")


def relations(first: Thing, second: Thing) -> tuple[str, ...]:
    """The relations of `first` to `second` that hold, the one along the larger distance first; up to two."""
    right, down = first.x - second.x, first.y - second.y
    sideways = ("right of" if right > 0 else "left of") if abs(right) >= LEAST_GAP else ""
    upright = ("below" if down > 0 else "above") if abs(down) >= LEAST_GAP else ""
    found = (sideways, upright) if abs(right) >= abs(down) else (upright, sideways)
    return tuple(word for word in found if word)


def describe(
    rng: np.random.Generator,
    scene: Scene,
    *,
    most: int = 2,
    detail: float = 0.3,
    terse: float = 0.0,
    relation: float = 0.4,
    paraphrase: bool = True,
) -> Caption:
    """A caption that is true of the scene; it names up to `most` things in any order, never parts.

    detail: chance that a phrase tells texture, and chance that it tells size
    terse: chance that a phrase tells only the colour or only the shape
    relation: chance that two things are joined by a relation instead of "and"
    paraphrase: whether templates, bare phrases and full stops are drawn; else "a red circle and ..."
    """
    own = [i for i, thing in enumerate(scene.things) if thing.part_of < 0]
    chosen = [own[i] for i in rng.permutation(len(own))[:most]]
    phrases = [_tell(rng, scene.things[i], detail, terse) for i in chosen]
    joint = ""
    if len(chosen) > 1 and rng.random() < relation:
        joint = (*relations(scene.things[chosen[0]], scene.things[chosen[1]]), "")[0]
    return write(phrases, chosen, relation=joint, **(_manner(rng) if paraphrase else {}))  # type: ignore[arg-type]


def _tell(rng: np.random.Generator, thing: Thing, detail: float, terse: float) -> Phrase:
    dice = rng.random(4)
    phrase = phrase_of(thing, texture=bool(dice[0] < detail), size=bool(dice[1] < detail))
    if thing.colour and dice[2] < terse:  # of a colour without a name only the shape can be told anyway
        phrase = replace(phrase, colour="") if dice[3] < 0.5 else replace(phrase, shape="")
    return phrase


def _manner(rng: np.random.Generator) -> dict[str, object]:
    template = TEMPLATES[int(rng.integers(len(TEMPLATES)))] if rng.random() < 0.6 else "{}"
    return {"template": template, "article": rng.random() < 0.75, "stop": rng.random() < 0.25}


def near_miss(rng: np.random.Generator, caption: Caption, *, pairs: str = "any") -> Caption:
    """The caption with one thing exchanged: a colour, a shape, two colours between things, or the relation.

    pairs: "seen", "held-out" or "any": the colour-shape pairs that may come out
    The result may be true of the scene by chance (it can have such a thing): ask holds().
    """
    phrases, relation = list(caption.phrases), caption.relation
    kind = int(rng.integers(4))
    if kind == 0 and relation:
        relation = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}[relation]
    elif kind == 1 and len(phrases) > 1:
        first, second = phrases[:2]
        phrases[:2] = [replace(first, colour=second.colour), replace(second, colour=first.colour)]
    else:
        which = int(rng.integers(len(phrases)))
        phrases[which] = _other(rng, phrases[which], pairs)
    if not all(_allowed(phrase, pairs) for phrase in phrases):
        phrases = [_other(rng, phrase, pairs) for phrase in caption.phrases]
    return write(phrases, relation=relation, **_manner(rng))  # type: ignore[arg-type]


def absent_phrases(rng: np.random.Generator, scene: Scene, count: int, *, pairs: str = "any") -> tuple[Phrase, ...]:
    """Up to `count` colour-shape phrases false of the scene; first those whose colour and shape both occur in it."""
    shown = {(t.colour, t.shape) for t in scene.things}
    colours, shapes = {c for c, _ in shown}, {s for _, s in shown}
    missing = [p for p in PAIRS[pairs] if p not in shown]
    order = [missing[i] for i in rng.permutation(len(missing))]
    order.sort(key=lambda p: -((p[0] in colours) + (p[1] in shapes)))
    return tuple(Phrase(colour, shape) for colour, shape in order[:count])


def _allowed(phrase: Phrase, pairs: str) -> bool:
    return not (phrase.colour and phrase.shape) or (phrase.colour, phrase.shape) in PAIRS[pairs]


def _other(rng: np.random.Generator, phrase: Phrase, pairs: str) -> Phrase:
    """The phrase with another colour or another shape."""
    swap_colour = phrase.colour and (not phrase.shape or rng.random() < 0.5)
    if swap_colour:
        found = [replace(phrase, colour=c) for c in COLOUR_NAMES if c != phrase.colour]
    else:
        found = [replace(phrase, shape=s) for s in SHAPES if s != phrase.shape]
    found = [other for other in found if _allowed(other, pairs)]
    return found[int(rng.integers(len(found)))]


def fits(phrase: Phrase, thing: Thing) -> bool:
    """Whether every word told is true of the thing."""
    return (
        phrase.colour in ("", thing.colour)
        and phrase.shape in ("", thing.shape)
        and phrase.texture in ("", thing.texture)
        and phrase.size in ("", size_word(thing.radius))
    )


def holds(caption: Caption, scene: Scene) -> bool:
    """Whether the caption is true: each phrase fits a thing of its own, and the relation holds of the first two."""
    for chosen in permutations(scene.things, len(caption.phrases)):
        if all(fits(p, t) for p, t in zip(caption.phrases, chosen, strict=True)) and (
            not caption.relation or caption.relation in relations(*chosen[:2])
        ):
            return True
    return False


def truth(captions: Sequence[Caption], scenes: Sequence[Scene]) -> NDArray[np.bool_]:
    """(T, B) bool: which of T captions, of one or two phrases each, are true of which of B scenes."""
    facts, relation_facts = _facts(scenes)
    told = np.full((len(captions), 2, 4), -1, np.int8)
    for row, caption in zip(told, captions, strict=True):
        for words, phrase in zip(row, caption.phrases, strict=False):
            words[:] = _codes(phrase.colour, phrase.shape, phrase.texture, phrase.size)
    fit = ((told[:, :, None, None] == facts) | (told < 0)[:, :, None, None]).all(-1) & (facts[..., TEXTURE] >= 0)
    result: NDArray[np.bool_] = fit[:, 0].any(-1)
    for number, caption in enumerate(captions):
        if len(caption.phrases) > 1:
            both = fit[number, 0, :, :, None] & fit[number, 1, :, None, :]
            kind = RELATIONS.index(caption.relation) if caption.relation else len(RELATIONS)
            result[number] = (both & relation_facts[kind]).any((1, 2))
    return result


def _codes(colour: str, shape: str, texture: str, size: str) -> tuple[int, int, int, int]:
    """Numbers of words; -1 for a word that is not told."""
    return (
        COLOUR_NAMES.index(colour) if colour else -1,
        SHAPES.index(shape) if shape else -1,
        TEXTURES.index(texture) if texture else -1,
        SIZES.index(size) if size else -1,
    )


def _facts(scenes: Sequence[Scene]) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """(B, M, 4) codes of things, -1 where there is none, and (5, B, M, M) relations; the last is "another"."""
    most = max((len(scene.things) for scene in scenes), default=0) or 1
    codes = np.full((len(scenes), most, 4), -1, np.int8)
    centres = np.zeros((len(scenes), most, 2))
    for number, scene in enumerate(scenes):
        for slot, thing in enumerate(scene.things):
            codes[number, slot] = _codes(thing.colour, thing.shape, thing.texture, size_word(thing.radius))
            centres[number, slot] = thing.x, thing.y
    apart = centres[:, :, None] - centres[:, None]
    right, down = apart[..., 0], apart[..., 1]
    another = np.broadcast_to(~np.eye(most, dtype=bool), right.shape)
    held = (right <= -LEAST_GAP, right >= LEAST_GAP, down <= -LEAST_GAP, down >= LEAST_GAP, another)
    return codes, np.stack(held)
