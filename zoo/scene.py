"""A scene: what is in a picture before there are pixels, and the three levels that scenes are drawn from.

    sample_scene(rng, "middle") -> Scene(things, backdrop, light, ...) -> world.render -> pixels, masks, boxes

All lengths are shares: x of the width, y of the height, radius of the shorter side. So one scene renders at any size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from saccade.zoo.words import ALL_PAIRS, COLOURS, HELD_OUT_PAIRS, SEEN_PAIRS, TEXTURES

Rgb = tuple[int, int, int]
Pairs = tuple[tuple[str, str], ...]
ODD_DISTANCE = 70  # Euclidean, in levels of RGB
PAIRS = {"seen": SEEN_PAIRS, "held-out": HELD_OUT_PAIRS, "any": ALL_PAIRS}


@dataclass(frozen=True, slots=True)
class Thing:
    """One coloured shape. Later things of a scene cover earlier ones."""

    colour: str  # a key of words.COLOURS, or "" for a colour without a name
    shape: str
    texture: str
    x: float  # centre, share of the width
    y: float  # centre, share of the height
    radius: float  # of the circle around it, share of the shorter side
    degrees: int  # clockwise
    rgb: Rgb  # the colour as it came out, jitter included
    part_of: int = -1  # index of the thing that this one lies on as a part, -1 for a thing of its own


@dataclass(frozen=True, slots=True)
class Light:
    """What falls on things and backdrop: a factor a channel, changing across the picture."""

    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    slope_x: float = 0.0  # change of the factor from the left edge to the right
    slope_y: float = 0.0


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything a picture is made of. The same scene at the same size gives the same bytes."""

    things: tuple[Thing, ...]
    backdrop: Rgb
    slope: tuple[float, float] = (0.0, 0.0)  # grey levels gained over the width, over the height
    light: Light = Light()
    specks: int = 0
    lines: int = 0
    noise: int = 0  # amplitude in grey levels
    seed: int = 0  # of specks, lines and noise
    level: str = ""


@dataclass(frozen=True, slots=True)
class Level:
    """What a difficulty level allows; ranges are (low, high)."""

    count: tuple[int, int]
    radius: tuple[float, float]
    textured: float  # share of things that are not plain
    tilt: int  # largest rotation either way, degrees
    inside: float  # share of the radius that stays within the border; 1 keeps things whole
    apart: float  # least distance of two centres in sums of radii; below 1 things may cover each other
    backdrop: tuple[int, int]  # grey levels
    cast: int  # how far the backdrop's channels differ, levels
    slope: int
    jitter: int  # of a colour's channels, levels
    tint: float  # largest relative change of a channel by the light
    shade: float  # largest change of the light over the picture
    specks: int
    lines: int
    noise: int
    parts: float  # chance that a large thing carries a part


LEVELS = {
    "easy": Level((1, 2), (0.15, 0.27), 0.0, 12, 1.0, 1.08, (28, 70), 6, 0, 6, 0.0, 0.0, 0, 0, 2, 0.0),
    "middle": Level((1, 4), (0.11, 0.26), 0.4, 30, 0.75, 1.0, (24, 104), 16, 36, 14, 0.05, 0.15, 4, 0, 8, 0.0),
    "hard": Level((2, 6), (0.09, 0.27), 0.5, 180, 0.6, 0.72, (18, 120), 26, 60, 24, 0.12, 0.40, 14, 4, 16, 0.35),
}


def sample_scene(
    rng: np.random.Generator,
    level: str = "middle",
    *,
    pairs: str | Pairs = "any",
    count: int | None = None,
    parts: bool | None = None,
    confusable: float = 0.5,
    unnamed: float = 0.0,
) -> Scene:
    """Draw a scene.

    level: "easy", "middle" or "hard" (LEVELS)
    pairs: "seen" (what training uses), "held-out" or "any" colour-shape pairs, or a table of (colour, shape)
    count: number of things; the level's own range if None. Fewer come where the picture is full.
    parts: whether large things may carry a part, a smaller shape of another colour; the level's own chance if None
    confusable: chance that a further thing shares the shape or the colour of an earlier one
    unnamed: chance that a thing comes in a colour that has no name here (brown, grey, ...); its `colour` is then ""
    Raises KeyError for a level or a set of pairs that does not exist.
    """
    rules, allowed = LEVELS[level], PAIRS[pairs] if isinstance(pairs, str) else pairs
    wanted = count if count is not None else _between(rng, *rules.count)
    things: list[Thing] = []
    for _ in range(wanted):
        colour, shape = _choose_pair(rng, allowed, things, confusable)
        place = _place(rng, rules, things, wanted)
        if place is not None:
            thing = _thing(rng, rules, colour, shape, *place)
            odd = unnamed > 0 and rng.random() < unnamed
            things.append(replace(thing, colour="", rgb=_odd_colour(rng)) if odd else thing)
    if parts is not False and rules.parts + bool(parts) > 0:
        things = _with_parts(rng, things, 1.0 if parts else rules.parts, allowed)
    return Scene(tuple(things), *_surroundings(rng, rules), level)


