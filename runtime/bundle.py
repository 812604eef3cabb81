"""A bundle: a folder with a manifest and the files that it lists, proven before anything opens them.

    Bundle.open ── manifest ── each file: plain? size? digest? kind? external data? ──▶ Bundle
    write       ── temporary folder ── fsync ── rename ──▶ a folder that Bundle.open accepts

The format is specified in docs/bundle.md; what can go wrong is tried in tests/attacks.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from saccade.runtime import stamp
from saccade.runtime.errors import BundleError, BundleLimit, CorruptBundle, InputError
from saccade.runtime.files import new_folder, open_folder, open_plain, refuse_magic
from saccade.runtime.manifest import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    SCHEMA,
    FileEntry,
    GraphEntry,
    Manifest,
    check,
    check_name,
    parse,
    serialise,
)
from saccade.runtime.onnx_ops import own_ops
from saccade.runtime.onnx_scan import refuse_outside

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: every listed file has been found to be the one that was written.

    path: the folder
    manifest: the typed content of bundle.json
    """

    path: Path
    manifest: Manifest
    _seen: Mapping[str, stamp.Identity] = field(repr=False)
    _external: frozenset[str] = field(repr=False)
    _hard_links: bool = field(default=False, repr=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, hard_links: bool = False, remember: bool = True) -> Bundle:
        """Open and verify the bundle at `path`.

        A file verified once by this user is not read again as long as its stamp holds (runtime/stamp.py).
        hard_links: accept files that have a second name; package managers that link from a cache make such.
        remember: use and keep stamps
        Raises a BundleError: ManifestError, CorruptBundle, UnsafePath, BundleLimit or ForbiddenFile.
        """
        path = Path(path)
        folder = open_folder(path)
        try:
            manifest = parse(_manifest_bytes(folder, path, hard_links))
            stamps = stamp.load(path, manifest.digest) if remember else {}
            seen, external = {}, set()
            for name, entry in manifest.files.items():
                seen[name], outside = _verify(folder, name, entry, manifest, stamps.get(name), hard_links)
                if outside:
                    external.add(name)
        finally:
            os.close(folder)
        if remember:
            now_ns = time.time_ns()
            lasting = {name: entry for name, entry in manifest.files.items() if stamp.settled(seen[name], now_ns)}
            stamp.save(path, manifest.digest, {n: (seen[n], e.sha256, n in external) for n, e in lasting.items()})
        # Engines open later, and the working directory may be another by then.
        return cls(Path(os.path.abspath(path)), manifest, seen, frozenset(external), hard_links)

    @property
    def digest(self) -> str:
        """SHA-256 that stands for the whole content: the manifest's, which holds every file's."""
        return self.manifest.digest

    @property
    def name(self) -> str:
        """The model's short name."""
        return self.manifest.name

    @property
    def graphs(self) -> dict[str, GraphEntry]:
        """Graphs by name."""
        return self.manifest.graphs

    def has_external(self, name: str) -> bool:
        """Whether the ONNX file `name` keeps tensors in other (listed) files."""
        return name in self._external

    def read(self, name: str) -> bytes:
        """The content of a listed file. Raises CorruptBundle if it was changed since the bundle was opened."""
        with self.file(name) as file:
            data = file.read()
            self._refuse_exchanged(name, file.fileno())  # or written to while it was read
        return data

    def file(self, name: str) -> BinaryIO:
        """A listed file, open for reading; the caller closes it. Raises CorruptBundle as `read` does."""
        folder = open_folder(self.path)
        try:
            fd = open_plain(folder, name, hard_links=self._hard_links)
        finally:
            os.close(folder)
        file = os.fdopen(fd, "rb")
        try:
            self._refuse_exchanged(name, fd)
        except BaseException:
            file.close()
            raise
        return file

    def confirm(self) -> None:
        """Raise CorruptBundle if a listed file is not the one that was verified. Reads no content.

        For an engine that opens files by name: whatever was done to one meanwhile, it shows in the time of its change.
        """
        for name in self.manifest.files:
            self.file(name).close()

    def _refuse_exchanged(self, name: str, fd: int) -> None:
        if stamp.identity(os.fstat(fd)) != self._seen[name]:
            raise CorruptBundle(name, "the file that was verified", "another", hint="open the bundle again")

    def golden(self) -> dict[str, np.ndarray]:
        """The golden set: arrays named `graph.tensor`, inputs and the trained model's outputs; empty without one."""
        if not self.manifest.golden:
            return {}
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays: dict[str, np.ndarray] = load(self.read(self.manifest.golden))
        except (SafetensorError, ValueError) as error:
            raise CorruptBundle(self.manifest.golden, "a safetensors file", str(error)[:120]) from None
        return arrays


