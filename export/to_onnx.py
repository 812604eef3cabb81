"""A torch module becomes one ONNX graph of standard operators, and is compared with torch before anybody gets it.

    GraphRecipe ──torch.onnx.export──▶ names and dims asserted ──clean──▶ checker ──parity──▶ ModelProto

Two traps of exporting decide the shape of this file. A size of the example can be baked in silently, so the named dims
are asserted and the graph is run at other sizes too. And what an exporter calls a success compares no numbers.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from saccade.export.rewrite import rewrite
from saccade.runtime.errors import ExportError, ParityError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from saccade.export.recipe import GraphRecipe

OPSET = 20
"""Read by ONNX Runtime ≥ 1.17, OpenVINO ≥ 2024 and TensorRT ≥ 10. From 23 on attention is one node, at equal speed."""

PARITY = 1e-4
"""Largest difference to torch, as a share of the largest output. float32 graphs measure 1e-6 to 1e-5."""

MAX_BYTES = 2_000_000_000
"""A protobuf message ends at 2 GiB."""


def to_onnx(graph: GraphRecipe) -> Any:
    """The graph as an onnx.ModelProto: opset 20, standard operators, names and dims of `graph.spec`.

    Raises ExportError if torch cannot export it or bakes a named dim in, ParityError if ONNX Runtime's answers differ
    from torch's by more than PARITY at the example or at any of `graph.others`.
    """
    model = rewrite(clean(_exported(graph), graph))
    add_bodies(model)
    _refuse_other_shapes(model, graph)
    _check(model, graph)
    parity(model, graph)
    return model


def add_bodies(model: Any) -> None:
    """Give each `saccade::X` node its body of standard operators, so that the file runs where our library does not.

    The body is what saccade.kernels.<op>.onnx gives for the name. In place.
    """
    wanted = sorted({node.op_type for node in model.graph.node if node.domain == DOMAIN})
    for name in wanted:
        nodes = [node for node in model.graph.node if (node.domain, node.op_type) == (DOMAIN, name)]
        model.functions.append(import_module(_BODIES[name]).body(nodes, OPSET))


def parity(model: Any, graph: GraphRecipe) -> float:
    """The largest difference to torch over all example inputs, as a share of the largest output. Raises ParityError."""
    run = session(model)
    worst = 0.0
    for inputs in (graph.example, *graph.others):
        want = reference(graph, inputs)
        sizes = ", ".join(f"{name} {tuple(array.shape)}" for name, array in inputs.items())
        try:
            got = run(inputs)
        except Exception as error:
            why = str(error).split("\n")[0][:200]
            raise ParityError(f"[{graph.name}] the exported graph fails at {sizes}: {why}", hint=_REPORT) from error
        for name, array in want.items():
            worst = max(worst, _difference(array, got[name], f"[{graph.name}] {name} at {sizes}", graph.swaps))
    return worst


def reference(graph: GraphRecipe, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the trained model itself answers: outputs by name, from torch in float32."""
    import torch

    with torch.no_grad():
        out = graph.module(*(torch.from_numpy(inputs[t.name]) for t in graph.spec.inputs))
    values = out if isinstance(out, tuple | list) else (out,)
    return {t.name: value.numpy() for t, value in zip(graph.spec.outputs, values, strict=True)}


