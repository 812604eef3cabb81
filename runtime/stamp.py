"""Stamps: what this user has verified once need not be hashed again.

Hashing gigabytes at every start is no option on a robot. A stamp says that the file with this device, inode, size,
mtime and ctime had this digest. It counts only if it lies in a folder that nobody else can write to; ctime is in it
because a program can set a file's mtime but not its ctime. Remove the folder to have everything verified again.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from saccade.runtime.errors import NoSpace
from saccade.runtime.files import write_file
from saccade.runtime.settings import setting

Identity = tuple[int, int, int, int, int]  # device, inode, size, mtime_ns, ctime_ns
Stamp = tuple[Identity, str, bool]  # identity, sha256, has external data


def identity(info: os.stat_result) -> Identity:
    """What changes when another file takes a name, or a file's content is written to."""
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def load(bundle: Path) -> dict[str, Stamp]:
    """Stamps of the bundle's files by name; empty if there are none or the cache is not private."""
    place = _place(bundle)
    if place is None:
        return {}
    try:
        info = place.lstat()
        if not stat.S_ISREG(info.st_mode) or info.st_uid != os.getuid():
            return {}
        return {name: (tuple(s[0]), s[1], s[2] is True) for name, s in json.loads(place.read_bytes()).items()}
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return {}


def save(bundle: Path, stamps: Mapping[str, Stamp]) -> None:
    """Keep the stamps; silently not where the cache cannot be used, since they only save time."""
    place = _place(bundle, make=True)
    if place is None or load(bundle) == dict(stamps):
        return
    try:
        write_file(place, json.dumps(stamps).encode())
    except (NoSpace, OSError):
        return


def private(folder: Path) -> bool:
    """Whether the folder is a real one, ours, and closed to everybody else."""
    try:
        info = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & 0o077


def _place(bundle: Path, *, make: bool = False) -> Path | None:
    folder: Path = setting("SACCADE_CACHE") / "verified"
    try:
        if make:
            folder.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        name = hashlib.sha256(os.fsencode(os.path.realpath(bundle))).hexdigest()[:40]
    except OSError:
        return None
    return folder / f"{name}.json" if private(folder) else None
