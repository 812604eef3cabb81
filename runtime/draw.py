"""Pictures of results: contact sheets with captions and score bars, for people who would rather look than read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saccade.runtime.files import write_file
from saccade.runtime.image import decode
from saccade.runtime.index import Index
from saccade.runtime.results import Matches, Scores

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

TILE, GAP, LINE, TITLE = 224, 16, 22, 44
PAPER, CARD, INK, QUIET, BAR, TRACK = "#f4f1ea", "#ffffff", "#22252b", "#7a7f88", "#2f6f8f", "#e4e1d9"
RIGHT, WRONG = "#3f8f5b", "#b8483a"


@dataclass(frozen=True)
class Row:
    """One line under a picture: text, and a bar of `value` between 0 and 1 behind it if there is one."""

    text: str
    value: float | None = None
    shown: str = ""
    colour: str = BAR


@dataclass(frozen=True)
class Tile:
    """A picture (anything `decode` takes), a title above the rows, and a mark around it."""

    picture: Any
    title: str
    rows: Sequence[Row] = ()
    frame: str = ""


@dataclass(frozen=True)
class Section:
    """Tiles under a heading."""

    heading: str
    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Sheet:
    """Sections one below the other, `columns` tiles a row."""

    title: str
    sections: Sequence[Section]
    columns: int = 6
    note: str = field(default="")

    def draw(self) -> PilImage:
        """The sheet as a PIL picture, RGB."""
        from PIL import Image, ImageDraw

        columns = max(1, min(self.columns, max((len(s.tiles) for s in self.sections), default=1)))
        width = max(GAP + columns * (TILE + GAP), 640)
        tall = [_height(section, columns) for section in self.sections]
        canvas = Image.new("RGB", (width, 76 + sum(tall) + (LINE + GAP if self.note else 0)), PAPER)
        pen = ImageDraw.Draw(canvas)
        pen.text((GAP, 18), _fit(pen, self.title, width - 2 * GAP, 26), fill=INK, font=_font(26))
        top = 64
        for section, height in zip(self.sections, tall, strict=True):
            _section(canvas, pen, section, top, columns)
            top += height
        if self.note:
            pen.text((GAP, top), _fit(pen, self.note, width - 2 * GAP, 14), fill=QUIET, font=_font(14))
        return canvas

    def save_png(self, path: str | os.PathLike[str]) -> None:
        """Write the sheet as PNG, all at once. Raises NoSpace."""
        buffer = BytesIO()
        self.draw().save(buffer, "PNG", optimize=False)
        write_file(Path(path), buffer.getvalue())


def scores_sheet(pictures: Sequence[Any], scores: Scores, top: int = 5, title: str = "") -> Sheet:
    """A sheet with each picture's best labels as bars."""
    tiles = [
        Tile(picture, name, [Row(label, score, f"{score:.2f}") for label, score in best])
        for picture, name, best in zip(pictures, _short(scores.names), scores.top(top), strict=True)
    ]
    return Sheet(title or f"{len(tiles)} pictures, {len(scores.labels)} labels", [Section("", tiles)])


def matches_sheet(found: Matches, index: Index) -> Sheet:
    """A sheet with the pictures that a search found, best first."""
    rows = zip(found.names, found.scores, strict=True)
    tiles = [
        Tile(index.path(name), f"{place}. {name}", [Row("cosine", max(float(score), 0.0), f"{score:.3f}")])
        for place, (name, score) in enumerate(rows, 1)
    ]
    return Sheet(found.query or "search", [Section("", tiles)])


def _height(section: Section, columns: int) -> int:
    rows = -(-len(section.tiles) // columns)
    return (34 if section.heading else 0) + rows * (_card(section) + GAP) + 4


def _card(section: Section) -> int:
    most = max((len(tile.rows) for tile in section.tiles), default=0)
    return TILE + TITLE + most * LINE + (8 if most else 0)


def _section(canvas: PilImage, pen: Any, section: Section, top: int, columns: int) -> None:
    if section.heading:
        pen.text((GAP, top + 2), _fit(pen, section.heading, canvas.width - 2 * GAP, 18), fill=INK, font=_font(18))
        top += 34
    card = _card(section)
    for at, tile in enumerate(section.tiles):
        left = GAP + at % columns * (TILE + GAP)
        upper = top + at // columns * (card + GAP)
        outline = tile.frame or TRACK
        pen.rounded_rectangle(
            (left - 1, upper - 1, left + TILE, upper + card), 6, CARD, outline, 3 if tile.frame else 1
        )
        canvas.paste(_thumbnail(tile.picture), (left + 4, upper + 4))
        for line, text in enumerate(_wrap(pen, tile.title, TILE - 16, 14)):
            pen.text((left + 8, upper + TILE + 2 + line * 18), text, fill=INK, font=_font(14))
        for line, row in enumerate(tile.rows):
            _row(pen, row, left + 8, upper + TILE + TITLE + line * LINE)


def _row(pen: Any, row: Row, left: int, top: int) -> None:
    width = TILE - 16
    if row.value is not None:
        pen.rounded_rectangle((left, top + 16, left + width, top + 19), 2, TRACK)
        filled = round(width * min(max(row.value, 0.0), 1.0))
        if filled > 3:
            pen.rounded_rectangle((left, top + 16, left + filled, top + 19), 2, row.colour)
    room = width - 46 if row.shown else width
    pen.text((left, top), _fit(pen, row.text, room, 13), fill=INK if row.value is None else QUIET, font=_font(13))
    if row.shown:
        pen.text((left + width, top), row.shown, fill=INK, font=_font(13), anchor="ra")


def _thumbnail(picture: Any) -> PilImage:
    from PIL import Image

    image = Image.fromarray(decode(picture).pixels)
    room = TILE - 8
    scale = room / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    fitted = image.resize(size, Image.Resampling.LANCZOS)
    square = Image.new("RGB", (room, room), TRACK)
    square.paste(fitted, ((room - fitted.width) // 2, (room - fitted.height) // 2))
    return square


def _fit(pen: Any, text: str, width: int, size: int) -> str:
    """`text` in one line, cut with an ellipsis where it would be wider than `width` pixels."""
    line = " ".join(text.split())
    if pen.textlength(line, font=_font(size)) <= width:
        return line
    while line and pen.textlength(line + "…", font=_font(size)) > width:
        line = line[:-1]
    return line + "…"


def _wrap(pen: Any, text: str, width: int, size: int) -> list[str]:
    """`text` in at most two lines, broken between words; the second is cut with an ellipsis."""
    words, first = text.split(), ""
    while words and pen.textlength(f"{first} {words[0]}".strip(), font=_font(size)) <= width:
        first = f"{first} {words.pop(0)}".strip()
    if not first:
        return [_fit(pen, text, width, size)]
    return [first, _fit(pen, " ".join(words), width, size)] if words else [first]


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _short(names: Sequence[str]) -> list[str]:
    return [Path(name).name if name else f"picture {at}" for at, name in enumerate(names, 1)]
