"""detect, ground, find: what text-prompted detectors can do with pictures, folders of them, and patterns of names."""

from __future__ import annotations

from collections.abc import Callable
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
    lines,
    load,
    progress,
    show,
    table,
)
from saccade.runtime.errors import ImageError, InputError, PromptError, SpecError, TextError, printable

if TYPE_CHECKING:
    from saccade import Detections

Pictures = Annotated[list[str], typer.Argument(help="Pictures, folders, or patterns such as 'photos/*.jpg'.")]
Threshold = Annotated[float | None, typer.Option(help="Least score, 0 to 1; the bundle's by default.")]
Nms = Annotated[float | None, typer.Option(help="Of boxes of one phrase with a larger IoU the best stays; 1 for none.")]
Every = Annotated[bool, typer.Option("--every", help="A box may be of several phrases.")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="A .png or .json for one picture, a folder of pictures for many.")
]
MasksOf = Annotated[Path | None, typer.Option("--masks", help="A SAM bundle: cut out each box.")]
_SHOWN = 100  # rows of the table; --json has all


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (detect, ground, find):
        app.command()(command)


def detect(
    bundle: BundleArgument,
    pictures: Pictures,
    labels: Annotated[list[str] | None, typer.Option(help="Labels in a row; by default the bundle's.")] = None,
    labels_file: Annotated[Path | None, typer.Option(help="A text file with one label a line.")] = None,
    prompt: Annotated[
        str | None, typer.Option(help="'a cat. a remote control.' or a tree: '[a face [an eye] (happy, sad)]'.")
    ] = None,
    threshold: Threshold = None,
    nms: Nms = None,
    every: Every = False,
    masks: MasksOf = None,
    classify: Annotated[Path | None, typer.Option(help="A CLIP bundle: say what each box is, of --kinds.")] = None,
    kinds: Annotated[list[str] | None, typer.Option(help="With --classify: what a box may be, in a row.")] = None,
    output: Output = None,
    json: Json = False,
    backend: Backend = None,
    precision: Precision = None,
    threads: Threads = None,
    device: Device = None,
) -> None:
    """Find what words name, in words that you choose now."""
    from saccade.runtime.tree import is_tree

    asked = [*(labels or []), *(lines(labels_file) if labels_file else [])]
    if prompt is not None and asked:
        raise TextError("--prompt and labels exclude each other", hint="put everything into one of them")
    if classify and not kinds and not is_tree(prompt):
        raise InputError("--classify without kinds", hint="--kinds happy sad, or --prompt '[a face (happy, sad)]'")
    if kinds and not classify:
        raise InputError("--kinds without --classify", hint="--classify clip-tiny, or another CLIP bundle")
    options = (backend, precision, threads, device)
    with _Models(options, bundle, masks, classify) as together:
        words: Any = prompt if prompt is not None else asked or list(together.models[0].bundle.manifest.labels)
        if not words and prompt is None:
            raise TextError("no labels given, and the bundle has none", hint="--labels 'a cat' 'a dog'")
        more: dict[str, Any] = {"threshold": threshold, "nms": nms, "every": every, "kinds": tuple(kinds or ())}
        _each(pictures, lambda picture: together.detect(picture, words, **more), output, json)


def ground(
    bundle: BundleArgument,
    pictures: Pictures,
    caption: Annotated[str, typer.Option(help="A sentence; what it names is looked for.")],
    span: Annotated[
        list[str] | None, typer.Option(help="START,END characters of a phrase; by default found by a rule for English.")
    ] = None,
    threshold: Threshold = None,
    nms: Nms = None,
    every: Every = False,
    masks: MasksOf = None,
    output: Output = None,
    json: Json = False,
    backend: Backend = None,
    precision: Precision = None,
    threads: Threads = None,
    device: Device = None,
) -> None:
    """Find the things that a caption names, each with its place in the caption."""
    spans = [_numbers(text, 2, "--span START,END", int) for text in span] if span else None
    with _Models((backend, precision, threads, device), bundle, masks, None) as together:
        more: dict[str, Any] = {"threshold": threshold, "nms": nms, "every": every}
        _each(pictures, lambda picture: together.ground(picture, caption, spans, **more), output, json)


