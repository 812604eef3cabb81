"""relpos_attention: every candidate against float64, the ONNX body against the reference, the reference against loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import TensorProto, checker, helper

from saccade.kernels.relpos_attention import cases, onnx, relpos_attention

SEEN = int(np.random.SeedSequence().entropy % 2**32)  # fresh each run; a failure prints it
NAMES = ("q", "k", "v", "rh", "rw")

each_case = pytest.mark.parametrize("case", cases.ODD, ids=lambda case: case.name)


def exact(arrays, **more):
    """The answer in float64."""
    return relpos_attention(*(array.astype(np.float64) for array in arrays), impl="reference", **more)


def worst(ours, expected):
    return np.abs(ours.astype(np.float64) - expected).max(initial=0)


def bound(arrays, expected, **more):
    """Twice the error of the plain form in float32; and an ulp of the largest answer, for where that is 0 by luck."""
    plain = relpos_attention(*arrays, impl="reference", **more)
    return cases.TIMES * worst(plain, expected) + np.spacing(np.abs(expected).max(initial=0).astype(np.float32))


def model(dim, dtype=TensorProto.FLOAT, *, opset=onnx.OPSET, scale=None):
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


def session(data, options=None):
    import onnxruntime

    options = options or onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run(opened, arrays):
    return opened.run(None, dict(zip(NAMES, arrays, strict=True)))[0]


def by_loops(q, k, v, rh, rw, scale):
    """One head in Python floats."""
    width, out = rw.shape[1], np.zeros(v.shape)
    for n in range(len(q)):
        scores = [scale * math.fsum(q[n] * k[m]) + rh[n, m // width] + rw[n, m % width] for m in range(len(k))]
        weights = [math.exp(score - max(scores)) for score in scores]
        for d in range(v.shape[1]):
            out[n, d] = math.fsum(w * v[m, d] for m, w in enumerate(weights)) / math.fsum(weights)
    return out


@pytest.mark.parametrize("case", cases.ODD[2:8], ids=lambda case: case.name)
def test_the_reference_equals_loops(case):
    arrays = [array.astype(np.float64) for array in cases.inputs(case, SEEN)]
    ours = relpos_attention(*arrays, scale=0.3, impl="reference")
    for place in np.ndindex(case.batch, case.heads):
        expected = by_loops(*(array[place] for array in arrays), 0.3)
        np.testing.assert_allclose(ours[place], expected, rtol=1e-12, atol=1e-12, err_msg=f"seed {SEEN}")


def test_by_hand():
    """Two places in a row: logits 0 and ln 3, from k, from rw, then from both."""
    zero, v = np.zeros((1, 1, 2, 1)), np.array([4.0, 8.0]).reshape(1, 1, 2, 1)
    step = np.broadcast_to([0.0, math.log(3)], (1, 1, 2, 2))
    assert np.allclose(relpos_attention(zero, zero, v, zero, step), 7)
    one, k = np.ones((1, 1, 2, 1)), np.array([0.0, math.log(3) / 2]).reshape(1, 1, 2, 1)
    assert np.allclose(relpos_attention(one, k, v, zero, np.zeros((1, 1, 2, 2)), scale=2), 7)
    assert np.allclose(relpos_attention(one, k, v, step, zero, scale=-2), 6)  # rows instead of columns


@each_case
def test_the_body_equals_the_reference(case):
    arrays = cases.inputs(case, SEEN)
    ours, expected = run(session(model(case.dim)), arrays), exact(arrays)
    assert ours.shape == expected.shape
    assert ours.dtype == np.float32
    assert worst(ours, expected) <= bound(arrays, expected), f"seed {SEEN}"


@pytest.mark.parametrize("opset", [18, 21])
def test_the_body_in_a_model_of_another_opset(opset):
    arrays = cases.inputs(cases.ODD[6])
    assert worst(run(session(model(24, opset=opset)), arrays), exact(arrays)) < 1e-5


@pytest.mark.parametrize("grid", [(0, 0), (0, 4), (4, 0)])
def test_no_places(grid):
    arrays = cases.inputs(cases.Case("", 2, 2, grid, 8))
    assert relpos_attention(*arrays).shape == run(session(model(8)), arrays).shape == (2, 2, 0, 8)
