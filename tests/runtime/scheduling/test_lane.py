"""Which calls may share a run."""

import numpy as np
import pytest

from saccade.runtime.errors import SpecError
from saccade.runtime.scheduling.lane import Lane
from saccade.runtime.scheduling.policy import Policy
from saccade.runtime.spec import GraphSpec, Padding, TensorSpec
from tests.runtime.scheduling.conftest import handle, line_spec


def free(dims, dtype="float32", **more):
    """x (dims) → y (dims)."""
    return GraphSpec((TensorSpec("x", dtype, dims),), (TensorSpec("y", dtype, dims),), **{"batch": "B", **more})


def groups(spec, shapes, **policy):
    lane = Lane(handle("g", spec), Policy.of(**policy))
    dtype = spec.inputs[0].dtype
    return [lane.shape({"x": np.zeros(shape, dtype)}).group for shape in shapes]


def test_only_the_batch_axis_may_differ():
    one, more, other = groups(free(("B", "H", 3)), [(1, 4, 3), (5, 4, 3), (1, 5, 3)])
    assert one is more
    assert one is not other


def test_axes_that_pad_may_differ_by_less_than_a_factor_of_two():
    spec = free(("B", "N"), pads=(Padding("N", {"x": 0}),), limits={"N": (1, 77)})
    made = groups(spec, [(1, n) for n in (1, 2, 3, 4, 5, 8, 64, 65, 77)])
    assert made[2] is made[3]
    assert made[4] is made[5]
    assert made[7] is made[8]
    assert len(set(made)) == 6
    assert made[8].to == {"N": 77}  # the limit, not 128


def test_buckets_say_what_meets():
    spec = free(("B", "N"), pads=(Padding("N", {"x": 0}, (4, 16)),))
    small, same, large, beyond, further = groups(spec, [(1, 1), (1, 4), (1, 5), (1, 17), (1, 18)])
    assert small is same
    assert (small.to, large.to, beyond.to) == ({"N": 4}, {"N": 16}, {"N": 17})
    assert len({small, large, beyond, further}) == 4


def test_a_fixed_batch_is_chosen_by_the_call_alone():
    one, three, eight, many, as_many = groups(free(("B", 2)), [(1, 2), (3, 2), (8, 2), (9, 2), (9, 2)], batches=(2, 8))
    assert [g.fill for g in (one, three, eight, many)] == [2, 8, 8, 0]
    assert three is eight
    assert many is as_many
    assert many.times.cap == 9


def test_the_specs_limits_cap_a_batch():
    assert groups(free(("B", 2), limits={"B": (1, 4)}), [(1, 2)])[0].times.cap == 4
    assert groups(free(("B", 2)), [(1, 2)], max_batch=5)[0].times.cap == 5


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({}, "none"),
        ({"x": np.zeros((1, 2), np.float32), "z": np.zeros(1)}, "x, z"),
        ({"x": [[1.0, 2.0]]}, "got list"),
        ({"x": np.zeros((1, 3), np.float32)}, "got"),
        ({"x": np.zeros((1, 2))}, "float64"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_as_an_engine_would(inputs, says):
    lane = Lane(handle(), Policy())
    lane.shape({"x": np.zeros((1, 2), np.float32)})
    with pytest.raises(SpecError, match=says):
        lane.shape(inputs)


def test_why_calls_do_not_merge():
    def refusal(graph, about=None, **policy):
        lane = Lane(graph, Policy.of(**policy))
        lane.uses(object(), about or {"precision": "fp32"})
        return lane.refusal

    assert refusal(handle()) == ""
    assert refusal(handle(), merge=False) == "merge=False"
    assert "no batch axis" in refusal(handle("g", line_spec(batch="")))
    assert "fp32 variant is not mergeable" in refusal(handle(mergeable=False))
    assert refusal(handle(mergeable=False), {"precision": "bf16"}) == ""  # a hint, not a file of the bundle
    by_size = {"precision": "bf16", "batches": {"1": "open_vino bf16", "8": "onnx_runtime fp32"}}
    assert "fp32 variant is not mergeable" in refusal(handle(mergeable=False), by_size)
    assert Lane(handle(), Policy()).refusal  # not before the engine is known


def test_shapes_seen_do_not_fill_the_memory():
    lane = Lane(handle("g", free(("B", "H"))), Policy())
    for height in range(10_000):
        lane.shape({"x": np.zeros((1, height), np.float32)})
    assert len(lane._known) <= 4096
    assert len(lane._groups) <= 4096


def test_another_engine_is_measured_anew_but_not_the_same_opened_again():
    lane = Lane(handle(), Policy())
    group = lane.shape({"x": np.zeros((1, 2), np.float32)}).group
    lane.uses(object(), {"precision": "fp32"})
    group.times.add(1, 1.0)
    lane.uses(object(), {"precision": "fp32"})
    assert group.times.expected(1) is not None
    lane.uses(object(), {"precision": "int8"})
    assert group.times.expected(1) is None
