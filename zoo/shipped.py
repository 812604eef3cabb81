"""What comes with saccade: bundles trained in the zoo, and pictures to try them on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Truth:
    """What a shipped picture shows: a caption, and the label ("a red circle") of each of its objects."""

    caption: str
    labels: tuple[str, ...]


def truth() -> dict[str, Truth]:
    """What each shipped picture shows, by file name."""
    rows = json.loads((_HERE / "pictures" / "captions.json").read_text())["pictures"]
    return {
        row["file"]: Truth(row["caption"], tuple(_named(thing["label"]) for thing in row["things"])) for row in rows
    }


def pictures() -> list[Path]:
    """The shipped pictures, sorted by name."""
    return sorted((_HERE / "pictures").glob("*.png"))


def _named(label: str) -> str:
    return f"{'an' if label[0] in 'aeiou' else 'a'} {label}"
