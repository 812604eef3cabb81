"""bench: measurements on this machine, as tables and as JSON lines."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
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
    fp32: Annotated[bool, typer.Option("--fp32", help="sam: leave int8 out, which takes long to judge.")] = False,
) -> None:
    """Engines at real size with random weights, against torch, plain ONNX Runtime and OpenVINO."""
    if family not in ("clip", "sam"):
        raise SettingsError(f"no benchmark for {family[:64]!r}", hint="there is clip and sam")
    if (small or fp32) and family != "sam":
        raise SettingsError("--small and --fp32 are for sam", hint="leave them out")
    from importlib import import_module

    from saccade.benchmarks import rows

    measure = import_module(f"saccade.benchmarks.{family}").rows
    more: dict[str, Any] = {"size": "small"} if small else {}
    more |= {"precisions": ("fp32",)} if fp32 else {}
    with tempfile.TemporaryDirectory() as scratch, progress("measuring") as report:
        made = measure(work or Path(scratch), seconds=seconds, report=report, **more)
    if json:
        made = rows.save(made, json)
    note = "columns of peers: their median / ours; 1-cos: of the worst row, against torch fp32"
    show(rows.machine(), _models_table(made), note)


@app.command()
def kernels(
    ops: Annotated[list[str] | None, typer.Argument(help="Names of ops; all that have a benchmark by default.")] = None,
    json: Lines = None,
    impl: Annotated[str | None, typer.Option(help="Measure this candidate alone, such as avx2.")] = None,
    peaks: Annotated[bool, typer.Option("--peaks", help="Measure what this machine reaches, and stop.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="The cheapest case of each op, five rounds.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the rows under this machine's roofs, as PNG, SVG or PDF.")
    ] = None,
) -> None:
    """Each kernel's candidates on one thread, against named peers that are installed, as a share of measured peaks.

    What does not compute what it should is named on standard error, leaves no row, and makes the exit code 1.
    """
    from saccade.benchmarks import kernels as house
    from saccade.benchmarks import rows
    from saccade.benchmarks.kernels import harness, roofline
    from saccade.benchmarks.kernels import peaks as roofs

    chosen = [(op, house.module(op)) for op in ops or house.measured()]
    found = roofs.measure()
    machine, report = roofs.machine(found), harness.Report()
    if peaks:
        made = [{"op": "peaks"}]
    else:
        report = house.run(chosen, found, impl=impl, quick=quick, said=lambda text: typer.echo(text, err=True))
        made = report.rows
    if json:
        made = rows.save(made, json, {"machine": machine})
    if plot:
        roofline.draw(made, found, f"{machine['cpu']}, one thread", plot)
    show(machine["cpu"], *_kernels_tables(report.rows), _roofs_line(found))
    for failure in report.failures:
        typer.echo(f"wrong: {failure}", err=True)
    if report.failures:
        raise typer.Exit(1)


@app.command()
def plan(
    bundles: Annotated[list[Path], typer.Argument(help="Folders of bundles, or names of shipped ones.")],
    json: Lines = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads of an engine; 0: as the plan finds best.")] = 0,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Time for a search; as `saccade plan` by default.")
    ] = None,
    measure: Annotated[float, typer.Option(min=0.1, help="Seconds for the comparison of each graph.")] = 20.0,
) -> None:
    """What a plan's choice is worth against every candidate by hand, and what finding it costs."""
    from saccade.benchmarks import plans, rows

    paths = [bundle_path(bundle) for bundle in bundles]
    made: list[dict[str, Any]] = plans.rows(paths, threads=threads, seconds=seconds, measure_s=measure)
    if json:
        made = rows.save(made, json)
    shown = table("", "graph", "chosen", "#p50 ms", "#p90 ms", "candidate", "#p50 ms", "#ratio", "spread")
    notes = []
    for row in made:
        if row["case"] == "search":
            notes.append(f"{row['bundle']}: searched for {row['seconds']:.1f} s; first answers after "
                         f"{row['first_answer_s']:.2f} s")  # fmt: skip
        elif row["case"] == "all":
            notes.append(f"best candidate by hand over the plan, {row['graphs']} graphs: {row['best_share']:.3f}, "
                         f"least {row['least']:.3f} (asked: 0.98)")  # fmt: skip
        else:
            _choice_rows(shown, row)
            if row["asked"] and row["over_ort"]:
                notes.append(f"{row['bundle']} {row['graph']}: {row['over_ort']['ratio']:.2f} of ONNX Runtime fp32 "
                             f"(asked at real size: {row['asked']})")  # fmt: skip
    show(rows.machine(), shown, "\n".join(notes))


