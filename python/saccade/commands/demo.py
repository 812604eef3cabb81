"""demo: the main job on what is shipped, from pictures to a table and a contact sheet."""

from __future__ import annotations

import json as to_json
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saccade.commands.show import Json, as_json, progress, show, table

if TYPE_CHECKING:
    from saccade import Matches, Model, Scores

QUERIES = 6


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(demo)


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="A folder for the pictures.")] = Path("saccade-demo"),
    json: Json = False,
) -> None:
    """Run the shipped CLIP on the shipped pictures: classify them, search them, and draw what came out."""
    from saccade import index_pictures
    from saccade.zoo.shipped import pictures, truth

    found, captions = pictures(), truth()
    names = [captions[p.name].label for p in found]
    with _loaded("int8") as model:
        labels = list(model.bundle.manifest.labels)
        classifier = model.classifier(labels)
        scores, milliseconds = _classified(model, found, classifier)
        with progress("indexing", quiet=json) as report:
            index, _ = index_pictures(model, found[0].parent, output / "pictures.index", progress=report)
        queries = list(dict.fromkeys(captions[p.name].caption for p in found))[:QUERIES]
        matches = [model.search(index, query, 3) for query in queries]
        about = model.about["image"]
    _draw(output / "demo.png", found, scores, names, matches, index, about)
    rows = [
        {"picture": p.name, "truth": t, "label": best[0][0], "score": best[0][1], "ms": ms}
        for p, t, best, ms in zip(found, names, scores.top(1), milliseconds, strict=True)
    ]
    if json:
        as_json({"engine": about, "classified": rows, "found": [_plain(m) for m in matches], "sheet": str(output / "demo.png")})
        return
    _print(rows, matches, about, len(labels))
    show(f"wrote {output / 'demo.png'}: open it")
