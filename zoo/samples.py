"""The pictures that ship with saccade: `python -m zoo.samples -o zoo/pictures` draws them again, byte for byte.

Twelve pictures of 256 x 256 from all levels, chosen by eye before any model had seen them, and captions.json with what
is in them. Noise is left out but for the last two: it would make the files ten times as large.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from saccade.zoo.captions import phrase_of, relations, write
from saccade.zoo.words import is_held_out
from saccade.zoo.world import Rendered, Thing, render, sample_scene

SIDE = 256
STREAM = 77
# file, level, things, seed, noise
CHOSEN = (
    ("cyan-heart", "easy", 1, 11, 0),
    ("pink-star", "easy", 1, 12, 0),
    ("triangle-and-star", "easy", 2, 8, 0),
    ("crescent-and-triangle", "easy", 2, 12, 0),
    ("checked-ring", "middle", 1, 9, 0),
    ("two-crosses", "middle", 2, 3, 0),
    ("two-rings", "middle", 2, 9, 0),
    ("star-crescent-square", "middle", 3, 0, 0),
    ("cross-heart-star", "middle", 3, 4, 0),
    ("moons", "hard", 2, 12, 0),
    ("moon-and-square", "hard", 4, 7, 1),
    ("crowd", "hard", 6, 2, 1),
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m zoo.samples", description="draw the pictures that ship")
    parser.add_argument("-o", "--out", type=Path, default=Path("zoo/pictures"))
    draw_all(parser.parse_args(arguments).out)
    return 0


def draw_all(folder: Path) -> None:
    """Write the pictures and captions.json into the folder, which is made if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, level, things, seed, noise in CHOSEN:
        picture = draw(level, things, seed, noise)
        Image.fromarray(picture.pixels).save(folder / f"{name}.png", optimize=True)
        rows.append({"file": f"{name}.png", "level": level, **truth_of(picture)})
    text = json.dumps({"size": [SIDE, SIDE], "pictures": rows}, indent=1) + "\n"
    (folder / "captions.json").write_text(text)


def draw(level: str, things: int, seed: int, noise: int) -> Rendered:
    scene = sample_scene(np.random.default_rng([STREAM, seed, things]), level, count=things)
    return render(replace(scene, noise=noise), SIDE)


def truth_of(picture: Rendered) -> dict[str, Any]:
    """A caption of up to two things, and of each thing its words, its visible box (x0 y0 x1 y1, pixels) and area."""
    things = picture.scene.things
    own = [index for index, thing in enumerate(things) if thing.part_of < 0]
    named = sorted(own, key=lambda index: -things[index].radius)[:2]
    told = [phrase_of(things[index]) for index in named]
    joint = relations(things[named[0]], things[named[1]])[0] if len(named) > 1 else ""
    return {
        "caption": write(told, named).text,
        "relation": write(told, named, relation=joint).text,
        "things": [_row(picture, index, thing) for index, thing in enumerate(things)],
    }


def _row(picture: Rendered, index: int, thing: Thing) -> dict[str, Any]:
    return {
        "label": f"{thing.colour} {thing.shape}",
        "phrase": str(phrase_of(thing, texture=thing.texture != "plain", size=True)),
        "texture": thing.texture,
        "box": [int(edge) for edge in picture.boxes[index]],
        "area": int(picture.masks[index].sum()),
        "part_of": thing.part_of,
        "held_out": is_held_out(thing.colour, thing.shape),
    }


if __name__ == "__main__":
    raise SystemExit(main())
