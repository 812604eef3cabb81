"""What training asks a grounding model: a kind of prompt, a scene that suits it, and the prompt itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from saccade.zoo import grounding
from saccade.zoo.captions import Phrase, absent_phrases
from saccade.zoo.grounding import Prompt, Related
from saccade.zoo.words import COLOURS, SHAPES
from saccade.zoo.world import LEVELS, Scene, sample_scene

KINDS = {"category": 0.20, "attribute": 0.34, "colour": 0.07, "detailed": 0.06, "absent": 0.24, "unknown": 0.03,
         "sentence": 0.10, "relation": 0.55}  # fmt: skip
"""Weights of the kinds once relations are as frequent as they get."""
RELATIONS_FROM, RELATIONS_BY = 0.2, 0.3  # their weight's share at the start, and when it is whole
UNNAMED, TWINS = 0.12, 0.15  # shares of things in unnamed colours, of scenes with twins
MOST = 8  # phrases of a list


def pick(rng: np.random.Generator, progress: float = 1.0) -> str:
    """A kind of prompt, as often as KINDS says; relations come when the words are known."""
    part = RELATIONS_FROM + (1 - RELATIONS_FROM) * min(1.0, progress / RELATIONS_BY)
    weights = np.array([weight * (part if kind == "relation" else 1.0) for kind, weight in KINDS.items()])
    return list(KINDS)[int(rng.choice(len(KINDS), p=weights / weights.sum()))]


def levels_at(progress: float) -> tuple[float, float, float]:
    """Shares of easy, middle and hard at a moment of the training."""
    p = min(1.0, progress / 0.5)
    return 0.25 - 0.15 * p, 0.68 + 0.10 * p, 0.07 + 0.05 * p


def _many(rng: np.random.Generator, most: int = MOST) -> int:
    """1 to `most`, the larger of two dice: a picture costs much, a phrase little."""
    return int(rng.integers(1, most + 1, 2).max())


def draw_scene(rng: np.random.Generator, kind: str, progress: float) -> Scene:
    """A scene of seen pairs for a kind of prompt; harder ones as the training goes on."""
    level = list(LEVELS)[int(rng.choice(3, p=levels_at(progress)))]
    if kind == "relation" or (kind == "sentence" and rng.random() < 0.6):
        scene = sample_scene(rng, level, pairs="seen", parts=False, confusable=0.8, count=int(rng.integers(2, 6)))
        return grounding.with_twin(rng, scene) if rng.random() < 0.5 else scene
    count = int(rng.integers(1, 7)) if level != "easy" else None
    scene = sample_scene(rng, level, pairs="seen", unnamed=UNNAMED, count=count)
    return grounding.with_twin(rng, scene) if rng.random() < TWINS else scene


def draw_prompt(rng: np.random.Generator, kind: str, scene: Scene, pairs: str = "seen") -> Prompt | None:
    """A prompt of a kind of KINDS; None where the scene has none."""
    if kind in ("relation", "sentence"):
        return _relation(rng, scene) if kind == "relation" else _sentence(rng, scene, pairs)
    phrases: list[Phrase | str]
    if kind == "category":
        phrases = [*grounding.categories(rng, scene, _many(rng, len(SHAPES)))]
    elif kind == "attribute":
        phrases = [*grounding.attributes(rng, scene, _many(rng), pairs)]
    elif kind == "colour":
        phrases = [Phrase(colour=list(COLOURS)[i]) for i in rng.permutation(len(COLOURS))[: _many(rng)]]
    elif kind == "detailed":
        phrases = [*grounding.detailed(rng, scene, _many(rng, 5), pairs)]
    else:
        phrases = _false(rng, kind, scene, pairs)
    return grounding.listed(rng, scene, phrases, articles=bool(rng.random() < 0.35)) if phrases else None


def _false(rng: np.random.Generator, kind: str, scene: Scene, pairs: str) -> list[Phrase | str]:
    """One phrase that is not there, or words that mean nothing here beside one or two that do."""
    if kind == "absent":
        shown = {thing.shape for thing in scene.things}
        if rng.random() < 0.35:
            shapes = [Phrase(shape=shape) for shape in SHAPES if shape not in shown]
            return [shapes[int(rng.integers(len(shapes)))]]
        found = absent_phrases(rng, scene, 3, pairs=pairs)
        return [found[int(rng.integers(len(found)))]]
    odd = grounding.UNKNOWN_WORDS[int(rng.integers(len(grounding.UNKNOWN_WORDS)))]
    if rng.random() < 0.4:
        odd = f"{list(COLOURS)[int(rng.integers(len(COLOURS)))]} {odd}"
    known = grounding.attributes(rng, scene, int(rng.integers(0, 3)), pairs)
    phrases: list[Phrase | str] = [odd, *known]
    return [phrases[i] for i in rng.permutation(len(phrases))]


def _relation(rng: np.random.Generator, scene: Scene) -> Prompt | None:
    """Several relations, half of them beside their opposite: the same words, another answer."""
    known = grounding.relations_of(scene)
    cases: dict[Related, None] = {}
    for _ in range(_many(rng, 4)):
        case = grounding.choose_relation(rng, known)
        turned = grounding.opposite(case, known) if case and rng.random() < 0.5 else None
        cases.update((c, None) for c in (case, turned) if c)
    if not cases:
        return None
    found = list(cases)[:5]
    article = ("", "the", "a")[int(rng.choice(3, p=(0.55, 0.3, 0.15)))]
    prompt = grounding.referring(scene, [found[i] for i in rng.permutation(len(found))], article)
    others = _many(rng, 3) if rng.random() < 0.25 else 0
    listed = grounding.listed(rng, scene, grounding.attributes(rng, scene, others, "seen"), article == "a")
    return grounding.joined(listed, prompt) if rng.random() < 0.5 else grounding.joined(prompt, listed)


def _sentence(rng: np.random.Generator, scene: Scene, pairs: str) -> Prompt | None:
    template = grounding.draw_template(rng)
    cases = grounding.relations_of(scene) if rng.random() < 0.5 else []
    case = grounding.choose_relation(rng, cases, false=0.0)
    if case:
        prompt = grounding.related_sentence(scene, case, template)
        turned = grounding.opposite(case, cases)
        if turned is None or rng.random() < 0.5:
            return prompt
        return grounding.joined(prompt, grounding.related_sentence(scene, turned, template))
    count = 1 + int(rng.random() < 0.8) + int(rng.random() < 0.2)
    phrases = grounding.attributes(rng, scene, count, pairs, absent=0.25)
    phrases = [replace(p, colour="") if rng.random() < 0.2 else p for p in phrases]
    joint = grounding.JOINTS[int(rng.choice(3, p=(0.6, 0.25, 0.15)))]
    return grounding.plain_sentence(scene, phrases, joint, template)
