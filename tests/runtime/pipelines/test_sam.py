"""SAM's pipeline: views, prompts of every kind in one run, refinement; and what is refused."""

import threading

import numpy as np
import pytest
from PIL import Image

import saccade
from saccade.kernels.mask_decode import mask_decode
from saccade.runtime.call import Call, Work
from saccade.runtime.errors import Closed, ImageError, InputError, ManifestError, PromptError, SpecError
from saccade.runtime.masks import Masks
from saccade.runtime.pipelines.sam import Sam
from saccade.runtime.prompt import Prompt
from saccade.runtime.prompt_pack import BATCH
from saccade.runtime.view import View

HEIGHT, WIDTH = 70, 111


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture(scope="module")
def sam(toy_sam):
    with saccade.load(toy_sam, threads=1) as model:
        yield model


@pytest.fixture(scope="module")
def view(sam, picture):
    return sam.encode(picture)


@pytest.fixture(scope="module")
def sam2_path(write_toy, tmp_path_factory):
    target = tmp_path_factory.mktemp("sam2") / "sam2.bundle"
    write_toy(target, name="toy2", architecture="sam2", single="stable")
    return target


def runs(model, pipeline):
    """The result, and the inputs of each run of the decoder."""
    seen = []

    def watched():
        answer = None
        while True:
            try:
                step = pipeline.send(answer)
            except StopIteration as end:
                return end.value
            if isinstance(step, Call) and step.graph.name == "decoder":
                seen.append(step.inputs)
            answer = yield step

    return model.run(watched()), seen


