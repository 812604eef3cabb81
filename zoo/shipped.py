"""What comes with saccade: bundles trained in the zoo, and pictures to try them on."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saccade.runtime.bundle import Bundle
from saccade.runtime.errors import InputError

_HERE = Path(__file__).parent


def names() -> list[str]:
    """Names of the shipped bundles."""
    return sorted(folder.stem for folder in (_HERE / "bundles").glob("*.bundle"))


def bundle_path(name: str) -> Path:
    """The folder of a shipped bundle. Raises InputError that lists the names."""
    if name not in names():
        raise InputError(
            f"no shipped bundle {name[:64]!a}", hint=f"there is {', '.join(names()) or 'none in this build'}"
        )
    return _HERE / "bundles" / f"{name}.bundle"


def open_bundle(given: str | os.PathLike[str]) -> Bundle:
    """The bundle of a shipped name, or of a path. Installers may hard-link what came with saccade."""
    if str(given) in names() and not Path(given).exists():
        return Bundle.open(bundle_path(str(given)), hard_links=True)
    return Bundle.open(given)


@dataclass(frozen=True)
class Truth:
    """What a shipped picture shows: a caption, the label ("a red circle") of each of its objects, and of each the box.

    boxes: x0 y0 x1 y1 in pixels, of what is visible; parts: whether the object is a part on the one before it
    """

    caption: str
    labels: tuple[str, ...]
    boxes: tuple[tuple[int, int, int, int], ...]
    parts: tuple[bool, ...]


def truth() -> dict[str, Truth]:
    """What each shipped picture shows, by file name."""
    rows = json.loads((_HERE / "pictures" / "captions.json").read_text())["pictures"]
    return {row["file"]: _truth(row["caption"], row["things"]) for row in rows}


def pictures() -> list[Path]:
    """The shipped pictures, sorted by name."""
    return sorted((_HERE / "pictures").glob("*.png"))


def _truth(caption: str, things: list[dict[str, Any]]) -> Truth:
    return Truth(
        caption,
        tuple(_named(thing["label"]) for thing in things),
        tuple((thing["box"][0], thing["box"][1], thing["box"][2], thing["box"][3]) for thing in things),
        tuple(thing["part_of"] >= 0 for thing in things),
    )


def _named(label: str) -> str:
    return f"{'an' if label[0] in 'aeiou' else 'a'} {label}"
