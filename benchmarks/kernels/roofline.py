"""The rows as a picture: operations a second over operations a byte, under what this machine reaches.

A point is an op, a case and who ran it; filled ours, hollow a peer. The slope is memory, the level is arithmetic: a
point on either can only be raised by doing less.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2")
MARKERS = {"avx512vnni": "D", "avx512": "s", "avx2": "o", "neon": "P", "base": "v", "reference": "X"}
SIZE, DPI = (13.0, 8.5), 150
LINE = 9.0  # points from one label to the next


def draw(rows: Sequence[dict[str, Any]], peaks: dict[str, float], title: str, path: Path) -> None:
    """Write the picture; the ending of `path` names its kind. Raises MissingExtra, NoSpace."""
    from saccade.runtime.errors import MissingExtra, NoSpace

    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", "bench") from None
    points = [point for row in rows for point in _points(row)]
    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xscale="log", yscale="log", title=title, xlabel="operations a byte", ylabel="G operations a second")
    axes.grid(True, which="both", color="#eeeeee", linewidth=0.6)
    axes.set_axisbelow(True)
    _limits(axes, points, peaks)
    figure.canvas.draw()  # from here on a point has its place on the page
    _roofs(axes, peaks)
    colours = dict(zip(dict.fromkeys(point["op"] for point in points), COLOURS * len(points), strict=False))
    for point in points:
        colour, ours = colours[point["op"]], point["ours"]
        face = colour if ours else "white"
        marker = MARKERS.get(point["name"], "o")
        axes.plot(point["x"], point["y"], marker, color=colour, mfc=face, ms=7 if ours else 6, zorder=3)
    _label(figure, axes, points, colours)
    try:
        figure.savefig(path)
    except OSError as error:
        raise NoSpace(f"cannot write {path}: {error.strerror}", hint="choose another folder") from None


def _points(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Our point of a row, and that of each peer, which did the same work in its own time."""
    flops, x = row["work"]["flops"], row["work"]["flops"] / row["work"]["bytes"]
    runs = [(row["impl"], row["p50_ms"], True)] + [(b["name"], b["p50_ms"], False) for b in row["baselines"]]
    about = {"op": row["op"], "case": row["case"], "x": x}
    return [{**about, "name": name, "y": flops / ms / 1e6, "ours": ours} for name, ms, ours in runs]


def _limits(axes: Any, points: list[dict[str, Any]], peaks: dict[str, float]) -> None:
    xs = [point["x"] for point in points] + [1.0]
    ys = [point["y"] for point in points] + [value for name, value in peaks.items() if not name.endswith("gbps")]
    axes.set_xlim(min(xs) / 3, max(max(xs) * 12, 30.0))
    axes.set_ylim(min(ys, default=1.0) / 3, max(ys, default=100.0) * 2)


def _roofs(axes: Any, peaks: dict[str, float]) -> None:
    """A slope for each way over memory, up to the level of fp32; a level for each kind of arithmetic."""
    left, right = axes.get_xlim()
    level = peaks.get("fp32_gflops", np.inf)
    ways = {name: peaks[f"{name}_gbps"] for name in ("read", "write", "triad") if f"{name}_gbps" in peaks}
    fastest, grey = max(ways.values(), default=np.inf), "#444444"
    for rate in ways.values():
        x = np.geomspace(left, right, 400)
        style, width = ("-", 1.8) if rate == fastest else (":", 0.9)
        axes.plot(x, np.where(rate * x <= level, rate * x, np.nan), style, color=grey, lw=width, zorder=2)
    if ways:
        text = " · ".join(f"{name} {rate:.0f}" for name, rate in ways.items()) + " GB/s"
        at = max(left, axes.get_ylim()[0] / fastest) * 1.3
        (x0, y0), (x1, y1) = axes.transData.transform([(at, at * fastest), (2 * at, 2 * at * fastest)])
        axes.annotate(text, (at, at * fastest), xytext=(-4, 7), textcoords="offset points", fontsize=9, color=grey,
                      rotation=np.degrees(np.arctan2(y1 - y0, x1 - x0)), rotation_mode="anchor")  # fmt: skip
    for name, text, style in (("fp32_gflops", "fp32 multiply-adds", "-"), ("int8_gops", "int8 dot products", "--")):
        if name in peaks:
            axes.plot([max(peaks[name] / fastest, left), right], [peaks[name]] * 2, style, color=grey, lw=1.8, zorder=2)
            axes.annotate(f"{text} {peaks[name]:.0f} G/s", (right, peaks[name]), xytext=(-4, 4),
                          textcoords="offset points", ha="right", fontsize=9, color=grey)  # fmt: skip


def _label(figure: Any, axes: Any, points: list[dict[str, Any]], colours: dict[str, str]) -> None:
    """A label right of each point; in a column of points they move down until none covers another."""
    scale = figure.dpi / 72
    columns: dict[tuple[str, str], list[dict[str, Any]]] = {}
    seen: dict[tuple[str, str, str], dict[str, Any]] = {}
    for point in points:  # a peer stands in several rows: it is labelled once
        seen.setdefault((point["op"], point["case"], point["name"]), point)
    for point in seen.values():
        columns.setdefault((point["op"], point["case"]), []).append(point)
    taken: list[tuple[float, float]] = []  # lower left corners, in points
    line = {"arrowstyle": "-", "lw": 0.4, "relpos": (0, 0.5)}
    for (op, case), column in columns.items():
        for i, point in enumerate(sorted(column, key=lambda point: -point["y"])):
            x, y = (value / scale for value in axes.transData.transform((point["x"], point["y"])))
            text = point["name"] + (f"  {op}: {case}" if i == 0 else "")
            spot = y - 3
            while any(abs(spot - other) < LINE and abs(x - at) < 150 for at, other in taken):
                spot -= LINE / 3
            taken.append((x, spot))
            axes.annotate(
                text, (point["x"], point["y"]), xytext=(9, spot - y), textcoords="offset points", fontsize=7,
                color=colours[op], weight="bold" if i == 0 else "normal",
                arrowprops=line | {"color": colours[op]} if spot < y - 6 else None,
            )  # fmt: skip
