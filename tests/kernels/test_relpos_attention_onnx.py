"""saccade::RelPosAttention in ONNX Runtime: its body, our kernel, and which of the two runs."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, checker, helper, load_from_string

from saccade.kernels.relpos_attention import cases, onnx, relpos_attention
from saccade.runtime.engines import custom_ops

onnxruntime = pytest.importorskip("onnxruntime")

SEEN = int(np.random.SeedSequence().entropy % 2**32)  # fresh each run; a failure prints it
NAMES = ("q", "k", "v", "rh", "rw")
FLOAT, HALF, BRAIN = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16

each_case = pytest.mark.parametrize("case", cases.ODD, ids=lambda case: case.name)
needs_library = pytest.mark.skipif(
    custom_ops.library() is None, reason="the custom-op library was not built: no ONNX Runtime headers"
)


def model(dim, dtype=FLOAT, *, opset=onnx.OPSET, scale=None):
    """A model of the one node, with its body."""
    dims = [["B", "A", "N", dim]] * 3 + [["B", "A", "N", "Hk"], ["B", "A", "N", "Wk"]]
    ends = [helper.make_tensor_value_info(name, dtype, dim) for name, dim in zip(NAMES, dims, strict=True)]
    out = helper.make_tensor_value_info("out", dtype, dims[0])
    scale = dim**-0.5 if scale is None else scale
    node = helper.make_node(onnx.NAME, NAMES, ["out"], domain=onnx.DOMAIN, scale=scale)
    made = helper.make_model(
        helper.make_graph([node], "g", ends, [out]),
        functions=[onnx.function(opset)],
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
    return opened.run(None, dict(zip(NAMES, arrays, strict=True)))[0]


def counted(opened, arrays):
    """The answer, and how many times our kernel ran for it."""
    before = custom_ops.calls(onnx.NAME)
    return run(opened, arrays), custom_ops.calls(onnx.NAME) - before


def exact(arrays, **more):
    return relpos_attention(*(array.astype(np.float64) for array in arrays), impl="reference", **more)


def worst(a, b):
    return float(np.abs(a.astype(np.float64) - b).max(initial=0))


@each_case
def test_the_body_equals_the_reference(case):
    arrays = cases.inputs(case, SEEN)
    ours, expected = run(session(model(case.dim)), arrays), exact(arrays)
    plain = worst(relpos_attention(*arrays, impl="reference"), expected)
    assert ours.shape == expected.shape
    assert ours.dtype == np.float32
    assert worst(ours, expected) <= 2 * cases.TIMES * plain + 1e-6, f"seed {SEEN}"


@pytest.mark.parametrize("opset", [18, 21])
def test_the_body_in_a_model_of_another_opset(opset):
    arrays = cases.inputs(cases.ODD[6])
    assert worst(run(session(model(24, opset=opset)), arrays), exact(arrays)) < 1e-5


def test_the_body_takes_the_scale():
    arrays = cases.inputs(cases.ODD[6])
    assert worst(run(session(model(24, scale=0.7)), arrays), exact(arrays, scale=0.7)) < 1e-5


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_the_body_in_other_dtypes(dtype):
    arrays = cases.inputs(cases.ODD[6], dtype=np.dtype(dtype).name)
    kind = {np.float16: HALF, np.float64: TensorProto.DOUBLE}[dtype]
    ours = run(session(model(24, kind)), arrays)
    assert ours.dtype == dtype
    assert worst(ours, exact(arrays)) < (5e-3 if dtype is np.float16 else 1e-6)  # an attribute is a float32


@pytest.mark.parametrize("ops", [None, pytest.param("all", marks=needs_library)])
@pytest.mark.parametrize("grid", [(0, 0), (0, 4), (4, 0)])
def test_no_places(grid, ops):
    assert run(session(model(8), ops=ops), cases.inputs(cases.Case("", 2, 2, grid, 8))).shape == (2, 2, 0, 8)


@pytest.mark.parametrize("ops", [None, pytest.param("all", marks=needs_library)])
def test_masked_rows_and_strange_values(ops):
    q, k, v, rh, rw = cases.inputs(cases.Case("", 1, 4, (3, 5), 8))
    rh[0, 0, 2], rw[0, 1, 3], rh[0, 2, :, 1:] = -np.inf, -np.inf, -np.inf
    v[0, 3, 4, 1], v[0, 3, 4, 2] = np.nan, np.inf
    ours = run(session(model(8), ops=ops), (q, k, v, rh, rw))
    np.testing.assert_allclose(ours, exact((q, k, v, rh, rw)), atol=1e-5)
    assert not ours[0, 0, 2].any()
    assert not ours[0, 1, 3].any()


@needs_library
@each_case
def test_one_file_with_our_kernel_and_without(case):
    """The kernel runs where it is taken, proved by its counter; not where it is not; and the answers agree."""
    arrays, data = cases.inputs(case, SEEN), model(case.dim)
    without = run(session(data), arrays)
    for ops, ran in (("all", 1), (onnx.NAME, 1), (f"{onnx.NAME},", 1), ("", 0)):
        ours, calls = counted(session(data, ops=ops), arrays)
        assert calls == ran, ops
        assert ours.shape == without.shape
        if ran:
            assert np.array_equal(ours, relpos_attention(*arrays)), f"seed {SEEN}"
        else:
            assert np.array_equal(ours, without)
    plain = worst(relpos_attention(*arrays, impl="reference"), exact(arrays))
    assert worst(relpos_attention(*arrays), without) <= 4 * cases.TIMES * plain + 1e-6, f"seed {SEEN}"


@needs_library
@pytest.mark.parametrize("case", [cases.ODD[7], cases.ODD[14]], ids=lambda case: case.name)
def test_the_engines_threads_do_not_change_a_bit(case):
    arrays, data = cases.inputs(case, SEEN), model(case.dim)
    one = run(session(data, ops="all"), arrays)
    for threads in (2, 3):
        assert np.array_equal(run(session(data, threads, ops="all"), arrays), one), f"seed {SEEN}"


@needs_library
def test_half_precision_in_a_graph():
    arrays = cases.inputs(cases.ODD[7], SEEN, "float16")
    data = model(64, HALF)
    ours, calls = counted(session(data, ops="all"), arrays)
    assert (ours.dtype, calls) == (np.float16, 1)
    assert np.array_equal(ours, relpos_attention(*arrays))
    expected = exact(arrays)
    assert worst(ours, expected) <= worst(run(session(data), arrays), expected) + 5e-4


@needs_library
def test_bfloat16_in_a_graph():
    """Between casts, since NumPy has no bfloat16. Inputs are cut to 8 bits first, so only the result is rounded."""
    arrays = [array.view(np.uint32) & 0xFFFF0000 for array in cases.inputs(cases.ODD[7], SEEN)]
    arrays = [array.view(np.float32) for array in arrays]
    plain = load_from_string(model(64))
    graph, node = plain.graph, plain.graph.node[0]
    casts = [helper.make_node("Cast", [name], [f"{name}_b"], to=BRAIN) for name in NAMES]
    inner = helper.make_node(onnx.NAME, [f"{n}_b" for n in NAMES], ["out_b"], domain=onnx.DOMAIN, scale=64**-0.5)
    graph.node.remove(node)
    graph.node.extend([*casts, inner, helper.make_node("Cast", ["out_b"], ["out"], to=FLOAT)])
    ours, calls = counted(session(plain.SerializeToString(), ops="all"), arrays)
    assert calls == 1
    single = relpos_attention(*arrays)
    assert (np.abs(ours - single) <= np.abs(single) / 256 * 1.0001).all()  # half an ulp of 8 bits
    assert np.array_equal(ours.view(np.uint32) & 0xFFFF, np.zeros(ours.shape, np.uint32))


@needs_library
@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
def test_sizes_that_only_a_run_knows(level):
    """Before the node a Reshape to sizes from another tensor, after it one back: as windows of an encoder have it."""
    arrays = cases.inputs(cases.Case("", 3, 2, (2, 4), 8), SEEN)
    plain = load_from_string(model(8))
    graph, node = plain.graph, plain.graph.node[0]
    sizes = [helper.make_node("Shape", [name], [f"{name}_size"]) for name in NAMES]
    same = [helper.make_node("Reshape", [name, f"{name}_size"], [f"{name}_r"]) for name in NAMES]
    node.input[:], node.output[:] = [f"{name}_r" for name in NAMES], ["inner"]
    kept = helper.make_node("Constant", [], ["kept"], value_ints=[0, 0, 0, 8])
    split = helper.make_node("Constant", [], ["split"], value_ints=[-1, 2, 2, 4, 8])
    middle = [
        helper.make_node("Reshape", ["inner", "split"], ["five"]),
        helper.make_node("Relu", ["five"], ["positive"]),
    ]
    back = helper.make_node("Reshape", ["positive", "q_size"], ["four"])
    last = helper.make_node("Reshape", ["four", "kept"], ["out"])
    del graph.node[:]
    graph.node.extend([*sizes, *same, kept, split, node, *middle, back, last])
    graph.ClearField("value_info")
    ours, calls = counted(session(plain.SerializeToString(), ops="all", level=level), arrays)
    assert calls == 1
    assert np.array_equal(ours, np.maximum(relpos_attention(*arrays), 0))


@needs_library
def test_an_op_that_is_not_there_is_refused():
    with pytest.raises(Exception, match="there is no op Nonsense"):
        session(model(8), ops="RelPosAttention,Nonsense")


@needs_library
@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_do_not_fit_are_an_error_of_the_run(name):
    arrays = dict(zip(NAMES, cases.inputs(cases.ODD[6]), strict=True))
    arrays[name] = arrays[name][:, :, :-1]
    with pytest.raises(Exception, match="RelPosAttention"):
        session(model(24), ops="all").run(None, arrays)


@needs_library
def test_sessions_with_different_ops_live_side_by_side():
    arrays, data = cases.inputs(cases.ODD[6]), model(24)
    opened = [session(data, ops=ops) for ops in ("all", "", onnx.NAME, "", "all")]
    assert [counted(one, arrays)[1] for one in opened] == [1, 0, 1, 0, 1]


@needs_library
def test_the_counter_knows_its_ops():
    assert custom_ops.calls("NoSuchOp") == -1
    assert custom_ops.calls(onnx.NAME) >= 0
