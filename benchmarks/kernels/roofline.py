"""The rows as a picture: operations a second over operations a byte, under what this machine reaches.

A column is a case: filled points are ours, hollow ones its peers, who did the same work in their own time. The slope is
memory, the level is arithmetic: a point on either can only be raised by doing less.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2")
FILLED, HOLLOW = ("D", "s", "o", "v", "P", "X", "^"), ("o", "s", "^", "D", "v", "p", "h")
GREY = "#444444"
SIZE, DPI = (13.5, 8.0), 150
APART = 11.0  # points from one number to the next


def draw(rows: Sequence[dict[str, Any]], peaks: dict[str, float], title: str, path: Path) -> None:
    """Write the picture; the ending of `path` names its kind. Raises MissingExtra, NoSpace."""
    from saccade.runtime.errors import MissingExtra, NoSpace

    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", "bench") from None
    columns = _columns(rows)
    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xscale="log", yscale="log", title=title, xlabel="operations a byte", ylabel="G operations a second")
    axes.grid(True, which="both", color="#eeeeee", linewidth=0.6)
    axes.set_axisbelow(True)
    _limits(axes, columns, peaks)
    colours = dict(zip(dict.fromkeys(column["op"] for column in columns), COLOURS * len(columns), strict=False))
    _points(axes, columns, colours)
    figure.draw_without_rendering()  # from here on a point has its place on the page
    _roofs(axes, peaks)
    _number(figure, axes, columns, colours)
    try:
        figure.savefig(path)
    except OSError as error:
        raise NoSpace(f"cannot write {path}: {error.strerror}", hint="choose another folder") from None


def _columns(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each op and case its operations a byte, and G operations a second of ours and of the peers by name."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        flops = row["work"]["flops"]
        start = {"op": row["op"], "case": row["case"], "x": flops / row["work"]["bytes"], "ours": {}, "peers": {}}
        column = found.setdefault((row["op"], row["case"]), start)
        column["ours"][row["impl"]] = flops / row["p50_ms"] / 1e6
        column["peers"] |= {peer["name"]: flops / peer["p50_ms"] / 1e6 for peer in row["baselines"]}
    return list(found.values())


def _limits(axes: Any, columns: list[dict[str, Any]], peaks: dict[str, float]) -> None:
    xs = [1.0, *(column["x"] for column in columns)]
    ys = [y for column in columns for y in (*column["ours"].values(), *column["peers"].values())]
    ys += [value for name, value in peaks.items() if not name.endswith("gbps")]
    axes.set_xlim(min(xs) / 2.5, max(max(xs) * 2.5, 30.0))
    axes.set_ylim(min(ys, default=1.0) / 2, max(ys, default=100.0) * 2)


def _points(axes: Any, columns: list[dict[str, Any]], colours: dict[str, str]) -> None:
    """All points, a thin line through each column, and the legend of who is what."""
    ours = dict(zip(dict.fromkeys(name for c in columns for name in c["ours"]), FILLED * 9, strict=False))
    peers = dict(zip(dict.fromkeys(name for c in columns for name in c["peers"]), HOLLOW * 9, strict=False))
    for column in columns:
        colour, x = colours[column["op"]], column["x"]
        ys = [*column["ours"].values(), *column["peers"].values()]
        axes.plot([x, x], [min(ys), max(ys)], color=colour, lw=0.6, alpha=0.5, zorder=2)
        for name, y in column["peers"].items():
            axes.plot(x, y, peers[name], color=colour, mfc="white", ms=6, zorder=3)
        for name, y in column["ours"].items():
            axes.plot(x, y, ours[name], color=colour, ms=7, mec="white", mew=0.6, zorder=4)
    for markers, face in ((ours, GREY), (peers, "white")):
        for name, marker in markers.items():
            axes.plot([], [], marker, color=GREY, mfc=face, ms=6, label=name)
    for number, column in enumerate(columns, 1):
        mark = {"marker": f"${number}$", "ls": "", "ms": 6 if number < 10 else 9, "color": colours[column["op"]]}
        axes.plot([], [], label=_said(column), **mark)
    if columns:
        heading = "filled: ours; hollow: peers"
        axes.figure.legend(loc="outside right upper", fontsize=8, title=heading, title_fontsize=8, frameon=False)


def _said(column: dict[str, Any]) -> str:
    name, best = max(column["ours"].items(), key=lambda item: item[1])
    ratio = f", {best / max(column['peers'].values()):.1f} × the best peer" if column["peers"] else ""
    return f"{column['op']}: {name}{ratio}\n{column['case']}"


def _roofs(axes: Any, peaks: dict[str, float]) -> None:
    """A slope for each way over memory, up to the level of fp32; a level for each kind of arithmetic."""
    left, right = axes.get_xlim()
    level = peaks.get("fp32_gflops", np.inf)
    ways = {name: peaks[f"{name}_gbps"] for name in ("read", "write", "triad") if f"{name}_gbps" in peaks}
    fastest = max(ways.values(), default=np.inf)
    for rate in ways.values():
        x = np.geomspace(left, right, 400)
        style, width = ("-", 1.8) if rate == fastest else (":", 0.9)
        axes.plot(x, np.where(rate * x <= level, rate * x, np.nan), style, color=GREY, lw=width, zorder=2)
    if ways:
        text = " · ".join(f"{name} {rate:.0f}" for name, rate in ways.items()) + " GB/s"
        at = max(left, axes.get_ylim()[0] / fastest) * 1.3
        (x0, y0), (x1, y1) = axes.transData.transform([(at, at * fastest), (2 * at, 2 * at * fastest)])
        axes.annotate(text, (at, at * fastest), xytext=(-4, 7), textcoords="offset points", fontsize=9, color=GREY,
                      rotation=np.degrees(np.arctan2(y1 - y0, x1 - x0)), rotation_mode="anchor")  # fmt: skip
    for name, text, style in (("fp32_gflops", "fp32 multiply-adds", "-"), ("int8_gops", "int8 dot products", "--")):
        if name in peaks:
            axes.plot([max(peaks[name] / fastest, left), right], [peaks[name]] * 2, style, color=GREY, lw=1.8, zorder=2)
            axes.annotate(f"{text} {peaks[name]:.0f} G/s", (right, peaks[name]), xytext=(-4, 4),
                          textcoords="offset points", ha="right", fontsize=9, color=GREY)  # fmt: skip


def _number(figure: Any, axes: Any, columns: list[dict[str, Any]], colours: dict[str, str]) -> None:
    """A number over the best point of each column; the legend says what it stands for."""
    scale = figure.dpi / 72
    taken: list[tuple[float, float]] = []
    for number, column in enumerate(columns, 1):
        best = max(column["ours"].values())
        x, y = (value / scale for value in axes.transData.transform((column["x"], best)))
        spot = y + 7
        while any(abs(spot - other) < APART and abs(x - at) < 1.5 * APART for at, other in taken):
            spot += 1
        taken.append((x, spot))
        axes.annotate(str(number), (column["x"], best), xytext=(0, spot - y), textcoords="offset points", fontsize=9,
                      ha="center", color=colours[column["op"]], weight="bold")  # fmt: skip
