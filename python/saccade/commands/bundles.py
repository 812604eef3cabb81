"""export and inspect: where bundles come from, and what is in one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from saccade.commands.show import BundleArgument, Json, as_json, bundle_path, lines, progress, show, table
from saccade.runtime.errors import SettingsError

SHARES = ("top1_agreement", "accuracy")


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (export, inspect):
        app.command()(command)


def export(
    source: Annotated[
        str, typer.Argument(help="A Hugging Face id, a checkpoint folder, open_clip safetensors, or a SAM .pth.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The bundle: a folder.")],
    precision: Annotated[str, typer.Option(help="Comma-separated: fp32, fp16, int8.")] = "fp32",
    calibrate: Annotated[
        Path | None, typer.Option(help="A folder with pictures like those to come; int8 needs it.")
    ] = None,
    texts: Annotated[
        Path | None, typer.Option(help="A text file with typical texts, one a line, to calibrate with.")
    ] = None,
    labelled: Annotated[
        Path | None, typer.Option(help="A folder with one folder a label; zero-shot accuracy is measured on it.")
    ] = None,
    sizes: Annotated[str, typer.Option(help="Input sizes of a detector, height x width: 480x640,800x1088.")] = "",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
    license: Annotated[str | None, typer.Option(help="SPDX expression of the weights' licence.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing bundle.")] = False,
    json: Json = False,
) -> None:
    """Turn a trained checkpoint into a verified bundle. Needs the [export] extra; running a bundle does not."""
    from saccade.export import export as export_bundle
    from saccade.export.calibration import labelled_folder

    wanted = tuple(p.strip() for p in precision.split(",") if p.strip())
    if not wanted:
        raise SettingsError("no precision given", hint="--precision fp32,fp16,int8")
    with progress("exporting", quiet=json) as report:
        export_bundle(
            source,
            output,
            precisions=wanted,
            calibrate=calibrate,
            texts=lines(texts) if texts else None,
            labelled=labelled_folder(labelled) if labelled else None,
            sizes=_sizes(sizes),
            revision=revision,
            license=license,
            overwrite=force,
            progress=report,
        )
    _print(output, json, check=False)


def inspect(
    bundle: BundleArgument,
    check: Annotated[
        bool, typer.Option("--check", help="Run every variant on the golden inputs and judge it.")
    ] = False,
    json: Json = False,
) -> None:
    """Verify a bundle and show what is in it, what runs it here, and how exact each variant is."""
    _print(bundle, json, check=check)


def _sizes(text: str) -> list[tuple[int, int]]:
    """480x640,640x480 as numbers. Raises SettingsError."""
    found = []
    for part in filter(None, text.replace(" ", "").split(",")):
        height, _, width = part.lower().partition("x")
        if not (height.isdecimal() and width.isdecimal()):
            raise SettingsError(f"no size: {part[:40]!r}", hint="height x width in pixels: --sizes 480x640,640x480")
        found.append((int(height), int(width)))
    return found


def _print(bundle: Path, json: bool, *, check: bool) -> None:
    from saccade.runtime.inspection import golden_rows, inspection

    path, shipped = bundle_path(bundle)
    from saccade import Bundle

    opened = Bundle.open(path, hard_links=shipped)
    found = inspection(opened)
    if check:
        found["golden"] = golden_rows(opened)
    if json:
        as_json(found)
    else:
        show(*_tables(found))
    if check and not all(row["passed"] for row in found["golden"] if not row["unusable"]):
        raise typer.Exit(2)


def _tables(found: dict[str, Any]) -> list[Any]:
    about = table(found["name"], "what", "")
    for key in ("family", "source", "licence", "note", "digest", "path"):
        if found[key]:
            about.add_row(key, str(found[key]))
    for key, value in found["config"].items():
        about.add_row(key, f"{value:.6g}" if isinstance(value, float) else _listed(value))
    if found["labels"]:
        about.add_row("labels", _listed(found["labels"]))
    parts: list[Any] = [about, _graphs(found), _variants(found)]
    if "golden" in found:
        golden = table("golden check here", "graph", "precision", "back end", "metric", "#worst", "#budget", "verdict")
        for row in found["golden"]:
            verdict = row["unusable"] or ("passed" if row["passed"] else "failed")
            golden.add_row(
                row["graph"],
                row["precision"],
                row["backend"],
                row["metric"],
                _figure(row["worst"]),
                _figure(row["budget"]),
                verdict,
            )
        parts.append(golden)
    here = table("on this machine", "what", "choice", "usable", "why not")
    for row in found["here"]:
        here.add_row(row["what"], row["choice"], "yes" if row["usable"] else "no", row["reason"])
    return [*parts, here]


def _graphs(found: dict[str, Any]) -> Any:
    made = table("graphs", "graph", "inputs", "outputs", "batch", "pads")
    for graph in found["graphs"]:
        made.add_row(
            graph["name"], "\n".join(graph["inputs"]), "\n".join(graph["outputs"]), graph["batch"], graph["pads"]
        )
    return made


def _variants(found: dict[str, Any]) -> Any:
    made = table(
        "variants",
        "graph",
        "precision",
        "#MB",
        "metric",
        "#mean",
        "#worst",
        "#trained",
        "#samples",
        "back end",
        "budget",
    )
    for variant in found["variants"]:
        verdict = "inside" if variant["within_budget"] else "OUTSIDE: used only when asked for"
        head = [variant["graph"], variant["precision"], f"{variant['bytes'] / 1e6:.1f}"]
        for m in variant["measured"] or [None]:
            cells = ["not measured", "", "", "", "", ""]
            if m:
                worst = "" if m["metric"] in SHARES else _figure(m["worst"])  # of a share the worst is 0 or 1
                figures = [_figure(m["mean"]), worst, _figure(m["reference"])]
                cells = [m["metric"], *figures, str(m["samples"]), m["backend"]]
            made.add_row(*head, *cells, verdict)
            head, verdict = ["", "", ""], ""
    return made


def _listed(value: Any, most: int = 6) -> str:
    """A list in words, with only its first entries if it is long; anything else as it is."""
    if not isinstance(value, list):
        return str(value)
    more = f", … ({len(value)} in all)" if len(value) > most else ""
    return ", ".join(map(str, value[:most])) + more


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}".rstrip("0").rstrip(".")
