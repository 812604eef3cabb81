"""Annotations from one layout to the other: SA-1B's folder to COCO's file, and back."""

from __future__ import annotations

import os
from pathlib import Path

from saccade.runtime.annotation import coco, sa1b
from saccade.runtime.annotation.rules import in_order
from saccade.runtime.errors import InputError
from saccade.runtime.files import new_folder


def convert(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> tuple[int, int]:
    """Convert, and give the number of pictures and of masks.

    source: a folder in SA-1B's layout, for which `target` is a COCO JSON; or a COCO JSON with masks as compressed run
        lengths, for which `target` is a new folder. SA-1B's has no categories: they are lost.
    Boxes and areas are computed from the masks. Raises AnnotationFileError with the JSON pointer, InputError, NoSpace.
    """
    start, end = Path(source), Path(target)
    if start.is_dir():
        if end.suffix != ".json":
            raise InputError(f"[annotate] cannot write COCO to {end}", hint="its name ends in .json")
        coco.write(end, lambda: sa1b.read_folder(start), in_order, {"description": "masks in SA-1B's layout"})
        counts = [len(picture.annotations) for picture in sa1b.read_folder(start)]
    else:
        pictures = coco.read(start)
        sa1b.check_names(picture.name for picture in pictures)
        with new_folder(end) as made:
            sa1b.write(made, pictures)
        counts = [len(picture.annotations) for picture in pictures]
    return len(counts), sum(counts)
