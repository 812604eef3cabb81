"""plan, explain and doctor: what runs a bundle here, why, and whether it is right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from saccade.commands.show import BundleArgument, Device, Json, Threads, as_json, bundle_path, show, table
from saccade.runtime.errors import SettingsError

Seconds = Annotated[float, typer.Option(min=0.1, help="Time for the search.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (plan, explain, doctor):
        app.command()(command)


def plan(
    bundle: BundleArgument,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Also write the plan here, to share.")] = None,
    seconds: Seconds = 20.0,
    batch: Annotated[str, typer.Option(help="Batch sizes to plan for, with commas between.")] = "1",
    threads: Threads = None,
    device: Device = None,
    again: Annotated[bool, typer.Option("--again", help="Search even if a plan was made before.")] = False,
    json: Json = False,
) -> None:
    """Measure every way to run a bundle here and remember the fastest that is right: `precision="auto"` uses it."""
    from saccade.runtime import plan as kept
    from saccade.runtime.engines import Options
    from saccade.runtime.explanation import explanation
    from saccade.runtime.planner import plan_of

    opened, options = _opened(bundle), Options.of(None, None, device, threads)
    made = plan_of(opened, options, seconds=seconds, batches=_sizes(batch), again=again)
    if output:
        kept.write(made, output)
    _print(explanation(opened, options, made), json)


def explain(
    bundle: BundleArgument,
    plan: Annotated[Path | None, typer.Option(help="A plan file; the one made here before by default.")] = None,
    threads: Threads = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Graph by candidate: usable or why not, milliseconds, error, chosen; and the kernels' candidates."""
    from saccade.runtime import plan as kept
    from saccade.runtime.engines import Options
    from saccade.runtime.explanation import explanation

    opened, given = _opened(bundle), None
    if plan is not None:
        given, why = kept.read_file(plan)
        why = why or (given.foreign(opened.digest) if given else "")
        if why:
            raise SettingsError(f"[plan] {plan}: {why}", hint="make one here: `saccade plan BUNDLE -o FILE`")
    _print(explanation(opened, Options.of(None, None, device, threads), given), json)


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
    title = f"{found['bundle']}: searched for {found['seconds']:.1f} s" if found["planned"] else found["bundle"]
    graphs = table(title, "graph", "#batch", "back end", "precision", "#p50 ms", "#first ms", "#error", "", "why not")
    for row in found["graphs"]:
        error = "" if row["worst"] is None else f"{1 - row['worst']:.1e}"
        ms, first = ("" if row[key] is None else f"{row[key]:.2f}" for key in ("p50_ms", "first_ms"))
        mark = "chosen" if row["chosen"] else ""
        graphs.add_row(row["graph"], str(row["batch"]), row["backend"], row["precision"], ms, first, error, mark,
                       row["reason"])  # fmt: skip
    note = "error: 1 - cosine of the worst golden sample; first: opening, proving, first run"
    if not found["planned"]:
        note = "nothing is measured yet: `saccade plan` does; until then the portable default runs"
    kernels = table("kernels", "op", "candidate", "usable", "why not")
    for row in found["kernels"]:
        kernels.add_row(
            row["what"].removeprefix("kernel "), row["choice"], "yes" if row["usable"] else "no", row["reason"]
        )
    show(graphs, note, kernels)


def _doctor_tables(found: dict[str, Any]) -> list[Any]:
    about = table("this machine", "what", "")
    for key, value in found["machine"].items():
        about.add_row(key, ", ".join(value) if isinstance(value, list) else str(value))
    for key, value in found["limits"].items():
        about.add_row(f"limit: {key}", "none" if value is None else str(value))
    libraries = table("libraries", "library", "version")
    for name, version in found["libraries"].items():
        libraries.add_row(name, version or "not installed")
    engines = table(f"back ends, proven on {found['golden']}", "graph", "back end", "precision", "verdict", "#error",
                    "#ms", "why not")  # fmt: skip
    for row in found["engines"]:
        error = f"{1 - row['worst']:.1e}" if "worst" in row else ""
        engines.add_row(row["graph"], row["backend"], row["precision"], row["verdict"] or "not run", error,
                        str(row.get("ms", "")), row["unusable"])  # fmt: skip
    kernels = table("kernels, against their references", "op", "candidate", "verdict", "why not")
    for row in found["kernels"]:
        kernels.add_row(row["op"], row["candidate"], row["verdict"] or "not run", row["unusable"])
    return [about, libraries, engines, kernels]
