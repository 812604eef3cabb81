"""What is in a bundle, and what of it runs here: plain values for `saccade inspect`, as table or JSON."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from saccade.runtime.bundle import Bundle
from saccade.runtime.engines import BACKENDS, Options, open_engine
from saccade.runtime.errors import SaccadeError
from saccade.runtime.manifest import GraphEntry
from saccade.runtime.precision import golden_check, golden_passes


def inspection(bundle: Bundle) -> dict[str, Any]:
    """Everything the manifest says, in words, and the back ends and kernels usable here with reasons."""
    manifest = bundle.manifest
    source = manifest.source
    return {
        "name": manifest.name,
        "family": manifest.family,
        "source": source.id + (f" @ {source.revision}" if source.revision else ""),
        "licence": source.license or "not stated",
        "note": source.note,
        "digest": bundle.digest,
        "path": str(Path(bundle.path)),
        "schema": manifest.schema,
        "config": manifest.config,
        "labels": list(manifest.labels),
        "budgets": manifest.budgets,
        "producer": manifest.producer,
        "graphs": [_graph(name, entry) for name, entry in manifest.graphs.items()],
        "variants": [row for name, entry in manifest.graphs.items() for row in _variants(bundle, name, entry)],
        "files": {name: {"bytes": f.size, "sha256": f.sha256} for name, f in manifest.files.items()},
        "here": _here(bundle),
    }


def golden_rows(bundle: Bundle) -> list[dict[str, Any]]:
    """Each variant run on the golden inputs with ONNX Runtime here, and whether it does as well as it was measured."""
    rows = []
    for graph, entry in bundle.graphs.items():
        for variant in entry.variants:
            row: dict[str, Any] = {
                "graph": graph,
                "precision": variant.precision,
                "backend": "onnxruntime",
                "metric": "",
                "unusable": "",
            }
            row |= {"worst": None, "budget": None, "passed": False}
            try:
                engine = open_engine(bundle, graph, Options(backend="onnx_runtime", precision=variant.precision))
                try:
                    measured = golden_check(bundle, graph, engine)
                finally:
                    engine.close()
            except SaccadeError as error:
                rows.append({**row, "unusable": str(error)})
                continue
            found = {
                "metric": measured.metric,
                "worst": measured.worst,
                "budget": bundle.manifest.budgets.get(measured.metric),
                "passed": golden_passes(measured, variant, bundle.manifest.budgets),
            }
            rows.append({**row, **found})
    return rows


def _graph(name: str, entry: GraphEntry) -> dict[str, Any]:
    spec = entry.spec
    pads = [f"{p.dim}" + (f" to {', '.join(map(str, p.buckets))}" if p.buckets else "") for p in spec.pads]
    return {
        "name": name,
        "inputs": [f"{t.name} {t.text}" for t in spec.inputs],
        "outputs": [f"{t.name} {t.text}" for t in spec.outputs],
        "batch": spec.batch,
        "pads": "; ".join(pads),
        "limits": {dim: list(limit) for dim, limit in spec.limits.items()},
    }


def _variants(bundle: Bundle, name: str, entry: GraphEntry) -> list[dict[str, Any]]:
    files = bundle.manifest.files
    return [{"graph": name, "bytes": files[v.file].size, **msgspec.to_builtins(v)} for v in entry.variants]


def _here(bundle: Bundle) -> list[dict[str, Any]]:
    rows = []
    entry = next(iter(bundle.graphs.values()))
    for name in BACKENDS:
        backend = import_module(f"saccade.runtime.engines.{name}")
        reason = backend.unusable(entry, entry.variants[0], Options())
        rows.append({"what": "back end", "choice": name, "usable": not reason, "reason": reason})
    return rows + kernels_here()


def kernels_here() -> list[dict[str, Any]]:
    """Each kernel's candidates in order, usable or why not."""
    # The one place where the runtime looks at all kernels; by name, so that a pipeline without one never loads it.
    dispatch = import_module("saccade.kernels.dispatch")
    rows = []
    for op in import_module("saccade.kernels").OPS:
        for name, reason in dispatch.explain(op):
            rows.append({"what": f"kernel {op}", "choice": name, "usable": not reason, "reason": reason})
    return rows
