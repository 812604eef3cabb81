"""What the world of shapes can say: its words, and the colour-shape pairs that no training ever sees together.

    8 shapes x 9 colours = 72 classes, "red circle" ... "pink heart"; 4 textures, 2 sizes, 4 relations besides

Which pairs are held out is a rule, not a choice: pair (shape i, colour j) is held out iff (2 i + j) mod 9 < 4, with i
and j counted as below. That leaves each shape 5 colours and each colour 4 or 5 shapes to be learnt from; the 32 pairs
held out occur in no training picture and in no training caption, negatives included.
"""

from __future__ import annotations

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "crescent", "heart")

# sRGB as lit by white light, before the jitter of a level.
COLOURS = {
    "red": (214, 40, 40),
    "green": (52, 168, 72),
    "blue": (46, 92, 222),
    "yellow": (242, 214, 44),
    "purple": (134, 58, 182),
    "orange": (244, 136, 28),
    "cyan": (56, 206, 220),
    "white": (240, 240, 240),
    "pink": (248, 136, 190),
}

TEXTURES = ("plain", "striped", "dotted", "checked")
SIZES = ("small", "large")
RELATIONS = ("left of", "right of", "above", "below")

# Radius as a share of the picture's shorter side. Between the two nothing is said of the size.
SMALL_BELOW = 0.135
LARGE_FROM = 0.195

CLASSES = tuple(f"{colour} {shape}" for shape in SHAPES for colour in COLOURS)


def class_index(colour: str, shape: str) -> int:
    """Where "colour shape" stands in CLASSES."""
    return SHAPES.index(shape) * len(COLOURS) + tuple(COLOURS).index(colour)


def is_held_out(colour: str, shape: str) -> bool:
    """Whether training must never show or name this pair (the rule is in the module's text)."""
    return (2 * SHAPES.index(shape) + tuple(COLOURS).index(colour)) % 9 < 4


def _pairs(held_out: bool) -> tuple[tuple[str, str], ...]:
    return tuple((c, s) for s in SHAPES for c in COLOURS if is_held_out(c, s) == held_out)


SEEN_PAIRS = _pairs(held_out=False)  # 40 of (colour, shape)
HELD_OUT_PAIRS = _pairs(held_out=True)  # 32 of (colour, shape)
ALL_PAIRS = tuple((c, s) for s in SHAPES for c in COLOURS)


def size_word(radius: float) -> str:
    """The word for a radius (share of the shorter side): "small", "large" or "" for neither."""
    if radius < SMALL_BELOW:
        return "small"
    return "large" if radius >= LARGE_FROM else ""
