"""bench: measurements on this machine, as tables and as JSON lines."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from saccade.commands.show import progress, show, table
from saccade.runtime.errors import SettingsError

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
Lines = Annotated[Path | None, typer.Option("--json", help="Write the rows to this file, one JSON object a line.")]


@app.command()
def models(
    family: Annotated[str, typer.Argument(help="clip")],
    json: Lines = None,
    work: Annotated[Path | None, typer.Option(help="Keep checkpoint and bundle here for the next time.")] = None,
    seconds: Annotated[float, typer.Option(min=0.5, help="Time for each case.")] = 10.0,
) -> None:
    """Engines at real size with random weights, against torch, plain ONNX Runtime and OpenVINO."""
    if family != "clip":
        raise SettingsError(f"no benchmark for {family!r}", hint="there is clip")
    from saccade.benchmarks import clip, rows

    with tempfile.TemporaryDirectory() as scratch, progress("measuring") as report:
        made = clip.rows(work or Path(scratch), seconds=seconds, report=report)
    if json:
        made = rows.save(made, json)
    shown = table(
        "",
        "graph",
        "#batch",
        "#threads",
        "ours",
        "#first ms",
        "#p50 ms",
        "#p90 ms",
        "peer",
        "#p50 ms",
        "#ratio",
        "spread",
        "#1-cosine",
    )
    for row in made:
        name = row["graph"] + (f" {row['input']}" if "input" in row else "")
        head = [
            name,
            str(row["batch"]),
            str(row["threads"]),
            row["precision"],
            "" if row["first_ms"] is None else f"{row['first_ms']:.1f}",
        ]
        head += [f"{row['p50_ms']:.2f}", f"{row['p90_ms']:.2f}"]
        shown.add_row(*head, "", "", "", "", _error(row["error"]))
        for peer in row["baselines"]:
            spread = f"{peer['ratio_low']:.2f}–{peer['ratio_high']:.2f}"
            shown.add_row(
                *[""] * 7, peer["name"], f"{peer['p50_ms']:.2f}", f"{peer['ratio']:.2f}", spread, _error(peer["error"])
            )
    show(rows.machine(), shown)


@app.command()
def preprocess(json: Lines = None) -> None:
    """Resize, crop and normalise, against PIL + NumPy; every candidate that this processor has."""
    from saccade.benchmarks import preprocess as measure
    from saccade.benchmarks import rows

    made = measure.rows()
    if json:
        made = rows.save(made, json)
    shown = table("", "case", "ours", "#p50 ms", "#p90 ms", "peer", "#p50 ms", "#ratio", "spread")
    for row in made:
        for peer in row["baselines"]:
            spread = f"{peer['ratio_low']:.2f}–{peer['ratio_high']:.2f}"
            figures = [f"{row['p50_ms']:.2f}", f"{row['p90_ms']:.2f}", peer["name"], f"{peer['p50_ms']:.2f}"]
            shown.add_row(row["case"], row["impl"], *figures, f"{peer['ratio']:.2f}", spread)
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


def _error(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"
