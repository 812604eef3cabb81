"""Prompts files and worklists: per picture the points and boxes of its objects, as docs/annotate.md describes them.

file ──strict JSON──▶ schema ──▶ each prompt means something ──▶ Prompts, asked by picture
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from saccade.runtime import rle, strict_json
from saccade.runtime.annotation.record import Prompted
from saccade.runtime.errors import AnnotationFileError, InputError

FORMAT = "saccade-prompts-1"
MAX_PROMPTS = 10_000
"""Of one picture."""
_HINT = "docs/annotate.md has the format"
_FOREGROUND, _BACKGROUND = 1, 0

T = TypeVar("T")


class PromptedPicture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The prompts of one picture. digest: of its pixels, if they were made for these and no others."""

    file_name: str
    prompts: tuple[Prompted, ...]
    digest: str = ""
    width: int | None = None
    height: int | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    pictures: tuple[PromptedPicture, ...]
    run: str = ""


class Prompts:
    """The prompts of a file by picture, each with its place in the file, for messages."""

    def __init__(self, file: str, pictures: Iterable[PromptedPicture], run: str = ""):
        self.file, self.run = file, run
        self.pictures: dict[str, PromptedPicture] = {}
        self._at: dict[str, int] = {}
        for at, picture in enumerate(pictures):
            if picture.file_name in self.pictures:
                raise self.wrong(f"picture {picture.file_name[:128]!a} stands twice", "pictures", at, "file_name")
            self.pictures[picture.file_name], self._at[picture.file_name] = picture, at
            self._check(at, picture)

    def __len__(self) -> int:
        return len(self.pictures)

    def of(self, name: str) -> PromptedPicture | None:
        """The prompts of the picture `name`, or None if the file does not name it."""
        return self.pictures.get(name)

    def require(self, names: Iterable[str], categories: tuple[str, ...], run: str) -> None:
        """Raise AnnotationFileError for another run's worklist, a picture that is not among `names`, or a category
        that is not among `categories`, if there are some."""
        known = set(names)
        if self.run not in ("", run):
            hint = "take run out of it to use its prompts all the same"
            raise self.wrong(f"a worklist of run {self.run[:12]!a}, not {run[:12]}", "run", hint=hint)
        for name, picture in self.pictures.items():
            if name not in known:
                hint = f"file_name is relative to the folder with the pictures; it holds {len(known)}"
                raise self.wrong(f"no picture {name[:128]!a}", "pictures", self._at[name], "file_name", hint=hint)
            for at, prompt in enumerate(picture.prompts):
                if categories and prompt.category not in ("", *categories):
                    place = ("pictures", self._at[name], "prompts", at, "category")
                    hint = f"the run has {', '.join(categories)[:200]}"
                    raise self.wrong(f"no category {prompt.category[:64]!a}", *place, hint=hint)

    def fit(self, name: str, height: int, width: int, digest: str) -> None:
        """Raise AnnotationFileError if the prompts of picture `name` are not for a picture like this."""
        picture = self.pictures[name]
        if picture.digest not in ("", digest):
            hint = f"look at its prompts again, then take its digest out of {self.file}"
            raise self.wrong("the picture has changed since", "pictures", self._at[name], "digest", hint=hint)
        for at, prompt in enumerate(picture.prompts):
            place = ("pictures", self._at[name], "prompts", at)
            for i, (x, y) in enumerate(prompt.points):
                if not (0 <= x <= width and 0 <= y <= height):
                    raise self.wrong(f"({x:g}, {y:g}) is outside of {width} x {height}", *place, "points", i)
            if prompt.mask and prompt.mask.size != (height, width):
                raise self.wrong(f"the mask is not of {height} x {width}", *place, "mask", "size")
            if prompt.box and not _inside(prompt.box, height, width):
                raise self.wrong(f"the box is outside of {width} x {height}", *place, "box")

    def wrong(self, why: str, *path: str | int, hint: str = _HINT) -> AnnotationFileError:
        """The error for a place in the file."""
        pointer = strict_json.pointer(path)
        return AnnotationFileError(f"[annotate] {self.file}{pointer[:256]}: {why}", pointer=pointer, hint=hint)

    def _check(self, at: int, picture: PromptedPicture) -> None:
        if len(picture.prompts) > MAX_PROMPTS:
            given = f"{len(picture.prompts)} prompts; {MAX_PROMPTS} are allowed"
            raise self.wrong(given, "pictures", at, "prompts", hint="split the picture")
        for i, prompt in enumerate(picture.prompts):
            where, why = _fault(prompt)
            if why:
                raise self.wrong(why, "pictures", at, "prompts", i, *where)