def session(model: Any, threads: int = 0) -> Any:
    """A function from inputs to outputs by name that runs `model` (ModelProto) in ONNX Runtime on the CPU.

    threads: 1 makes sums come in one order, so that equal inputs give equal bits; 0 means all cores
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    opened = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in opened.get_outputs()]
    return lambda inputs: dict(zip(names, opened.run(names, dict(inputs)), strict=True))


def _exported(graph: GraphRecipe) -> Any:
    import torch

    limits = graph.spec.limits
    dims = {
        dim: torch.export.Dim(dim, max=limits[dim][1]) if dim in limits else torch.export.Dim(dim)
        for tensor in graph.spec.inputs
        for dim in tensor.dims
        if isinstance(dim, str)
    }
    shapes = tuple({i: dims[d] for i, d in enumerate(t.dims) if isinstance(d, str)} for t in graph.spec.inputs)
    example = tuple(torch.from_numpy(graph.example[t.name]) for t in graph.spec.inputs)
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph.module.eval(),
                example,
                dynamo=True,
                external_data=False,
                opset_version=OPSET,
                # Names no value inside can have: the exporter calls a table lookup "embedding" and then there are two.
                input_names=[f"saccade.in.{t.name}" for t in graph.spec.inputs],
                output_names=[f"saccade.out.{t.name}" for t in graph.spec.outputs],
                dynamic_shapes={rest: shapes} if (rest := _rest(graph.module)) else shapes,
                verbose=False,
            )
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise ExportError(f"[{graph.name}] torch cannot export it: {text}", hint=_REPORT) from error
    return program.model_proto


def clean(model: Any, graph: GraphRecipe) -> Any:
    """Give tensors the spec's names, and drop what differs between machines or helps nobody.

    torch writes a Python stack trace with absolute paths on each node. Values in between are numbered, parameters
    keep their names. Nodes of a marked submodule ("@x" in `keep`) are named @x/….
    """
    names = {f"saccade.in.{t.name}": t.name for t in graph.spec.inputs}
    names |= {f"saccade.out.{t.name}": t.name for t in graph.spec.outputs}
    body = model.graph
    names |= {tensor.name: f"w.{tensor.name}" for tensor in body.initializer}
    marks = [mark for mark in graph.keep if mark.startswith("@")]
    for index, node in enumerate(body.node):
        for value in node.output:
            if value:
                names.setdefault(value, f"t{len(names)}")
        node.input[:] = [names.get(value, value) for value in node.input]
        node.output[:] = [names.get(value, value) for value in node.output]
        node.name = f"{_mark(node, marks)}{node.op_type}_{index}"
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*body.input, *body.output, *body.initializer):
        value.name = names[value.name]
        value.doc_string = ""
        del value.metadata_props[:]
    del body.value_info[:], body.metadata_props[:], model.metadata_props[:]
    body.name, body.doc_string, model.doc_string = graph.name, "", ""
    model.producer_name, model.producer_version = "saccade", ""
    return model


def _mark(node: Any, marks: Sequence[str]) -> str:
    """ "@x/" for a node that was traced inside a submodule x, at any depth, of those that are marked; else empty."""
    scopes = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "") if marks else ""
    inside = {part for scope in re.findall(r"'([^']*)'", scopes) for part in scope.split(".")}
    return next((f"{mark}/" for mark in marks if mark[1:] in inside), "")


def _refuse_other_shapes(model: Any, graph: GraphRecipe) -> None:
    """Raise ExportError unless inputs and outputs carry the spec's names, dtypes and dims, letter for letter."""
    import onnx

    for values, tensors in ((model.graph.input, graph.spec.inputs), (model.graph.output, graph.spec.outputs)):
        if [value.name for value in values] != [tensor.name for tensor in tensors]:
            raise ExportError(f"[{graph.name}] tensors are {[v.name for v in values]}", hint=_REPORT)
        for value, tensor in zip(values, tensors, strict=True):
            kind = value.type.tensor_type
            dims = tuple(d.dim_param or d.dim_value for d in kind.shape.dim)
            dtype = str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
            if dims != tensor.dims or dtype != tensor.dtype:
                raise ExportError(
                    f"[{graph.name}] {tensor.name}: expected {tensor.text}, exported as {dims} {dtype}",
                    hint="a size of the example was baked into the graph; mend the recipe or its example",
                )


def _check(model: Any, graph: GraphRecipe) -> None:
    import onnx

    size = model.ByteSize()
    if size > MAX_BYTES:
        raise ExportError(f"[{graph.name}] {size} bytes of weights; a graph holds at most {MAX_BYTES}", hint=_REPORT)
    bodies = {(body.domain, body.name) for body in model.functions}
    nodes = [*model.graph.node, *(node for body in model.functions for node in body.node)]
    foreign = {f"{n.domain}::{n.op_type}" for n in nodes if n.domain and (n.domain, n.op_type) not in bodies}
    if foreign:
        raise ExportError(
            f"[{graph.name}] operators without a body: {', '.join(sorted(foreign))}; only standard ones run everywhere",
            hint=_REPORT,
        )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        text = " ".join(str(error).split())[:200]
        raise ExportError(f"[{graph.name}] the exported graph is not valid ONNX: {text}", hint=_REPORT) from error


def _difference(want: np.ndarray, got: np.ndarray, where: str, swaps: float = 0.0) -> float:
    if want.shape != got.shape or not np.isfinite(got).all():
        raise ParityError(f"{where}: expected {want.shape}, finite, got {got.shape}", hint=_REPORT)
    scale = float(np.abs(want).max(initial=0)) or 1.0
    apart = np.abs(want - got)
    if swaps:  # of the members of each sample, all but the `swaps` that are furthest apart
        apart = np.quantile(apart.reshape(*apart.shape[:2], -1).max(-1), 1 - swaps, axis=1, method="lower")
    share = float(apart.max(initial=0)) / scale
    if share > PARITY:
        raise ParityError(
            f"{where}: differs from torch by {share:.1e} of the largest value, at most {PARITY:.0e}", hint=_REPORT
        )
    return share


def _rest(module: Any) -> str:
    """The name of the parameter that takes all positional arguments, which torch wants the shapes under; or empty."""
    import inspect

    found = inspect.signature(module.forward).parameters.values()
    return next((p.name for p in found if p.kind is p.VAR_POSITIONAL), "")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what torch's exporter says to its own developers; errors still come as errors.

    torch.export warns that copyreg rebuilds a class, of deprecations inside itself, and its registry logs each
    torchvision operator that it would know if torchvision were there.
    """
    import logging

    logs = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for kind in (FutureWarning, DeprecationWarning, UserWarning):
                warnings.filterwarnings("ignore", category=kind, module=_EXPORTERS)
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)


DOMAIN = "saccade"
_BODIES = {
    "RelPosAttention": "saccade.kernels.relpos_attention.onnx",
    "DeformableAttention": "saccade.kernels.deformable_attention.onnx",
}
_EXPORTERS = r"(torch|onnxscript|onnx_ir|onnx|copyreg|typing)(\.|$)"
_REPORT = "nothing was written; the recipe of this family must be mended, or report the model"
