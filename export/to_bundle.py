"""The whole road, from a trained model to a bundle; what `saccade export` calls.

    resolve ─▶ read ─▶ to_onnx + parity ─▶ fp32 fp16 int8 ─▶ verify ─▶ golden set ─▶ bundle.write

Nothing but the finished bundle is ever given its name, and equal input gives equal bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from saccade.export.recipe import GraphRecipe, Labelled, Material, Recipe, kind_of, read
from saccade.runtime.bundle import Bundle, write
from saccade.runtime.errors import InputError, MissingExtra, SettingsError
from saccade.runtime.manifest import SCHEMA, GraphEntry, Manifest, Source, Variant

MADE = ("fp32", "fp16", "int8")
"""Precisions that are files of their own, the most exact first."""
Progress = Callable[[int, int], None]
"""Called with how many steps are done, and of how many. What it raises ends the export and leaves nothing behind."""


class Steps:
    """Counts what is done for a Progress. The total grows once the samples are known."""

    def __init__(self, progress: Progress):
        self.progress, self.done, self.total = progress, 0, 0

    def expect(self, count: int) -> None:
        """More steps will come."""
        self.total += count
        self.progress(self.done, self.total)

    def step(self) -> None:
        """One more is done."""
        self.done += 1
        self.progress(self.done, self.total)


def export(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    precisions: Sequence[str] = ("fp32",),
    calibrate: Any = None,
    texts: Sequence[str] | None = None,
    labelled: Labelled | None = None,
    labels: Sequence[str] = (),
    templates: Sequence[str] = (),
    revision: str | None = None,
    license: str | None = None,
    name: str | None = None,
    sizes: Sequence[tuple[int, int]] = (),
    note: str = "",
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Bundle:
    """Export a trained model and return the bundle, opened.

    source: folder, open_clip .safetensors file, .pth or .pt file of a known layout, or hub id
    precisions: some of fp32, fp16, int8; int8 needs `calibrate`
    calibrate: a folder of pictures, or a list of what `image.decode` takes; half of them set the scales, the other
        half measures the error (all do both below 16)
    texts: captions like those to come; without them the scales of a text graph come from everyday ones
    labelled: pictures with known answers; the variants' accuracy is measured on them
    labels, templates: what a classifier is made of when its user names none; kept in the bundle
    license: an SPDX expression; by default what the model card says
    sizes: (height, width) of a detector's inputs, in pixels; by default what its preprocessing makes of 4 x 3 and 3 x 4
    note: what else a user should know of the weights
    Raises InputError or SettingsError before any work, UnknownModel, Offline, MissingExtra, ExportError, ParityError,
    NoSpace.
    """
    wanted = _checked(target, precisions, calibrate, overwrite)
    _refuse_without_extra()
    from saccade.export.source import refuse_pickle, resolve

    steps = Steps(progress)
    with _repeatable():
        steps.expect(3)  # reading, asking the trained model, writing
        checkpoint = replace(resolve(source, revision, license), sizes=_sizes(sizes))
        kind_of(checkpoint)
        refuse_pickle(checkpoint)
        recipe = read(checkpoint)
        steps.step()
        variants, files = _graphs(recipe, wanted, _material(calibrate, texts, labelled), steps)
        manifest = Manifest(
            digest="",
            schema=SCHEMA,
            family=recipe.family,
            name=name or recipe.name,
            source=Source(checkpoint.id, checkpoint.revision, checkpoint.license, note),
            graphs={g.name: GraphEntry(g.spec, variants[g.name]) for g in recipe.graphs},
            files={},
            preprocess=recipe.preprocess,
            tokenizer=recipe.tokenizer,
            config=recipe.config | ({"templates": list(templates)} if templates else {}),
            labels=tuple(labels) or recipe.labels,
            budgets=recipe.budgets,
            golden="golden.safetensors",
            producer=_versions(),
        )
        write(target, manifest, {**recipe.files, **files}, overwrite=overwrite)
        steps.step()
    return Bundle.open(target)


def _graphs(
    recipe: Recipe, wanted: list[str], material: tuple[Material, Material, list[int] | None], steps: Steps
) -> tuple[dict[str, tuple[Variant, ...]], dict[str, bytes]]:
    """Variants by graph, and the files of all of them with the golden set."""
    from safetensors.numpy import save

    from saccade.export.to_onnx import to_onnx
    from saccade.export.verify import Trained, Verifier, golden

    ranges, checks, ids = material
    rounded = [g.name for g in recipe.graphs if "int8" in wanted and "int8" not in g.same]
    ask = Trained()
    samples = recipe.samples(ranges, rounded, ask)
    steps.expect(len(recipe.graphs) * (1 + len(wanted)) + sum(map(len, samples.values())))
    rehearsal = _rehearsal(recipe, ranges, ask) if rounded and "cosine" not in recipe.budgets else None
    verifier = Verifier(recipe, recipe.samples(checks, [g.name for g in recipe.graphs], ask), ids, ask)
    files = {"golden.safetensors": save(golden(recipe, verifier.samples))}
    steps.step()
    found: dict[str, tuple[Variant, ...]] = {}
    for graph in recipe.graphs:
        base = to_onnx(graph)
        steps.step()
        made: list[Variant] = []
        for precision in wanted:
            kind = "fp32" if precision in graph.same else precision
            file = f"{graph.name}.{kind}.onnx"
            if file in files:  # the same file under another name: measured already
                made.append(msgspec.structs.replace(made[0], precision=precision))
            else:
                model = _at(base, kind, graph, samples.get(graph.name, ()), recipe, rehearsal, steps)
                made.append(verifier.variant(graph, precision, file, model))
                files[file] = model.SerializeToString(deterministic=True)
            steps.step()
        found[graph.name] = tuple(made)
    return found, files


def _rehearsal(recipe: Recipe, ranges: Material, ask: Any) -> Any:
    """A verifier on what the scales are set with, for a budget that a graph's own output does not show."""
    from saccade.export.verify import Verifier

    return Verifier(recipe, recipe.samples(ranges, [g.name for g in recipe.graphs], ask), None, ask)


