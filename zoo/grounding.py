"""Prompts for a detector that reads: what is asked of a scene, and which of its things each phrase means.

    scene -> categories / attributes / referring / sentence -> Prompt(text, phrases, cues)

A phrase of a list ("a red circle. square.") means every thing that fits it. With "the" before its second thing, a
phrase with a relation ("circle left of the blue square.") names one kind of thing with all its words: the circles of
which it is true. In a sentence ("a circle left of a blue square.") each noun phrase names its own things, of which the
relation is true too. An article belongs to the noun phrase that it opens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from saccade.zoo.captions import LEAST_GAP, TEMPLATES, Phrase, absent_phrases, fits
from saccade.zoo.scene import Scene, Thing
from saccade.zoo.words import COLOURS, RELATIONS, SHAPES, TEXTURES, size_word
from saccade.zoo.world import Rendered

LEAST_SIDE = 6  # pixels of a box, and LEAST_AREA of a mask: a scene with less of a thing in sight is drawn again
LEAST_AREA = 40
CLEARLY_NOT = -0.02  # share of the side; between this and LEAST_GAP a relation is neither true nor false
UNKNOWN_WORDS = ("dog", "cat", "house", "person", "car", "table", "tree", "cup", "hexagon", "brown", "moon")
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
JOINTS = ("and", "next to", "with")


@dataclass(frozen=True, slots=True)
class Named:
    """Some characters of a prompt and the things of the scene that they mean (indices); none for an absent one."""

    start: int
    end: int
    things: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """text: lower case, every phrase or sentence closed by a full stop; phrases: in order, articles included;
    cues: the same without relations: which things fit the words of each noun phrase alone"""

    text: str
    phrases: tuple[Named, ...]
    cues: tuple[Named, ...]


@dataclass(frozen=True, slots=True)
class Related:
    """A relation between two descriptions in a scene: `heads` fit the first, `anchor` alone fits the second;
    `true` are those heads of which the relation to the anchor holds; of the others it clearly does not"""

    head: Phrase
    relation: str
    of: Phrase
    heads: tuple[int, ...]
    true: tuple[int, ...]
    anchor: int


def whole(picture: Rendered) -> bool:
    """Whether enough of every thing is in sight to ask for it."""
    sides = picture.boxes[:, 2:] - picture.boxes[:, :2]
    areas = picture.masks.sum((1, 2))
    return bool((sides >= LEAST_SIDE).all() and (areas >= LEAST_AREA).all())


def fitting(phrase: Phrase, scene: Scene) -> tuple[int, ...]:
    return tuple(i for i, thing in enumerate(scene.things) if fits(phrase, thing))


def listed(rng: np.random.Generator, scene: Scene, phrases: Sequence[Phrase | str], articles: bool = False) -> Prompt:
    """The prompt "red circle. a square. dog."; a plain string stands for something that is not in the world."""
    text, named = "", []
    for phrase in phrases:
        text, span = _add(text, str(phrase), "a" if articles else "")
        named.append(Named(*span, fitting(phrase, scene) if isinstance(phrase, Phrase) else ()))
        text += ". "
    return Prompt(text.rstrip(), tuple(named), tuple(named))


def referring(scene: Scene, related: Sequence[Related], article: str = "") -> Prompt:
    """The prompt "circle left of the blue square. the star above the ring."; nothing else of the scene is named."""
    text, named, cues = "", [], []
    for case in related:
        start = len(text)
        text, head = _add(text, str(case.head), article)
        text, of = _add(f"{text} {case.relation} ", str(case.of), "the")
        named.append(Named(start, len(text), case.true))
        cues += [Named(*head, case.heads), Named(*of, (case.anchor,))]
        text += ". "
    return Prompt(text.rstrip(), tuple(named), tuple(cues))


def related_sentence(scene: Scene, case: Related, template: str = "{}") -> Prompt:
    """The sentence "there is a circle left of a blue square."; the anchor is meant only if the relation is true."""
    text, head = _add(template.partition("{}")[0], str(case.head), "a")
    text, of = _add(f"{text} {case.relation} ", str(case.of), "a")
    anchor = (case.anchor,)
    named = (Named(*head, case.true), Named(*of, anchor if case.true else ()))
    return Prompt(text + ".", named, (Named(*head, case.heads), Named(*of, anchor)))


def plain_sentence(scene: Scene, phrases: Sequence[Phrase], joint: str, template: str = "{}") -> Prompt:
    """The sentence "a picture of a red circle next to a blue square."; every thing that fits a phrase is meant."""
    text, named = template.partition("{}")[0], []
    for number, phrase in enumerate(phrases):
        text += f" {joint} " if number else ""
        text, span = _add(text, str(phrase), "a")
        named.append(Named(*span, fitting(phrase, scene)))
    return Prompt(text + ".", tuple(named), tuple(named))


def joined(first: Prompt, second: Prompt) -> Prompt:
    """One prompt of both, either of which may be empty."""
    if not first.text or not second.text:
        return first if first.text else second
    shift = len(first.text) + 1

    def moved(named: tuple[Named, ...]) -> tuple[Named, ...]:
        return tuple(Named(n.start + shift, n.end + shift, n.things) for n in named)

    text = f"{first.text} {second.text}"
    return Prompt(text, first.phrases + moved(second.phrases), first.cues + moved(second.cues))


def _add(text: str, words: str, article: str) -> tuple[str, tuple[int, int]]:
    """The text with the words at its end, and their characters with the article."""
    if article:
        words = ("an " if article == "a" and words[0] in "aeiou" else f"{article} ") + words
    return text + words, (len(text), len(text) + len(words))


def offset(relation: str, thing: Thing, other: Thing) -> float:
    """How far `thing` lies beyond `other` in the relation's direction, share of the side."""
    return {
        "left of": other.x - thing.x, "right of": thing.x - other.x,
        "above": other.y - thing.y, "below": thing.y - other.y,
    }[relation]  # fmt: skip


