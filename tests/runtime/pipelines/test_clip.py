"""CLIP's pipeline on the shipped bundle: right answers, right errors, and nothing but yields."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

import saccade
from saccade.runtime.call import Call, Work
from saccade.runtime.errors import ImageError, InputError, TextError
from saccade.runtime.pipelines.clip import BATCH, Clip
from saccade.zoo.shipped import truth


@pytest.fixture(scope="module")
def bundle(clip_bundle):
    return saccade.Bundle.open(clip_bundle, hard_links=True)


@pytest.fixture(scope="module")
def clip(bundle):
    with saccade.load(bundle) as model:
        yield model


def test_shipped_pictures_are_what_their_captions_say(clip, pictures):
    """The demo's claim. The tiny model is not perfect (docs/zoo.md), so most must be right, not all."""
    labels = list(clip.bundle.manifest.labels)
    known = truth()
    best = clip.classify(pictures, labels).best
    right = sum(label in known[p.name].labels for p, label in zip(pictures, best, strict=True))
    assert len(labels) >= 64
    assert right >= 0.75 * len(pictures)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_variant_gives_the_trained_models_embeddings(bundle, precision):
    from saccade.runtime.precision import cosine

    golden = bundle.golden()
    with saccade.load(bundle, precision=precision) as model:
        for graph in model.pipeline.graphs:
            tensor = graph.spec.inputs[0].name

            def one(graph=graph, tensor=tensor):
                return (yield Call(graph, {tensor: golden[f"{graph.name}.{tensor}"]}))

            got = model.run(one())["embedding"]
            assert cosine(got, golden[f"{graph.name}.embedding"]).min() >= 0.99


def test_one_picture_in_every_form_gives_one_embedding(clip, pictures):
    path = pictures[0]
    with Image.open(path) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    forms = [
        path,
        str(path),
        path.read_bytes(),
        io.BytesIO(path.read_bytes()).getbuffer(),
        Image.fromarray(pixels),
        pixels,
    ]
    vectors = [clip.encode_image(form).vectors for form in forms]
    assert all(np.array_equal(v, vectors[0]) for v in vectors)
    assert vectors[0].shape == (1, clip.bundle.manifest.config["embedding"])
    assert np.linalg.norm(vectors[0]) == pytest.approx(1, abs=1e-6)


def test_a_list_longer_than_a_batch_keeps_its_order(clip, pictures):
    many = (pictures * 3)[: BATCH + 3]
    together = clip.encode_image(many)
    alone = np.concatenate([clip.encode_image(p).vectors for p in pictures])
    want = np.concatenate([alone] * 3)[: BATCH + 3]
    assert np.allclose(together.vectors, want, atol=1e-5)
    texts = [
        f"a {c} {s}"
        for c in ("red", "green", "blue")
        for s in ("circle", "star", "ring", "cross", "square", "triangle")
    ]
    together = clip.encode_text(texts)
    alone = np.concatenate([clip.encode_text(t).vectors for t in texts])
    assert together.names == tuple(texts)
    assert np.allclose(together.vectors, alone, atol=1e-5)


def test_padding_a_text_does_not_change_it(clip):
    short, long = "a red circle", "a picture of a small striped red circle left of a large blue star"
    alone = clip.encode_text(short).vectors[0]
    assert np.allclose(clip.encode_text([short, long]).vectors[0], alone, atol=1e-5)


def test_a_classifier_is_the_mean_of_its_prompts(clip, pictures):
    templates = ("a picture of {}", "there is {}")
    made = clip.classifier(["a red circle", "a blue star"], templates)
    first = clip.encode_text([t.replace("{}", "a red circle") for t in templates]).vectors.mean(axis=0)
    assert np.allclose(made.weights[0], first / np.linalg.norm(first), atol=1e-6)
    direct = clip.classify(pictures[:2], ["a red circle", "a blue star"], templates)
    assert np.array_equal(clip.classify(pictures[:2], made).values, direct.values)
    assert np.allclose(direct.values.sum(axis=1), 1, atol=1e-6)


def test_it_only_yields(bundle, pictures):
    """No engine, thread or device shows in the pipeline: by hand, the steps are Work, Work, Call."""
    pipeline = Clip(bundle).encode_image(pictures[0])
    image = next(pipeline)
    batch = pipeline.send(image.function(*image.args))
    call = pipeline.send(batch.function(*batch.args))
    assert [type(step) for step in (image, batch, call)] == [Work, Work, Call]
    assert call.key() == call.key() != b""
    with pytest.raises(StopIteration) as end:
        pipeline.send({"embedding": np.ones((1, 4), np.float32)})
    assert end.value.value.vectors.tolist() == [[0.5] * 4]


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda c, p: c.encode_image([]), InputError, "no picture"),
        (lambda c, p: c.encode_image("none.png"), ImageError, "none.png"),
        (lambda c, p: c.encode_image([p, b"garbage"]), ImageError, "no format"),
        (lambda c, p: c.encode_image(None), ImageError, "NoneType"),
        (lambda c, p: c.encode_text([]), TextError, "no text"),
        (lambda c, p: c.encode_text([""]), TextError, "empty"),
        (lambda c, p: c.encode_text(["x" * 100_001]), TextError, "100,000|100000"),
        (lambda c, p: c.encode_text([7]), TextError, "int"),
        (lambda c, p: c.classify(p, []), TextError, "no labels"),
        (lambda c, p: c.classify(p, ["a", "a"]), TextError, "twice"),
        (lambda c, p: c.classify(p, ["a"], ["no place"]), TextError, "template"),
        (lambda c, p: c.classify(p, ["a"], []), TextError, "template"),
    ],
)
def test_bad_input_is_a_typed_error_with_a_hint(clip, pictures, call, error, says):
    with pytest.raises(error, match=says) as caught:
        call(clip, pictures[0])
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_several_threads_may_use_one_model(clip, pictures):
    want = [clip.encode_image(p).vectors for p in pictures[:4]]
    got: dict[int, np.ndarray] = {}

    def work(at: int) -> None:
        for _ in range(5):
            got[at] = clip.encode_image(pictures[at]).vectors

    threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(got[at], want[at]) for at in range(4))
