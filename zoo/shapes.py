"""The eight shapes as signed distances and the four textures as patterns, both in a shape's own coordinates.

Coordinates are in units of the shape's radius: u to the right, v down before rotation, (0, 0) the centre; every shape
lies within REACH of it. Only + - * /, abs, min, max, floor and sqrt are used: IEEE 754 rounds these the same
everywhere, so pictures do not depend on a machine's mathematical library.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

HALF_ROOT_3 = 0.8660254037844386
HALF_ROOT_2 = 0.7071067811865476
REACH = 1.03  # the heart's lobes; the others stay within 1
COS_36, SIN_36 = 0.8090169943749475, 0.5877852522924731


def circle(u: Array, v: Array) -> Array:
    return np.sqrt(u * u + v * v) - 0.90


def ring(u: Array, v: Array) -> Array:
    return np.abs(np.sqrt(u * u + v * v) - 0.72) - 0.22


def square(u: Array, v: Array) -> Array:
    return np.maximum(np.abs(u), np.abs(v)) - 0.70


def triangle(u: Array, v: Array) -> Array:
    """Equilateral, a corner up, corners on the unit circle."""
    return np.maximum(v, HALF_ROOT_3 * np.abs(u) - 0.5 * v) - 0.5


def cross(u: Array, v: Array) -> Array:
    a, b = np.abs(u), np.abs(v)
    return np.minimum(np.maximum(a - 0.92, b - 0.29), np.maximum(a - 0.29, b - 0.92))


def crescent(u: Array, v: Array) -> Array:
    bite = 0.74 - np.sqrt((u - 0.44) * (u - 0.44) + v * v)
    return np.maximum(np.sqrt(u * u + v * v) - 0.95, bite)


def heart(u: Array, v: Array) -> Array:
    """A square on its corner and a disc on each of its two upper edges."""
    up = 0.08 - v
    s, t = HALF_ROOT_2 * (up + u), HALF_ROOT_2 * (up - u)
    half = 0.54
    tip = np.maximum(np.abs(s), np.abs(t)) - half
    lobes = np.minimum(np.sqrt((s - half) ** 2 + t * t), np.sqrt(s * s + (t - half) ** 2)) - half
    return np.minimum(tip, lobes)


def star(u: Array, v: Array) -> Array:
    """Five points on the unit circle: fold the plane along the star's axes, then the distance to one edge."""
    u, v = np.abs(u), -v
    for axis in (COS_36, -COS_36):
        fold = 2 * np.maximum(axis * u - SIN_36 * v, 0)
        u, v = u - fold * axis, v + fold * SIN_36
    u, v = np.abs(u), v - 1.0
    edge_u, edge_v = 0.46 * SIN_36, 0.46 * COS_36 - 1.0
    along = np.minimum(np.maximum((u * edge_u + v * edge_v) / (edge_u**2 + edge_v**2), 0), 1)
    du, dv = u - edge_u * along, v - edge_v * along
    inside = v * edge_u - u * edge_v
    return np.sqrt(du * du + dv * dv) * np.where(inside < 0, -1.0, 1.0)


SIGNED_DISTANCE: dict[str, Callable[[Array, Array], Array]] = {
    "circle": circle, "square": square, "triangle": triangle, "star": star,
    "cross": cross, "ring": ring, "crescent": crescent, "heart": heart,
}  # fmt: skip


def coverage(shape: str, u: Array, v: Array, radius_px: float) -> Array:
    """How much of each pixel the shape covers, 0 to 1, antialiased over one pixel.

    u, v: pixel centres in units of the radius; radius_px: the radius in pixels
    """
    return np.minimum(np.maximum(0.5 - SIGNED_DISTANCE[shape](u, v) * radius_px, 0.0), 1.0)


def _wave(x: Array) -> Array:
    """A triangle wave of period 1 between -1 and 1."""
    return 4 * np.abs(x - np.floor(x) - 0.5) - 1


def pattern(texture: str, u: Array, v: Array, radius_px: float) -> Array | None:
    """The share of each pixel that a texture paints in its second colour, 0 to 1; None for plain.

    Periods are shares of the radius, so a scene looks the same at any size; the smallest of 64 pixels still shows them.
    """
    if texture == "plain":
        return None
    if texture == "striped":
        period = 0.60
        ink, slope = _wave(v / period + 0.25), period * radius_px / 4
    elif texture == "checked":
        period = 0.84
        ink, slope = _wave(u / period + 0.25) * _wave(v / period + 0.25), period * radius_px / 4
    else:
        period = 0.56
        du, dv = u / period - np.floor(u / period) - 0.5, v / period - np.floor(v / period) - 0.5
        ink, slope = 0.31 - np.sqrt(du * du + dv * dv), period * radius_px
    return np.minimum(np.maximum(0.5 + ink * slope, 0.0), 1.0)


@lru_cache(maxsize=360)
def turn(degrees: int) -> tuple[float, float]:
    """(cosine, sine) of whole degrees by their power series: the same bits everywhere, unlike libm's."""
    x = ((degrees + 180) % 360 - 180) * 0.017453292519943295
    cosine = sine = 0.0
    term = 1.0
    for k in range(0, 28, 2):
        cosine, sine = cosine + term, sine + term * x / (k + 1)
        term = -term * x * x / ((k + 1) * (k + 2))
    return cosine, sine
