"""What calibration and verification see: the user's pictures and texts, and the values inside a graph while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saccade.export.recipe import Inputs, Labelled
from saccade.export.to_onnx import session
from saccade.runtime.errors import InputError
from saccade.runtime.image import Image, decode

ROWS = 1024
"""Rows of each tensor that are kept; extremes are taken over all of them."""
MOST = 192
"""Pictures or texts that are looked at; error falls little beyond a hundred."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

THINGS = (
    "cat",
    "dog",
    "horse",
    "bird",
    "car",
    "bicycle",
    "aeroplane",
    "boat",
    "house",
    "bridge",
    "tree",
    "flower",
    "mountain",
    "river",
    "street at night",
    "beach",
    "kitchen",
    "desk with a lamp",
    "plate of food",
    "cup of coffee",
    "child",
    "crowd",
    "football match",
    "concert",
    "map",
    "page of text",
    "circuit board",
    "star cluster",
    "x-ray",
    "cell under a microscope",
)
TEMPLATES = ("a photo of a {}.", "{}", "a blurry picture of the small {} in the background", "two {}s, seen from above")


@dataclass(frozen=True)
class Seen:
    """A tensor over all samples: its extremes, and ROWS of its rows, (R, C) float32; `each` sample has so many."""

    low: float
    high: float
    rows: np.ndarray
    each: int = 1


def pictures_of(given: Any) -> list[Image]:
    """Opened pictures from a folder (searched, in the order of their names) or a list of what `decode` takes.

    At most MOST, spread evenly. Raises InputError if there are none, ImageError for what is no picture.
    """
    if isinstance(given, str | Path):
        folder = Path(given)
        if not folder.is_dir():
            raise InputError(
                f"[calibrate] no such folder: {folder}", hint="name a folder with pictures like those to come"
            )
        given = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not given:
            raise InputError(f"[calibrate] {folder} has no {' '.join(SUFFIXES)}", hint="32 pictures or more are good")
    return [decode(source) for source in spread(list(given))]


def labelled_folder(folder: Path, template: str = "a photo of {}") -> Labelled:
    """Pictures with known answers: one folder a label, named by it, with its pictures below.

    At most MOST pictures, spread evenly. Raises InputError unless there are two labels or more, each with a picture.
    """
    places = sorted(place for place in folder.iterdir() if place.is_dir()) if folder.is_dir() else []
    found = [
        (at, p) for at, place in enumerate(places) for p in sorted(place.rglob("*")) if p.suffix.lower() in SUFFIXES
    ]
    if len(places) < 2 or {at for at, _ in found} != set(range(len(places))):
        raise InputError(
            f"[labelled] {folder}: {len(places)} folders, {len(found)} pictures",
            hint="make one folder a label, named by it, with pictures in each",
        )
    kept = spread(found)
    texts = [template.replace("{}", place.name) for place in places]
    return Labelled([decode(p) for _, p in kept], [at for at, _ in kept], texts)


def texts_of(given: Sequence[str] | None) -> list[str]:
    """The given texts, at most MOST, or everyday captions."""
    return spread(list(given)) if given else [template.format(thing) for thing in THINGS for template in TEMPLATES]


def rendered(count: int = 24) -> list[Image]:
    """Pictures of the zoo's world, for checks when nobody gave any."""
    from saccade.zoo.world import render, sample_scene

    rng = np.random.Generator(np.random.PCG64(7))
    return [Image(render(sample_scene(rng, "hard"), 256).pixels, f"rendered-{i}") for i in range(count)]


def spread(items: list[Any], most: int = MOST) -> list[Any]:
    """At most `most` items, evenly over the list, the first among them."""
    return items if len(items) <= most else [items[i * len(items) // most] for i in range(most)]


def watch(model: Any, tensors: Iterable[str], samples: Sequence[Inputs], step: Callable[[], None]) -> dict[str, Seen]:
    """What passes through `tensors` of a ModelProto while it runs on the samples, on one thread so that it repeats.

    step: called after each sample
    """
    from onnx import TensorProto, helper

    names = list(tensors)
    opened = type(model)()
    opened.CopyFrom(model)
    del opened.graph.output[:]
    opened.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    run = session(opened, threads=1)
    each = -(-ROWS // len(samples))
    low, high = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in names}
    count = dict.fromkeys(names, 0)
    for inputs in samples:
        for name, value in run(inputs).items():
            flat = value.reshape(-1, value.shape[-1])
            low[name], high[name] = min(low[name], float(flat.min())), max(high[name], float(flat.max()))
            rows[name].append(np.array(spread(list(flat), each)))
            count[name] += len(flat)
        step()
    each = len(samples)
    return {name: Seen(low[name], high[name], np.concatenate(rows[name]), count[name] // each) for name in names}
