"""COCO instances: one JSON for all pictures, masks as run lengths, in and out. pycocotools reads what is written here.

Written picture by picture, so memory does not grow with their number; ids follow the order of the pictures, so the same
pictures give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from saccade.runtime.annotation.finished import Finished
from saccade.runtime.annotation.prompts import broken, load, typed
from saccade.runtime.annotation.record import OBJECT, Annotation, Point, Rle, annotation
from saccade.runtime.errors import SaccadeError
from saccade.runtime.files import writing


def write(
    target: Path,
    pictures: Callable[[], Iterable[Finished]],
    categories: Callable[[set[str]], tuple[str, ...]],
    about: dict[str, Any],
) -> None:
    """Write the pictures, which are asked for twice and come sorted, as COCO JSON, all at once. Raises NoSpace.

    categories: gives the names in the order of their ids, from those that occur
    about: what goes into `info`
    """
    met: set[str] = set()
    with writing(target) as file:
        file.write(b'{"info":' + msgspec.json.encode(about) + b',"licenses":[],"images":[')
        _rows(file, _images(pictures(), met))
        ids = {name: number for number, name in enumerate(categories(met), 1)}
        listed = [{"id": number, "name": name, "supercategory": ""} for name, number in ids.items()]
        file.write(b'],"categories":' + msgspec.json.encode(listed) + b',"annotations":[')
        _rows(file, _annotations(pictures(), ids))
        file.write(b"]}\n")


def row(one: Annotation, number: int, image: int, category: int) -> dict[str, Any]:
    """An annotation as COCO has it, with SA-1B's fields beside COCO's own."""
    made: dict[str, Any] = msgspec.to_builtins(one)
    del made["category"]
    return {"id": number, "image_id": image, "category_id": category, "iscrowd": 0, **made}


def _images(pictures: Iterable[Finished], met: set[str]) -> Iterator[dict[str, Any]]:
    for number, picture in enumerate(pictures, 1):
        met |= {a.category or OBJECT for a in picture.annotations}
        yield {"id": number, "file_name": picture.name, "width": picture.width, "height": picture.height}


def _annotations(pictures: Iterable[Finished], ids: dict[str, int]) -> Iterator[dict[str, Any]]:
    number = 0
    for image, picture in enumerate(pictures, 1):
        for one in picture.annotations:
            number += 1
            yield row(one, number, image, ids[one.category or OBJECT])


def _rows(file: BinaryIO, rows: Iterable[dict[str, Any]]) -> None:
    for at, made in enumerate(rows):
        file.write((b",\n" if at else b"\n") + msgspec.json.encode(made))


class _Image(msgspec.Struct):
    id: int
    file_name: str
    width: int
    height: int


class _Category(msgspec.Struct):
    id: int
    name: str


class _Row(msgspec.Struct):
    image_id: int
    segmentation: Rle
    category_id: int = 0
    predicted_iou: float = 1.0
    stability_score: float = 1.0
    crop_box: tuple[float, float, float, float] | None = None
    point_coords: tuple[Point, ...] = ()


class _Document(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Row]
    categories: list[_Category] = []


def read(path: Path) -> list[Finished]:
    """The pictures of a COCO JSON whose masks are compressed run lengths, sorted by name.

    Raises AnnotationFileError with the JSON pointer; polygons are refused. The file is read into memory.
    """
    document = typed(path, load(path), _Document)
    names = {category.id: category.name for category in document.categories}
    sizes = {image.id: (image.height, image.width) for image in document.images}
    held: dict[int, list[Annotation]] = {image.id: [] for image in document.images}
    for at, found in enumerate(document.annotations):
        if found.image_id not in held:
            raise broken(path, ("annotations", at, "image_id"), f"no image {found.image_id}")
        if found.segmentation.size != sizes[found.image_id]:
            raise broken(path, ("annotations", at, "segmentation", "size"), f"image {found.image_id} has another")
        name = names.get(found.category_id, "")
        held[found.image_id].append(_checked(path, at, found, "" if name == OBJECT else name))
    made = [Finished(i.file_name, i.height, i.width, tuple(held[i.id])) for i in document.images]
    made.sort(key=lambda picture: picture.name)
    for name, same in groupby(made, key=lambda picture: picture.name):
        if len(list(same)) > 1:
            raise broken(path, "/images", f"{name[:128]!a} stands twice")
    return made


def _checked(path: Path, at: int, found: _Row, category: str) -> Annotation:
    crop = found.crop_box and tuple(round(v) for v in found.crop_box)
    try:
        return annotation(
            found.segmentation.coco,
            found.predicted_iou,
            found.stability_score,
            crop=crop or None,  # type: ignore[arg-type]
            points=found.point_coords,
            category=category,
        )
    except (SaccadeError, ValueError) as error:
        raise broken(path, ("annotations", at, "segmentation"), str(error)) from None
