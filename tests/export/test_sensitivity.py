"""The search for what must stay float32: the loudest are found, by measurement, within the time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from saccade.export.quantize import _groups, _quantised, _settle, int8  # noqa: E402
from saccade.export.sensitivity import Effort, Report, measure_alone  # noqa: E402
from saccade.export.tail import boundary, tail, values  # noqa: E402
from saccade.export.to_onnx import session  # noqa: E402

WIDTH, BLOCKS = 32, 6


def network() -> Any:
    """Blocks of norm → product → scale → add. The third's answer is a hundred times as loud as the others'."""
    rng = np.random.default_rng(3)
    arrays = {"g": np.ones(WIDTH, np.float32), "o": np.zeros(WIDTH, np.float32), "axis": np.array([1])}
    nodes, value = [], "x"
    for block in range(BLOCKS):
        arrays[f"w{block}"] = (rng.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5).astype(np.float32)
        arrays[f"s{block}"] = np.float32(5.0 if block == 2 else 0.05)
        nodes += [
            f"n{block} = LayerNormalization<axis=-1>({value}, g, o)",
            f"p{block} = MatMul(n{block}, w{block})",
            f"m{block} = Mul(p{block}, s{block})",
            f"r{block} = Add({value}, m{block})",
        ]
        value = f"r{block}"
    nodes.append(f"y = ReduceMean<keepdims=0>({value}, axis)")
    made = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["" : 20]>
        g (float[B,5,{WIDTH}] x) => (float[B,{WIDTH}] y) {{ {" ".join(nodes)} }}""")
    for index, node in enumerate(made.graph.node):
        node.name = f"{node.op_type}_{index}"
    made.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items())
    return made


def samples(count: int = 8) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal((1, 5, WIDTH), np.float32)} for _ in range(count)]


def quantised_count(made: Any) -> int:
    return sum(node.op_type == "QuantizeLinear" for node in made.graph.node)


def searched(judge: Any, **effort: Any) -> tuple[Any, Report]:
    told: list[Report] = []
    made = int8(network(), samples(), judge=judge, effort=Effort(**effort), tell=told.append)
    return made, told[0]


def test_the_loudest_layer_stays_and_no_other() -> None:
    """The judge is the true error of the answer; only without the third block is it small."""
    base = session(network())

    def judge(made: Any) -> float:
        run = session(made)
        return max(float(np.abs(run(s)["y"] - base(s)["y"]).max()) for s in samples(3)) / 0.01

    made, report = searched(judge)
    assert judge(int8(network(), samples())) > 0.75, "all in int8 must miss the budget, or nothing is searched"
    assert judge(made) <= 0.75
    assert [layer.layers for layer in report.layers if layer.kept] == [("w2",)]
    assert report.layers[0].alone > 5 * report.layers[1].alone  # type: ignore[operator]
    assert (report.judged[0][0], report.judged[-1][0], report.complete) == (0, 1, True)
    assert report.spent == pytest.approx(judge(made))
    assert quantised_count(made) == BLOCKS - 1


def test_the_work_of_all_layers_is_one_and_sizes_are_theirs() -> None:
    _, report = searched(None)
    assert sum(layer.work for layer in report.layers) == pytest.approx(1, abs=1e-3)
    assert {layer.bytes for layer in report.layers} == {4 * WIDTH * WIDTH}
    assert (report.spent, report.judged) == (None, ())
    assert all(layer.alone is None and not layer.kept for layer in report.layers)


def test_thorough_measures_each_layer_even_inside_the_budget() -> None:
    made, report = searched(lambda made: 0.1, thorough=True)
    assert all(layer.alone is not None for layer in report.layers)
    assert quantised_count(made) == BLOCKS


@pytest.mark.parametrize("need", [1, 2, 3])
def test_the_fewest_that_pass_are_found(need: int) -> None:
    made, report = searched(lambda made: 0.0 if quantised_count(made) <= BLOCKS - need else 10.0)
    assert quantised_count(made) == BLOCKS - need
    assert sum(layer.kept for layer in report.layers) == need


def test_a_budget_that_cannot_be_kept_gives_the_best_that_was_found() -> None:
    made, report = searched(lambda made: 2.0 + quantised_count(made))
    assert report.spent == 2.0 + BLOCKS - 3, "at most half stay float32"
    assert quantised_count(made) == 3


def test_the_time_ends_the_search_with_the_best_so_far() -> None:
    now = iter(range(10_000))
    made, report = searched(lambda made: 5.0, seconds=4.0, clock=lambda: float(next(now)))
    assert not report.complete
    assert any(layer.alone is None for layer in report.layers)
    assert report.spent == 5.0
    assert quantised_count(made) == BLOCKS


def test_a_layer_alone_on_its_tail_is_the_layer_alone_in_the_whole_graph() -> None:
    model = network()
    given = samples()
    groups = _groups(model, given, set(), lambda: None)
    for group in groups:
        _settle(model.graph, group)
    assert measure_alone(model, groups, given, _quantised, Effort(), ends=float("inf"))
    base = session(network())
    few = given[:: len(given) // 4][:4]
    for group in groups:
        run = session(_quantised(model, groups, [group]))
        lost = [np.linalg.norm(run(s)["y"] - base(s)["y"]) / np.linalg.norm(base(s)["y"]) for s in few]
        assert group.alone == pytest.approx(np.sqrt(np.mean(np.square(lost))), rel=0.05, abs=1e-6)


def test_a_tail_has_what_is_behind_and_answers_alike() -> None:
    model = network()
    cut = tail(model, "n4")
    assert boundary(cut) == ["n4", "r3"]
    assert {t.name for t in cut.graph.initializer} >= {"w4", "w5"}
    assert not {t.name for t in cut.graph.initializer} & {"w0", "w3"}
    (found,) = values(model, ["n4", "r3"], samples(1))
    assert {"x", "n4", "r3", "y"} <= set(found)
