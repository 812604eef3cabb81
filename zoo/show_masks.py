"""What sam-tiny makes of clicks and boxes: `python -m zoo.show_masks -o docs/sam-tiny.png [--bundle FOLDER]`.

A column a target, drawn from the stream that no training sees: the picture with its click, the three masks of that
click with predicted and true IoU (the preferred one framed), the mask after three clicks, and the mask of the box.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from saccade.zoo.families import checkpoint_of
from saccade.zoo.segmentation import Decode, Encode, Targets, Trace, iou, target_pictures, trace, upsample

PAPER, INK, MARK, MASK, ADD, REMOVE = (
    (250, 250, 248), (32, 34, 40), (222, 70, 50), (64, 200, 255), (70, 230, 90), (240, 60, 60)
)  # fmt: skip
SCALE, GAP, LEFT, TEXT = 1.25, 8, 74, 15
ROWS = ("one click", "mask 1", "mask 2", "mask 3", "three clicks", "box")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m zoo.show_masks", description="draw what sam-tiny finds")
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/sam-tiny.png"))
    parser.add_argument("--bundle", type=Path, help="draw what this bundle finds, instead of the checkpoint")
    parser.add_argument("--seed", type=int, default=1002)
    options = parser.parse_args(arguments)
    sheet = contact_sheet(*_halves(options.bundle), options.seed)
    sheet.quantize(128).save(options.out, optimize=True)
    return 0


def contact_sheet(encode: Encode, decode: Decode, seed: int) -> Image.Image:
    """The sheet, RGB: four targets of the middle level, then three things that carry a part and these parts."""
    plain, carrying = target_pictures(12, "middle", seed), target_pictures(40, "middle", seed, parts=True)
    firsts = np.unique(plain.picture, return_index=True)[1][:4]
    columns = [(plain, int(index)) for index in firsts] + [(carrying, index) for index in _nested(carrying, 3)]
    tile = round(SCALE * plain.pixels.shape[1])
    size = LEFT + len(columns) * (tile + GAP), GAP + len(ROWS) * (tile + TEXT + GAP)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    for row, title in enumerate(ROWS):
        pen.text((6, GAP + row * (tile + TEXT + GAP) + tile / 2), title, INK, _font(11))
    for number, (targets, index) in enumerate(columns):
        tiles = _column(encode, decode, targets.only(slice(index, index + 1)))
        for row, (picture, text, framed) in enumerate(tiles):
            x, y = LEFT + number * (tile + GAP), GAP + row * (tile + TEXT + GAP)
            sheet.paste(picture.resize((tile, tile), Image.Resampling.NEAREST), (x, y))
            pen.text((x, y + tile + 1), text, MARK if framed else INK, _font(11))
            if framed:
                pen.rectangle((x - 2, y - 2, x + tile + 1, y + tile + 1), outline=MARK, width=2)
    return sheet


def _nested(targets: Targets, wanted: int) -> list[int]:
    """Indices of things and of a part on each, in turn."""
    found: list[int] = []
    for part in np.flatnonzero(targets.part):
        beside = np.flatnonzero((targets.picture == targets.picture[part]) & ~targets.part)
        found += [int(i) for i in beside if (targets.masks[part] <= targets.masks[i]).all()][:1] + [int(part)]
        if len(found) >= 2 * wanted:
            break
    return found


def _column(encode: Encode, decode: Decode, target: Targets) -> list[tuple[Image.Image, str, bool]]:
    """(picture, text under it, framed) of each row."""
    pixels, wanted = target.pixels[0], target.masks[0]
    click, several, box = (trace(encode, decode, target, way) for way in ("click", "clicks", "box"))
    found = upsample(click.logits[0], wanted.shape) > 0
    true = iou(found, wanted)
    chosen = int(click.predicted[0, 1:].argmax()) + 1
    rows = [(_drawn(pixels, None, click), "a part" if target.part[0] else "a thing", False)]
    for k in (1, 2, 3):
        text = f"IoU {true[k]:.2f}, predicted {click.predicted[0, k]:.2f}"
        rows.append((_drawn(pixels, found[k], None), text, k == chosen))
    for asked in (several, box):
        mask = upsample(asked.logits[0, 0], wanted.shape) > 0
        text = f"IoU {float(iou(mask, wanted)):.2f}, predicted {asked.predicted[0, 0]:.2f}"
        rows.append((_drawn(pixels, mask, asked), text, False))
    return rows


def _drawn(pixels: NDArray[np.uint8], mask: NDArray[np.bool_] | None, asked: Trace | None) -> Image.Image:
    """The picture, darker outside the mask, with the mask's edge and the prompts."""
    canvas = pixels.astype(np.float32)
    if mask is not None:
        canvas[~mask] *= 0.35
        inner = mask.copy()
        inner[1:-1, 1:-1] &= mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
        canvas[mask & ~inner] = MASK
    image = Image.fromarray(canvas.astype(np.uint8))
    if asked is not None:
        _draw_prompts(ImageDraw.Draw(image), asked.points[0], asked.labels[0])
    return image


def _draw_prompts(pen: ImageDraw.ImageDraw, points: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    corners: list[Any] = [tuple(map(float, point)) for point in points[labels >= 2]]
    if corners:
        pen.rectangle(corners, outline=ADD, width=1)
    for (x, y), label in zip(points, labels, strict=True):
        if label in (0, 1):
            pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=ADD if label else REMOVE, outline=(255, 255, 255))


def _halves(bundle: Path | None) -> tuple[Encode, Decode]:
    if bundle is not None:
        from saccade.runtime.bundle import Bundle
        from saccade.zoo import bundled

        return bundled.halves(Bundle.open(bundle))
    from transformers import SamModel

    from saccade.zoo.recipes.sam_model import halves

    return halves(SamModel.from_pretrained(checkpoint_of("sam")).eval())


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


if __name__ == "__main__":
    raise SystemExit(main())
