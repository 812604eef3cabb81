"""The contact sheet of the world: `python -m zoo.show -o docs/world.png`.

A row a level with a caption under each picture, the truth of the last row (masks, boxes, names), and the table of the
72 classes with the held-out ones marked.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from saccade.zoo.captions import describe
from saccade.zoo.words import CLASSES, COLOURS, SHAPES, is_held_out
from saccade.zoo.world import LEVELS, Rendered, Scene, Thing, render, sample_scene

PAPER, INK, FAINT, MARK = (250, 250, 248), (32, 34, 40), (120, 122, 130), (222, 70, 50)
TILE, GAP, CAPTION, LEFT, TOP = 148, 10, 48, 62, 20
CELL = 52
COLUMNS = 5
GAPS = {"easy": "1-2 things, plain", "middle": "1-4, textured, cropped", "hard": "2-6, occluded, parts, clutter"}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m zoo.show", description="draw the world's contact sheet")
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/world.png"))
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args(arguments)
    # a palette keeps the file small: noise in three channels hardly compresses
    contact_sheet(options.seed).quantize(256).save(options.out, optimize=True)
    return 0


def contact_sheet(seed: int) -> Image.Image:
    """The sheet, about 1380 x 800 pixels, RGB."""
    height = TOP + 4 * TILE + 3 * CAPTION + GAP
    width = LEFT + COLUMNS * (TILE + GAP) + 90 + len(SHAPES) * CELL + 2 * GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    rng = np.random.default_rng(seed)
    top = TOP
    for level in LEVELS:
        pictures = [render(scene, TILE) for scene in _scenes(rng, level)]
        _row(sheet, top, level, [Image.fromarray(picture.pixels) for picture in pictures])
        for column, picture in enumerate(pictures):
            text = describe(rng, picture.scene, detail=0.5, relation=0.6, paraphrase=False).text
            _write(pen, LEFT + column * (TILE + GAP), top + TILE + 3, text)
        top += TILE + CAPTION
    _row(sheet, top, "truth", [truth_of(picture) for picture in pictures])
    left = LEFT + COLUMNS * (TILE + GAP) + 80
    _classes(sheet, pen, left, TOP + 24)
    _sizes(sheet, pen, left, TOP + 24 + 22 + len(COLOURS) * CELL + 24, pictures[-1].scene)
    return sheet


def truth_of(picture: Rendered) -> Image.Image:
    """The masks in their colours over the darkened picture, and the boxes."""
    grey = picture.pixels.mean(2, keepdims=True) * 0.35
    canvas = np.repeat(grey, 3, 2)
    for mask, thing in zip(picture.masks, picture.scene.things, strict=True):
        canvas[mask] = COLOURS[thing.colour]
    image = Image.fromarray(canvas.astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for box, thing in zip(picture.boxes, picture.scene.things, strict=True):
        x0, y0, x1, y1 = (int(edge) for edge in box)
        pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=(255, 255, 255), width=1)
        name = f"{thing.shape} (part)" if thing.part_of >= 0 else thing.shape
        pen.text((x0 + 2, max(0, y0 - 12)), name, (255, 255, 255), _font(10))
    return image


def _scenes(rng: np.random.Generator, level: str) -> list[Scene]:
    """One scene of each number of things that the level allows, and more at random."""
    low, high = LEVELS[level].count
    counts = [low + number % (high - low + 1) for number in range(COLUMNS)]
    return [sample_scene(rng, level, count=count) for count in counts]


def _row(sheet: Image.Image, top: int, title: str, images: list[Image.Image]) -> None:
    label = Image.new("RGB", (TILE, 40), PAPER)
    ImageDraw.Draw(label).text((0, 2), title, INK, _font(18))
    ImageDraw.Draw(label).text((0, 24), GAPS.get(title, "masks, boxes, names"), FAINT, _font(10))
    sheet.paste(label.rotate(90, expand=True), (12, top))
    for column, image in enumerate(images):
        sheet.paste(image, (LEFT + column * (TILE + GAP), top))


def _write(pen: ImageDraw.ImageDraw, x: int, y: int, text: str) -> None:
    """The text on up to three lines of a tile's width."""
    font, lines = _font(11), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if pen.textlength(longer, font) > TILE and len(lines) < 3:
            lines.append(word)
        else:
            lines[-1] = longer
    pen.multiline_text((x, y), "\n".join(lines), INK, font, spacing=2)


def _classes(sheet: Image.Image, pen: ImageDraw.ImageDraw, left: int, top: int) -> None:
    """The table of all colour-shape pairs; those held out of training are crossed."""
    pen.text((left, TOP - 2), f"{len(CLASSES)} classes; marked: never together in training", INK, _font(14))
    for column, shape in enumerate(SHAPES):
        pen.text((left + column * CELL + CELL / 2, top + 4), shape, FAINT, _font(11), anchor="ma")
    for row, (colour, rgb) in enumerate(COLOURS.items()):
        y = top + 22 + row * CELL
        pen.text((left - 8, y + CELL / 2), colour, FAINT, _font(11), anchor="rm")
        for column, shape in enumerate(SHAPES):
            thing = Thing(colour, shape, "plain", 0.5, 0.5, 0.38, 0, rgb)
            cell = Image.fromarray(render(Scene((thing,), (46, 48, 54)), CELL - 4).pixels)
            sheet.paste(cell, (left + column * CELL + 2, y + 2))
            if is_held_out(colour, shape):
                box = (left + column * CELL, y, left + (column + 1) * CELL - 1, y + CELL - 1)
                pen.rectangle(box, outline=MARK, width=3)


def _sizes(sheet: Image.Image, pen: ImageDraw.ImageDraw, left: int, top: int, scene: Scene) -> None:
    pen.text((left, top), "one scene at 48, 64, 96 and 160 pixels", INK, _font(14))
    for size in (48, 64, 96, 160):
        sheet.paste(Image.fromarray(render(scene, size).pixels), (left, top + 24))
        left += size + GAP


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


if __name__ == "__main__":
    raise SystemExit(main())
