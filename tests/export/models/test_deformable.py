"""deformable_attention in torch: against the reference, its gradient, and as the node of an exported graph."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import torch.nn.functional as F  # noqa: E402

from saccade.export.half import fp16  # noqa: E402
from saccade.export.models.deformable import deformable_attention  # noqa: E402
from saccade.export.recipe import GraphRecipe  # noqa: E402
from saccade.export.to_onnx import session, to_onnx  # noqa: E402
from saccade.kernels import deformable_attention as house  # noqa: E402
from saccade.kernels.deformable_attention import cases, onnx  # noqa: E402
from saccade.runtime.spec import GraphSpec, TensorSpec  # noqa: E402

SEEN = int(np.random.SeedSequence().entropy % 2**32)  # fresh each run; a failure prints it
SMALL = cases.Case("", 2, 11, 3, 8, ((5, 7), (3, 2)), 3)


def tensors(arrays):
    return [torch.from_numpy(array) for array in arrays]


@pytest.mark.parametrize("case", cases.ODD, ids=lambda case: case.name)
def test_torch_equals_the_reference(case):
    arrays = cases.inputs(case, SEEN, "float64")
    ours = deformable_attention(*tensors(arrays)).numpy()
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, house.deformable_attention(*arrays), atol=1e-9, err_msg=f"seed {SEEN}")


def test_the_reference_is_what_deformable_detr_computes():
    """Level by level as its own PyTorch code has it: points of all levels stacked, then weighed at once."""
    value, sizes, locations, weights = tensors(cases.inputs(SMALL, SEEN, "float64"))
    batch, _, heads, dim = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    stacked = []
    for level, source in enumerate(value.split([int(h * w) for h, w in sizes], 1)):
        picture = source.flatten(2).transpose(1, 2).reshape(batch * heads, dim, *sizes[level])
        grid = (2 * locations - 1)[:, :, :, level].transpose(1, 2).flatten(0, 1)
        stacked.append(F.grid_sample(picture, grid, mode="bilinear", padding_mode="zeros", align_corners=False))
    shares = weights.transpose(1, 2).reshape(batch * heads, 1, queries, 2 * points)
    theirs = (torch.stack(stacked, -2).flatten(-2) * shares).sum(-1).view(batch, heads * dim, queries).transpose(1, 2)
    ours = house.deformable_attention(*(t.numpy() for t in (value, sizes, locations, weights)))
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-12, err_msg=f"seed {SEEN}")


def test_half_precision_is_computed_in_float32():
    arrays = cases.inputs(SMALL, SEEN, "float16")
    ours = deformable_attention(*tensors(arrays))
    assert ours.dtype == torch.float16
    wide = [a.astype(np.float64) if a.dtype == np.float16 else a for a in arrays]
    expected = house.deformable_attention(*wide)
    ulp = np.spacing(np.abs(expected).astype(np.float16)).astype(np.float64)
    assert (np.abs(ours.numpy() - expected) <= 0.5 * ulp + 1e-5).all(), f"seed {SEEN}"


def test_the_gradient_is_that_of_a_difference():
    arrays = tensors(cases.inputs(cases.Case("", 1, 3, 2, 2, ((4, 5), (2, 2)), 2), 5, "float64"))
    value, sizes, locations, weights = arrays
    leaves = [tensor.requires_grad_() for tensor in (value, locations, weights)]
    assert torch.autograd.gradcheck(lambda v, x, w: deformable_attention(v, sizes, x, w), leaves)


def test_the_fake_kernel_gives_the_shape():
    torch.library.opcheck(torch.ops.saccade.deformable_attention.default, tensors(cases.inputs(SMALL)))


class Two(torch.nn.Module):
    """Two nodes; the pyramid is that of the inputs, as a detector's is."""

    def forward(self, fine, coarse, locations, weights):
        maps = (fine, coarse)
        value = torch.cat([m.flatten(3).permute(0, 3, 1, 2) for m in maps], 1)
        sizes = torch.stack([torch.tensor([m.shape[3], m.shape[4]]) for m in maps])
        once = deformable_attention(value, sizes, locations, weights)
        again = deformable_attention(value * 0.5, sizes, locations * 0.9, weights)
        return once + again.relu()


@pytest.fixture(scope="module")
def exported():
    def inputs(batch, queries, fine, coarse):
        rng = np.random.default_rng(batch)
        case = cases.Case("", batch, queries, 3, 8, (fine, coarse), 3)
        _, _, locations, weights = cases.inputs(case, batch)
        maps = [rng.standard_normal((batch, 3, 8, *size), np.float32) for size in (fine, coarse)]
        return dict(zip(("fine", "coarse", "locations", "weights"), (*maps, locations, weights), strict=True))

    dims = {
        "fine": ("B", 3, 8, "H", "W"),
        "coarse": ("B", 3, 8, "P", "Q"),
        "locations": ("B", "N", 3, 2, 3, 2),
        "weights": ("B", "N", 3, 2, 3),
    }
    spec = GraphSpec(
        tuple(TensorSpec(name, "float32", shape) for name, shape in dims.items()),
        (TensorSpec("out", "float32", ("B", "N", 24)),),
    )
    example, other = inputs(2, 7, (6, 9), (3, 5)), inputs(3, 4, (4, 4), (2, 7))
    return to_onnx(GraphRecipe("two", Two(), spec, example, (other,))), (example, other)


def test_the_exported_graph_has_our_nodes_and_one_body(exported):
    """to_onnx has compared it with torch, at two pyramids of other sizes."""
    model, _ = exported
    nodes = [node for node in model.graph.node if node.domain == "saccade"]
    assert [node.op_type for node in nodes] == [onnx.NAME] * 2
    assert not any(node.attribute for node in nodes)
    assert [(body.name, len(body.attribute)) for body in model.functions] == [(onnx.NAME, 0)]


def test_its_half_precision_copy_runs(exported):
    """The converter changes the nodes' inputs, not the body, which is float32 inside."""
    model, every = exported
    half, whole = session(fp16(model)), session(model)
    for inputs in every:
        np.testing.assert_allclose(half(inputs)["out"], whole(inputs)["out"], atol=0.05)
