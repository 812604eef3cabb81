"""bench: measurements on this machine, as tables and as JSON lines."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from saccade.commands.show import BundleArgument, bundle_path, progress, show, table
from saccade.runtime.errors import SettingsError

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
Lines = Annotated[Path | None, typer.Option("--json", help="Write the rows to this file, one JSON object a line.")]


@app.command()
def models(
    family: Annotated[str, typer.Argument(help="clip or sam")],
    json: Lines = None,
    work: Annotated[Path | None, typer.Option(help="Keep checkpoint and bundle here for the next time.")] = None,
    seconds: Annotated[float, typer.Option(min=0.5, help="Time for each case.")] = 10.0,
    small: Annotated[bool, typer.Option("--small", help="sam: a network of no real size, to try the command.")] = False,
) -> None:
    """Engines at real size with random weights, against torch, plain ONNX Runtime and OpenVINO."""
    if family not in ("clip", "sam"):
        raise SettingsError(f"no benchmark for {family[:64]!r}", hint="there is clip and sam")
    if small and family != "sam":
        raise SettingsError("--small is for sam", hint="leave it out")
    from importlib import import_module

    from saccade.benchmarks import rows

    measure = import_module(f"saccade.benchmarks.{family}").rows
    more = {"size": "small"} if small else {}
    with tempfile.TemporaryDirectory() as scratch, progress("measuring") as report:
        made = measure(work or Path(scratch), seconds=seconds, report=report, **more)
    if json:
        made = rows.save(made, json)
    note = "columns of peers: their median / ours; 1-cos: of the worst row, against torch fp32"
    show(rows.machine(), _models_table(made), note)


@app.command()
def kernels(
    op: Annotated[str | None, typer.Argument(help="resize_normalize, nms or mask_decode; all by default.")] = None,
    json: Lines = None,
) -> None:
    """Each kernel's candidates on this processor, one thread, against named peers that are installed."""
    from importlib import import_module

    from saccade.benchmarks import rows

    homes = {"resize_normalize": "preprocess", "nms": "nms", "mask_decode": "masks"}
    if op is not None and op not in homes:
        raise SettingsError(f"no benchmark for {op[:64]!r}", hint=f"there is {', '.join(homes)}")
    made: list[dict[str, Any]] = []
    for name in [op] if op else homes:
        measured: list[dict[str, Any]] = import_module(f"saccade.benchmarks.{homes[name]}").rows()
        made += [{"op": name, **row} for row in measured]
    if json:
        made = rows.save(made, json)
    shown = table("", "op", "case", "ours", "#p50 ms", "#p90 ms", "peer", "#p50 ms", "#ratio", "spread")
    for row in made:
        for peer in row["baselines"]:
            spread = f"{peer['ratio_low']:.2f}–{peer['ratio_high']:.2f}"
            figures = [f"{row['p50_ms']:.2f}", f"{row['p90_ms']:.2f}", peer["name"], f"{peer['p50_ms']:.2f}"]
            shown.add_row(row["op"], row["case"], row["impl"], *figures, f"{peer['ratio']:.2f}", spread)
    show(rows.machine(), shown)


@app.command()
def loading(bundle: BundleArgument, json: Lines = None) -> None:
    """What stands before the first answer: proving a bundle, and opening its largest graph."""
    from saccade.benchmarks import loading as measure
    from saccade.benchmarks import rows

    made: list[dict[str, Any]] = measure.rows(bundle_path(bundle)[0])
    if json:
        made = rows.save(made, json)
    shown = table("", "case", "file", "#MB", "#p50 ms", "#p90 ms", "#peak MB", "#runs")
    for row in made:
        figures = [f"{row['p50_ms']:.1f}", f"{row['p90_ms']:.1f}", f"{row['peak_mb']:.0f}", str(row["runs"])]
        shown.add_row(row["case"], row["file"], f"{row['bytes'] / 1e6:.1f}", *figures)
    show(rows.machine(), shown)


@app.command()
def overhead(json: Lines = None) -> None:
    """What the direct driver adds to a request, on an engine that does no work."""
    from saccade.benchmarks import overhead as measure
    from saccade.benchmarks import rows

    made: list[dict[str, Any]] = measure.rows()
    if json:
        made = rows.save(made, json)
    shown = table("", "case", "#p50 µs", "#p90 µs", "#requests")
    for row in made:
        p90 = "" if row["p90_us"] is None else f"{row['p90_us']:.2f}"
        shown.add_row(row["case"], f"{row['p50_us']:.2f}", p90, str(row["runs"]))
    show(rows.machine(), shown)


@app.command()
def everything(
    cases: Annotated[list[str] | None, typer.Argument(help="tiny, tiny-1080, vit-b; all by default.")] = None,
    checkpoint: Annotated[Path, typer.Option(help="The folder of sam-tiny's checkpoint.")] = Path(
        "zoo/checkpoints/sam-tiny"
    ),
    json: Lines = None,
    work: Annotated[Path | None, typer.Option(help="Keep checkpoints and bundles here for the next time.")] = None,
    grid: Annotated[int | None, typer.Option(min=1, help="Points a side, in place of each case's own.")] = None,
) -> None:
    """SAM's everything mode end to end, against the reference's procedure in torch; one thread."""
    from saccade.benchmarks import everything as measure
    from saccade.benchmarks import rows

    wanted = cases or list(measure.CASES)
    if unknown := [name for name in wanted if name not in measure.CASES]:
        raise SettingsError(f"no case {unknown[0][:64]!r}", hint=f"there is {', '.join(measure.CASES)}")
    with tempfile.TemporaryDirectory() as scratch, progress("measuring") as report:
        made = measure.rows(wanted, checkpoint, work or Path(scratch), grid=grid, report=report)
    if json:
        made = rows.save(made, json)
    shown = table("", "case", "#points", "#masks", "#equal", "#p50 ms", "#host ms", "#torch ms", "#ratio", "spread")
    for row in made:
        (peer,) = row["baselines"]
        figures = [f"{row['p50_ms']:.0f}", f"{row['parts_ms'].get('host', 0):.0f}", f"{peer['p50_ms']:.0f}"]
        spread = f"{peer['ratio_low']:.2f}–{peer['ratio_high']:.2f}"
        counts = [str(row["points"]), str(row["masks"]), f"{row['matched']:.3f}"]
        shown.add_row(row["case"], *counts, *figures, f"{peer['ratio']:.2f}", spread)
    show(rows.machine(), shown)


def _models_table(made: list[dict[str, Any]]) -> Any:
    peers = list(dict.fromkeys(peer["name"] for row in made for peer in row["baselines"]))
    columns = ["graph", "#batch", "#thr.", "ours", "#first", "#p50 ms", *(f"#{_short(p)}" for p in peers), "#1-cos"]
    shown = table("", *columns)
    for row in made:
        ratios = {peer["name"]: f"{peer['ratio']:.2f}" for peer in row["baselines"]}
        name = row["graph"] + (f" {row['input']}" if "input" in row else "")
        first = "" if row["first_ms"] is None else f"{row['first_ms']:.0f}"
        error = "" if row["error"] is None else f"{max(row['error'], 0):.0e}"
        head = [name, str(row["batch"]), str(row["threads"]), row["precision"], first, f"{row['p50_ms']:.2f}"]
        shown.add_row(*head, *(ratios.get(peer, "") for peer in peers), error)
    return shown


def _short(peer: str) -> str:
    """A peer's name in two lines, the library short: its column is narrow."""
    return peer.replace("onnxruntime", "ort").replace("openvino", "ov").replace("-", "\n").replace("+", "\n")
