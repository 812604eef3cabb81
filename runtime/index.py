"""A search index: the embeddings of a folder's pictures, or of a list of texts, kept in a folder of its own.

    index.json             what it is: kind, model, root, and for each entry its name, size and mtime
    vectors-<digest>.safetensors   (N, E) float32, unit length, row by row as in index.json
    part-*.safetensors     rows of a run that was interrupted; the next run takes them over

index.json is replaced in one rename after the vectors it names are on the disk, so an index is always whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from saccade.runtime.classifier import read_safetensors
from saccade.runtime.errors import IndexFileError
from saccade.runtime.files import disk_trouble, write_file
from saccade.runtime.results import Embeddings, Floats, Matches

_FORMAT = "saccade-index-1"
_LIST = "index.json"


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One row: a picture's path below the root (or a text), and its size and mtime when it was embedded."""

    name: str
    size: int = 0
    mtime_ns: int = 0


class _List(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    kind: str
    model: str
    root: str
    vectors: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Index:
    """N entries with their vectors.

    kind: "pictures" or "texts"
    root: the folder that picture names are relative to; empty for texts
    vectors: (N, E) float32, unit length
    model: digest of the bundle that made them
    """

    kind: str
    root: str
    entries: tuple[Entry, ...]
    vectors: Floats
    model: str

    def __len__(self) -> int:
        return len(self.entries)

    def nearest(self, query: Embeddings, count: int = 10) -> Matches:
        """The `count` rows with the largest cosine to the one row of `query`, best first, equals in the index's order.

        Exact: every row is compared. Raises IndexFileError if another model made the query.
        """
        if query.model and query.model != self.model:
            raise IndexFileError(
                f"the index was made with model {self.model[:12]}, the query with {query.model[:12]}",
                hint="search with the bundle that made the index, or index again",
            )
        scores = self.vectors @ query.vectors[0] if len(self) else np.zeros(0, np.float32)
        order = np.argsort(-scores, kind="stable")[: max(count, 0)]
        found = tuple(self.entries[i].name for i in order)
        return Matches(query.names[0] if query.names else "", found, scores[order])

    def path(self, name: str) -> Path:
        """Where the picture `name` lies."""
        return Path(self.root) / name


def open_index(path: str | os.PathLike[str]) -> Index:
    """Open the index in the folder `path`. Raises IndexFileError if it is none, damaged, or not finished."""
    folder = Path(path)
    listed = _read_list(folder)
    if listed is None:
        started = "; an indexing run was interrupted" if any(folder.glob("part-*")) else ""
        raise IndexFileError(f"{folder} is no index{started}", hint="make or finish it with `saccade index`")
    if Path(listed.vectors).name != listed.vectors:
        raise IndexFileError(f"{folder / _LIST}: bad file name", hint="index again into a new folder")
    arrays, about = read_safetensors(folder / listed.vectors, _FORMAT, "an index's vectors")
    vectors = arrays.get("vectors")
    fits = vectors is not None and vectors.ndim == 2 and vectors.dtype == np.float32
    if vectors is None or not fits or len(vectors) != len(listed.entries) or about.get("model") != listed.model:
        raise IndexFileError(f"{folder}: vectors and list do not match", hint="index again into a new folder")
    return Index(listed.kind, _joined(folder, listed.root), listed.entries, vectors, listed.model)


class Writer:
    """Builds or refreshes an index. Rows given to `add` survive a kill; `finish` makes them the index.

    known: entries that need no new embedding, because nothing about them has changed
    Raises IndexFileError if the folder holds the index of another model or kind.
    """

    def __init__(self, path: str | os.PathLike[str], kind: str, model: str, root: str = ""):
        self.folder, self.kind, self.model = Path(path), kind, model
        # Relative to the index, so that pictures and index can be moved together.
        self.root = Path(os.path.relpath(root, self.folder)).as_posix() if root else ""
        if self.folder.exists() and not self.folder.is_dir():
            raise IndexFileError(f"{self.folder} is a file", hint="an index is a folder")
        with disk_trouble(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self.known: dict[Entry, Floats] = {}
        if (listed := _read_list(self.folder)) is not None:
            if (listed.kind, listed.model) != (kind, model):
                raise IndexFileError(
                    f"{self.folder} holds {listed.kind} of model {listed.model[:12]}, not {kind} of {model[:12]}",
                    hint="choose another folder for this model's index",
                )
            old = open_index(self.folder)
            self.known.update(zip(old.entries, old.vectors, strict=True))
        elif any(self.folder.iterdir()) and not any(self.folder.glob("part-*")):
            raise IndexFileError(f"{self.folder} is not empty and no index", hint="choose a new folder")
        self._parts = sorted(self.folder.glob("part-*.safetensors"))
        for part in self._parts:
            self._take_over(part)

    def add(self, entries: list[Entry], vectors: Floats) -> None:
        """Keep rows on the disk: one file, written at once. Raises NoSpace."""
        from safetensors.numpy import save

        number = int(self._parts[-1].stem.split("-")[1]) + 1 if self._parts else 0
        about = {"format": _FORMAT, "model": self.model, "kind": self.kind, "entries": _json(entries)}
        part = self.folder / f"part-{number:08d}.safetensors"
        write_file(part, save({"vectors": np.ascontiguousarray(vectors)}, metadata=about))
        self._parts.append(part)
        self.known.update(zip(entries, vectors, strict=True))

    def finish(self, entries: list[Entry]) -> Index:
        """Make the index of exactly these entries, in this order; all must be known. Raises NoSpace."""
        from safetensors.numpy import save

        width = len(next(iter(self.known.values()))) if self.known else 0
        rows = [self.known[entry] for entry in entries]
        vectors = np.stack(rows) if rows else np.zeros((0, width), np.float32)
        data = save({"vectors": vectors}, metadata={"format": _FORMAT, "model": self.model})
        name = f"vectors-{hashlib.sha256(data).hexdigest()[:16]}.safetensors"
        write_file(self.folder / name, data)
        listed = _List(_FORMAT, self.kind, self.model, self.root, name, tuple(entries))
        write_file(self.folder / _LIST, _json(listed).encode())
        for old in [*self._parts, *self.folder.glob("vectors-*.safetensors"), *self.folder.glob(".*.tmp")]:
            if old.name != name:
                old.unlink(missing_ok=True)
        return Index(self.kind, _joined(self.folder, self.root), tuple(entries), vectors, self.model)

    def _take_over(self, part: Path) -> None:
        try:
            arrays, about = read_safetensors(part, _FORMAT, "part of an index")
            entries = msgspec.json.decode(about["entries"], type=list[Entry])
            usable = (about["model"], about["kind"]) == (self.model, self.kind)
            rows = arrays["vectors"]
        except (IndexFileError, KeyError, msgspec.MsgspecError):
            return  # a part that cannot be read is embedded again
        if usable and len(entries) == len(rows):
            self.known.update(zip(entries, rows, strict=True))


def _read_list(folder: Path) -> _List | None:
    try:
        data = (folder / _LIST).read_bytes()
    except OSError:
        return None
    try:
        listed = msgspec.json.decode(data, type=_List)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise IndexFileError(
            f"{folder / _LIST} is damaged: {str(error)[:80]}", hint="index again into a new folder"
        ) from None
    if listed.format != _FORMAT:
        raise IndexFileError(f"{folder} has format {listed.format[:40]!a}, not {_FORMAT}", hint="upgrade saccade")
    return listed


def _joined(folder: Path, root: str) -> str:
    return os.path.normpath(folder / root) if root else ""


def _json(value: Any) -> str:
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=False, separators=(",", ":"))
