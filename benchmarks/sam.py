"""SAM at real size with random weights: the picture's graph, one click, and many prompts in one call.

    checkpoint (random ViT-B) ──the usual export──▶ bundle: fp32, int8            (ours)
                              ──torch.onnx.export of transformers' own forward──▶ plain ONNX Runtime   (peers)
                              ──transformers' own forward──▶ torch

Everything on one thread. Our answers are held against torch's before anything is timed: a fast wrong graph is an error.
At ViT-B a picture takes seconds, so the encoder has few rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from saccade.benchmarks.rows import Timing, compared, interleave
from saccade.runtime.bundle import Bundle
from saccade.runtime.engines import Options, open_engine
from saccade.runtime.errors import MissingExtra, ParityError
from saccade.runtime.prompt_pack import BATCH

Arrays = dict[str, np.ndarray]
Run = Callable[[], np.ndarray]
OURS = ("fp32", "int8")
MANY = 64
ROUNDS = {"encoder": 3, "decoder": 20, "many": 5}
EXACT, NEAR = 1e-3, 0.05
"""Most that the first output may differ, as a share of the largest value (float32) and as 1 - cosine (int8)."""


def prepare(folder: Path, size: str = "vit-b", precisions: tuple[str, ...] = OURS) -> tuple[Path, Path, Path]:
    """Checkpoint, bundle and the peer's folder in `folder`, made there if they are not yet. Takes minutes at ViT-B."""
    for library in ("torch", "transformers", "onnxruntime", "onnx"):
        if find_spec(library) is None:
            raise MissingExtra(library, "export", purpose="this benchmark")
    from saccade.benchmarks.checkpoints import make_sam
    from saccade.export import export
    from saccade.export.calibration import rendered

    checkpoint, bundle, peer = folder / f"sam-{size}", folder / f"sam-{size}.bundle", folder / f"sam-{size}-plain"
    if not (checkpoint / "model.safetensors").exists():
        make_sam(checkpoint, size)
    if not bundle.exists():
        export(str(checkpoint), bundle, precisions=precisions, calibrate=rendered(4))
    if not (peer / "decoder.onnx").exists():
        _plain_export(_model(checkpoint), peer)
    return checkpoint, bundle, peer