def _between(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


def _swing(rng: np.random.Generator, most: float) -> float:
    return float(most * (2 * rng.random() - 1))


def _choose_pair(rng: np.random.Generator, allowed: Pairs, things: list[Thing], confusable: float) -> tuple[str, str]:
    """A pair that the scene does not show yet, often a near miss of one that it does."""
    shown = {(t.colour, t.shape) for t in things}
    fresh = [p for p in allowed if p not in shown]
    if things and rng.random() < confusable:
        colours, shapes = {c for c, _ in shown}, {s for _, s in shown}
        fresh = [p for p in fresh if p[0] in colours or p[1] in shapes] or fresh
    return fresh[int(rng.integers(len(fresh)))]


def _place(
    rng: np.random.Generator, rules: Level, things: list[Thing], wanted: int
) -> tuple[float, float, float] | None:
    """(x, y, radius) that keeps the level's distances, or None after 40 tries."""
    low, high = rules.radius
    high = low + (high - low) * min(1.0, 2.6 / (wanted + 0.6))  # many things are smaller things
    for _ in range(40):
        radius = low + (high - low) * float(rng.random())
        margin = radius * rules.inside
        x, y = (margin + (1 - 2 * margin) * float(rng.random()) for _ in range(2))
        if all((x - t.x) ** 2 + (y - t.y) ** 2 >= (rules.apart * (radius + t.radius)) ** 2 for t in things):
            return x, y, radius
    return None


def _thing(rng: np.random.Generator, rules: Level, colour: str, shape: str, x: float, y: float, radius: float) -> Thing:
    texture = TEXTURES[_between(rng, 1, 3)] if rng.random() < rules.textured else "plain"
    base = COLOURS[colour]
    red, green, blue = (min(255, max(0, c + _between(rng, -rules.jitter, rules.jitter))) for c in base)
    return Thing(colour, shape, texture, x, y, radius, _between(rng, -rules.tilt, rules.tilt), (red, green, blue))


def _odd_colour(rng: np.random.Generator) -> Rgb:
    """A colour, not too dark to be seen, at least ODD_DISTANCE from all that have a name."""
    while True:
        red, green, blue = (int(c) for c in rng.integers(0, 256, 3))
        away = min((red - r) ** 2 + (green - g) ** 2 + (blue - b) ** 2 for r, g, b in COLOURS.values())
        if red + green + blue >= 150 and away >= ODD_DISTANCE**2:
            return red, green, blue


def _with_parts(rng: np.random.Generator, things: list[Thing], chance: float, allowed: Pairs) -> list[Thing]:
    """The things, each large one now and then followed by a part: a smaller shape of another colour on it."""
    result: list[Thing] = []
    for thing in things:
        result.append(thing)
        # rings and crescents have a hole where the part would lie
        if thing.radius < 0.16 or thing.shape in ("ring", "crescent") or rng.random() >= chance:
            continue
        others = [p for p in allowed if p[0] != thing.colour]
        colour, shape = others[int(rng.integers(len(others)))]
        radius = thing.radius * (0.34 + 0.10 * float(rng.random()))
        tilt = _between(rng, -30, 30)
        result.append(Thing(colour, shape, "plain", thing.x, thing.y, radius, tilt, COLOURS[colour], len(result) - 1))
    return result


def _surroundings(rng: np.random.Generator, rules: Level) -> tuple[Rgb, tuple[float, float], Light, int, int, int, int]:
    grey = _between(rng, *rules.backdrop)
    red, green, blue = (min(255, max(0, grey + _between(rng, -rules.cast, rules.cast))) for _ in range(3))
    slope = (_swing(rng, rules.slope), _swing(rng, rules.slope))
    tint = (1 + _swing(rng, rules.tint), 1 + _swing(rng, rules.tint), 1 + _swing(rng, rules.tint))
    light = Light(tint, _swing(rng, rules.shade), _swing(rng, rules.shade))
    specks, lines, noise = _between(rng, 0, rules.specks), _between(rng, 0, rules.lines), _between(rng, 0, rules.noise)
    return (red, green, blue), slope, light, specks, lines, noise, int(rng.integers(2**32))
