"""A model's input equals what the usual pipelines of Pillow and NumPy make."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import PIL
import pytest
from PIL import Image as Pillow

from saccade.runtime.errors import SpecError
from saccade.runtime.image import decode
from saccade.runtime.preprocess import Preprocess

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CLIP = Preprocess(size=(224, 224), crop="center", **IMAGENET)
SAM = Preprocess(size=(1024, 1024), resize="longest", filter="bilinear", **IMAGENET)
DETR = Preprocess(resize="shortest", edge=80, limit=133, filter="bilinear", **IMAGENET)
SHAPES = [(480, 640), (640, 480), (224, 224), (100, 1000), (37, 211), (225, 224), (1, 1), (1080, 1920)]

same_bytes = pytest.mark.skipif(
    int(PIL.__version__.split(".")[0]) < 13, reason="the order of the passes is that of Pillow 13"
)


def picture(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def normal(pixels):
    floats = pixels.astype(np.float32) * np.float32(1 / 255)
    return ((floats - np.float32(IMAGENET["mean"])) / np.float32(IMAGENET["std"])).transpose(2, 0, 1)


@same_bytes
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rounding", ["floor", "round"])
def test_shortest_edge_and_centre_crop(shape, rounding):
    """torchvision: Resize(224), CenterCrop(224); transformers' CLIPImageProcessor with the other rounding."""
    pixels = picture(*shape)
    short, long = min(shape), max(shape)
    longer = int(224 * long / short)
    size = (224, longer) if shape[0] <= shape[1] else (longer, 224)
    top, left = ((n - 224) // 2 if rounding == "floor" else int(round((n - 224) / 2.0)) for n in size)
    resized = Pillow.fromarray(pixels).resize(size[::-1], Pillow.Resampling.BICUBIC)
    cropped = resized.crop((left, top, left + 224, top + 224))
    ours, frame = msgspec.structs.replace(CLIP, crop_rounding=rounding)(decode(pixels))
    np.testing.assert_array_equal(ours, normal(np.asarray(cropped))[None])
    assert (frame.original, frame.resized, frame.offset) == (shape, size, (-top, -left))


@pytest.mark.parametrize(("n", "floor", "round_"), [(227, 1, 2), (225, 0, 0), (224, 0, 0), (223, -1, 0), (221, -2, -1)])
def test_half_a_pixel_of_the_crop(n, floor, round_):
    """Too small pictures: transformers puts the odd black pixel first, torchvision last."""
    for rounding, top in (("floor", floor), ("round", round_)):
        p = Preprocess(size=(224, 224), resize="none", crop="center", crop_rounding=rounding)
        assert p.frame(n, 224).offset == (-top, 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_longest_edge_and_padding(shape):
    """segment-anything: ResizeLongestSide.get_preprocess_shape, then normalise, then pad."""
    factor = 1024 * 1.0 / max(shape)
    size = tuple(max(int(n * factor + 0.5), 1) for n in shape)
    ours, frame = SAM(decode(picture(*shape)))
    assert frame.resized == size
    assert ours.shape == (1, 3, 1024, 1024)
    assert not ours[:, :, size[0] :].any()
    assert not ours[:, :, :, size[1] :].any()
    if int(PIL.__version__.split(".")[0]) >= 13:
        resized = Pillow.fromarray(picture(*shape)).resize(size[::-1], Pillow.Resampling.BILINEAR)
        np.testing.assert_array_equal(ours[0, :, : size[0], : size[1]], normal(np.asarray(resized)))


def detr_size(height, width, size, most):
    """transformers' get_size_with_aspect_ratio, restated."""
    short, long = float(min(height, width)), float(max(height, width))
    exact = most * short / long if long / short * size > most else None
    size = int(round(exact)) if exact is not None else size
    if size in (short,):
        return height, width
    longer = int((exact or size) * long / short)
    return (size, longer) if height <= width else (longer, size)


@pytest.mark.parametrize("shape", [*SHAPES[:6], (333, 500), (80, 300), (300, 80), (51, 500)])
def test_shortest_edge_with_a_limit(shape):
    assert DETR.shape_for(*shape) == detr_size(*shape, 80, 133)
    ours, frame = DETR(decode(picture(*shape)))
    assert ours.shape[2:] == frame.size == frame.resized


@same_bytes
def test_squash():
    p = Preprocess(size=(31, 57), resize="squash", filter="lanczos", **IMAGENET)
    ours, _ = p(decode(picture(90, 40)))
    resized = Pillow.fromarray(picture(90, 40)).resize((57, 31), Pillow.Resampling.LANCZOS)
    np.testing.assert_array_equal(ours[0], normal(np.asarray(resized)))


def test_a_batch_equals_its_pictures():
    images = [decode(picture(*shape)) for shape in SHAPES[:4]]
    for p in (CLIP, SAM):
        pixels, frames = p.batch(images)
        for image, one, frame in zip(images, pixels, frames, strict=True):
            alone, its = p(image)
            np.testing.assert_array_equal(one, alone[0])
            assert frame == its


def test_a_batch_of_free_sizes_is_padded_to_the_largest():
    images = [decode(picture(*shape)) for shape in ((40, 60), (60, 40))]
    pixels, frames = DETR.batch(images)
    assert pixels.shape == (2, 3, 120, 120)
    assert [frame.resized for frame in frames] == [(80, 120), (120, 80)]
    assert {frame.size for frame in frames} == {(120, 120)}
    np.testing.assert_array_equal(pixels[0, :, :80], DETR(images[0])[0][0])
    assert not pixels[0, :, 80:].any()


def test_an_empty_batch():
    assert CLIP.batch([])[0].shape[:2] == (0, 3)


def test_out_is_filled_in_place():
    batch = np.zeros((2, 3, 224, 224), np.float32)
    ours, _ = CLIP(decode(picture(50, 50)), out=batch[1:])
    assert np.shares_memory(ours, batch)
    assert batch[1].any()
    assert not batch[0].any()
    with pytest.raises(SpecError, match="out"):
        CLIP(decode(picture(50, 50)), out=batch)


def test_what_does_not_fit_is_refused():
    p = Preprocess(size=(64, 64), resize="none")
    with pytest.raises(SpecError, match="65 x 3") as caught:
        p(decode(picture(65, 3)))
    assert "crop" in caught.value.hint
    with pytest.raises(SpecError, match="at most"):
        Preprocess(resize="shortest", edge=224)(decode(picture(1, 9000)))


def test_extreme_shapes_cost_no_memory():
    ours, _ = CLIP(decode(picture(1, 9000)))
    assert ours.shape == (1, 3, 224, 224)


def test_fields_survive_json_and_make_the_digest():
    for p in (CLIP, SAM, DETR):
        again = Preprocess.read(msgspec.json.decode(msgspec.json.encode(p.fields())))
        assert again == p
        assert again.digest == p.digest
    assert len({p.digest for p in (CLIP, SAM, DETR, msgspec.structs.replace(CLIP, crop_rounding="round"))}) == 4


WRONG = [
    {"resize": "stretch"},
    {"crop": "corner"},
    {"crop_rounding": "up"},
    {"filter": "cubic"},
    {"antialias": "torch"},
    {"size": (0, 4)},
    {"size": (4, 1 << 20)},
    {"size": (4, 4, 4)},
    {"size": None},
    {"edge": -1},
    {"size": 224},
    {"mean": 0.5},
    {"mean": (0.0,) * 4, "std": (1.0,) * 2},
    {"limit": 1 << 20},
    {"scale": 0.0},
    {"scale": math.inf},
    {"mean": (0.0, 0.0)},
    {"mean": (0.0, 0.0, math.nan)},
    {"std": (1.0, 1.0, 0.0)},
    {"std": (1.0, 1.0, 1e-60)},
    {"pad_value": math.nan},
]


@pytest.mark.parametrize("fields", WRONG, ids=str)
def test_nonsense_is_refused(fields):
    fields = {"size": (224, 224), "crop": "center", **fields}
    with pytest.raises(SpecError) as caught:
        Preprocess(**fields)
    assert caught.value.hint
    with pytest.raises(SpecError):
        Preprocess.read(fields)


@pytest.mark.parametrize("fields", [{"size": "big"}, {"colour": "BGR"}, {"size": (4, 4), "scale": "1/255"}, [1], None])
def test_json_of_other_types_is_refused(fields):
    with pytest.raises(SpecError):
        Preprocess.read(fields)
