"""The output folder of a run: one process at a time, and one shard a layer of a picture, whole or not there.

    run.json                         what the run is: rules, bundle, engines
    shards/ab/ab12….automatic.json   a layer of the picture whose name has this SHA-256

What is finished is in shards, each written in one rename; everything else in the folder is made from them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from pathlib import Path

import msgspec

from saccade.runtime.annotation.record import Shard
from saccade.runtime.annotation.rules import Identity
from saccade.runtime.errors import AnnotationFileError
from saccade.runtime.files import disk_trouble, write_file
from saccade.runtime.index import Entry

FORMAT = "saccade-annotation-1"
RUN, SHARDS = "run.json", "shards"
_HEAD, _MIDDLE, _TAIL = b'{"sha256":"', b'","shard":', b"}\n"


class Folder:
    """An output folder, locked until `close()`; the lock ends with the process, however it ends.

    identity: what runs must share to continue one another (rules.Identity)
    restart: forget the run that is there
    Raises AnnotationFileError for another run's folder, one that another process writes to, or one that is no run and
    not empty; NoSpace.
    """

    def __init__(self, path: str | os.PathLike[str], identity: Identity, *, restart: bool = False):
        self.path, self.run = Path(path), identity.digest
        with disk_trouble(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._take()
            self._continue(identity, restart)
            self._sweep()
        except BaseException:
            self.close()
            raise

    def known(self, entry: Entry, layer: str) -> Shard | None:
        """The layer of this picture if it was finished by this run and the picture's file has not changed since."""
        shard = self.shard(entry.name, layer)
        fits = shard is not None and (shard.size, shard.mtime_ns) == (entry.size, entry.mtime_ns)
        return shard if fits else None

    def shard(self, name: str, layer: str) -> Shard | None:
        """The layer of the picture `name`, or None if there is none that is whole and of this run."""
        try:
            data = self._place(name, layer).read_bytes()
            body = data[len(_HEAD) + 64 + len(_MIDDLE) : -len(_TAIL)]
            if data != _sealed(body):
                return None
            shard = msgspec.json.decode(body, type=Shard)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None
        return shard if (shard.run, shard.name, shard.layer) == (self.run, name, layer) else None

    def add(self, shard: Shard) -> None:
        """Keep a shard: from here on no kill loses it. Raises NoSpace."""
        write_file(self._place(shard.name, shard.layer), _sealed(msgspec.json.encode(shard)))

    def close(self) -> None:
        """Let another process have the folder."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _place(self, name: str, layer: str) -> Path:
        key = hashlib.sha256(name.encode()).hexdigest()
        return self.path / SHARDS / key[:2] / f"{key}.{layer}.json"

    def _take(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AnnotationFileError(
                f"[annotate] another process annotates into {self.path}", hint="wait for it, or choose another folder"
            ) from None
        except OSError:
            pass  # no locks on this file system: shards are still written whole

    def _continue(self, identity: Identity, restart: bool) -> None:
        held = None
        if restart and (self.path / RUN).is_file():
            # run.json stays: killed in between, the old run is still one, with less done.
            with disk_trouble(self.path):
                shutil.rmtree(self.path / SHARDS, ignore_errors=True)
        elif (held := _read(self.path)) is None and any(not f.name.endswith(".tmp") for f in self.path.iterdir()):
            raise AnnotationFileError(f"[annotate] {self.path} is not empty and no run", hint="choose a new folder")
        if held is not None and (other := held.difference(identity)):
            raise AnnotationFileError(
                f"[annotate] {self.path} holds a run with {other}",
                hint="choose another folder, or --restart to throw that run away",
            )
        if held != identity:
            body = {"format": FORMAT, **msgspec.to_builtins(identity)}
            write_file(self.path / RUN, json.dumps(body, indent=1).encode() + b"\n")

    def _sweep(self) -> None:
        """Remove what a killed process was writing; nobody else can be, as we hold the lock."""
        for place, _, names in os.walk(self.path):
            for name in names:
                if name.startswith(".") and name.endswith(".tmp"):
                    with contextlib.suppress(OSError):
                        os.unlink(os.path.join(place, name))


def _read(folder: Path) -> Identity | None:
    """The identity in a folder, None if there is none. Raises AnnotationFileError for a damaged one."""
    try:
        held = json.loads((folder / RUN).read_bytes())
        if held.pop("format") != FORMAT:
            raise ValueError
        return msgspec.convert(held, Identity)
    except FileNotFoundError:
        return None
    except (
        OSError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
    ):  # msgspec's errors are ValueErrors
        raise AnnotationFileError(
            f"[annotate] {folder / RUN} is damaged or of another version",
            hint="choose another folder, or --restart to throw that run away",
        ) from None


def _sealed(body: bytes) -> bytes:
    return _HEAD + hashlib.sha256(body).hexdigest().encode() + _MIDDLE + body + _TAIL
