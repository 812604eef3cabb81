"""Deformable and dynamic convolution against NumPy, grid_sample and ONNX Runtime."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.benchmarks.glip_checkpoint import SMALL
from saccade.export.models.glip_dyconv import DyConv, deform_conv


@pytest.mark.parametrize(("height", "width", "stride"), [(7, 5, 1), (7, 6, 2), (1, 1, 1), (2, 9, 2)])
def test_deformable_convolution_is_that_of_loops_grid_sample_and_onnx_runtime(
    height: int, width: int, stride: int, plain: Any, noise: Any
) -> None:
    h, w = (height - 1) // stride + 1, (width - 1) // stride + 1
    x, weight, bias = noise(1, 2, 4, height, width), noise(2, 3, 4, 3, 3), noise(3, 3)
    offset, mask = 3 * noise(4, 2, 18, h, w), torch.rand(2, 9, h, w)
    offset[0, :4] = torch.tensor([-1.0, 0.0, float(height), 0.5])[:, None, None]  # onto and over the edges
    got = deform_conv(x, offset, weight, bias, mask, stride)
    arrays = [t.double().numpy() for t in (x, offset, weight, bias, mask)]
    for b in range(2):
        plain.close(got[b], plain.deform_conv(arrays[0][b], arrays[1][b], *arrays[2:4], arrays[4][b], stride))
    plain.close(got, sampled_by_grid(x, offset, weight, bias, mask, stride))
    plain.close(got, run_node(x, offset, weight, bias, mask, stride))


def sampled_by_grid(x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, mask: Tensor, stride: int) -> Tensor:
    """Nine calls of grid_sample, in double precision since it works in shares of the picture."""
    height, width = x.shape[-2:]
    made = bias.double()[:, None, None].expand(len(x), -1, *mask.shape[-2:])
    for tap in range(9):
        rows = torch.arange(mask.shape[-2])[:, None] * stride - 1 + tap // 3 + offset[:, 2 * tap].double()
        columns = torch.arange(mask.shape[-1]) * stride - 1 + tap % 3 + offset[:, 2 * tap + 1].double()
        grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], -1)
        seen = F.grid_sample(x.double(), grid, align_corners=False) * mask[:, tap : tap + 1]
        made = made + torch.einsum("ec,bchw->behw", weight[:, :, tap // 3, tap % 3].double(), seen)
    return made


def run_node(x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, mask: Tensor, stride: int) -> Any:
    from onnx import TensorProto, helper

    from saccade.export.to_onnx import session

    given = {"x": x, "weight": weight, "offset": offset, "bias": bias, "mask": mask}
    node = helper.make_node(
        "DeformConv", list(given), ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[stride, stride]
    )
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(t.shape)) for name, t in given.items()]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "deform", values, [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return session(model)({name: t.numpy() for name, t in given.items()})["y"]


def test_one_step_over_the_levels_is_that_of_numpy(weights: dict[str, Tensor], plain: Any, noise: Any) -> None:
    w = plain.under(weights, "rpn.head.dyhead_tower.2.")
    step = DyConv(SMALL.channels, SMALL.channels, SMALL.channels // 4)
    step.load_state_dict({name: torch.from_numpy(array).float() for name, array in w.items()})
    sizes = [(5, 6), (3, 3), (2, 2)]
    maps = [noise(11 + i, 1, SMALL.channels, *size) for i, size in enumerate(sizes)]
    with torch.no_grad():
        got = step(maps)
    for one, want in zip(got, plain.dyconv([m[0].double().numpy() for m in maps], w), strict=True):
        plain.close(one[0], want, 1e-4)