def _choice_rows(shown: Any, row: dict[str, Any]) -> None:
    first = [row["graph"], row["chosen"], f"{row['p50_ms']:.2f}", f"{row['p90_ms']:.2f}"]
    for peer in row["baselines"]:
        spread = f"{peer['ratio_low']:.2f}–{peer['ratio_high']:.2f}"
        shown.add_row(*first, peer["name"], f"{peer['p50_ms']:.2f}", f"{peer['ratio']:.2f}", spread)
        first = ["", "", "", ""]


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


@app.command()
def scheduler(
    bundles: Annotated[
        list[Path] | None, typer.Argument(help="Bundles with real engines, for merging and shared users.")
    ] = None,
    json: Lines = None,
    seconds: Annotated[float, typer.Option(min=0.5, help="Time of open-loop traffic for each case.")] = 10.0,
    threads: Annotated[int, typer.Option(min=0, help="Threads of a real engine; 0 means all cores.")] = 1,
) -> None:
    """What the scheduler adds, how much it moves, and what it does under overload."""
    from saccade.benchmarks import rows
    from saccade.benchmarks import scheduler as measure
    from saccade.runtime.bundle import Bundle
    from saccade.runtime.model import load

    found = [bundle_path(name) for name in bundles or [Path("clip-tiny"), Path("sam-tiny")]]
    models = [load(Bundle.open(path, hard_links=ours), threads=threads) for path, ours in found]
    with progress("measuring"):
        made: list[dict[str, Any]] = measure.rows(models, seconds=seconds)
    if json:
        made = rows.save(made, json)
    shown = table("", "case", "figures")
    about = ("case", "machine", "versions", "commit")
    for row in made:
        shown.add_row(row["case"], "  ".join(f"{name} {value}" for name, value in row.items() if name not in about))
    show(rows.machine(), shown)


def _kernels_tables(made: list[dict[str, Any]]) -> Iterator[Any]:
    """A table an op: each candidate's row, and one more for each further peer."""
    for op in dict.fromkeys(row["op"] for row in made):
        yield _kernels_table(op, [row for row in made if row["op"] == op])


def _kernels_table(op: str, made: list[dict[str, Any]]) -> Any:
    shown = table(op, "case", "ours", "#p50 ms", "#p90 ms", "#of peak", "peer", "#p50 ms", "#ratio", "spread")
    for row in made:
        share = f"{row['achieved']['of_peak']:.1%}" if "of_peak" in row["achieved"] else ""
        head = [row["case"], row["impl"], f"{row['p50_ms']:.3f}", f"{row['p90_ms']:.3f}", share]
        for peer in row["baselines"]:
            spread = f"{peer['ratio_low']:.2f}–{peer['ratio_high']:.2f}"
            shown.add_row(*head, peer["name"], f"{peer['p50_ms']:.3f}", f"{peer['ratio']:.2f}", spread)
            head = [""] * len(head)
        if not row["baselines"]:
            shown.add_row(*head, "", "", "", "")
    return shown


def _roofs_line(peaks: dict[str, float]) -> str:
    """What one core reaches, in a line."""
    units = {"gbps": "GB/s", "gflops": "GFLOP/s", "gops": "GOP/s"}
    parts = (f"{name.rpartition('_')[0]} {rate:g} {units[name.rpartition('_')[2]]}" for name, rate in peaks.items())
    return "peaks of one core: " + (" · ".join(parts) or "not measured, the native module was not built")


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
