"""Train a checkpoint of the zoo: `python -m zoo.train sam [--minutes 45 --seed 0 --out FOLDER --threads 1]`.

Progress goes to stderr; every five minutes the averaged weights and their metrics are written to the folder, so that
a stop is never a loss. Needs the [export] extra.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from saccade.zoo.families import FAMILIES, checkpoint_of


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m zoo.train", description="train a checkpoint of the zoo")
    parser.add_argument("family", choices=sorted(FAMILIES))
    parser.add_argument("--minutes", type=float, default=45.0, help="time to train for, evaluation included")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder of the checkpoint")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rate", type=float, help="the highest learning rate, by default the recipe's")
    parser.add_argument("--resume", action="store_true", help="go on from the folder's weights, on another seed")
    options = parser.parse_args(arguments)
    out = options.out or checkpoint_of(options.family)
    train(options.family, options.minutes, options.seed, out, options.threads, rate=options.rate, resume=options.resume)
    return 0


def train(
    name: str,
    minutes: float,
    seed: int,
    out: Path,
    threads: int,
    *,
    rate: float | None = None,
    resume: bool = False,
) -> None:
    """Train a family's checkpoint, write it to `out` and its metrics beside it.

    resume: start from the weights in `out`, with a fresh optimiser and schedule; metrics.json tells of both runs
    """
    import torch

    from saccade.zoo.training import Schedule

    torch.set_num_threads(threads)
    family = FAMILIES[name]()
    schedule = Schedule(minutes, rate or family.peak_rate, time.monotonic)
    before = json.loads((out / "metrics.json").read_text()) if resume else {"curve": []}
    curve: list[dict[str, float]] = before["curve"]
    past = curve[-1]["minutes"] if curve else 0.0

    def run() -> dict[str, object]:
        told: dict[str, object] = {
            "seed": seed, "minutes": round(schedule.elapsed_s / 60, 1), "steps": schedule.steps,
            "pictures": schedule.steps * family.pictures, "threads": threads,
            "recipe": {**family.recipe, "peak_rate": schedule.peak},
        }  # fmt: skip
        return told | ({"resumed_from": before["run"]} if resume else {})

    def checkpoint(averaged: Any) -> None:
        family.save(averaged, out)
        row = {"minutes": round(past + schedule.elapsed_s / 60, 1), **family.quick(averaged)}
        curve.append(row)
        _say(json.dumps(row))
        _write(out, {"run": run(), "curve": curve})

    final = family.train(
        family.start(seed, out if resume else None), schedule, seed, checkpoint=checkpoint,
        report=lambda row: _say(" ".join(f"{name} {value:.4g}" for name, value in row.items())),
    )  # fmt: skip
    ran = run()
    family.save(final, out)
    metrics = family.measure(final)
    _write(out, {"run": ran, **metrics, "curve": curve})
    _say(json.dumps(metrics, indent=1))


def _write(folder: Path, metrics: dict[str, object]) -> None:
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
