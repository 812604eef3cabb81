"""saccade::DeformableAttention in ONNX Runtime: its body, our kernel, and which of the two runs."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, checker, helper, load_from_string

from saccade.kernels.deformable_attention import cases, deformable_attention, onnx
from saccade.runtime.engines import custom_ops
from saccade.runtime.errors import KernelError

onnxruntime = pytest.importorskip("onnxruntime")

SEEN = int(np.random.SeedSequence().entropy % 2**32)  # fresh each run; a failure prints it
FLOAT, HALF, BRAIN = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16
FLOATS = ("value", "locations", "weights")
SMALL = cases.Case("", 2, 11, 3, 8, ((5, 7), (3, 2)), 3)
# ONNX Runtime's GridSample takes no picture without pixels, and a body has a level at least.
WITH_BODY = [case for case in cases.ODD if case.sizes and all(map(min, case.sizes))]

each_case = pytest.mark.parametrize("case", WITH_BODY, ids=lambda case: case.name)
needs_library = pytest.mark.skipif(
    custom_ops.library() is None, reason="the custom-op library was not built: no ONNX Runtime headers"
)


def model(levels, dtype=FLOAT, *, opset=onnx.OPSET):
    """A model of the one node, with its body."""
    dims = [["B", "S", "A", "D"], [levels, 2], ["B", "N", "A", levels, "T", 2], ["B", "N", "A", levels, "T"]]
    kinds = [dtype, TensorProto.INT64, dtype, dtype]
    ends = [helper.make_tensor_value_info(*end) for end in zip(onnx.INPUTS, kinds, dims, strict=True)]
    out = helper.make_tensor_value_info("out", dtype, ["B", "N", "AD"])
    node = helper.make_node(onnx.NAME, onnx.INPUTS, ["out"], domain=onnx.DOMAIN)
    made = helper.make_model(
        helper.make_graph([node], "g", ends, [out]),
        functions=[onnx.function(levels, opset)],
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(onnx.DOMAIN, onnx.VERSION)],
        ir_version=9,
    )
    checker.check_model(made, full_check=True)
    return made.SerializeToString()


def session(data, threads=1, *, ops=None, level="ORT_ENABLE_ALL"):
    """ops: the session entry saccade.ops with our library, "all" for no entry; None is without the library."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.log_severity_level = 4  # a run that is to fail says so on the terminal, too
    if ops is not None:
        if ops != "all":
            options.add_session_config_entry("saccade.ops", ops)
        options.register_custom_ops_library(str(custom_ops.library()))
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run(opened, arrays):
    return opened.run(None, dict(zip(onnx.INPUTS, arrays, strict=True)))[0]


def counted(opened, arrays):
    """The answer, and how many times our kernel ran for it."""
    before = custom_ops.calls(onnx.NAME)
    return run(opened, arrays), custom_ops.calls(onnx.NAME) - before


def exact(arrays):
    value, sizes, locations, weights = arrays
    wide = (array.astype(np.float64) for array in (value, locations, weights))
    value, locations, weights = wide
    return deformable_attention(value, sizes, locations, weights, impl="reference")


def worst(a, b):
    return float(np.abs(a.astype(np.float64) - b).max(initial=0))


@each_case
def test_the_body_equals_the_reference(case):
    arrays = cases.inputs(case, SEEN)
    ours, expected = run(session(model(len(case.sizes))), arrays), exact(arrays)
    plain = worst(deformable_attention(*arrays, impl="reference"), expected)
    assert ours.shape == expected.shape
    assert ours.dtype == np.float32
    assert worst(ours, expected) <= 2 * cases.TIMES * plain + 1e-5, f"seed {SEEN}"


@pytest.mark.parametrize("opset", [18, 22])
def test_the_body_in_a_model_of_another_opset(opset):
    arrays = cases.inputs(SMALL, SEEN)
    assert worst(run(session(model(2, opset=opset)), arrays), exact(arrays)) < 1e-5, f"seed {SEEN}"


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_the_body_in_other_dtypes(dtype):
    """Inside it is float32, so half precision costs one rounding of the result."""
    arrays = cases.inputs(SMALL, SEEN, np.dtype(dtype).name)
    kind = {np.float16: HALF, np.float64: TensorProto.DOUBLE}[dtype]
    ours, expected = run(session(model(2, kind)), arrays), exact(arrays)
    assert ours.dtype == dtype
    ulp = np.spacing(np.abs(expected).astype(dtype)).astype(np.float64)
    assert (np.abs(ours - expected) <= 0.5 * ulp + 1e-5).all(), f"seed {SEEN}"


@pytest.mark.parametrize("ops", [None, pytest.param("all", marks=needs_library)])
def test_what_is_nowhere_adds_nothing(ops):
    """NaN and infinite locations, and NaN beside what is looked at."""
    value, sizes, locations, weights = cases.inputs(SMALL, SEEN)
    locations[0, :, 0, 0, 0] = np.nan, np.inf
    locations[0, :, 1, 1, 2, 1] = -np.inf
    locations[1, :, 2, :, 1] = 1e30, -3e38
    value[1, 4, 1, 3], value[0, 2, 0, 5] = np.nan, np.inf
    ours, expected = (
        f((value, sizes, locations, weights)) for f in (lambda a: run(session(model(2), ops=ops), a), exact)
    )
    assert np.isnan(expected).any()
    np.testing.assert_allclose(ours, expected, atol=1e-5, err_msg=f"seed {SEEN}")