def equal(one: Masks, two: Masks):
    assert one.rle == two.rle
    for name in ("boxes", "area", "stability", "score"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert np.array_equal(one.low, two.low)


def test_a_view_is_a_small_value(view, picture):
    assert len(repr(view)) < 100
    assert view.nbytes == view.features["embedding"].nbytes + picture.nbytes
    with pytest.raises(ValueError, match="read-only"):
        view.features["embedding"][0] = 0
    with pytest.raises(AttributeError):
        view.model = ""


def test_one_picture_in_every_form_gives_one_answer(sam, picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "p.png")
    want = sam.encode(picture).segment(points=[(30, 40)])
    path = tmp_path / "p.png"
    for form in (path, str(path), path.read_bytes(), Image.fromarray(picture), saccade.decode(picture)):
        equal(sam.segment(form, points=[(30, 40)]), want)
    assert sam.encode(path).picture.name == "p.png"


def test_a_click_gives_three_masks_and_the_rest_one(view):
    click = view.segment(points=[(30, 40)])
    assert len(click) == 3
    assert click.size == (HEIGHT, WIDTH)
    assert click.prompt.tolist() == [0, 0, 0]
    assert click.prompts[0].points.tolist() == [[30, 40]]
    assert len(view.segment(points=[(30, 40)], multimask=False)) == 1
    assert len(view.segment(points=[(30, 40), (33, 42)])) == 1
    assert len(view.segment(points=[(30, 40), (33, 42)], multimask=True)) == 3
    assert len(view.segment(boxes=(10, 10, 50, 50))) == 1
    # Which is which: the toy's radii are 20 for the single mask, then 10, 20, 40.
    assert click.area[0] < click.area[1] < click.area[2]


def test_masks_are_what_mask_decode_makes_of_the_logits(view):
    got = view.segment(boxes=[(10, 10, 50, 50), (60, 20, 100, 60)])
    valid = (round(HEIGHT * 128 / WIDTH), 128)
    want = mask_decode(got.low, (128, 128), valid, (HEIGHT, WIDTH), dense=True)
    assert got.rle == want.rle
    assert np.array_equal(got.dense(), want.dense)
    assert np.array_equal(got.stability, want.stability)
    x, y = got.boxes[1].reshape(2, 2).mean(axis=0)
    assert abs(x - 80) < 2
    assert abs(y - 40) < 2


def test_points_are_scaled_as_the_reference_does(sam, view):
    _, (inputs,) = runs(sam, sam.pipeline.segment(view, points=[(30, 40), (5, 6)], labels=[1, 0]))
    scale = 128 / WIDTH, round(HEIGHT * 128 / WIDTH) / HEIGHT
    want = [[30 * scale[0], 40 * scale[1]], [5 * scale[0], 6 * scale[1]], [0, 0]]
    assert np.allclose(inputs["points"][0, 0], want, atol=1e-5)
    assert inputs["labels"].tolist() == [[[1, 0, -1]]]
    assert not inputs["has_mask"].any()


MIXED = [
    Prompt(points=[(30, 40)]),
    Prompt(box=(10, 12, 60, 50)),
    Prompt(points=[(50, 20), (70, 30), (5, 5)], labels=[1, 1, 0]),
    Prompt(points=[(50, 20)], box=(40, 10, 70, 40)),
    Prompt(mask=np.linspace(-9, 9, 1024, dtype=np.float32).reshape(32, 32)),
    Prompt(points=[(50, 20)], mask=np.linspace(9, -9, 1024, dtype=np.float32).reshape(32, 32)),
]


def test_prompts_of_every_kind_share_one_run(sam, view):
    got, (inputs,) = runs(sam, sam.pipeline.segment(view, prompts=MIXED))
    assert inputs["labels"][0].tolist() == [
        [1, -1, -2, -2],
        [2, 3, -2, -2],
        [1, 1, 0, -1],
        [1, 2, 3, -2],
        [-2, -2, -2, -2],
        [1, -1, -2, -2],
    ]
    assert inputs["has_mask"][0].tolist() == [0, 0, 0, 0, 1, 1]
    assert got.prompt.tolist() == [0, 0, 0, 1, 2, 3, 4, 5]
    for i, prompt in enumerate(MIXED):
        alone = view.segment(prompts=prompt)
        assert np.allclose(got[got.prompt == i].low, alone.low, atol=1e-4)
        assert got[got.prompt == i].rle == alone.rle


def test_many_prompts_are_cut_into_runs(sam, view):
    rng = np.random.default_rng(2)
    points = rng.uniform(0, HEIGHT, (2 * BATCH + 5, 1, 2))
    got, seen = runs(sam, sam.pipeline.segment(view, points=points))
    assert [i["points"].shape[1] for i in seen] == [BATCH, BATCH, 5]
    assert got.prompt.tolist() == np.repeat(np.arange(len(points)), 3).tolist()
    equal(got[got.prompt == BATCH + 3], view.segment(points=points[BATCH + 3]))
    assert len(got.best) == len(points)


def test_logits_can_be_fed_back(sam, view):
    first = view.segment(points=[(30, 40)])
    again, (inputs,) = runs(sam, sam.pipeline.segment(view, points=[(30, 40), (60, 40)], mask=first.low[1]))
    assert np.array_equal(inputs["mask"][0, 0], first.low[1])
    assert inputs["has_mask"].tolist() == [[1]]
    assert len(again) == 1
    plain = view.segment(points=[(30, 40), (60, 40)])
    assert np.allclose(again.low, plain.low + 0.25 * first.low[1], atol=1e-4)  # the toy adds a quarter of it


def test_a_mask_of_pixels_is_laid_into_the_models_square(sam, view):
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[20:50, 40:90] = True
    _, (inputs,) = runs(sam, sam.pipeline.segment(view, mask=pixels))
    made = inputs["mask"][0, 0]
    back = mask_decode(made[None], (128, 128), (81, 128), (HEIGHT, WIDTH), dense=True).dense[0]
    assert (back & pixels).sum() / (back | pixels).sum() > 0.9
    assert (made[-10:] == -10).all()  # padding below the picture
    assert made.max() == 10


def test_it_only_yields(sam, view, picture):
    """No engine, thread or device shows in the pipeline."""
    encode = Sam(sam.bundle).encode(picture)
    image = next(encode)
    prepared = encode.send(image.function(*image.args))
    call = encode.send(prepared.function(*prepared.args))
    assert [type(step) for step in (image, prepared, call)] == [Work, Work, Call]
    assert call.key() == call.key() == saccade.decode(picture).digest.encode()
    with pytest.raises(StopIteration) as end:
        encode.send({"embedding": np.ones((1, 4, 8, 8), np.float32)})
    loose = end.value.value
    assert isinstance(loose, View)
    with pytest.raises(InputError, match="nothing drives it"):
        loose.segment(points=[(1, 1)])
    assert len(loose.bind(sam.run).segment(points=[(1, 1)])) == 3
    assert len(sam.run(sam.pipeline.segment(view, points=[(1, 1)]))) == 3


def test_a_view_serves_several_threads(view):
    prompts = [Prompt(points=[(10 + 9 * i, 30)]) for i in range(6)]
    want = [view.segment(prompts=p) for p in prompts]
    got, errors = {}, []

    def work(at):
        try:
            for _ in range(20):
                got[at] = view.segment(prompts=prompts[at])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(at,)) for at in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for at in range(6):
        equal(got[at], want[at])