def write(
    target: str | os.PathLike[str], manifest: Manifest, files: Mapping[str, bytes | Path], *, overwrite: bool = False
) -> str:
    """Write a bundle atomically and return its digest.

    manifest: its `digest` and `files` are filled in here
    files: by name, content or the path of a file to copy
    Raises BundleError for a name or kind that the format refuses, InputError if the target exists, NoSpace.
    """
    for name in files:
        check_name(name)  # before it is joined to a folder
    with new_folder(Path(target), overwrite=overwrite) as folder:
        listed = {name: _put(folder / name, content) for name, content in sorted(files.items())}
        manifest = msgspec.structs.replace(manifest, schema=SCHEMA, files=listed)
        check(manifest)
        data = serialise(manifest)
        if len(data) > MAX_MANIFEST_BYTES:
            raise BundleLimit(f"[bundle] the manifest has {len(data)} bytes", hint=f"at most {MAX_MANIFEST_BYTES}")
        (folder / MANIFEST).write_bytes(data)
        return Bundle.open(folder, remember=False).digest  # what would not open again is never given its name


def _put(target: Path, content: bytes | Path) -> FileEntry:
    hashed, size = hashlib.sha256(), 0
    with target.open("xb") as out:
        if isinstance(content, Path):
            with _source(content) as source:
                while chunk := source.read(_CHUNK):
                    hashed.update(chunk)
                    size += out.write(chunk)
        else:
            hashed.update(content)
            size = out.write(content)
    return FileEntry(size, hashed.hexdigest())


def _source(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        why = (error.strerror or "not readable").lower()
        raise InputError(f"[bundle] {path}: {why}", hint="give the path of a file") from None


def _manifest_bytes(folder: int, path: Path, hard_links: bool) -> bytes:
    try:
        fd = open_plain(folder, MANIFEST, hard_links=hard_links)
    except CorruptBundle:
        raise BundleError(
            f"[bundle] {path} is no bundle: it has no readable {MANIFEST}", hint="make one with `saccade export`"
        ) from None
    with os.fdopen(fd, "rb") as file:
        return file.read(MAX_MANIFEST_BYTES + 1)


def _verify(
    folder: int, name: str, entry: FileEntry, manifest: Manifest, known: stamp.Stamp | None, hard_links: bool
) -> tuple[stamp.Identity, bool]:
    """Identity of the file, and whether it has external data. Hashes it unless its stamp still holds.

    Refuses an ONNX file that points outside the bundle, or has an op of ours without its body.
    """
    with os.fdopen(open_plain(folder, name, hard_links=hard_links), "rb") as file:
        info = os.fstat(file.fileno())
        if info.st_size != entry.size:
            raise CorruptBundle(name, f"{entry.size} bytes", f"{info.st_size} bytes")
        seen = stamp.identity(info)
        if known and known[:2] == (seen, entry.sha256):
            return seen, known[2]
        refuse_magic(name, file.read(8))
        file.seek(0)
        got = hashlib.file_digest(file, "sha256").hexdigest()
        if got != entry.sha256:
            raise CorruptBundle(name, f"sha256 {entry.sha256}", got)
        if not name.endswith(".onnx") or not info.st_size:
            return seen, False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view, memoryview(view) as data:
            outside = refuse_outside(data, name, {n: f.size for n, f in manifest.files.items()})
            own_ops(data, name)
            return seen, outside
