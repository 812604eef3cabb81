"""classify, embed, index, search: what a CLIP bundle can do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saccade.commands.show import (
    Backend,
    BundleArgument,
    Device,
    Json,
    Precision,
    Threads,
    as_json,
    lines,
    load,
    progress,
    show,
    table,
)
from saccade.runtime.errors import InputError, SettingsError

Pictures = Annotated[list[Path], typer.Argument(help="Pictures: JPEG, PNG or WebP.")]
Count = Annotated[int, typer.Option("--top", min=1, help="How many to show.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (classify, embed, index, search):
        app.command()(command)


def classify(
    bundle: BundleArgument,
    pictures: Pictures,
    labels: Annotated[list[str] | None, typer.Option(help="Labels in a row; by default the bundle's.")] = None,
    labels_file: Annotated[Path | None, typer.Option(help="A text file with one label a line.")] = None,
    templates: Annotated[list[str] | None, typer.Option(help="Prompts with {} for the label, in a row.")] = None,
    classifier: Annotated[Path | None, typer.Option(help="A classifier saved before, in place of labels.")] = None,
    save_classifier: Annotated[Path | None, typer.Option(help="Keep the labels' vectors in this file.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write an annotated contact sheet here.")
    ] = None,
    top: Count = 5,
    json: Json = False,
    backend: Backend = None,
    precision: Precision = None,
    threads: Threads = None,
    device: Device = None,
) -> None:
    """Score pictures against labels that you choose now."""
    from saccade import Classifier

    given = [*(labels or []), *(lines(labels_file) if labels_file else [])]
    named = labels is not None or labels_file is not None
    if named and classifier:
        raise InputError("labels and a classifier are both given", hint="a saved classifier holds its labels")
    with load(bundle, backend, precision, threads, device) as model:
        if not named and not classifier and not model.bundle.manifest.labels:
            raise InputError("no labels given, and the bundle has none", hint="--labels 'a cat' 'a dog'")
        words = given if named else list(model.bundle.manifest.labels)
        chosen = Classifier.load(classifier) if classifier else model.classifier(words, templates)
        scores = model.classify(pictures, chosen)
    if save_classifier:
        chosen.save(save_classifier)
    if output:
        from saccade.runtime.draw import scores_sheet

        scores_sheet(pictures, scores, top).save_png(output)
    best = scores.top(top)
    if json:
        rows = [[{"label": label, "score": score} for label, score in row] for row in best]
        as_json([{"picture": str(p), "labels": row} for p, row in zip(pictures, rows, strict=True)])
        return
    shown = table("", "picture", "label", "#score")
    for picture, row in zip(pictures, best, strict=True):
        for at, (label, score) in enumerate(row):
            shown.add_row(str(picture) if at == 0 else "", label, f"{score:.4f}")
    show(shown, *([f"wrote {output}"] if output else []))


def embed(
    bundle: BundleArgument,
    pictures: Annotated[list[Path] | None, typer.Argument(help="Pictures: JPEG, PNG or WebP.")] = None,
    text: Annotated[list[str] | None, typer.Option(help="Texts in a row.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A .safetensors file for the vectors.")] = None,
    json: Json = False,
    backend: Backend = None,
    precision: Precision = None,
    threads: Threads = None,
    device: Device = None,
) -> None:
    """Turn pictures or texts into unit vectors."""
    if bool(pictures) == bool(text):
        raise InputError("give pictures or --text", hint="embed pictures and texts in two runs")
    if output and output.suffix != ".safetensors":
        raise SettingsError(f"cannot write {output}", hint="the file's name ends in .safetensors")
    with load(bundle, backend, precision, threads, device) as model:
        made = model.encode_image(pictures) if pictures else model.encode_text(text)
    names = [str(p) for p in pictures] if pictures else list(text or [])
    if output:
        import json as to_json

        from safetensors.numpy import save

        from saccade.runtime.files import write_file

        write_file(
            output, save({"vectors": made.vectors}, metadata={"names": to_json.dumps(names), "model": made.model})
        )
    if json:
        as_json([{"name": n, "vector": v.tolist()} for n, v in zip(names, made.vectors, strict=True)])
        return
    shown = table("", "name", "vector")
    for name, vector in zip(names, made.vectors, strict=True):
        shown.add_row(name, " ".join(f"{x:+.3f}" for x in vector[:6]) + f" … ({len(vector)})")
    show(shown, *([f"wrote {output}"] if output else []))


def index(
    bundle: BundleArgument,
    source: Annotated[Path, typer.Argument(help="A folder with pictures, or a text file with one text a line.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The index: a folder.")],
    json: Json = False,
    backend: Backend = None,
    precision: Precision = None,
    threads: Threads = None,
    device: Device = None,
) -> None:
    """Make or refresh an index to search; interrupted, it goes on. Only new and changed pictures are read."""
    from saccade import index_pictures, index_texts

    with load(bundle, backend, precision, threads, device) as model, progress("indexing", quiet=json) as report:
        if source.is_dir() or not source.exists():
            made, skipped = index_pictures(model, source, output, progress=report)
        else:
            made, skipped = index_texts(model, lines(source), output, progress=report), []
    if json:
        as_json({"index": str(output), "kind": made.kind, "entries": len(made), "skipped": [list(s) for s in skipped]})
    else:
        show(f"{output}: {len(made)} {made.kind}" + (f", {len(skipped)} skipped" if skipped else ""))
        for name, reason in skipped:
            typer.echo(f"skipped {name}: {reason}", err=True)
    if skipped:
        raise typer.Exit(1)


def search(
    bundle: BundleArgument,
    index: Annotated[Path, typer.Argument(help="An index made with the same bundle.")],
    query: Annotated[str | None, typer.Argument(help="What to look for, in words.")] = None,
    image: Annotated[
        Path | None, typer.Option(help="Look for what is like this picture, or for texts about it.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write a contact sheet of the pictures here.")
    ] = None,
    top: Count = 10,
    json: Json = False,
    backend: Backend = None,
    precision: Precision = None,
    threads: Threads = None,
    device: Device = None,
) -> None:
    """Find pictures by words, pictures by a picture, or texts by a picture."""
    from saccade import open_index

    if (query is None) == (image is None):
        raise InputError("give a query or --image", hint="saccade search BUNDLE INDEX 'a red cube'")
    opened = open_index(index)
    if output and opened.kind != "pictures":
        raise InputError(f"{index} holds texts", hint="a contact sheet needs an index of pictures")
    with load(bundle, backend, precision, threads, device) as model:
        found = model.search(opened, query if query is not None else image, top)
    if output:
        from saccade.runtime.draw import matches_sheet

        matches_sheet(found, opened).save_png(output)
    if json:
        as_json([{"name": n, "score": float(s)} for n, s in zip(found.names, found.scores, strict=True)])
        return
    shown = table("", "#", opened.kind[:-1], "#cosine")
    for place, (name, score) in enumerate(zip(found.names, found.scores, strict=True), 1):
        shown.add_row(str(place), name, f"{score:.4f}")
    show(shown, *([f"wrote {output}"] if output else []))