def rows(
    folder: Path,
    *,
    size: str = "vit-b",
    precisions: tuple[str, ...] = OURS,
    seconds: float = 10.0,
    report: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Measure everything; at least `seconds` a case, at most ROUNDS. One row a graph, case and precision of ours.

    precisions: of the bundle that is made; at ViT-B the judging of int8 by masks takes very long
    """
    import torch

    torch.set_num_threads(1)
    checkpoint, folder_of_bundle, peer = prepare(folder, size, precisions)
    model, bundle = _model(checkpoint), Bundle.open(folder_of_bundle)
    made, cases = [], (_encoder, _decoder, _many)
    for at, case in enumerate(cases):
        runs = case(model, bundle, peer)
        first = _gate(runs)
        name = case.__name__.removeprefix("_")
        times = interleave(runs, seconds=seconds, rounds=ROUNDS[name])
        errors = {other: _error(run(), runs["torch-fp32"]()) for other, run in runs.items()}
        ours = [p for p in OURS if f"saccade-{p}" in runs]
        made += [_row(f"sam-{size}", name, precision, times, errors, first) for precision in ours]
        if report:
            report(at + 1, len(cases))
    return made


def _encoder(model: Any, bundle: Bundle, peer: Path) -> dict[str, Run]:
    side = int(bundle.manifest.config["size"])
    given = {"pixels": np.random.default_rng(0).standard_normal((1, 3, side, side), np.float32)}
    held = [variant.precision for variant in bundle.graphs["encoder"].variants]
    runs = {f"saccade-{p}": _ours(bundle, "encoder", p, given, "embedding") for p in OURS if p in held}
    runs["onnxruntime-plain"] = _plain(peer / "encoder.onnx", given)
    return {**runs, "torch-fp32": partial(_torch_encoder, model, given["pixels"])}


def _decoder(model: Any, bundle: Bundle, peer: Path) -> dict[str, Run]:
    given = _clicks(bundle, 1)
    runs = {"saccade-fp32": _ours(bundle, "decoder", "fp32", given, "logits")}
    runs["onnxruntime-plain"] = _plain(peer / "decoder.onnx", _of_transformers(given))
    return {**runs, "torch-fp32": partial(_torch_decoder, model, given)}


def _many(model: Any, bundle: Bundle, peer: Path) -> dict[str, Run]:
    given = _clicks(bundle, MANY)
    runs = {"saccade-fp32": _in_parts(bundle, given, BATCH)}  # as the pipeline asks
    runs["saccade-1-run"] = _ours(bundle, "decoder", "fp32", given, "logits")
    runs[f"saccade-{MANY}-calls"] = _in_parts(bundle, given, 1)
    runs["onnxruntime-plain"] = _plain(peer / "decoder.onnx", _of_transformers(given))
    return {**runs, "torch-fp32": partial(_torch_decoder, model, given)}


def _clicks(bundle: Bundle, count: int) -> Arrays:
    """One foreground point a prompt, and SAM's own "not a point" behind it, as the pipeline asks."""
    rng, spec = np.random.default_rng(1), bundle.graphs["decoder"].spec
    dims = {tensor.name: tensor.dims for tensor in spec.inputs}
    side = int(bundle.manifest.config["size"])
    points = np.zeros((1, count, 2, 2), np.float32)
    points[:, :, 0] = rng.random((1, count, 2)) * side
    low = tuple(int(n) for n in dims["mask"][2:])
    return {
        "embedding": rng.standard_normal((1, *(int(n) for n in dims["embedding"][1:])), np.float32),
        "points": points,
        "labels": np.broadcast_to(np.array([1, -1]), (1, count, 2)).copy(),
        "mask": np.zeros((1, count, *low), np.float32),
        "has_mask": np.zeros((1, count), np.float32),
    }


def _of_transformers(given: Arrays) -> Arrays:
    """The same clicks as its forward takes them: it appends the "not a point" itself."""
    return {
        "embedding": given["embedding"],
        "points": np.ascontiguousarray(given["points"][:, :, :1]),
        "labels": np.ascontiguousarray(given["labels"][:, :, :1]),
    }


def _ours(bundle: Bundle, graph: str, precision: str, given: Arrays, output: str) -> Run:
    engine = open_engine(bundle, graph, Options(precision=precision, threads=1))
    whole = output != "logits"

    def run() -> np.ndarray:
        found: np.ndarray = engine(**given)[output]
        return found if whole else found[:, :, 1:]

    return run


def _in_parts(bundle: Bundle, given: Arrays, count: int) -> Run:
    """The decoder, `count` prompts a run."""
    engine = open_engine(bundle, "decoder", Options(precision="fp32", threads=1))
    names = [name for name in given if name != "embedding"]

    def run() -> np.ndarray:
        found = []
        for p in range(0, given["points"].shape[1], count):
            part = {name: given[name][:, p : p + count] for name in names}
            found.append(engine(embedding=given["embedding"], **part)["logits"][:, :, 1:])
        return np.concatenate(found, 1)

    return run


def _plain(file: Path, given: Arrays) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, given)[0]


def _torch_encoder(model: Any, pixels: np.ndarray) -> np.ndarray:
    import torch

    with torch.inference_mode():
        found: np.ndarray = model.get_image_embeddings(torch.from_numpy(pixels)).numpy()
    return found


def _torch_decoder(model: Any, given: Arrays) -> np.ndarray:
    import torch

    asked = {name: torch.from_numpy(array) for name, array in _of_transformers(given).items()}
    with torch.inference_mode():
        out = model(image_embeddings=asked["embedding"], input_points=asked["points"], input_labels=asked["labels"])
    found: np.ndarray = out.pred_masks.numpy()
    return found