def _at(
    base: Any, precision: str, graph: GraphRecipe, samples: Sequence[Any], recipe: Recipe, rehearsal: Any, steps: Steps
) -> Any:
    from saccade.export.half import fp16
    from saccade.export.quantize import int8

    if precision == "fp32":
        return base
    if precision == "fp16":
        return fp16(base, keep=graph.keep)
    if rehearsal is None:
        return int8(base, samples, keep=graph.keep, floor=recipe.budgets.get("cosine", 0.0), step=steps.step)
    metric, floor = next(iter(recipe.budgets.items()), ("", 0.0))

    def judge(model: Any) -> float:
        found = rehearsal.variant(graph, precision, "", model).measured
        return float(next(m.mean for m in found if m.metric == metric))

    return int8(base, samples, keep=graph.keep, floor=floor, judge=judge, step=steps.step)


def _material(calibrate: Any, texts: Any, labelled: Labelled | None) -> tuple[Material, Material, list[int] | None]:
    """What sets the scales, what measures the error, and the right answers of the latter if known."""
    from saccade.export.calibration import pictures_of, rendered, texts_of
    from saccade.runtime.image import decode

    pictures = pictures_of(calibrate) if calibrate is not None else rendered()
    lines = texts_of(texts)
    ranges = Material(pictures[::2], lines[::2]) if len(pictures) >= 16 else Material(pictures, lines[::2])
    if labelled is not None:
        checks = Material([decode(p) for p in labelled.pictures], list(labelled.texts))
        return Material(pictures, lines), checks, [int(i) for i in labelled.ids]
    return ranges, Material(pictures[1::2] if len(pictures) >= 16 else pictures, lines[1::2]), None


def _checked(target: Any, precisions: Sequence[str], calibrate: Any, overwrite: bool) -> list[str]:
    """The precisions in order, once what was asked for is found to be possible: nobody waits to hear that it is not."""
    unknown = [p for p in precisions if p not in MADE]
    if unknown or not precisions:
        raise SettingsError(
            f"[export] precision: no {unknown[0] if unknown else ''!r}", hint=f"some of {', '.join(MADE)}"
        )
    if "int8" in precisions and calibrate is None:
        raise InputError("[export] int8 needs pictures to find its scales with", hint="add --calibrate FOLDER")
    if Path(target).exists() and not overwrite:
        raise InputError(f"{target} exists", hint="choose another name, or pass --force to replace it")
    return [p for p in MADE if p in precisions]


def _sizes(given: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    for size in given:
        if len(size) != 2 or not all(isinstance(n, int) and 32 <= n <= 8192 for n in size):
            raise SettingsError(
                f"[export] sizes: {str(size)[:40]}", hint="height and width in pixels, 32 to 8192: 480x640"
            )
    return tuple(dict.fromkeys((h, w) for h, w in given))


def _refuse_without_extra() -> None:
    for library in ("torch", "transformers", "onnx", "onnxscript", "onnxruntime"):
        if find_spec(library) is None:
            raise MissingExtra(library, "export", purpose="exporting a model")


@contextmanager
def _repeatable() -> Iterator[None]:
    """One thread in torch, so that sums come in one order and a second export gives the same bytes."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _versions() -> dict[str, str]:
    found = {}
    for library in ("saccade", "torch", "transformers", "onnx", "onnxscript", "onnxruntime"):
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = ""
    return found
