"""plan, explain and doctor: what runs a bundle here, why, and whether it is right."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer

from saccade.commands.show import BundleArgument, Device, Json, Threads, as_json, bundle_path, show, table
from saccade.runtime.errors import SettingsError

Seconds = Annotated[
    float | None, typer.Option(min=0.1, help="Time for the search; 20 by default, and more for graphs that are slow.")
]
Budget = Annotated[
    list[str] | None,
    typer.Option(help="figure=value, in place of the bundle's own budget, such as cosine=0.9999; may be given again."),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (plan, explain, doctor):
        app.command()(command)


def plan(
    bundle: BundleArgument,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Also write the plan here, to share.")] = None,
    seconds: Seconds = None,
    batch: Annotated[str, typer.Option(help="Batch sizes to plan for, with commas between.")] = "1",
    threads: Threads = None,
    device: Device = None,
    budget: Budget = None,
    again: Annotated[bool, typer.Option("--again", help="Search even if a plan was made before.")] = False,
    json: Json = False,
) -> None:
    """Measure every way to run a bundle here and remember the fastest that is right: `precision="auto"` uses it."""
    from saccade.runtime import plan as kept
    from saccade.runtime.admission import checked
    from saccade.runtime.engines import Options
    from saccade.runtime.explanation import explanation
    from saccade.runtime.planner import plan_of

    opened = _opened(bundle)
    options = Options.of(None, None, device, threads, budget=checked(opened, budget))
    made = plan_of(opened, options, seconds=seconds, batches=_sizes(batch), again=again)
    if output:
        kept.write(made, output)
    _print(explanation(opened, options, made), json)


def explain(
    bundle: BundleArgument,
    plan: Annotated[Path | None, typer.Option(help="A plan file; the one made here before by default.")] = None,
    threads: Threads = None,
    device: Device = None,
    budget: Budget = None,
    json: Json = False,
) -> None:
    """Graph by candidate: usable or why not, milliseconds, error, chosen; and the kernels' candidates."""
    from saccade.runtime import plan as kept
    from saccade.runtime.admission import checked
    from saccade.runtime.engines import Options
    from saccade.runtime.explanation import explanation

    opened, given = _opened(bundle), None
    if plan is not None:
        given, why = kept.read_file(plan)
        why = why or (given.foreign(opened.digest) if given else "")
        if why:
            raise SettingsError(f"[plan] {plan}: {why}", hint="make one here: `saccade plan BUNDLE -o FILE`")
    options = Options.of(None, None, device, threads, budget=checked(opened, budget))
    _print(explanation(opened, options, given), json)


def doctor(
    bundle: Annotated[Path, typer.Argument(help="A bundle to prove the back ends with.")] = Path("clip-tiny"),
    json: Json = False,
) -> None:
    """What this machine can run, shown by running it on golden data. Exit code 3 if no back end works."""
    from saccade.runtime.doctor import examination

    found = examination(_opened(bundle))
    if json:
        as_json(found)
    else:
        show(*_doctor_tables(found))
    if not found["works"]:
        raise typer.Exit(3)


def _opened(bundle: Path) -> Any:
    from saccade import Bundle

    path, shipped = bundle_path(bundle)
    return Bundle.open(path, hard_links=shipped)


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise SettingsError(f"[plan] batch: got {text[:64]!a}", hint="sizes with commas between, such as 1,8") from None


def _print(found: dict[str, Any], json: bool) -> None:
    if json:
        as_json(found)
        return
    budgets = ", ".join(f"{name} {value:g}" for name, value in found["budgets"].items()) or "none"
    title = f"{found['bundle']}: searched for {found['seconds']:.1f} s" if found["planned"] else found["bundle"]
    graphs = table(title, "graph", "#batch", "back end", "precision", "#threads", "#p50 ms", "#error", "")
    for row in sorted(found["graphs"], key=_measured(found["graphs"])):
        if not row["reason"]:
            error = "" if row["worst"] is None else f"{1 - row['worst']:.1e}"
            ms = "" if row["p50_ms"] is None else f"{row['p50_ms']:.2f}"
            runs = [row["graph"], str(row["batch"]), _named(row), row["precision"], str(row["threads"])]
            graphs.add_row(*runs, ms, error, "chosen" if row["chosen"] else "")
    note = f"error: 1 - cosine of the worst golden sample; the bundle's budget: {budgets}"
    if not found["planned"]:
        note = "nothing is measured yet: `saccade plan` does; until then what is marked as chosen runs"
    kernels = table("kernels in pipelines", "op", "first choice", "also usable")
    for op, rows in groupby(found["kernels"], lambda row: row["what"].removeprefix("kernel ")):
        usable = [row["choice"] for row in rows if row["usable"]]
        kernels.add_row(op, *usable[:1], ", ".join(usable[1:]))
    absent = [(row["what"], row["choice"], row["reason"]) for row in found["kernels"] if not row["usable"]]
    show(graphs, note, "", _left_out(found["graphs"], "reason"), kernels, _grouped("kernels that cannot run", absent))