def _model(checkpoint: Path) -> Any:
    from transformers import SamModel

    from saccade.export.load import hushed

    with hushed():
        return SamModel.from_pretrained(checkpoint).eval()


def _plain_export(model: Any, folder: Path) -> None:
    """transformers' own forwards as torch.onnx.export gives them, for one picture and any number of prompts."""
    import onnx
    import torch

    from saccade.export.to_onnx import OPSET, quiet

    class Encoder(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def forward(self, pixels: Any) -> Any:
            return model.vision_encoder(pixels)[0]

    class Decoder(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def forward(self, embedding: Any, points: Any, labels: Any) -> Any:
            out = model(image_embeddings=embedding, input_points=points, input_labels=labels)
            return out.pred_masks, out.iou_scores

    config, prompts = model.config.vision_config, torch.export.Dim("P")
    side, grid, width = config.image_size, config.image_size // config.patch_size, config.output_channels
    clicks = torch.rand(1, 2, 1, 2) * side, torch.ones(1, 2, 1, dtype=torch.long)
    graphs: dict[str, tuple[Any, Any, Any, list[str]]] = {
        "encoder": (Encoder(), (torch.randn(1, 3, side, side),), None, ["pixels"]),
        "decoder": (
            Decoder(),
            (torch.randn(1, width, grid, grid), *clicks),
            (None, {1: prompts}, {1: prompts}),
            ["embedding", "points", "labels"],
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, (module, example, shapes, inputs) in graphs.items():
        module.model = model
        with quiet(), torch.no_grad():
            made = torch.onnx.export(
                module.eval(), example, dynamo=True, opset_version=OPSET, external_data=False,
                dynamic_shapes=shapes, input_names=inputs, verbose=False,
            )  # fmt: skip
        onnx.save(made.model_proto, folder / f"{name}.onnx")


def _gate(runs: dict[str, Run]) -> dict[str, float]:
    """How long each took the first time it ran, in ms. Raises ParityError if ours does not say what torch says."""
    want, first = runs["torch-fp32"](), {}
    for name, run in runs.items():
        start = time.perf_counter()
        got = run()
        first[name] = 1e3 * (time.perf_counter() - start)
        far = _error(got, want) if "int8" in name else float(np.abs(got - want).max() / np.abs(want).max())
        if name.startswith("saccade") and far > (NEAR if "int8" in name else EXACT):
            raise ParityError(f"[{name}] differs from torch by {far:.1e}", hint="no time is worth anything then")
    return first


def _error(got: np.ndarray, want: np.ndarray) -> float:
    """1 - cosine of the whole output."""
    a, b = got.astype(np.float64).ravel(), want.astype(np.float64).ravel()
    return round(float(1 - a @ b / np.sqrt((a @ a) * (b @ b))), 7)


def _row(
    model: str, case: str, precision: str, times: dict[str, Timing], errors: dict[str, float], first: dict[str, float]
) -> dict[str, Any]:
    ours = times[f"saccade-{precision}"]
    baselines = compared(ours, {name: time for name, time in times.items() if name != f"saccade-{precision}"})
    for baseline in baselines:
        baseline["error"], baseline["first_ms"] = errors[baseline["name"]], round(first[baseline["name"]], 3)
    return {
        "model": model,
        "graph": "decoder" if case == "many" else case,
        **({"input": f"{MANY} prompts"} if case == "many" else {"input": "1 point"} if case == "decoder" else {}),
        "batch": 1,
        "threads": 1,
        "impl": "saccade",
        "precision": precision,
        "first_ms": round(first[f"saccade-{precision}"], 3),
        "p50_ms": round(ours.p50_ms, 4),
        "p90_ms": round(ours.p90_ms, 4),
        "runs": len(ours.rounds_ms),
        "error": errors[f"saccade-{precision}"],
        "baselines": baselines,
    }
