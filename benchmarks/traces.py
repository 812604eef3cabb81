"""Pictures of what the scheduler does, drawn from the traces that `saccade.trace` writes.

merging      users of one picture and of others ask a SAM at random times: which of them share a run
latest-wins  a camera of 60 frames a second before a model that does 10: which frames are answered, and how old

python -m saccade.benchmarks.traces docs       writes docs/trace-merging.png and docs/trace-latest.png
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from saccade.benchmarks.overhead import null_bundle
from saccade.benchmarks.scheduler import FRAME_S, SERVICE_S, Sleeper, once
from saccade.runtime import tracing
from saccade.runtime.call import Graph
from saccade.runtime.model import load
from saccade.runtime.scheduler import Scheduler
from saccade.zoo.shipped import bundle_path, pictures

Event = dict[str, Any]
COLOURS = {"encoder": "#d55e00", "decoder": "#0072b2", "graph": "#0072b2"}
WORK, WAIT, OPEN, LOST = "#b8b8b8", "#e8c468", "#cfe3f5", "#e3e3e3"


def merging(path: Path) -> None:
    """Trace 24 clicks on three pictures within a few milliseconds, each a request of its own."""
    rng = random.Random(3)
    with load(bundle_path("sam-tiny"), threads=1, spin=False) as sam, Scheduler(sam, hosts=1) as scheduler:
        scheduler.warm_up(sam)
        views = [sam.run(sam.pipeline.encode(p)) for p in pictures()[:2]]
        seen: list[Any] = [views[0], views[0], views[0], views[1], pictures()[2]]
        asks = [(seen[rng.randrange(5)], [[rng.uniform(40, 220), rng.uniform(40, 220)]]) for _ in range(24)]
        for _ in range(3):
            for future in [scheduler.submit(sam.pipeline.segment(s, points=p)) for s, p in asks]:
                future.result(60)
        with tracing.trace(path):
            futures = []
            for s, p in asks:
                futures.append(scheduler.submit(sam.pipeline.segment(s, points=p)))
                time.sleep(rng.expovariate(1 / 0.0004))
            for future in futures:
                future.result(60)


def latest(path: Path, seconds: float = 0.6) -> None:
    """Trace a camera whose frames come faster than they are answered."""
    engine: Any = Sleeper(lambda count: SERVICE_S)
    with tempfile.TemporaryDirectory() as folder, Scheduler(engines=lambda _: engine) as scheduler:
        graph = Graph(null_bundle(Path(folder, "null.bundle")), "graph")
        with tracing.trace(path):
            start, frames = time.monotonic(), []
            for number in range(int(seconds / FRAME_S)):
                time.sleep(max(0.0, start + number * FRAME_S - time.monotonic()))
                frames.append(scheduler.submit(once(graph), stream="camera0"))
            for frame in frames:
                frame.exception(60)


def draw(trace: Path, target: Path, title: str) -> None:
    """A row for each thread with its runs and work, and below a row for each request: open, waiting, in a run."""
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    events = json.loads(trace.read_text())["traceEvents"]
    spans = [e for e in events if e["ph"] == "X"]
    waits = [(e, _end(events, e)) for e in events if e["ph"] == "b"]
    first = min(e["ts"] for e in [*spans, *(b for b, _ in waits)])
    requests = sorted({b["id"] for b, _ in waits if b["cat"] == "request"})
    busy = {e["tid"]: sum(s["dur"] for s in spans if s["tid"] == e["tid"]) for e in events if e["ph"] == "M"}
    threads = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M" and busy[e["tid"]] > 1e3}
    spans = [s for s in spans if s["tid"] in threads]
    tall = 0.11 if len(requests) > 30 else 0.17
    figure, axes = pyplot.subplots(figsize=(10, 1.6 + 0.34 * len(threads) + tall * len(requests)), layout="constrained")
    place = {number: -row for row, number in enumerate(requests)}
    home = {thread: 2 + 2 * row for row, thread in enumerate(sorted(threads, key=threads.__getitem__, reverse=True))}

    def bar(y: float, start: float, end: float, colour: str, height: float, edge: float = 0.0) -> None:
        where = {"left": (start - first) / 1e3, "height": height}
        axes.barh(y, (end - start) / 1e3, **where, color=colour, edgecolor="white", linewidth=edge)

    for begin, end in waits:
        if begin["cat"] == "request":
            lost = begin["args"]["how"] != "result"
            bar(place[begin["id"]], begin["ts"], end, LOST if lost else OPEN, 0.8)
    for begin, end in waits:
        if begin["cat"] == "queue" and begin["id"] in place:
            bar(place[begin["id"]], begin["ts"], end, WAIT, 0.25)
    for span in spans:
        end, engine = span["ts"] + span["dur"], span["cat"] == "engine"
        colour = COLOURS.get(span["name"], WORK) if engine else WORK
        bar(home[span["tid"]], span["ts"], end, colour, 1.5, 0.8 if engine else 0.0)
        if engine and span["args"]["rows"] > 1:
            axes.text((span["ts"] + span["dur"] / 2 - first) / 1e3, home[span["tid"]], str(span["args"]["rows"]),
                      ha="center", va="center", color="white", fontsize=9, fontweight="bold")  # fmt: skip
        for number in span["args"]["requests"] if engine else [span["args"]["request"]]:
            if number in place:
                bar(place[number], span["ts"], end, colour, 0.8 if engine else 0.4)
    marks = [*home.values(), *(place[n] for n in requests)]
    every = [f"{i + 1}" if not i % 6 else "" for i in range(len(requests))]
    axes.set_yticks(marks, [*(threads[t].removeprefix("saccade-") for t in home), *every], fontsize=8)
    axes.tick_params(length=0)
    axes.set(xlabel="ms", ylim=(-len(requests), max(home.values()) + 1.2))
    axes.set_ylabel("requests, as they came", loc="bottom", fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=11)
    names = [n for n in COLOURS if any(s["name"] == n and s["cat"] == "engine" for s in spans)]
    keys = [Patch(color=COLOURS[n], label="engine run" if n == "graph" else f"{n} run") for n in names]
    host = any(s["cat"] == "work" for s in spans)
    keys += [Patch(color=WORK, label="work on a host thread")] if host else []
    keys += [Patch(color=WAIT, label="waits"), Patch(color=OPEN, label="open")]
    keys += (
        [Patch(color=LOST, label="superseded")] if any(b["args"].get("how") == "superseded" for b, _ in waits) else []
    )
    figure.legend(handles=keys, loc="outside lower right", ncols=len(keys), fontsize=8, frameon=False)
    figure.savefig(target, dpi=110)
    pyplot.close(figure)


def _end(events: list[Event], begin: Event) -> float:
    """When the wait that began there ended."""
    mine = begin["name"], begin["id"]
    same: list[float] = [e["ts"] for e in events if e["ph"] == "e" and (e["name"], e["id"]) == mine]
    return min([ts for ts in same if ts >= begin["ts"]], default=float(begin["ts"]))


def main(folder: Path) -> None:
    """Trace and draw both."""
    with tempfile.TemporaryDirectory() as place:
        for case, name, title in (
            (merging, "trace-merging", "24 clicks on three pictures: a number is how many requests one run answers"),
            (latest, "trace-latest", "60 frames a second into a model that does 10: the newest frame is next"),
        ):
            path = Path(place, f"{name}.json")
            case(path)
            draw(path, folder / f"{name}.png", title)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
