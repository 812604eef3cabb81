"""A wrong graph never becomes a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from saccade.export import to_onnx as module  # noqa: E402  torch first: without it there is nothing to test
from saccade.export.recipe import GraphRecipe  # noqa: E402
from saccade.export.to_onnx import parity, to_onnx  # noqa: E402
from saccade.runtime.errors import ExportError, ParityError  # noqa: E402
from saccade.runtime.spec import GraphSpec, TensorSpec  # noqa: E402


def graph(forward: Any, dims: tuple[int | str, ...] = ("B", 4), name: str = "tiny", **more: Any) -> GraphRecipe:
    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.linspace(-1, 1, 12).reshape(4, 3))

        def forward(self, given: Any) -> Any:
            return forward(self, given)

    sizes = [5 if d == "N" else d for d in dims[1:]]
    other = [2 if d == "N" else d for d in dims[1:]]
    rng = np.random.default_rng(0)
    draw = rng.standard_normal
    example, third, single = (draw(shape, np.float32) for shape in ((2, *sizes), (3, *other), (1, *other)))
    spec = GraphSpec((TensorSpec("given", "float32", dims),), (TensorSpec("embedding", "float32", ("B", 3)),), "B")
    return GraphRecipe(name, Module(), spec, {"given": example}, ({"given": third}, {"given": single}), **more)


def test_names_and_named_dims_are_the_specs() -> None:
    model = to_onnx(graph(lambda self, x: (x @ self.weight).sum(1), ("B", "N", 4)))
    (given,), (made,) = model.graph.input, model.graph.output
    assert [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim] == ["B", "N", 4]
    assert (given.name, made.name) == ("given", "embedding")
    assert {o.domain: o.version for o in model.opset_import} == {"": 20}


def test_nothing_of_this_machine_is_in_the_file() -> None:
    data = to_onnx(graph(lambda self, x: torch.relu(x @ self.weight))).SerializeToString()
    assert b"/" not in data.replace(b"t/", b""), "a path of a stack trace"
    assert b".py" not in data
    assert str(Path.cwd()).encode() not in data


def test_a_batch_that_is_baked_in_is_refused() -> None:
    with pytest.raises(ExportError, match=r"\[tiny\]"):
        to_onnx(graph(lambda self, x: (x @ self.weight).reshape(2, 3)))


def test_a_batch_that_is_baked_in_behind_a_symbolic_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trap of the second batch: the file says B, and works at the example's B alone."""
    right = module._exported

    def baked(recipe: GraphRecipe) -> Any:
        from onnx import helper, numpy_helper

        model = right(recipe)
        (product,) = [n for n in model.graph.node if n.op_type in ("MatMul", "Gemm")]
        product.output[0], answer = "before", product.output[0]
        model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3]), "shape"))
        model.graph.node.append(helper.make_node("Reshape", ["before", "shape"], [answer], name="baked"))
        return model

    monkeypatch.setattr(module, "_exported", baked)
    monkeypatch.setattr(module, "_check", lambda *_: None)
    with pytest.raises(ParityError, match=r"fails at given \(3, 4\)"):
        to_onnx(graph(lambda self, x: x @ self.weight))


def test_an_output_that_became_fixed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = module.clean

    def fixed(model: Any, recipe: GraphRecipe) -> Any:
        made = right(model, recipe)
        made.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2
        return made

    monkeypatch.setattr(module, "clean", fixed)
    with pytest.raises(ExportError, match=r"expected \(B, 3\) float32, exported as \(2, 3\)"):
        to_onnx(graph(lambda self, x: x @ self.weight))


def test_a_graph_with_other_weights_is_refused() -> None:
    recipe = graph(lambda self, x: x @ self.weight)
    model = to_onnx(recipe)
    with torch.no_grad():
        recipe.module.weight[0, 0] += 0.01
    with pytest.raises(ParityError, match="differs from torch by"):
        parity(model, recipe)


def test_not_a_number_is_refused() -> None:
    with pytest.raises(ParityError, match="finite"):
        to_onnx(graph(lambda self, x: torch.log(-torch.exp(x @ self.weight))))


def test_what_torch_cannot_export_says_so_in_one_line() -> None:
    with pytest.raises(ExportError) as caught:
        to_onnx(graph(lambda self, x: x @ self.weight if x.sum() > 0 else -x @ self.weight))
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith("[tiny] torch cannot export it")


def test_a_graph_beyond_the_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    with pytest.raises(ExportError, match="at most 100"):
        to_onnx(graph(lambda self, x: x @ self.weight))


def test_the_exporter_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    to_onnx(graph(lambda self, x: x @ self.weight))
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
