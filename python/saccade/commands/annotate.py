"""annotate and convert: folders of pictures to annotations, and annotations from one layout to the other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saccade.commands.show import (
    Backend,
    BundleArgument,
    Device,
    Json,
    Precision,
    Threads,
    as_json,
    load,
    progress,
    show,
)
from saccade.runtime.errors import printable

if TYPE_CHECKING:
    from saccade.runtime.annotation import Run


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (annotate, convert):
        app.command()(command)


def annotate(
    bundle: BundleArgument,
    folder: Annotated[Path, typer.Argument(help="A folder with pictures.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The run: a folder. Interrupted, it goes on.")],
    stage: Annotated[str, typer.Option(help="automatic, assisted or semi-automatic.")] = "automatic",
    prompts: Annotated[
        Path | None, typer.Option(help="A prompts file, a filled worklist, or a folder in SA-1B's layout.")
    ] = None,
    worklist: Annotated[
        Path | None, typer.Option(help="Write the worklist here; worklist.json in the run's folder by default.")
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(help="Least predicted IoU; 0.88, and 0 in the assisted stage.")
    ] = None,
    min_stability: Annotated[
        float | None, typer.Option(help="Least stability; 0.95, and 0 in the assisted stage.")
    ] = None,
    min_area: Annotated[int | None, typer.Option(help="Least area in pixels; 0.")] = None,
    max_overlap: Annotated[float | None, typer.Option(help="Of two masks with a larger IoU one goes; 0.9.")] = None,
    grid: Annotated[int | None, typer.Option(help="Points along a side of the grid of everything mode; 32.")] = None,
    crops: Annotated[int | None, typer.Option(help="Layers of crops that everything mode also looks at; 0.")] = None,
    categories: Annotated[
        list[str] | None, typer.Option(help="Names in a row, in the order of their ids; no others are allowed.")
    ] = None,
    format: Annotated[list[str] | None, typer.Option(help="coco (by default) or sa1b; may be given twice.")] = None,
    sheet: Annotated[bool, typer.Option(help="Draw a contact sheet of some of the pictures.")] = True,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away the run that the folder holds.")] = False,
    json: Json = False,
    backend: Backend = None,
    precision: Precision = None,
    threads: Threads = None,
    device: Device = None,
) -> None:
    """Annotate a folder of pictures with SAM; interrupted or killed, the same command goes on where it was."""
    from saccade.runtime.annotation import annotate as run

    given: dict[str, Any] = {
        "min_score": min_score,
        "min_stability": min_stability,
        "min_area": min_area,
        "max_overlap": max_overlap,
    }
    given |= {"grid": grid, "crops": crops, "categories": tuple(categories) if categories else None}
    with load(bundle, backend, precision, threads, device) as model, progress("annotating", quiet=json) as report:
        made = run(
            model,
            folder,
            output,
            stage=stage,
            prompts=prompts,
            worklist=worklist,
            formats=tuple(format or ("coco",)),
            sheet=sheet,
            restart=restart,
            progress=report,
            **given,
        )
    if json:
        as_json(_fields(made))
    else:
        _print(made)
    if made.skipped:
        raise typer.Exit(1)


def convert(
    source: Annotated[Path, typer.Argument(help="A folder in SA-1B's layout, or a COCO JSON.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A COCO JSON, or a new folder for SA-1B's layout.")],
    json: Json = False,
) -> None:
    """Turn annotations from SA-1B's layout into COCO's, or back."""
    from saccade.runtime.annotation import convert as run

    pictures, masks = run(source, output)
    if json:
        as_json({"output": str(output), "pictures": pictures, "masks": masks})
    else:
        show(f"{output}: {pictures} pictures, {masks} masks")


def _fields(made: Run) -> dict[str, Any]:
    return {
        "output": str(made.out),
        "pictures": made.pictures,
        "masks": made.masks,
        "dropped": made.dropped,
        "asked": made.asked,
        "skipped": [list(row) for row in made.skipped],
        "files": {kind: str(path) for kind, path in made.files.items()},
    }


def _print(made: Run) -> None:
    parts = [f"{made.masks} masks", *([f"{made.dropped} dropped"] if made.dropped else [])]
    parts += [f"{made.asked} asks in the worklist"] if "worklist" in made.files else []
    parts += [f"{len(made.skipped)} pictures skipped"] if made.skipped else []
    show(f"{made.out}: {made.pictures} pictures, {', '.join(parts)}")
    for path in made.files.values():
        show(f"wrote {path}")
    for name, reason in made.skipped:
        typer.echo(f"skipped {printable(name)}: {printable(reason)}", err=True)
