"""What an int8 search found, as a table and as a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saccade.commands.show import table
from saccade.runtime.errors import InputError

SHOWN = 12


def report_tables(reports: Sequence[Any]) -> list[Any]:
    """Two tables a graph: its layers, the loudest first, and the calibrators. reports: export.sensitivity.Report."""
    found = []
    for report in reports:
        found += [_layers(report), _ways(report)]
    return found


def save_reports(reports: Sequence[Any], file: Path) -> None:
    """All of it as JSON. Raises InputError if the file cannot be written."""
    import msgspec

    try:
        file.write_bytes(msgspec.json.format(msgspec.json.encode({"graphs": list(reports)}), indent=1) + b"\n")
    except OSError as error:
        why = (error.strerror or "cannot be written").lower()
        raise InputError(f"[report] {file}: {why}", hint="name a file in a folder that you may write to") from None


def _layers(report: Any) -> Any:
    rows = report.layers
    kept = sum(layer.kept for layer in rows)
    said = f"{report.graph} in int8: {len(rows) - kept} of {len(rows)} groups of layers"
    if report.spent is not None:
        said += f", {report.spent:.0%} of the allowed loss"
    if not report.complete:
        said += f"; the time was up after {report.seconds:.0f} s"
    made = table(said, "layers", "#MB", "#work", "#own error", "#in the answers", "stays", "calibrator")
    shown = rows[: max(SHOWN, kept)]
    for layer in shown:
        more = f" and {len(layer.layers) - 1} more" if len(layer.layers) > 1 else ""
        made.add_row(
            layer.layers[0] + more,
            f"{layer.bytes / 1e6:.2f}",
            f"{layer.work:.1%}",
            f"{layer.error:.4f}",
            "" if layer.alone is None else f"{layer.alone:.5f}",
            "fp32" if layer.kept else "int8",
            layer.calibrator,
        )
    if len(rows) > len(shown):
        made.add_row(f"… and {len(rows) - len(shown)} quieter ones", "", "", "", "", "int8", "")
    return made


def _ways(report: Any) -> Any:
    made = table(f"{report.graph}: ways to scale", "way", "#won", "#mean error", "#groups")
    names = dict.fromkeys(name for layer in report.layers for name in layer.tried)
    for name in names:
        errors = [layer.tried[name] for layer in report.layers if name in layer.tried]
        won = sum(layer.calibrator == name for layer in report.layers)
        made.add_row(name, str(won), f"{sum(errors) / len(errors):.5f}", str(len(errors)))
    return made
