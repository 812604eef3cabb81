"""What a graph takes and gives: said well when it is not met."""

import msgspec
import numpy as np
import pytest

from saccade.runtime.errors import SpecError
from saccade.runtime.spec import GraphSpec, Padding, TensorSpec, describe, zeros

PIXELS = TensorSpec("pixels", "float32", ("B", 3, "H", "W"))
POINTS = TensorSpec("points", "float32", ("B", "P", 2))
MASKS = TensorSpec("masks", "bool", ("B", "P", "H", "W"))
SPEC = GraphSpec((PIXELS, POINTS), (MASKS,), "B", (Padding("P", {"points": 0.0}, (1, 4, 16)),), {"H": (8, 64)})


def arrays(**changes):
    made = {"pixels": np.zeros((2, 3, 8, 9), np.float32), "points": np.zeros((2, 5, 2), np.float32)}
    return {**made, **changes}


def test_sizes_of_the_named_dims():
    assert SPEC.check(arrays()) == {"B": 2, "H": 8, "W": 9, "P": 5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixels": np.zeros((2, 3, 8, 9))}, "pixels: expected (B, 3, H, W) float32, got (2, 3, 8, 9) float64"),
        ({"pixels": np.zeros((2, 3, 8, 9), ">f4")}, "pixels: expected (B, 3, H, W) float32, got (2, 3, 8, 9) >f4"),
        ({"pixels": np.zeros((3, 8, 9), np.float32)}, "pixels: expected (B, 3, H, W) float32, got (3, 8, 9) float32"),
        ({"pixels": np.zeros((2, 4, 8, 9), np.float32)}, "pixels: expected (B, 3, H, W) float32, got (2, 4, 8, 9)"),
        (
            {"points": np.zeros((1, 5, 2), np.float32)},
            "points: expected (B, P, 2) float32 with B = 2 as in the inputs before",
        ),
        ({"pixels": np.zeros((2, 3, 7, 9), np.float32)}, "H: between 8 and 64, got 7"),
        ({"pixels": np.zeros((2, 3, 65, 9), np.float32)}, "H: between 8 and 64, got 65"),
        ({"points": [[1, 2]]}, "points: expected (B, P, 2) float32, got list"),
        ({"points": None}, "points: expected (B, P, 2) float32, got NoneType"),
        ({"points": "x"}, "got str"),
        ({"more": np.zeros(1)}, "inputs: expected pixels, points, got pixels, points, more"),
        ({"\x1b[2J": np.zeros(1)}, r"got pixels, points, \x1b[2J"),
    ],
)
def test_what_does_not_fit_is_said(change, message):
    with pytest.raises(SpecError) as caught:
        SPEC.check(arrays(**change), "encoder")
    assert str(caught.value).startswith("[encoder] ")
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert caught.value.hint


def test_names_that_are_missing_or_misspelt():
    with pytest.raises(SpecError, match="expected pixels, points, got none"):
        SPEC.check({})
    with pytest.raises(SpecError, match="got pixel, points"):
        SPEC.check({"pixel": arrays()["pixels"], "points": arrays()["points"]})
    with pytest.raises(SpecError) as caught:
        SPEC.check({f"{i}" * 999: 0 for i in range(999)})
    assert len(str(caught.value)) < 2000


def test_shapes_of_the_outputs():
    assert SPEC.shapes({"B": 2, "P": 5, "H": 8, "W": 9}) == {"masks": (2, 5, 8, 9)}
    assert GraphSpec((PIXELS,), (TensorSpec("kept", "int64", ("N",)),)).shapes({"B": 1, "H": 1, "W": 1}) is None
    made = zeros((MASKS, TensorSpec("kept", "bfloat16", ("N", 2))), {"B": 2, "P": 5, "H": 8, "W": 9})
    assert (made["masks"].shape, made["masks"].dtype) == ((2, 5, 8, 9), np.bool_)
    assert (made["kept"].shape, made["kept"].dtype) == ((1, 2), np.uint16)


def test_buckets():
    pad = SPEC.pads[0]
    assert [pad.bucket(size) for size in (0, 1, 2, 4, 5, 16)] == [1, 1, 4, 4, 16, 16]
    with pytest.raises(SpecError, match="P: at most 16, got 17"):
        pad.bucket(17)
    assert Padding("P", {}).bucket(17) == 17


@pytest.mark.parametrize(
    "make",
    [
        lambda: TensorSpec("Pixels", "float32", ()),
        lambda: TensorSpec("", "float32", ()),
        lambda: TensorSpec("x" * 65, "float32", ()),
        lambda: TensorSpec("x\n", "float32", ()),
        lambda: TensorSpec("x", "float", ()),
        lambda: TensorSpec("x", "float32", ("b",)),
        lambda: TensorSpec("x", "float32", (-1,)),
        lambda: TensorSpec("x", "float32", (2**31,)),
        lambda: Padding("P", {}, (4, 1)),
        lambda: Padding("P", {}, (1, 1)),
        lambda: Padding("P", {}, (0, 1)),
        lambda: GraphSpec((PIXELS,), (PIXELS,)),
        lambda: GraphSpec((), (MASKS,)),
        lambda: GraphSpec((PIXELS,), ()),
        lambda: GraphSpec((PIXELS,), (MASKS,), batch="P"),
        lambda: GraphSpec((PIXELS,), (MASKS,), pads=(Padding("P", {}),)),
        lambda: GraphSpec((PIXELS,), (MASKS,), limits={"P": (1, 2)}),
        lambda: GraphSpec((PIXELS,), (MASKS,), limits={"B": (2, 1)}),
    ],
)
def test_specs_that_mean_nothing(make):
    with pytest.raises(ValueError, match=r"\w"):
        make()


def test_specs_survive_json():
    assert msgspec.json.decode(msgspec.json.encode(SPEC), type=GraphSpec) == SPEC


def test_describe():
    assert describe(np.zeros((2, 3), np.int8)) == "(2, 3) int8"
    assert describe(3) == "int"
