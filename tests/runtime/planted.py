"""Back ends to plant: they compute `linear` of the bundle below, at a speed and with an error of one's choice."""

import sys
import types

import numpy as np
from onnx import TensorProto, helper
from safetensors.numpy import save

from saccade.runtime.bundle import Bundle, write
from saccade.runtime.manifest import GraphEntry, Manifest, Measured, Source, Variant
from saccade.runtime.spec import GraphSpec, TensorSpec

SPEC = GraphSpec((TensorSpec("x", "float32", ("B", 8)),), (TensorSpec("y", "float32", ("B", 8)),), batch="B")


def doubling_bundle(folder, *, golden=True, precisions=("fp32", "int8"), outside=()) -> Bundle:
    """y = 2 x, with a golden set of four samples; the variants in `outside` are over their budget."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", 8])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10).SerializeToString()
    variants = tuple(
        Variant(p, f"g.{p}.onnx", within_budget=p not in outside, measured=(Measured("cosine", 1.0, 1.0, 4, "test"),))
        for p in precisions
    )
    x = np.random.default_rng(7).standard_normal((4, 8)).astype(np.float32)
    files = {v.file: model for v in variants} | (
        {"golden.safetensors": save({"g.x": x, "g.y": 2 * x})} if golden else {}
    )
    manifest = Manifest("", 1, "test", "g", Source("here"), {"g": GraphEntry(SPEC, variants)}, {},
                        budgets={"cosine": 0.999}, golden="golden.safetensors" if golden else "")  # fmt: skip
    write(folder / "g.bundle", manifest, files)
    return Bundle.open(folder / "g.bundle")


class Clock:
    """Time that only passes when somebody says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Planted:
    """A back end module: `costs` seconds a run by precision on `clock`; `wrong` turns its answers after some calls."""

    def __init__(self, name, clock, costs, *, wrong=False, unusable="", opens=True, each=False):
        self.each = each  # whether a run costs that for each row
        self.name, self.clock, self.costs, self.wrong, self.reason, self.opens = (
            name,
            clock,
            costs,
            wrong,
            unusable,
            opens,
        )
        self.opened, self.closed = 0, 0

    def module(self):
        made = types.ModuleType(f"saccade.runtime.engines.{self.name}")
        made.unusable = lambda entry, variant, options: self.reason
        made.Engine = self.engine
        return made

    def engine(self, bundle, graph, variant, options):
        from saccade.runtime.errors import EngineError

        if not self.opens:
            raise EngineError(f"[{graph}] {self.name}: it cannot be opened", hint="none")
        self.opened += 1
        return _Engine(self, bundle.graphs[graph].spec, variant, getattr(options, "threads", 0))

    def cost(self, precision, threads):
        """Seconds of a run; `costs` may have it for (precision, threads)."""
        return self.costs.get((precision, threads), self.costs.get(precision))


class _Engine:
    def __init__(self, home, spec, variant, threads):
        self.home, self.spec, self.variant, self.threads = home, spec, variant, threads
        self.about = {"backend": home.name, "precision": variant.precision, "file": variant.file, "device": "cpu"}

    def __call__(self, x):
        rows = len(x) if self.home.each else 1
        self.home.clock.now += rows * self.home.cost(self.variant.precision, self.threads)
        return {"y": -2 * x if self.home.wrong else 2 * x}

    def close(self):
        self.home.closed += 1


def plant(monkeypatch, *homes):
    """Make these the back ends, in this order."""
    from saccade.runtime import engines, planner

    for home in homes:
        monkeypatch.setitem(sys.modules, f"saccade.runtime.engines.{home.name}", home.module())
    names = tuple(home.name for home in homes)
    monkeypatch.setattr(engines, "AUTOMATIC", names)
    monkeypatch.setattr(planner, "PAUSE_S", 0.0)


def own_cache(monkeypatch, folder):
    """A private cache for one test: equal bundles of two tests would share a plan."""
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("SACCADE_CACHE", str(folder))