def relations_of(scene: Scene) -> list[Related]:
    """Every relation that can be told of the scene without doubt, true or false, in a fixed order."""
    things = scene.things
    own = [i for i, thing in enumerate(things) if thing.part_of < 0]
    told = sorted({p for i in own for p in _descriptions(things[i])}, key=str)
    fit = {phrase: tuple(i for i in own if fits(phrase, things[i])) for phrase in told}
    cases = []
    for of in told:
        if len(fit[of]) != 1 or not of.shape:
            continue
        anchor = fit[of][0]
        for head in told:
            heads = tuple(i for i in fit[head] if i != anchor)
            if not heads or len(heads) != len(fit[head]):
                continue
            for relation in RELATIONS:
                far = [offset(relation, things[i], things[anchor]) for i in heads]
                if all(d >= LEAST_GAP or d <= CLEARLY_NOT for d in far):
                    true = tuple(i for i, d in zip(heads, far, strict=True) if d >= LEAST_GAP)
                    cases.append(Related(head, relation, of, heads, true, anchor))
    return cases


def _descriptions(thing: Thing) -> list[Phrase]:
    """Shape, colour and both of a thing; only the shape where the colour has no name."""
    if not thing.colour:
        return [Phrase(shape=thing.shape)]
    return [Phrase(shape=thing.shape), Phrase(colour=thing.colour), Phrase(thing.colour, thing.shape)]


def choose_relation(
    rng: np.random.Generator, cases: Sequence[Related], *, telling: float = 0.75, false: float = 0.12
) -> Related | None:
    """One of relations_of(scene), or None where there is none.

    telling: chance to take one that is true of some of the heads and false of others; false: of none
    """
    dice = rng.random()
    if dice < telling:
        kept = [c for c in cases if 0 < len(c.true) < len(c.heads)]
    elif dice < telling + false:
        kept = [c for c in cases if not c.true]
    else:
        kept = [c for c in cases if c.true]
    kept = kept or [c for c in cases if c.true]
    return kept[int(rng.integers(len(kept)))] if kept else None


def opposite(case: Related, cases: Sequence[Related]) -> Related | None:
    """The same with the relation turned round, if that can be told too."""
    turned = OPPOSITE[case.relation]
    found = (c for c in cases if (c.head, c.relation, c.of) == (case.head, turned, case.of))
    return next(found, None)


def with_twin(rng: np.random.Generator, scene: Scene) -> Scene:
    """The scene with one thing more of a pair that it shows: another thing takes colour and shape of an earlier one."""
    own = [i for i, thing in enumerate(scene.things) if thing.part_of < 0]
    if len(own) < 2:
        return scene
    first, second = (own[int(i)] for i in rng.permutation(len(own))[:2])
    model = scene.things[first]
    rgb = tuple(min(255, max(0, c + int(rng.integers(-8, 9)))) for c in model.rgb)
    twin = replace(scene.things[second], colour=model.colour, shape=model.shape, rgb=rgb)  # type: ignore[arg-type]
    return replace(scene, things=(*scene.things[:second], twin, *scene.things[second + 1 :]))


def attributes(rng: np.random.Generator, scene: Scene, count: int, pairs: str, *, absent: float = 0.5) -> list[Phrase]:
    """`count` different colour-shape phrases in any order, some of things that are there, some hard absent ones."""
    there = sorted({(t.colour, t.shape) for t in scene.things if t.colour})
    there = [there[i] for i in rng.permutation(len(there))]
    gone = list(absent_phrases(rng, scene, count if rng.random() < 0.75 else 40, pairs=pairs))
    gone = [gone[i] for i in rng.permutation(len(gone))]
    wanted = int((rng.random(count) >= absent).sum())
    found = [Phrase(*pair) for pair in there[:wanted]]
    found += gone[: count - len(found)]
    return [found[i] for i in rng.permutation(len(found))]


def categories(rng: np.random.Generator, scene: Scene, count: int) -> list[Phrase]:
    """`count` different shape words in any order; one that is there comes first to be chosen half of the time."""
    order = [SHAPES[i] for i in rng.permutation(len(SHAPES))]
    shown = {thing.shape for thing in scene.things}
    if rng.random() < 0.5:
        order.sort(key=lambda shape: shape not in shown)
    chosen = order[:count]
    return [Phrase(shape=chosen[i]) for i in rng.permutation(len(chosen))]


def detailed(rng: np.random.Generator, scene: Scene, count: int, pairs: str) -> list[Phrase]:
    """Phrases of every kind, some with a texture or a size, true ones and ones with a wrong word, all different."""
    colours = tuple(COLOURS)
    found: dict[Phrase, None] = {}
    for _ in range(count):
        thing = scene.things[int(rng.integers(len(scene.things)))]
        dice = rng.random(5)
        texture = thing.texture if dice[3] < 0.8 else TEXTURES[int(rng.integers(len(TEXTURES)))]
        phrase = Phrase(
            thing.colour if dice[0] < 0.6 else "",
            thing.shape if dice[1] < 0.7 else "",
            texture if dice[2] < 0.4 else "",
            size_word(thing.radius) if dice[4] < 0.4 else "",
        )
        if rng.random() < 0.15 and not phrase.shape:
            phrase = replace(phrase, colour=colours[int(rng.integers(len(colours)))])
        found[phrase if str(phrase) != "shape" else Phrase(shape=thing.shape)] = None
    return list(found)


def draw_template(rng: np.random.Generator) -> str:
    return TEMPLATES[int(rng.integers(len(TEMPLATES)))] if rng.random() < 0.5 else "{}"
