"""What comes with saccade: bundles trained in the zoo, and pictures to try them on."""

from __future__ import annotations

from pathlib import Path

from saccade.runtime.errors import InputError

_HERE = Path(__file__).parent


def names() -> list[str]:
    """Names of the shipped bundles."""
    return sorted(folder.stem for folder in (_HERE / "bundles").glob("*.bundle"))


def bundle_path(name: str) -> Path:
    """The folder of a shipped bundle. Raises InputError that lists the names."""
    if name not in names():
        raise InputError(f"no shipped bundle {name[:64]!a}", hint=f"there is {', '.join(names()) or 'none in this build'}")
    return _HERE / "bundles" / f"{name}.bundle"


def pictures() -> list[Path]:
    """The shipped pictures, sorted by name."""
    return sorted((_HERE / "pictures").glob("*.png"))
