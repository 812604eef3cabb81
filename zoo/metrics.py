"""The figures in a checkpoint's metrics.json: `python -m zoo.metrics sam` measures them again.

With --bundle the bundle made of it is measured, each precision. With --write the file is brought up to date; how the
checkpoint was trained (run, curve) stays as it is.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saccade.zoo.families import FAMILIES, checkpoint_of

if TYPE_CHECKING:
    import torch


def setting(model: torch.nn.Module) -> dict[str, Any]:
    """What figures were measured of and with."""
    import torch
    import transformers

    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "numpy": np.__version__},
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m zoo.metrics", description="measure a checkpoint of the zoo")
    parser.add_argument("family", choices=sorted(FAMILIES))
    parser.add_argument("--checkpoint", type=Path, help="the folder; by default the committed one")
    parser.add_argument("--write", action="store_true", help="into the folder's metrics.json")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bundle", type=Path, help="measure this bundle of it")
    options = parser.parse_args(arguments)
    folder = options.checkpoint or checkpoint_of(options.family)
    measured = measure(options.family, folder, options.threads, options.bundle)
    if options.write:
        write(folder, measured)
    print(json.dumps(measured, indent=2))
    return 0


def measure(name: str, folder: Path, threads: int, bundle: Path | None = None) -> dict[str, Any]:
    """Everything that is reported of a checkpoint, measured now; or of a bundle, under "bundle".

    Raises SystemExit for a bundle of a family whose bundles carry their figures.
    """
    import torch

    torch.set_num_threads(threads)
    family = FAMILIES[name]()
    if bundle is None:
        return family.measure(family.load(folder))
    if family.measure_bundle is None:
        raise SystemExit(f"the figures of a {name} bundle are in its bundle.json: saccade inspect {bundle}")
    return {"bundle": family.measure_bundle(bundle)}


def write(folder: Path, measured: dict[str, Any]) -> None:
    """Bring metrics.json up to date; what was not measured now stays as it is, and the curve stays last."""
    path = folder / "metrics.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    whole = {**kept, **measured}
    whole["curve"] = whole.pop("curve", [])
    path.write_text(json.dumps(whole, indent=2) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