@pytest.mark.parametrize("levels", [0, 65])
def test_a_body_of_no_levels_is_refused(levels):
    with pytest.raises(KernelError, match="DeformableAttention"):
        onnx.function(levels)


def test_nodes_say_how_many_levels_they_have_until_they_have_a_body():
    nodes = [helper.make_node(onnx.NAME, onnx.INPUTS, ["out"], domain=onnx.DOMAIN, levels=3) for _ in range(2)]
    made = onnx.body(nodes)
    assert sum(node.op_type == "GridSample" for node in made.node) == 3
    assert not any(node.attribute for node in nodes)
    for wrong in (nodes, [helper.make_node("X", [], [], levels=n) for n in (1, 2)]):
        with pytest.raises(KernelError, match="levels in one model"):
            onnx.body(wrong)


@needs_library
@each_case
def test_one_file_with_our_kernel_and_without(case):
    """The kernel runs where it is taken, proved by its counter; not where it is not; and the answers agree."""
    arrays, data = cases.inputs(case, SEEN), model(len(case.sizes))
    without = run(session(data), arrays)
    for ops, ran in (("all", 1), (f"RelPosAttention,{onnx.NAME}", 1), ("RelPosAttention", 0), ("", 0)):
        ours, calls = counted(session(data, ops=ops), arrays)
        assert calls == ran, ops
        assert np.array_equal(ours, deformable_attention(*arrays) if ran else without), f"seed {SEEN}"
    plain = worst(deformable_attention(*arrays, impl="reference"), exact(arrays))
    assert worst(deformable_attention(*arrays), without) <= 4 * cases.TIMES * plain + 1e-5, f"seed {SEEN}"


@needs_library
def test_levels_that_no_body_takes():
    arrays = cases.inputs(next(case for case in cases.ODD if case.name == "an empty level"), SEEN)
    ours, calls = counted(session(model(4), ops="all"), arrays)
    assert calls == 1
    assert worst(ours, exact(arrays)) < 1e-5


@needs_library
def test_the_engines_threads_do_not_change_a_bit():
    arrays, data = cases.inputs(SMALL, SEEN), model(2)
    one = run(session(data, ops="all"), arrays)
    for threads in (2, 3):
        assert np.array_equal(run(session(data, threads, ops="all"), arrays), one), f"seed {SEEN}"


@needs_library
def test_half_precision_in_a_graph():
    arrays = cases.inputs(SMALL, SEEN, "float16")
    ours, calls = counted(session(model(2, HALF), ops="all"), arrays)
    assert (ours.dtype, calls) == (np.float16, 1)
    assert np.array_equal(ours, deformable_attention(*arrays))


@needs_library
def test_bfloat16_in_a_graph():
    """Between casts, since NumPy has no bfloat16. Inputs are cut to 8 bits first, so only the result is rounded."""
    value, sizes, locations, weights = cases.inputs(SMALL, SEEN)
    value, locations, weights = (
        (array.view(np.uint32) & 0xFFFF0000).view(np.float32) for array in (value, locations, weights)
    )
    plain = load_from_string(model(2))
    graph, node = plain.graph, plain.graph.node[0]
    casts = [helper.make_node("Cast", [name], [f"{name}_b"], to=BRAIN) for name in FLOATS]
    names = [f"{name}_b" if name in FLOATS else name for name in onnx.INPUTS]
    inner = helper.make_node(onnx.NAME, names, ["out_b"], domain=onnx.DOMAIN)
    graph.node.remove(node)
    graph.node.extend([*casts, inner, helper.make_node("Cast", ["out_b"], ["out"], to=FLOAT)])
    arrays = (value, sizes, locations, weights)
    ours, calls = counted(session(plain.SerializeToString(), ops="all"), arrays)
    assert calls == 1
    single = deformable_attention(*arrays)
    assert (np.abs(ours - single) <= np.abs(single) / 256 * 1.0001).all(), f"seed {SEEN}"  # half an ulp of 8 bits
    assert np.array_equal(ours.view(np.uint32) & 0xFFFF, np.zeros(ours.shape, np.uint32))


@needs_library
@pytest.mark.parametrize("name", onnx.INPUTS)
def test_arrays_that_do_not_fit_are_an_error_of_the_run(name):
    arrays = dict(zip(onnx.INPUTS, cases.inputs(SMALL), strict=True))
    arrays[name] = arrays[name] + 1 if name == "sizes" else arrays[name][:, :-1]
    with pytest.raises(Exception, match="DeformableAttention"):
        session(model(2), ops="all").run(None, arrays)


@needs_library
@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
def test_sizes_that_only_a_run_knows(level):
    """Sizes come out of another node, as a detector for pictures of any size has it, and the answer goes into one."""
    arrays = cases.inputs(SMALL, SEEN)
    plain = load_from_string(model(2))
    graph, node = plain.graph, plain.graph.node[0]
    node.input[1], node.output[0] = "same", "inner"
    before, after = (
        helper.make_node("Abs", ["sizes"], ["same"]),
        helper.make_node("Relu", ["inner"], ["out"]),
    )
    del graph.node[:]
    graph.node.extend([before, node, after])
    ours, calls = counted(session(plain.SerializeToString(), ops="all", level=level), arrays)
    assert calls == 1
    assert np.array_equal(ours, np.maximum(deformable_attention(*arrays), 0)), f"seed {SEEN}"
