"""What grounding-tiny makes of prompts: `python -m zoo.show_boxes -o docs/grounding-tiny.png [--bundle FOLDER]`.

A row a kind of prompt, on pictures of the stream that no training sees, as they come: nothing is picked out. Boxes of
THRESHOLD or more in the colour of their phrase, which the prompt below is written in; what was meant and is not found
is dashed in white, what was found and is not meant has a cross.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from saccade.zoo import detection
from saccade.zoo.detection import Case, Detect, Found, box_iou
from saccade.zoo.families import checkpoint_of
from saccade.zoo.grounding_metrics import THRESHOLD

PAPER, INK = (250, 250, 248), (32, 34, 40)
INKS = ((222, 40, 40), (20, 140, 60), (40, 90, 230), (170, 60, 200), (220, 120, 0), (0, 150, 170), (200, 40, 120),
        (110, 110, 110))  # fmt: skip
TILE, GAP, LEFT, LINE, LINES, COLUMNS = 186, 8, 84, 12, 3, 6

Made = Callable[[int, int], list[Case]]
ROWS: dict[str, Made] = {
    "all shapes": lambda n, seed: detection.category_cases(n, "middle", seed),
    "all shapes,\nhard": lambda n, seed: detection.category_cases(n, "hard", seed),
    "pairs never\ntrained": lambda n, seed: detection.attribute_cases(n, "middle", seed, "held-out"),
    "not there": lambda n, seed: detection.absent_cases(n, "pair", "middle", seed),
    "relations": lambda n, seed: detection.relation_cases(n, "middle", seed),
    "in a\nsentence": lambda n, seed: detection.relation_cases(n, "middle", seed, sentence=True),
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m zoo.show_boxes", description="draw what grounding-tiny finds")
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/grounding-tiny.png"))
    parser.add_argument("--bundle", type=Path, help="draw what this bundle finds, instead of the checkpoint")
    parser.add_argument("--seed", type=int, default=1002)
    options = parser.parse_args(arguments)
    sheet = contact_sheet(_detector(options.bundle), options.seed)
    ImageOps.posterize(sheet, 5).save(options.out, optimize=True)  # a palette would exchange the colours asked for
    return 0


def contact_sheet(detect: Detect, seed: int) -> Image.Image:
    """The sheet, RGB: COLUMNS pictures of each of ROWS."""
    high = TILE + LINES * LINE + GAP
    sheet = Image.new("RGB", (LEFT + COLUMNS * (TILE + GAP), GAP + len(ROWS) * high), PAPER)
    pen = ImageDraw.Draw(sheet)
    for row, (title, made) in enumerate(ROWS.items()):
        top = GAP + row * high
        pen.multiline_text((6, top + TILE / 2 - 8), title, INK, _font(11))
        for column, case in enumerate(made(COLUMNS, seed)):
            left = LEFT + column * (TILE + GAP)
            sheet.paste(_drawn(case, detect(case.pixels, case.text, case.spans)), (left, top))
            _write(pen, case, left, top + TILE + 1)
    return sheet


def _drawn(case: Case, said: Found) -> Image.Image:
    scale = TILE / case.pixels.shape[1]
    image = Image.fromarray(case.pixels).resize((TILE, TILE), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    sure = said.scores >= THRESHOLD
    for phrase, wanted in enumerate(case.wanted):
        of = sure & (said.phrases == phrase)
        overlap = box_iou(said.boxes[of], wanted) >= 0.5
        for box, right, score in zip(
            said.boxes[of] * scale, np.any(overlap, axis=1).tolist(), said.scores[of], strict=True
        ):
            _box(pen, tuple(map(float, box)), phrase, right, float(score))
        for box in wanted[~overlap.any(0)] * scale:
            _dashed(pen, tuple(map(float, box)))
    return image


def _box(pen: ImageDraw.ImageDraw, box: tuple[float, ...], phrase: int, right: bool, score: float) -> None:
    x0, y0, x1, y1 = box
    ink = INKS[phrase % len(INKS)]
    pen.rectangle((x0 - 1, y0 - 1, x1, y1), outline=(255, 255, 255), width=3)
    pen.rectangle((x0, y0, x1 - 1, y1 - 1), outline=ink, width=1)
    if not right:
        pen.line((x0, y0, x1, y1), ink, 2)
        pen.line((x0, y1, x1, y0), ink, 2)
    at = (min(max(x0, 0), TILE - 20) + 2, max(y0, 0) + 1)
    pen.rectangle((at[0] - 1, at[1], at[0] + 17, at[1] + 11), fill=(255, 255, 255))
    pen.text(at, f".{min(99, round(100 * score)):02d}", ink, _font(10))


def _dashed(pen: ImageDraw.ImageDraw, box: tuple[float, ...]) -> None:
    x0, y0, x1, y1 = box
    for start in np.arange(0, 1, 0.1):
        for a, b in (((x0, y0), (x1, y0)), ((x0, y1), (x1, y1)), ((x0, y0), (x0, y1)), ((x1, y0), (x1, y1))):
            ends = [(a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t) for t in (start, start + 0.05)]
            pen.line([*ends[0], *ends[1]], (255, 255, 255), 2)


def _write(pen: ImageDraw.ImageDraw, case: Case, left: float, top: float) -> None:
    """The prompt, broken into lines, each phrase in its colour."""
    font, x, y = _font(10), float(left), top
    for match, start in _words(case.text):
        width = pen.textlength(match + " ", font)
        if x + width > left + TILE + 4 and x > left:
            x, y = float(left), y + LINE
        phrase = next((k for k, (a, b) in enumerate(case.spans) if a <= start < b), None)
        pen.text((x, y), match, INK if phrase is None else INKS[phrase % len(INKS)], font)
        x += width


def _words(text: str) -> list[tuple[str, int]]:
    found, at = [], 0
    for word in text.split(" "):
        found.append((word, at))
        at += len(word) + 1
    return found


def _detector(bundle: Path | None) -> Detect:
    if bundle is not None:
        from saccade.zoo import bundled

        return bundled.detector(bundle)
    from saccade.zoo.recipes.grounding import load
    from saccade.zoo.recipes.grounding_model import detector

    return detector(load(checkpoint_of("grounding")))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


if __name__ == "__main__":
    raise SystemExit(main())