def test_sam_2_goes_straight_to_the_picture_and_always_ends_the_points(sam2_path, picture):
    with saccade.load(sam2_path, threads=1) as model:
        view = model.encode(picture)
        got, (inputs,) = runs(model, model.pipeline.segment(view, prompts=MIXED[:2], multimask=True))
        assert inputs["labels"][0].tolist() == [[1, -1, -2], [2, 3, -1]]
        want = mask_decode(got.low, (32, 32), (32, 32), (HEIGHT, WIDTH))
        assert got.rle == want.rle
        again, (inputs,) = runs(model, model.pipeline.segment(view, mask=np.full((32, 32), 99, np.float32)))
        assert inputs["mask"].max() == 32


def test_sam_2_takes_the_best_of_three_where_the_first_is_unsteady(sam2_path, picture):
    with saccade.load(sam2_path, threads=1) as model:
        pipeline = model.pipeline
        logits = np.full((1, 3, 4, 32, 32), -5, np.float32)
        logits[0, 0, 0, :10] = 5  # steady
        logits[0, 1, 0, :10] = 0.01  # all of it within the margin
        iou = np.array([[[0.1, 0.2, 0.9, 0.3]] * 3], np.float32)  # the third prompt's first mask is empty: steady
        low, score, prompt = pipeline._choose({"logits": logits, "iou": iou}, np.zeros(3, bool))
        assert score.tolist() == pytest.approx([0.1, 0.9, 0.1])
        assert prompt.tolist() == [0, 1, 2]
        assert low.shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "no prompt"),
        ({"points": [(WIDTH + 1, 5)]}, "outside"),
        ({"points": [(5, float("nan"))]}, "NaN"),
        ({"points": [(5, 5)], "labels": [3]}, "labels"),
        ({"boxes": (9, 9, 9, 20)}, "a box"),
        ({"boxes": (0, 0, WIDTH + 9, 5)}, "sticks out"),
        ({"mask": np.zeros((33, 32), np.float32)}, "a mask"),
        ({"mask": np.zeros((HEIGHT, WIDTH + 1), bool)}, "a mask"),
        ({"points": np.ones((100_000, 1, 2))}, "100,000"),
        ({"prompts": []}, "no prompt"),
    ],
)
def test_bad_prompts_are_refused_before_anything_is_encoded(sam, picture, view, asked, says):
    calls = []
    pipeline = sam.pipeline.segment(picture, **asked)

    def watched():
        step = next(pipeline)
        while True:
            calls.append(type(step))
            answer = yield step
            step = pipeline.send(answer)

    with pytest.raises(PromptError, match=says) as caught:
        sam.run(watched())
    assert caught.value.hint
    assert Call not in calls
    with pytest.raises(PromptError, match=says):
        view.segment(**asked)
    assert len(view.segment(points=[(1, 1)])) == 3  # the view is as good as before


def test_a_view_of_another_model_is_refused(sam2_path, view):
    with saccade.load(sam2_path) as other:
        for ask in (lambda: other.segment(view, points=[(1, 1)]), lambda: other.everything(view)):
            with pytest.raises(SpecError, match=view.model[:12]) as caught:
                ask()
            assert caught.value.hint


def test_a_closed_model_answers_nothing(toy_sam, picture):
    model = saccade.load(toy_sam)
    view = model.encode(picture)
    model.close()
    for ask in (lambda: view.segment(points=[(1, 1)]), lambda: model.encode(picture)):
        with pytest.raises(Closed):
            ask()


def test_what_is_no_picture_is_refused(sam):
    with pytest.raises(ImageError):
        sam.encode(b"garbage")
    with pytest.raises(ImageError):
        sam.segment("none.png", points=[(1, 1)])


def test_a_bundle_without_the_size_of_its_logits_is_refused(write_toy, tmp_path):
    write_toy(tmp_path / "odd.bundle", low="32")
    with pytest.raises(ManifestError, match="low"):
        saccade.load(tmp_path / "odd.bundle")
