"""annotate: a folder of pictures becomes annotations, a picture at a time, and a killed run goes on where it was.

folder ──scan──▶ pictures ──not in a shard──▶ encode, stage ──▶ shard … shards ──▶ COCO, SA-1B, worklist, sheet
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saccade.runtime.annotation import sa1b
from saccade.runtime.annotation.folder import Folder
from saccade.runtime.annotation.outputs import FORMATS, SHEET, Outputs
from saccade.runtime.annotation.picture import Annotator
from saccade.runtime.annotation.prompts import Prompts
from saccade.runtime.annotation.prompts import read as read_prompts
from saccade.runtime.annotation.rules import ASSISTED, AUTOMATIC, SEMI, Identity, Rules, rules
from saccade.runtime.annotation.worklist import write as write_worklist
from saccade.runtime.errors import InputError, SettingsError, printable
from saccade.runtime.index import Entry
from saccade.runtime.indexing import SUFFIXES, scan

WORKLIST = "worklist.json"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Run:
    """What a run came to.

    pictures, masks: how many are in the output; dropped: prompts whose mask did not pass the rules
    asked: open entries of the worklist
    skipped: (name, reason) of each picture that is not in the output
    files: what was written, by kind: coco, sa1b, worklist, sheet
    """

    out: Path
    pictures: int
    masks: int
    dropped: int
    asked: int
    skipped: tuple[tuple[str, str], ...]
    files: dict[str, Path] = field(default_factory=dict)


def annotate(
    model: Any,
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    stage: str = AUTOMATIC,
    prompts: str | os.PathLike[str] | None = None,
    worklist: str | os.PathLike[str] | None = None,
    formats: Sequence[str] = ("coco",),
    sheet: bool = True,
    restart: bool = False,
    progress: Progress | None = None,
    **given: Any,
) -> Run:
    """Annotate the pictures below `folder` into the folder `out`; docs/annotate.md says what is in it.

    model: a loaded SAM
    stage: automatic: everything mode; assisted: what `prompts` asks for; semi-automatic: everything mode keeps what it
        is sure of, writes a worklist of the rest, and takes it back, filled, as `prompts`
    prompts: a prompts file or a worklist, or a folder in SA-1B's layout whose masks are to be found anew
    worklist: where to write it; out/worklist.json by default
    formats: coco, sa1b or both; one that `out` holds already is kept up to date
    sheet: draw a contact sheet
    restart: throw away the run that `out` holds
    given: fields of Rules that are not to have the stage's default: min_score, min_stability, min_area, max_overlap, …
    A picture that cannot be read, or that its prompts do not fit, is skipped, and tried again the next time.
    Raises InputError for no pictures, SettingsError, AnnotationFileError for prompts or a folder that do not fit,
    NoSpace. Whatever is raised, and whenever the process is killed: finished pictures stay finished.
    """
    chosen = rules(stage, **given)
    if not hasattr(model, "everything"):
        raise InputError(f"[annotate] {model.bundle.name} does not segment", hint="give a bundle of the family sam")
    if worklist is not None and stage != SEMI:
        raise SettingsError(f"[annotate] a worklist in the {stage} stage", hint=f"--stage {SEMI} writes one")
    asked = _prompts(prompts, chosen)
    entries, skipped = _pictures(Path(folder), Path(out))
    names, identity = [entry.name for entry in entries], Identity.of(model, chosen)
    if asked is not None:
        asked.require(names, chosen.categories, identity.digest)
    kinds = _kinds(formats, Path(out), names)
    with Folder(out, identity, restart=restart) as target:  # from here on something may be thrown away
        annotator = Annotator(model, Path(folder), target, chosen, asked)
        if stage == ASSISTED:
            entries = [entry for entry in entries if annotator.wanted(entry.name)]
        skipped += _through(annotator, target, entries, progress)
        made = Outputs(target, chosen, entries, {name for name, _ in skipped})
        files = {kind: made.write(kind, model) for kind in kinds}
        still = 0
        if stage == SEMI:
            files["worklist"] = Path(worklist) if worklist is not None else target.path / WORKLIST
            still = write_worklist(files["worklist"], target, entries, asked)
        pictures, masks, dropped = made.counts()
        (target.path / SHEET).unlink(missing_ok=True)  # rather none than an old one
        if sheet:
            title = f"{stage}: {pictures} pictures, {masks} masks of {model.bundle.name}"
            files["sheet"] = made.sheet(Path(folder), title)
        return Run(target.path, pictures, masks, dropped, still, tuple(skipped), files)


def _kinds(formats: Sequence[str], out: Path, names: list[str]) -> list[str]:
    """The formats to write: those asked for and those that are there. Raises SettingsError, InputError."""
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise SettingsError(f"[annotate] no format {', '.join(unknown)[:64]!a}", hint=f"there is {', '.join(FORMATS)}")
    kinds = [kind for kind, name in FORMATS.items() if kind in formats or os.path.lexists(os.path.join(out, name))]
    if "sa1b" in kinds:
        sa1b.check_names(names)
    return kinds


def _prompts(path: str | os.PathLike[str] | None, chosen: Rules) -> Prompts | None:
    if path is None:
        if chosen.stage == ASSISTED:
            raise SettingsError("[annotate] the assisted stage without prompts", hint="--prompts FILE has them")
        return None
    if chosen.stage == AUTOMATIC:
        raise SettingsError(
            "[annotate] prompts in the automatic stage", hint=f"--stage {ASSISTED} or {SEMI} takes them"
        )
    return sa1b.prompts(Path(path)) if Path(path).is_dir() else read_prompts(path)


def _pictures(folder: Path, out: Path) -> tuple[list[Entry], list[tuple[str, str]]]:
    """The pictures, without those in `out`, and those that cannot be named in JSON with the reason."""
    root, target = os.path.realpath(folder), os.path.realpath(out)
    if root == target:
        raise InputError(f"[annotate] {out} holds the pictures", hint="choose another folder for the output")
    inner = os.path.relpath(target, root) + "/"
    entries = [entry for entry in scan(folder) if not entry.name.startswith(inner)]
    bad = [entry.name for entry in entries if not _unicode(entry.name)]
    if not entries:
        raise InputError(f"[annotate] no pictures below {folder}", hint=f"pictures end in {' '.join(SUFFIXES)}")
    reason = "its name is not UTF-8, which JSON cannot hold"
    return [entry for entry in entries if _unicode(entry.name)], [(printable(name), reason) for name in bad]


def _unicode(name: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in name)


def _through(
    annotator: Annotator, folder: Folder, entries: list[Entry], progress: Progress | None
) -> list[tuple[str, str]]:
    """All pictures, one in memory at a time; gives those that had to be skipped, with the reason."""
    skipped = []
    for done, entry in enumerate(entries, 1):
        try:
            shards = annotator.missing(entry)
        except InputError as error:
            shards = []
            skipped.append((entry.name, error.message))
        for shard in shards:
            folder.add(shard)
        if progress:
            progress(done, len(entries))
    return skipped