def find(
    bundle: BundleArgument,
    pictures: Pictures,
    example: Annotated[Path, typer.Option(help="A picture of the thing: a crop, or one with the thing at --box.")],
    box: Annotated[str | None, typer.Option(help="X0,Y0,X1,Y1: where the thing is in the example.")] = None,
    threshold: Threshold = None,
    nms: Nms = None,
    masks: MasksOf = None,
    output: Output = None,
    json: Json = False,
    backend: Backend = None,
    precision: Precision = None,
    threads: Threads = None,
    device: Device = None,
) -> None:
    """Find what looks like an example."""
    place = _numbers(box, 4, "--box X0,Y0,X1,Y1", float) if box else None
    with _Models((backend, precision, threads, device), bundle, masks, None) as together:
        asked: dict[str, Any] = {"box": place, "name": example.stem}
        asked |= {name: n for name, n in (("threshold", threshold), ("nms", nms)) if n is not None}
        _each(pictures, lambda picture: together.find(picture, example, **asked), output, json)


class _Models:
    """The models of a command: opened together, closed together."""

    def __init__(self, options: tuple[Any, ...], *bundles: Path | None):
        self.options, self.bundles = options, [bundle for bundle in bundles if bundle is not None]

    def __enter__(self) -> Any:
        from contextlib import ExitStack

        from saccade import Together

        with ExitStack() as stack:
            models = [stack.enter_context(load(bundle, *self.options)) for bundle in self.bundles]
            self.stack = stack.pop_all()
        return Together(*models)

    def __exit__(self, *error: object) -> None:
        self.stack.close()


def _each(given: list[str], run: Callable[[Path], Detections], output: Path | None, json: bool) -> None:
    """Run on each picture; one that cannot be read does not stop the rest, and the exit code is 1 then."""
    paths = _expanded(given)
    if output and len(paths) > 1 and output.suffix:
        raise InputError(f"{output.name} for {len(paths)} pictures", hint="give a folder's name for the results")
    targets = _targets(paths, output)
    rows: list[dict[str, Any]] = []
    with progress("detecting", quiet=json) as report:
        for done, path in enumerate(paths, 1):
            try:
                found = run(path)
            except (ImageError, SpecError) as error:
                if len(paths) == 1:
                    raise
                rows.append({"picture": str(path), "error": str(error)})
            else:
                rows.append({**found.fields(), "picture": str(path)})
                if path in targets:
                    found.save(targets[path])
            report(done, len(paths))
    bad = [row for row in rows if "error" in row]
    if json:
        as_json(rows)
    else:
        show(_table([row for row in rows if "error" not in row]), *([f"wrote {output}"] if output else []))
    for row in bad:
        typer.echo(f"skipped {printable(row['picture'])}: {row['error']}", err=True)
    if bad:
        raise typer.Exit(1)


def _expanded(given: list[str]) -> list[Path]:
    """Files as they are; folders and patterns as the pictures that they hold, sorted."""
    import glob

    from saccade.runtime.indexing import SUFFIXES, scan

    paths: list[Path] = []
    for name in given:
        if Path(name).is_dir():
            inside = [Path(name, entry.name) for entry in scan(name)]
        elif glob.has_magic(name) and not Path(name).exists():
            inside = [Path(n) for n in sorted(glob.glob(name, recursive=True)) if n.lower().endswith(SUFFIXES)]
        else:
            inside = [Path(name)]
        if not inside:
            raise InputError(f"no pictures at {name}", hint=f"pictures end in {' '.join(SUFFIXES)}")
        paths += inside
    return list(dict.fromkeys(paths))


def _targets(paths: list[Path], output: Path | None) -> dict[Path, Path]:
    """For each picture the file of its result; pictures of one name in two folders are numbered."""
    if output is None:
        return {}
    if output.suffix:
        return {paths[0]: output}
    counts: dict[str, int] = {}
    made = {}
    for path in paths:
        count = counts[path.stem] = counts.get(path.stem, 0) + 1
        made[path] = output / (f"{path.stem}.png" if count == 1 else f"{path.stem}-{count}.png")
    return made


def _table(results: list[dict[str, Any]]) -> Any:
    rows = [(result["picture"], row) for result in results for row in result["detections"]]
    more = f", the first {_SHOWN} shown" if len(rows) > _SHOWN else ""
    kinds = any("kind" in row for _, row in rows)
    title = f"{len(rows)} boxes on {len(results)} pictures{more}"
    shown = table(title, "picture", "phrase", *(["kind"] if kinds else []), "#score", "box")
    for picture, row in rows[:_SHOWN]:
        kind = [row.get("kind", "")] if kinds else []
        box = ", ".join(f"{n:.0f}" for n in row["box"])
        shown.add_row(picture, row["phrase"], *kind, f"{row['score']:.3f}", box)
    return shown


def _numbers(text: str, count: int, form: str, kind: type) -> list[Any]:
    try:
        made = [kind(part) for part in text.split(",")]
    except ValueError:
        made = []
    if len(made) != count:
        raise PromptError(f"cannot read {text[:40]!a}", hint=f"{form}, such as 10,20" + ",50,60" * (count == 4))
    return made
