"""segment: what a SAM bundle can do with one picture."""

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
    show,
    table,
)
from saccade.runtime.errors import InputError, PromptError

if TYPE_CHECKING:
    from saccade import Masks, Prompt

_SHOWN = 40  # rows of the table; --json has all


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(segment)


def segment(
    bundle: BundleArgument,
    picture: Annotated[Path, typer.Argument(help="A picture: JPEG, PNG or WebP.")],
    point: Annotated[
        list[str] | None, typer.Option(help="X,Y in pixels; several make one object, unless --each.")
    ] = None,
    label: Annotated[
        list[int] | None, typer.Option(help="For each point 1, on the object, or 0, beside it; all 1 if not given.")
    ] = None,
    box: Annotated[list[str] | None, typer.Option(help="X0,Y0,X1,Y1 in pixels; each is an object.")] = None,
    mask: Annotated[
        Path | None, typer.Option(help="A mask to start from: a PNG of the picture's size, or .npy from --logits.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="A JSON list of objects with points, labels, box, mask; or a saved result.")
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Each point is an object of its own.")] = False,
    everything: Annotated[bool, typer.Option("--everything", help="All that a grid of points finds.")] = False,
    grid: Annotated[int, typer.Option(help="With --everything: points a side.")] = 32,
    crops: Annotated[int, typer.Option(help="With --everything: layers of crops.")] = 0,
    min_score: Annotated[float, typer.Option(help="With --everything: least IoU that the model expects.")] = 0.88,
    min_stability: Annotated[float, typer.Option(help="With --everything: least stability.")] = 0.95,
    min_region: Annotated[
        int, typer.Option(help="With --everything: fill holes and drop islands of fewer pixels.")
    ] = 0,
    all_masks: Annotated[bool, typer.Option("--all", help="Three masks for each object, not the best one.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the picture with masks here.")] = None,
    masks: Annotated[Path | None, typer.Option(help="A folder for a 1-bit PNG of each mask.")] = None,
    logits: Annotated[Path | None, typer.Option(help="Write the low-res logits of the masks to this .npy.")] = None,
    json: Json = False,
    backend: Backend = None,
    precision: Precision = None,
    threads: Threads = None,
    device: Device = None,
) -> None:
    """Cut out what points, boxes or masks point at, or everything."""
    given = bool(point or label or box or mask or prompts or each)
    if everything == given:
        raise InputError(
            "--everything and prompts exclude each other" if given else "nothing is asked",
            hint="give --point X,Y, --box X0,Y0,X1,Y1, --mask, --prompts, or --everything",
        )
    asked = () if everything else _prompts(point, label, box, mask, prompts, each)
    with load(bundle, backend, precision, threads, device) as model:
        _refuse_other_family(model.bundle.manifest.family)
        if everything:
            found = model.everything(
                picture, grid=grid, crops=crops, min_score=min_score, min_stability=min_stability,
                min_region=min_region,
            )  # fmt: skip
        else:
            every = model.segment(picture, prompts=asked, multimask=True if all_masks else None)
            found = every if all_masks else every.best
    written = _write(found, output, masks, logits)
    if json:
        as_json(found.fields())
    else:
        show(_table(found), *(f"wrote {name}" for name in written))


def _prompts(
    point: list[str] | None,
    label: list[int] | None,
    box: list[str] | None,
    mask: Path | None,
    prompts: Path | None,
    each: bool,
) -> tuple[Prompt, ...]:
    from saccade.runtime.prompt import gather

    points = [_numbers(text, 2, "--point X,Y") for text in point or []]
    boxes = [_numbers(text, 4, "--box X0,Y0,X1,Y1") for text in box or []] or None
    if prompts:
        if point or label or box or mask or each:
            raise PromptError("--prompts and other prompts", hint="put everything into the file")
        return _read_prompts(prompts)
    labels: list[Any] | None = label
    if each:
        if not points:
            raise PromptError("--each without --point", hint="--point 10,20 --point 30,40 --each")
        labels = [[n] for n in label] if label else None
        return gather([[p] for p in points], labels, boxes, None if mask is None else _read_mask(mask), None)
    return gather(points or None, labels, boxes, None if mask is None else _read_mask(mask), None)


def _numbers(text: str, count: int, form: str) -> list[float]:
    try:
        made = [float(part) for part in text.split(",")]
    except ValueError:
        made = []
    if len(made) != count:
        raise PromptError(
            f"cannot read {text[:40]!a}", hint=f"{form}, such as {form.split()[0]} 10,20" + ",50,60" * (count == 4)
        )
    return made


def _read_prompts(file: Path) -> tuple[Prompt, ...]:
    from saccade import Prompt
    from saccade.runtime import strict_json
    from saccade.runtime.prompt import gather

    try:
        document = strict_json.loads(_bytes(file))
    except ValueError as error:
        raise PromptError(f"{file.name}: {error}", hint='a list such as [{"points": [[10, 20]]}]') from None
    rows = document.get("prompts") if isinstance(document, dict) else document
    if not isinstance(rows, list):
        raise PromptError(f"{file.name}: no list of prompts", hint='a list such as [{"points": [[10, 20]]}]')
    return gather(None, None, None, None, [Prompt.read(row) for row in rows])


def _read_mask(file: Path) -> Any:
    import numpy as np

    if file.suffix == ".npy":
        import io

        try:
            return np.load(io.BytesIO(_bytes(file)), allow_pickle=False)
        except (ValueError, EOFError, OSError):
            raise PromptError(f"{file.name} is no .npy of numbers", hint="write one with --logits") from None
    from saccade import decode

    return decode(file).pixels[..., 0] > 127


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {file}: {(error.strerror or '').lower()}", hint="give the path of a file"
        ) from None


def _refuse_other_family(family: str) -> None:
    if family != "sam":
        raise InputError(
            f"a bundle of family {family[:40]!a} cannot segment", hint="give a SAM bundle, such as sam-tiny"
        )


def _write(found: Masks, output: Path | None, masks: Path | None, logits: Path | None) -> list[str]:
    written = found.save(output) if output else []
    if masks:
        names = found.save(masks, kind="masks")
        written.append(f"{len(names)} masks in {masks}")
    if logits:
        import io

        import numpy as np

        from saccade.runtime.files import write_file

        if logits.suffix != ".npy":
            raise InputError(f"cannot write {logits.name}", hint="the file's name ends in .npy")
        buffer = io.BytesIO()
        np.save(buffer, found.low)
        write_file(logits, buffer.getvalue())
        written.append(str(logits))
    return written


def _table(found: Masks) -> Any:
    more = f", the first {_SHOWN} shown" if len(found) > _SHOWN else ""
    shown = table(f"{len(found)} masks{more}", "#prompt", "#score", "#stability", "#pixels", "box")
    for i in range(min(len(found), _SHOWN)):
        figures = [f"{found.score[i]:.3f}", f"{found.stability[i]:.3f}", str(found.area[i])]
        shown.add_row(str(found.prompt[i]), *figures, ", ".join(map(str, found.boxes[i].tolist())))
    return shown
