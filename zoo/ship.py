"""Make the shipped bundle of a checkpoint: `python -m zoo.ship sam [-o zoo/bundles/sam-tiny.bundle]`.

The same export that a user calls, calibrated on pictures of the world and measured on pictures that training never
drew (docs/zoo.md). Needs the [export] extra.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saccade.zoo.families import checkpoint_of

if TYPE_CHECKING:
    from saccade.runtime.bundle import Bundle

PRECISIONS = ("fp32", "fp16", "int8")
CALIBRATION, TEXTS, CHECKED = 256, 128, 640
SEEDS = {"calibration": 3000, "texts": 3100, "checked": 1001}
"""None is the seed of the figures in docs/zoo.md (1000): int8 is not calibrated on what it is judged by."""


def main(arguments: list[str] | None = None) -> int:
    """Export and say what came out."""
    parser = argparse.ArgumentParser(prog="python -m zoo.ship", description="make a shipped bundle")
    parser.add_argument("family", choices=sorted(SHIP))
    parser.add_argument("--checkpoint", type=Path, help="by default the committed one")
    parser.add_argument("-o", "--out", type=Path, help="by default the shipped one's folder")
    options = parser.parse_args(arguments)
    family = options.family
    out = options.out or Path("zoo/bundles") / f"{family}-tiny.bundle"
    bundle = SHIP[family](options.checkpoint or checkpoint_of(family), out)
    for graph, entry in bundle.graphs.items():
        for variant in entry.variants:
            print(graph, variant.precision, "within budget" if variant.within_budget else "OUTSIDE")
            for m in variant.measured:
                print(f"  {m.metric}: mean {m.mean:.5f}, worst {m.worst:.5f}, trained {m.reference}, n {m.samples}")
    return 0


def ship_clip(checkpoint: Path, target: Path) -> Bundle:
    """The bundle of clip-tiny in fp32, fp16 and int8, with the 72 classes as labels."""
    from saccade.export import Labelled, export
    from saccade.zoo.evaluate import labelled_pictures, retrieval_pictures

    checked = labelled_pictures(CHECKED, "middle", SEEDS["checked"])
    return export(
        checkpoint,
        target,
        calibrate=_single_things(),
        texts=retrieval_pictures(TEXTS, seed=SEEDS["texts"], detail=0.3).captions,
        labelled=Labelled(list(checked.pixels), [int(i) for i in checked.labels], checked.texts),
        labels=labelled_pictures(0, pairs="any", template="{}").texts,
        templates=("a photo of {}", "a picture of {}", "{}"),
        **_told("clip"),
    )


def ship_sam(checkpoint: Path, target: Path) -> Bundle:
    """The bundle of sam-tiny in fp32, fp16 and int8."""
    from saccade.export import export

    return export(checkpoint, target, calibrate=_scenes(), **_told("sam"))


def ship_grounding(checkpoint: Path, target: Path) -> Bundle:
    """The bundle of grounding-tiny in fp32, fp16 and int8."""
    from saccade.export import export

    return export(checkpoint, target, calibrate=_scenes(), texts=_prompts(), **_told("grounding"))


SHIP: dict[str, Callable[[Path, Path], Bundle]] = {"clip": ship_clip, "grounding": ship_grounding, "sam": ship_sam}


def _told(family: str) -> dict[str, Any]:
    note = f"trained on the world of shapes by `python -m zoo.train {family}`; figures in docs/zoo.md"
    return {
        "name": f"{family}-tiny", "license": "Apache-2.0", "note": note, "precisions": PRECISIONS, "overwrite": True
    }  # fmt: skip


def _single_things() -> list[Any]:
    """Pictures of one thing each, of all levels and classes, none of them used in training or measuring."""
    from saccade.zoo.evaluate import labelled_pictures

    levels = ("easy", "middle", "hard", "middle")
    share = CALIBRATION // len(levels)
    made: list[Any] = []
    for at, level in enumerate(levels):
        made += list(labelled_pictures(share, level, SEEDS["calibration"] + 7 * at, pairs="any").pixels)
    return made


def _scenes() -> list[Any]:
    """Pictures of several things, some with parts, of all levels, none of them used in training or measuring."""
    from saccade.zoo.evaluate import evaluation_rng
    from saccade.zoo.world import render, sample_scene

    kinds = (("easy", False), ("middle", False), ("middle", True), ("hard", None))
    share = CALIBRATION // len(kinds)
    made: list[Any] = []
    for at, (level, parts) in enumerate(kinds):
        rng = evaluation_rng(SEEDS["calibration"] + 7 * at)
        made += [render(sample_scene(rng, level, parts=parts), 128).pixels for _ in range(share)]
    return made


def _prompts() -> list[str]:
    """Prompts of every kind, about things that may be there or not."""
    from saccade.zoo.evaluate import evaluation_rng
    from saccade.zoo.recipes.grounding_prompts import KINDS, draw_prompt, draw_scene

    rng = evaluation_rng(SEEDS["texts"])
    kinds = [kind for kind in KINDS if kind != "unknown"]
    drawn = [draw_prompt(rng, kinds[i % len(kinds)], draw_scene(rng, kinds[i % len(kinds)], 1.0)) for i in range(TEXTS)]
    return [prompt.text for prompt in drawn if prompt]


if __name__ == "__main__":
    raise SystemExit(main())
