"""CLIP at real size with random weights, against the runtimes that people use for it.

    checkpoint (random ViT-B/32) ──the usual export──▶ bundle: fp32, int8
       torch eager fp32, bf16 · plain ONNX Runtime fp32, int8 · OpenVINO fp32, bf16, int8   (peers)
       saccade fp32, int8                                                                    (ours)

`graph` is image or text (engine time), preprocess (pixels from a decoded picture), jpeg (bytes to embedding, one
picture). For jpeg and preprocess the peers use PIL + NumPy, as the runtimes' own examples do. `first_ms` is the first
call, in which ours also opens its engine; the peers' are open by then.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

import saccade
from saccade.benchmarks.rows import Timing, compared, interleave
from saccade.runtime.call import Call, Pipeline
from saccade.runtime.errors import MissingExtra

Run = Callable[[np.ndarray], np.ndarray]
OURS = ("fp32", "int8")
NEEDS = {"torch": "export", "transformers": "export", "onnxruntime": "cpu", "skimage": "bench"}
TENSOR = {"image": "pixels", "text": "input_ids"}


def prepare(folder: Path) -> tuple[Path, Path]:
    """Checkpoint and bundle in `folder`, made there if they are not yet. Takes about two minutes."""
    for library, extra in NEEDS.items():
        if find_spec(library) is None:
            raise MissingExtra(library, extra, purpose="this benchmark")
    from saccade.benchmarks.checkpoints import make_clip
    from saccade.export import export

    checkpoint, bundle, photos = folder / "clip-vit-b-32", folder / "clip-vit-b-32.bundle", folder / "photos"
    if not (checkpoint / "model.safetensors").exists():
        make_clip(checkpoint)
    if not bundle.exists():
        save_photographs(photos)
        export(str(checkpoint), bundle, precisions=OURS, calibrate=photos)
    return checkpoint, bundle


def photographs() -> dict[str, np.ndarray]:
    """scikit-image's bundled photographs, (H, W, 3) uint8."""
    from skimage import data

    return {name: getattr(data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")}


def save_photographs(folder: Path) -> None:
    """Write them as PNG, each whole and in nine parts: enough to calibrate on some and measure the error on others."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for name, pixels in photographs().items():
        rows = [np.array_split(row, 3, axis=1) for row in np.array_split(pixels, 3)]
        parts = [pixels, *(part for row in rows for part in row)]
        for at, part in enumerate(parts):
            Image.fromarray(part).save(folder / f"{name}-{at}.png")


@dataclass
class Bench:
    """One bundle and its checkpoint under several runtimes, all with the same number of threads."""

    checkpoint: Path
    bundle: Path
    threads: int

    def __post_init__(self) -> None:
        import torch
        from transformers import CLIPModel
        from transformers.utils import logging

        logging.disable_progress_bar()
        torch.set_num_threads(self.threads)
        self.torch = CLIPModel.from_pretrained(self.checkpoint).eval()
        self.bf16 = CLIPModel.from_pretrained(self.checkpoint, dtype=torch.bfloat16).eval()
        self.models = {p: saccade.load(self.bundle, precision=p, threads=self.threads) for p in OURS}
        self.files = {
            g: {v.precision: v.file for v in e.variants} for g, e in self.models["fp32"].bundle.graphs.items()
        }

    def close(self) -> None:
        """Close our models."""
        for model in self.models.values():
            model.close()

    def ours(self, graph: str, precision: str) -> Run:
        """The engine behind a loaded model, driven as any request is."""
        model = self.models[precision]
        handle = getattr(model.pipeline, graph)

        def one(array: np.ndarray) -> Pipeline[np.ndarray]:
            out = yield Call(handle, {TENSOR[graph]: array})
            embedding: np.ndarray = out["embedding"]
            return embedding

        return lambda array: model.run(one(array))

    def peers(self, graph: str) -> dict[str, Run]:
        """Every peer that is installed, by its name in the rows."""
        made = {"torch-fp32": self._torch(graph, self.torch), "torch-bf16": self._torch(graph, self.bf16)}
        made |= {f"onnxruntime-{p}": self._onnxruntime(graph, p) for p in OURS}
        if find_spec("openvino") is not None:
            made |= {f"openvino-{name}": self._openvino(graph, name) for name in ("fp32", "bf16", "int8")}
        return made

    def _torch(self, graph: str, model: Any) -> Run:
        import torch

        method = model.get_image_features if graph == "image" else model.get_text_features
        argument = "pixel_values" if graph == "image" else "input_ids"

        def run(array: np.ndarray) -> np.ndarray:
            tensor = torch.from_numpy(array)
            tensor = tensor.to(model.dtype) if tensor.is_floating_point() else tensor
            with torch.inference_mode():
                out: np.ndarray = method(**{argument: tensor}).pooler_output.float().numpy()
            return out

        return run

    def _onnxruntime(self, graph: str, precision: str) -> Run:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        model = self.bundle / self.files[graph][precision]
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return lambda array: session.run(["embedding"], {TENSOR[graph]: array})[0]

    def _openvino(self, graph: str, name: str) -> Run:
        import openvino

        file = self.files[graph]["int8" if name == "int8" else "fp32"]
        hint = {"INFERENCE_PRECISION_HINT": "bf16" if name == "bf16" else "f32", "INFERENCE_NUM_THREADS": self.threads}
        compiled = openvino.Core().compile_model(self.bundle / file, "CPU", {**hint, "PERFORMANCE_HINT": "LATENCY"})
        request = compiled.create_infer_request()
        return lambda array: request.infer({TENSOR[graph]: array})["embedding"].copy()


def rows(
    folder: Path, *, seconds: float = 10.0, report: Callable[[int, int], None] | None = None
) -> list[dict[str, Any]]:
    """Measure everything; about `seconds` a case. One row for each (graph, batch, threads) and precision of ours."""
    checkpoint, bundle = prepare(folder)
    counts = sorted({1, len(os.sched_getaffinity(0))})
    made: list[dict[str, Any]] = []
    for at, threads in enumerate(counts):
        bench = Bench(checkpoint, bundle, threads)
        for graph in ("image", "text"):
            for batch in (1, 8):
                made += _engine_rows(bench, graph, batch, seconds)
        made += _picture_rows(bench, seconds)
        bench.close()
        if report:
            report(at + 1, len(counts))
    return made


def _engine_rows(bench: Bench, graph: str, batch: int, seconds: float) -> list[dict[str, Any]]:
    array = _inputs(bench, graph, batch)
    runs = {f"saccade-{p}": bench.ours(graph, p) for p in OURS} | bench.peers(graph)
    timed = {name: partial(run, array) for name, run in runs.items()}
    times = interleave(timed, seconds=seconds, pause_ms=20 if bench.threads > 1 else 0)
    exact = runs["torch-fp32"](array)
    errors = {name: _error(run(array), exact) for name, run in runs.items()}
    return [_row(graph, batch, bench.threads, p, times, errors) for p in OURS]


def _picture_rows(bench: Bench, seconds: float) -> list[dict[str, Any]]:
    """preprocess and jpeg, for a photograph of 512×512 and one of 1080×1920."""
    from saccade import decode

    made = []
    preprocess = bench.models["fp32"].pipeline.preprocess
    for name, jpeg in _jpegs().items():
        image = decode(jpeg)
        alone = {"saccade-fp32": partial(preprocess.batch, [image]), "pil+numpy": partial(_pil, image.pixels)}
        times = interleave(alone, seconds=seconds / 4, rounds=60)
        # What ran before has warmed these up, so the first run's time would say nothing.
        warm = {"input": name, "first_ms": None}
        made.append({**_row("preprocess", 1, bench.threads, "fp32", times, {}), **warm})
        runs: dict[str, Callable[[], Any]] = {}
        for precision in OURS:
            runs[f"saccade-{precision}"] = partial(_encoded, bench.models[precision], jpeg)
        for peer, run in bench.peers("image").items():
            runs[peer] = partial(_by_hand, run, jpeg)
        times = interleave(runs, seconds=seconds, pause_ms=20 if bench.threads > 1 else 0)
        exact = runs["torch-fp32"]()
        errors = {p: _error(run(), exact) for p, run in runs.items()}
        made += [{**_row("jpeg", 1, bench.threads, p, times, errors), **warm} for p in OURS]
    return made


def _row(
    graph: str, batch: int, threads: int, precision: str, times: dict[str, Timing], errors: dict[str, float]
) -> dict[str, Any]:
    ours = times[f"saccade-{precision}"]
    peers = {name: time for name, time in times.items() if not name.startswith("saccade-")}
    baselines = compared(ours, peers)
    for baseline in baselines:
        baseline["error"] = errors.get(baseline["name"])
    return {
        "model": "clip-vit-b-32",
        "graph": graph,
        "batch": batch,
        "threads": threads,
        "impl": "saccade",
        "precision": precision,
        "first_ms": round(ours.first_ms, 3),
        "p50_ms": round(ours.p50_ms, 4),
        "p90_ms": round(ours.p90_ms, 4),
        "runs": len(ours.rounds_ms),
        "error": errors.get(f"saccade-{precision}"),
        "baselines": baselines,
    }


def _inputs(bench: Bench, graph: str, batch: int) -> np.ndarray:
    pipeline = bench.models["fp32"].pipeline
    if graph == "text":
        ids: np.ndarray = pipeline.tokenizer.encode(["a photo of a cat sitting on a red chair."] * batch)
        return ids
    images = [saccade.decode(pixels) for pixels in photographs().values()]
    pixels, _ = pipeline.preprocess.batch([images[i % len(images)] for i in range(batch)])
    made: np.ndarray = pixels
    return made


def _jpegs() -> dict[str, bytes]:
    from PIL import Image

    photos = photographs()
    wide = Image.fromarray(photos["coffee"]).resize((1920, 1280), Image.Resampling.BICUBIC).crop((0, 100, 1920, 1180))
    made = {}
    for name, image in (("512x512", Image.fromarray(photos["astronaut"])), ("1080x1920", wide)):
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=90)
        made[name] = buffer.getvalue()
    return made


def _encoded(model: Any, jpeg: bytes) -> np.ndarray:
    vectors: np.ndarray = model.encode_image(jpeg).vectors
    return vectors


def _by_hand(run: Run, jpeg: bytes) -> np.ndarray:
    return run(_pil(_decoded(jpeg)))


def _decoded(jpeg: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(BytesIO(jpeg)).convert("RGB"))


def _pil(pixels: np.ndarray) -> np.ndarray:
    """CLIP's preprocessing with PIL and NumPy, as its reference does it."""
    from PIL import Image

    image = Image.fromarray(pixels)
    short = 224 / min(image.size)
    width, height = (max(224, int(side * short)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - 224) // 2, (height - 224) // 2
    scaled = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / np.float32(255)
    mean = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
    std = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
    return np.ascontiguousarray(((scaled - mean) / std).transpose(2, 0, 1)[None])


def _error(got: np.ndarray, want: np.ndarray) -> float:
    """1 - cosine of the worst row."""
    rows = np.sum(got * want, axis=1) / (np.linalg.norm(got, axis=1) * np.linalg.norm(want, axis=1))
    return round(float(1 - rows.min()), 7)
