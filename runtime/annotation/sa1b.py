"""SA-1B's layout (arXiv 2304.02643, section 5): a JSON for each picture, in and out.

{"image": {image_id, width, height, file_name},
 "annotations": [{id, segmentation, bbox, area, predicted_iou, stability_score, crop_box, point_coords}]}
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import msgspec

from saccade.runtime.annotation.finished import Finished
from saccade.runtime.annotation.prompts import PromptedPicture, Prompts, broken, load, typed
from saccade.runtime.annotation.record import Annotation, Box, Point, Prompted, Rle, annotation
from saccade.runtime.errors import AnnotationFileError, InputError, SaccadeError
from saccade.runtime.files import disk_trouble, write_file


class Picture(msgspec.Struct, frozen=True):
    """The part `image` of a file. file_name is without folders: the JSON lies where the picture does."""

    image_id: int
    width: int
    height: int
    file_name: str


class Mask(msgspec.Struct, frozen=True):
    """One of the annotations of a file. bbox and crop_box are (x, y, width, height)."""

    id: int
    segmentation: Rle
    bbox: Box
    area: float
    predicted_iou: float
    stability_score: float
    crop_box: Box
    point_coords: tuple[Point, ...]


class File(msgspec.Struct, frozen=True):
    """One file."""

    image: Picture
    annotations: tuple[Mask, ...]


def place(name: str) -> str:
    """Where the JSON of the picture `name` lies: the same place, with another ending."""
    return str(PurePosixPath(name).with_suffix(".json"))


def check_names(names: Iterable[str]) -> None:
    """Raise InputError if two pictures would have the same JSON, or one's name is too long for it."""
    for json, count in Counter(map(place, names)).items():
        if count > 1:
            raise InputError(
                f"[annotate] {count} pictures would be described by {json[:128]}",
                hint="give pictures names that differ before their ending, or take --format coco",
            )
        if len(PurePosixPath(json).name.encode()) > 255:
            raise InputError(
                f"[annotate] {json[:64]}… is too long for a file's name", hint="shorten it, or take --format coco"
            )


def write(folder: Path, pictures: Iterable[Finished]) -> None:
    """Write a JSON for each picture below `folder`, and remove those of others. Raises NoSpace.

    Ids follow the order of the pictures. A file that is there and right already is left alone.
    """
    first, kept = 1, set()
    for number, picture in enumerate(pictures, 1):
        target = folder / place(picture.name)
        data = msgspec.json.encode(_file(picture, number, first)) + b"\n"
        first += len(picture.annotations)
        kept.add(str(target))
        if not _holds(target, data):
            write_file(target, data)
    with disk_trouble(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for file in _files(folder):
            if str(file) not in kept:
                file.unlink(missing_ok=True)


def read(file: Path, root: Path) -> Finished:
    """The picture that a file below `root` describes; boxes and areas are computed from the masks.

    Raises AnnotationFileError with the JSON pointer.
    """
    found = typed(file, load(file), File)
    name = PurePosixPath(file.relative_to(root).parent.as_posix()) / found.image.file_name
    masks = tuple(_checked(file, at, mask, found.image) for at, mask in enumerate(found.annotations))
    return Finished(str(name), found.image.height, found.image.width, masks)


def read_folder(folder: Path) -> Iterator[Finished]:
    """The pictures that the files below `folder` describe, sorted by file. Raises AnnotationFileError, InputError."""
    files = sorted(_files(folder))
    if not files:
        raise InputError(f"[annotate] no JSON below {folder}", hint="give a folder in SA-1B's layout")
    return (read(file, folder) for file in files)


def prompts(folder: Path) -> Prompts:
    """Prompts that have every mask below `folder` found anew: its box, and the points that it was found by."""
    made = []
    for picture in read_folder(folder):
        asked = tuple(_prompt(a) for a in picture.annotations if a.area)
        made.append(PromptedPicture(picture.name, asked))
    try:
        return Prompts(folder.name, made)
    except AnnotationFileError as error:
        raise AnnotationFileError(error.message, pointer=error.pointer, hint="each picture has one JSON") from None


def _prompt(one: Annotation) -> Prompted:
    x, y, width, height = one.bbox
    return Prompted(
        points=one.point_coords,
        labels=(1,) * len(one.point_coords),
        box=(x, y, x + width, y + height),
        category=one.category,
    )


def _file(picture: Finished, number: int, first: int) -> File:
    about = Picture(number, picture.width, picture.height, PurePosixPath(picture.name).name)
    rows = [msgspec.structs.asdict(a) for a in picture.annotations]
    for at, row in enumerate(rows):
        del row["category"]
        row["id"] = first + at
    return File(about, tuple(Mask(**row) for row in rows))


def _checked(file: Path, at: int, mask: Mask, image: Picture) -> Annotation:
    if mask.segmentation.size != (image.height, image.width):
        given = f"{list(mask.segmentation.size)} is not the picture's [{image.height}, {image.width}]"
        raise broken(file, ("annotations", at, "segmentation", "size"), given)
    x, y, width, height = (round(v) for v in mask.crop_box)
    try:
        return annotation(
            mask.segmentation.coco,
            mask.predicted_iou,
            mask.stability_score,
            crop=(x, y, width, height),
            points=mask.point_coords,
        )
    except (SaccadeError, ValueError) as error:
        raise broken(file, ("annotations", at, "segmentation", "counts"), str(error)) from None


def _files(folder: Path) -> Iterator[Path]:
    for where, _, names in os.walk(folder):
        yield from (Path(where, name) for name in names if name.endswith(".json") and not name.startswith("."))


def _holds(file: Path, data: bytes) -> bool:
    with contextlib.suppress(OSError):
        return file.read_bytes() == data
    return False