def _measured(rows: list[dict[str, Any]]) -> Callable[[dict[str, Any]], tuple[float, ...]]:
    """A key that orders rows by graph and batch, then by time."""
    graphs = list(dict.fromkeys(row["graph"] for row in rows))
    return lambda row: (graphs.index(row["graph"]), row["batch"], row["p50_ms"] or 0.0)


def _named(row: dict[str, Any]) -> str:
    """The back end as users type it, with the execution provider if it is not the CPU's, and bodies of our ops."""
    parts = [row["backend"].replace("_", "")]
    parts += [row["provider"]] * (row["provider"] not in ("", "cpu")) + [row.get("kernels", "")]
    return " ".join(filter(None, parts))


def _left_out(rows: list[dict[str, Any]], why: str) -> Any:
    """What was not run or not taken, in one line for each back end and reason."""
    most = max((row.get("threads", 0) for row in rows), default=0)
    precisions: dict[tuple[str, str, str], dict[str, None]] = {}
    for row in filter(lambda row: row[why], rows):
        fewer = "" if row.get("threads", most) == most else f" on {row['threads']} threads"
        precisions.setdefault((row["graph"], _named(row), row[why]), {})[row["precision"] + fewer] = None
    left = [(graph, f"{name} {', '.join(held)}", reason) for (graph, name, reason), held in precisions.items()]
    return _grouped("candidates that were not run or not taken", left)


def _grouped(title: str, rows: list[tuple[str, str, str]]) -> Any:
    """Rows (where, what, why) with everything that has the same reason put together."""
    made = table(title, "what", "where", "why not")
    places: dict[tuple[str, str], dict[str, None]] = {}
    for where, what, why in rows:
        places.setdefault((what, why), {})[where.removeprefix("kernel ")] = None
    together: dict[tuple[str, str], list[str]] = {}
    for (what, why), wheres in places.items():
        together.setdefault((", ".join(wheres), why), []).append(what)
    for (where, why), whats in together.items():
        made.add_row("; ".join(whats), where, why)
    return made


def _doctor_tables(found: dict[str, Any]) -> list[Any]:
    about = table("this machine", "what", "")
    for key, value in found["machine"].items():
        about.add_row(key, ", ".join(value) if isinstance(value, list) else str(value))
    for key, value in found["limits"].items():
        about.add_row(f"limit: {key}", "none" if value is None else str(value))
    libraries = table("libraries", "library", "version")
    for name, version in found["libraries"].items():
        libraries.add_row(name, version or "not installed")
    engines = table(
        f"back ends, proven on {found['golden']}", "graph", "back end", "precision", "verdict", "#error", "#ms"
    )
    for row in found["engines"]:
        if row["verdict"]:
            error = f"{1 - row['worst']:.1e}" if "worst" in row else ""
            ms = str(row.get("ms", ""))
            engines.add_row(row["graph"], _named(row), row["precision"], row["verdict"], error, ms)
    kernels = table("kernels, against their references", "op", "right", "WRONG")
    for op, group in groupby(found["kernels"], lambda row: row["op"]):
        rows = list(group)
        kernels.add_row(op, *(", ".join(r["candidate"] for r in rows if r["verdict"] == v) for v in ("right", "WRONG")))
    absent = [(row["op"], row["candidate"], row["unusable"]) for row in found["kernels"] if row["unusable"]]
    left = [_left_out(found["engines"], "unusable"), kernels, _grouped("kernels that cannot run", absent)]
    return [about, libraries, engines, *left]