def read(path: str | os.PathLike[str]) -> Prompts:
    """The prompts in a file. Raises AnnotationFileError with the JSON pointer to what is wrong."""
    file = Path(path)
    document = load(file)
    if isinstance(document, dict) and document.get("format") != FORMAT:
        raise broken(file, ("format",), f"{str(document.get('format'))[:40]!a} is not {FORMAT!r}")
    made = typed(file, document, _File)
    return Prompts(file.name, made.pictures if made.run else map(_own, made.pictures), made.run)


def load(file: Path) -> Any:
    """A strict JSON document. Raises AnnotationFileError."""
    try:
        return strict_json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        if isinstance(error, strict_json.NotStrict):
            raise broken(file, error.pointer, f"not strict JSON: {error}") from None
        why = str(getattr(error, "strerror", None) or "not a file name").lower()
        raise AnnotationFileError(f"[annotate] cannot read {file}: {why}", hint="give a JSON file") from None


def typed(file: Path, document: Any, kind: type[T]) -> T:
    """A document as a value of `kind`. Raises AnnotationFileError."""
    try:
        return msgspec.convert(document, kind, strict=True)
    except (msgspec.ValidationError, OverflowError) as error:
        found = re.fullmatch(r"(.*) - at `\$([^`]*)`", str(error), re.DOTALL)
        why, place = found.groups() if found else (str(error), "")
        raise broken(file, re.findall(r"\w+", place), why[:300]) from None


def broken(file: Path, path: str | Iterable[str | int], why: str) -> AnnotationFileError:
    """The error for a place, given as a pointer or as its parts."""
    pointer = path if isinstance(path, str) else strict_json.pointer(path)
    return AnnotationFileError(f"[annotate] {file.name}{pointer[:256]}: {why}", pointer=pointer, hint=_HINT)


def _own(picture: PromptedPicture) -> PromptedPicture:
    """Without the numbers of asks, which mean something in their run's worklist only."""
    prompts = tuple(msgspec.structs.replace(prompt, ask=None) for prompt in picture.prompts)
    return msgspec.structs.replace(picture, prompts=prompts)


def _fault(prompt: Prompted) -> tuple[tuple[str | int, ...], str]:
    """Where and why a prompt means nothing; empty if it means something."""
    if len(prompt.labels) != len(prompt.points):
        return ("labels",), f"{len(prompt.labels)} labels for {len(prompt.points)} points"
    for i, label in enumerate(prompt.labels):
        if label not in (_FOREGROUND, _BACKGROUND):
            return ("labels", i), f"{label} is neither 1 (on the object) nor 0 (not on it)"
    if prompt.box and not (prompt.box[0] < prompt.box[2] and prompt.box[1] < prompt.box[3]):
        return ("box",), f"{list(prompt.box)} is not x0 < x1, y0 < y1"
    if prompt.accept and not prompt.box and not prompt.mask and _FOREGROUND not in prompt.labels:
        return (), "accepted, but with neither a point of label 1 nor a box nor a mask"
    if prompt.mask:
        try:
            rle.area(prompt.mask.coco)
        except InputError as error:
            return ("mask",), error.message
    return (), ""


def _inside(box: tuple[float, float, float, float], height: int, width: int) -> bool:
    return min(box[:2]) >= 0 and box[2] <= width and box[3] <= height
