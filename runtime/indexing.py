"""Fill an index: find a folder's pictures, embed the new and the changed, drop the vanished.

folder ──scan──▶ entries ──not known──▶ model.encode_image, batch by batch ──▶ Writer.add … Writer.finish
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from saccade.runtime.errors import ImageError, InputError
from saccade.runtime.index import Entry, Index, Writer
from saccade.runtime.model import Model
from saccade.runtime.results import Floats

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
BATCH = 16
PART = 128  # pictures kept in memory before they go to the disk: a kill costs at most these

Progress = Callable[[int, int], None]


def scan(folder: str | os.PathLike[str]) -> list[Entry]:
    """The pictures below `folder`, hidden ones left out, sorted by name. Raises InputError if it is no folder."""
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"no such folder: {root}", hint="give a folder with pictures")
    found = []
    for place, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if name.startswith(".") or not name.lower().endswith(SUFFIXES):
                continue
            path = Path(place, name)
            try:
                info = path.stat()
            except OSError:
                continue  # a dangling link, or gone since the listing
            found.append(Entry(path.relative_to(root).as_posix(), info.st_size, info.st_mtime_ns))
    return sorted(found, key=lambda entry: entry.name)


def index_pictures(
    model: Model, folder: str | os.PathLike[str], target: str | os.PathLike[str], *, progress: Progress | None = None
) -> tuple[Index, list[tuple[str, str]]]:
    """Index the pictures below `folder` into `target`, and give the index and what was skipped as (name, reason).

    A picture whose size or mtime has changed is embedded again; one that has vanished is dropped; one that cannot be
    read is skipped and tried again the next time. An interrupted run goes on where it was.
    Raises InputError for no folder or one without pictures, IndexFileError for another model's index, NoSpace.
    """
    entries = scan(folder)
    if not entries:
        raise InputError(f"no pictures below {folder}", hint=f"pictures end in {' '.join(SUFFIXES)}")
    writer = Writer(target, "pictures", model.bundle.digest, str(folder))
    wanted = [entry for entry in entries if entry not in writer.known]
    done, skipped = len(entries) - len(wanted), []
    for start in range(0, len(wanted), PART):
        kept: dict[Entry, Floats] = {}
        for at in range(start, min(start + PART, len(wanted)), BATCH):
            rows = wanted[at : at + BATCH]
            skipped += _embed(model, Path(folder), rows, kept)
            done += len(rows)
            if progress:
                progress(done, len(entries))
        if kept:
            writer.add(list(kept), np.stack(list(kept.values())))
    lost = {name for name, _ in skipped}
    return writer.finish([entry for entry in entries if entry.name not in lost]), skipped


def index_texts(
    model: Model, texts: Sequence[str], target: str | os.PathLike[str], *, progress: Progress | None = None
) -> Index:
    """Index texts into `target`: picture → texts. Texts that it holds already are not encoded again."""
    entries = [Entry(text) for text in dict.fromkeys(texts)]
    if not entries:
        raise InputError("no texts to index", hint="give a file with one text a line")
    writer = Writer(target, "texts", model.bundle.digest)
    wanted = [entry for entry in entries if entry not in writer.known]
    for start in range(0, len(wanted), PART):
        rows = wanted[start : start + PART]
        writer.add(rows, model.encode_text([entry.name for entry in rows]).vectors)
        if progress:
            progress(len(entries) - len(wanted) + start + len(rows), len(entries))
    return writer.finish(entries)


def _embed(model: Model, root: Path, rows: list[Entry], kept: dict[Entry, Floats]) -> list[tuple[str, str]]:
    """Put the rows' vectors into `kept`; give what cannot be read. A batch with a bad picture is tried one by one."""
    try:
        kept.update(zip(rows, model.encode_image([root / row.name for row in rows]).vectors, strict=True))
    except ImageError as error:
        if len(rows) == 1:
            return [(rows[0].name, str(error))]
        return [bad for row in rows for bad in _embed(model, root, [row], kept)]
    return []
