"""Stamps: what this user has verified once need not be hashed again.

Hashing gigabytes at every start is no option on a robot. A stamp says that the file with this device, inode, size,
mtime and ctime had this digest. It counts only if it lies in a folder that nobody else can write to; ctime is in it
because a program can set a file's mtime but not its ctime. Stamps are kept for one manifest: what an ONNX file may
point at is said there, so another manifest has everything looked at again. Remove the folder for the same effect.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from saccade.runtime.errors import SaccadeError
from saccade.runtime.files import write_file
from saccade.runtime.settings import setting

Identity = tuple[int, int, int, int, int]  # device, inode, size, mtime_ns, ctime_ns
Stamp = tuple[Identity, str, bool]  # identity, sha256, has external data

_SETTLED_NS = 20_000_000  # before Linux 6.13 a file's times move in ticks of up to 10 ms


def identity(info: os.stat_result) -> Identity:
    """What changes when another file takes a name, or a file's content is written to."""
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def settled(seen: Identity, now_ns: int) -> bool:
    """Whether the file last changed so long ago that another change would show in its times."""
    return seen[4] + _SETTLED_NS < now_ns


def load(bundle: Path, digest: str) -> dict[str, Stamp]:
    """Stamps of the files, by name, of the bundle whose manifest has this digest; empty if the cache is not private."""
    place = _place(bundle)
    if place is None:
        return {}
    try:
        info = place.lstat()
        if not stat.S_ISREG(info.st_mode) or info.st_uid != os.getuid():
            return {}
        kept = json.loads(place.read_bytes())
        if kept["manifest"] != digest:
            return {}
        return {name: (tuple(s[0]), s[1], s[2] is True) for name, s in kept["files"].items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return {}


def save(bundle: Path, digest: str, stamps: Mapping[str, Stamp]) -> None:
    """Keep the stamps; silently not where the cache cannot be used, since they only save time."""
    place = _place(bundle, make=True)
    if place is None or load(bundle, digest) == dict(stamps):
        return
    with contextlib.suppress(SaccadeError, OSError):
        write_file(place, json.dumps({"manifest": digest, "files": stamps}).encode())


def private(folder: Path) -> bool:
    """Whether the folder is a real one, ours, and closed to everybody else."""
    try:
        info = folder.lstat()
    except (OSError, ValueError):
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & 0o077


def _place(bundle: Path, *, make: bool = False) -> Path | None:
    try:
        folder: Path = setting("SACCADE_CACHE") / "verified"
        if make:
            folder.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        name = hashlib.sha256(os.fsencode(os.path.realpath(bundle))).hexdigest()[:40]
    except (OSError, RuntimeError, ValueError):  # no home at all is a RuntimeError
        return None
    return folder / f"{name}.json" if private(folder) else None
