"""Words to boxes, on detectors that know colours: right answers, whatever else is asked beside, and what is refused."""

from concurrent.futures import wait

import numpy as np
import pytest

import saccade
from saccade.runtime.call import All, Call, Work
from saccade.runtime.errors import ImageError, InputError, ManifestError, TextError
from saccade.runtime.model import CACHES
from saccade.runtime.pipelines.grounding import Grounding

RED, BLUE = [32, 16, 48, 32], [0, 48, 16, 64]


@pytest.fixture(scope="module")
def model(grounding_bundle):
    with saccade.load(grounding_bundle, threads=1) as model:
        yield model


def watch(model, pipeline):
    """The pipeline's result and its steps."""
    steps = []

    def watched():
        try:
            step = next(pipeline)
            while True:
                steps.append(step)
                answer = yield step
                step = pipeline.send(answer)
        except StopIteration as end:
            return end.value

    return model.run(watched()), steps


def runs(model, pipeline):
    """The pipeline's result and the graph of each call."""
    result, steps = watch(model, pipeline)
    members = [m for step in steps for m in (step.members if isinstance(step, All) else (step,))]
    return result, [m.graph.name for m in members if isinstance(m, Call)]


def same(one, two):
    assert np.array_equal(one.boxes, two.boxes)
    assert np.array_equal(one.score, two.score)
    assert one.names == two.names


def test_it_finds_what_is_named(model, coloured):
    prompt = "a red circle. a blue square. a green thing."
    found = model.detect(coloured, prompt)
    assert found.names == ("a red circle", "a blue square")
    assert np.allclose(found.boxes, [RED, BLUE], atol=1e-4)
    assert found.phrases == ("a red circle", "a blue square", "a green thing")
    assert [prompt[s:e] for ((s, e),) in found.spans] == list(found.phrases)
    assert found.size == (64, 96)
    assert (found.score > 0.9).all()
    listed = model.detect(coloured, ["a red circle", "a blue square", "a green thing"])
    same(found, listed)
    assert listed.spans is None


@pytest.mark.parametrize("factor", [1, 2, 5])
def test_boxes_are_in_the_pictures_pixels(model, coloured, factor):
    large = coloured.repeat(factor, axis=0).repeat(factor, axis=1)
    for picture, flip in ((large, False), (large.transpose(1, 0, 2), True)):
        found = model.detect(picture, ["red"])
        want = np.array([RED], np.float32) * factor
        assert np.allclose(found.boxes, want[:, [1, 0, 3, 2]] if flip else want, atol=1e-3)


def test_padding_takes_no_part(model, coloured):
    tall = coloured[:, :32].copy()  # 64 x 32 goes to a third of the upright bucket
    tall[16:32, 16:32] = 255, 255, 0
    found = model.detect(tall, ["yellow", "blue"], size=(64, 96))
    assert found.names == ("yellow", "blue")
    assert np.allclose(found.boxes, [[16, 16, 32, 32], BLUE], atol=1e-4)


def test_three_vocabularies_on_one_engine(model, coloured):
    assert model.detect(coloured, "red. blue.").names == ("red", "blue")
    opened = dict(model.engines._opened)
    for words, names in ((["green", "white"], ()), (["blue thing", "a star"], ("blue thing",)), (["red"], ("red",))):
        assert model.detect(coloured, words).names == names
    assert model.engines._opened == opened


def test_words_that_come_again_cost_no_text_encoder(model, coloured):
    words = ["red circle", "a blue thing", "a white star"]
    model.detect(coloured, words)
    before = model.cache.counts
    model.detect(coloured[:, ::-1], words)
    after = model.cache.counts
    assert after.misses == before.misses
    assert after.hits == before.hits + 1
    assert model.cache.budget_bytes == CACHES["grounding"]
    _, called = runs(model, model.pipeline.detect(coloured, words))
    assert called == ["text", "detector_64x96"]


def test_the_cache_can_be_turned_off(grounding_bundle):
    with saccade.load(grounding_bundle, cache_bytes=0) as model:
        assert model.cache is None


def test_a_list_gives_what_each_picture_gives_alone(model, coloured):
    pictures = [
        coloured,
        coloured[::-1],
        coloured.transpose(1, 0, 2),
        coloured[:, ::-1],
        coloured[:48],
        coloured[:, :64],
    ]
    pictures = [np.ascontiguousarray(picture) for picture in pictures]
    many, called = runs(model, model.pipeline.detect(pictures, "red. blue. a green star."))
    assert called.count("text") == 1
    assert len(called) < 1 + len(pictures)
    for found, picture in zip(many, pictures, strict=True):
        same(found, model.detect(picture, "red. blue. a green star."))
        assert found.picture.pixels.shape == picture.shape


def test_what_else_is_in_the_batch_does_not_matter(model, coloured):
    """GroundingDINO issue 294: there, a word added to one item changes the others."""
    asked = [
        (coloured, "red. blue."),
        (coloured[:, ::-1], "a red circle next to the left of a blue star. green."),
        (coloured, "a blue square. a white thing. a yellow dog on the grass. red."),
        (coloured[::-1], ["blue"]),
    ]
    asked = [(np.ascontiguousarray(picture), words) for picture, words in asked]
    alone = [model.detect(*each) for each in asked]
    with saccade.Scheduler(model) as scheduler:
        futures = [scheduler.submit(model.pipeline.detect(*each)) for each in asked * 6]
        wait(futures)
        assert scheduler.journal.rows > scheduler.journal.runs  # some were merged
    for future, one in zip(futures, alone * 6, strict=True):
        found = future.result()
        assert found.names == one.names
        assert np.allclose(found.boxes, one.boxes, atol=1e-4)
        assert np.allclose(found.score, one.score, atol=1e-6)


def test_a_vocabulary_in_runs_finds_what_one_run_finds(toy_grounding, coloured, tmp_path):
    words = [f"{colour} {i}" for i in range(12) for colour in ("green", "white", "a", "on")] + ["red star", "blue dog"]
    found = {}
    for tokens in (512, 64, 24):
        path = tmp_path / f"{tokens}.bundle"
        toy_grounding.write_grounding(path, max_tokens=tokens)
        with saccade.load(path, threads=1) as model:
            found[tokens], called = runs(model, model.pipeline.detect(coloured, words))
            assert (len(called) == 2) == (tokens == 512)
    assert found[512].names == ("red star", "blue dog")
    for tokens in (64, 24):
        assert found[tokens].names == found[512].names
        assert np.allclose(found[tokens].boxes, found[512].boxes, atol=1e-4)
        assert np.allclose(found[tokens].score, found[512].score, atol=1e-6)


def test_a_box_has_its_best_phrase_or_every_one_in_runs_too(model, coloured):
    words = ["red", "red yellow", *(f"green {i}" for i in range(30))]
    one = model.detect(coloured, ["red", "red yellow"])
    assert one.names in (("red",), ("red yellow",))
    both = model.detect(coloured, ["red", "red yellow"], every=True)
    assert sorted(both.names) == ["red", "red yellow"]
    assert model.detect(coloured, words).names == one.names
    assert sorted(model.detect(coloured, words, every=True).names) == ["red", "red yellow"]


def test_ten_thousand_labels(toy_grounding, coloured, tmp_path):
    toy_grounding.write_grounding(tmp_path / "large.bundle", max_tokens=256)
    words = [f"a{i}" for i in range(5000)] + ["blue grass"] + [f"b{i}" for i in range(4999)]
    assert len(words) == 10_000
    with saccade.load(tmp_path / "large.bundle", threads=1) as model:
        found = model.detect(coloured, words)
    assert found.names == ("blue grass",)
    assert found.label.tolist() == [5000]


def test_a_caption_gives_boxes_with_places(model, coloured):
    caption = "A red dog is lying on the blue grass next to a frisbee"
    found = model.ground(coloured, caption)
    assert found.phrases == ("red dog", "blue grass", "frisbee")
    assert found.names == ("red dog", "blue grass")
    assert [caption[s:e] for ((s, e),) in found.spans] == list(found.phrases)
    assert np.allclose(found.boxes, [RED, BLUE], atol=1e-4)
    chosen = model.ground(coloured, caption, [(2, 5), [(24, 30), (30, 36)]])
    assert len(chosen) == 2
    assert chosen.spans[1] == ((24, 30), (30, 36))
    same(model.ground(coloured, caption, [(2, 9)]), found.of("red dog"))
    twice = "a red dog next to the red star"
    assert len(model.ground(coloured, twice)) == 1
    assert sorted(model.ground(coloured, twice, every=True).names) == ["red dog", "red star"]


def test_a_caption_of_5000_characters(model, coloured):
    caption = ("a star next to the circle. " * 200)[:4970] + ". the blue grass."
    found = model.ground(coloured, caption)
    (names,) = {found.names}
    assert names == ("blue grass",)
    ((start, end),) = found.spans[found.label[0]]
    assert caption[start:end] == "blue grass"


def test_glip_has_means_centerness_and_suppression(toy_grounding, coloured, tmp_path):
    toy_grounding.write_grounding(tmp_path / "glip.bundle", glip=True)
    with saccade.load(tmp_path / "glip.bundle", threads=1) as glip:
        assert glip.pipeline.nms == 0.6
        found = glip.detect(coloured, "red. blue.")
        assert found.names == ("red", "blue")
        sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
        table = toy_grounding._table()
        seen = table[[toy_grounding.VOCABULARY.index(w) for w in ("[CLS]", "red", ".", "blue", ".", "[SEP]")]]
        token = table[toy_grounding.VOCABULARY.index("red")] + 0.125 * seen.sum(axis=0)
        logit = 9 * (np.array([1, -1, -1]) @ token - 0.6)
        assert found.score[0] == pytest.approx(np.sqrt(sigmoid(logit) * sigmoid(1)), rel=1e-4)


def test_a_picture_three_pixels_wide(model):
    pixels = np.full((300, 3, 3), 128, np.uint8)
    pixels[100:200] = 255, 0, 0
    found = model.detect(pixels, "red. blue.", threshold=0.05)
    assert found.size == (300, 3)
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [3, 300, 3, 300]).all()
    one = np.full((1, 1, 3), 255, np.uint8)
    assert len(model.detect(one, "red")) <= 1


@pytest.mark.parametrize(
    ("ask", "error", "says"),
    [
        (lambda m, p: m.detect(p, ""), TextError, "empty"),
        (lambda m, p: m.detect(p, "..."), TextError, "nothing"),
        (lambda m, p: m.detect(p, []), TextError, "0 labels"),
        (lambda m, p: m.detect(p, ["red", "red"]), TextError, "twice"),
        (lambda m, p: m.detect(p, None), TextError, "list of strings"),
        (lambda m, p: m.detect(p, "кошка. собака."), TextError, "vocabulary"),
        (lambda m, p: m.detect(p, "red", threshold=1.01), InputError, "threshold"),
        (lambda m, p: m.detect(p, "red", threshold=-0.1), InputError, "threshold"),
        (lambda m, p: m.detect(p, "red", threshold=float("nan")), InputError, "threshold"),
        (lambda m, p: m.detect(p, "red", threshold="high"), InputError, "threshold"),
        (lambda m, p: m.detect(p, "red", nms=2), InputError, "nms"),
        (lambda m, p: m.detect(p, "red", size=(9, 9)), InputError, "size"),
        (lambda m, p: m.detect([], "red"), InputError, "no picture"),
        (lambda m, p: m.detect("none.png", "red"), ImageError, "none.png"),
        (lambda m, p: m.detect([p, b"garbage"], "red"), ImageError, "no format"),
        (lambda m, p: m.detect(np.zeros((0, 5, 3), np.uint8), "red"), ImageError, "no pixels"),
        (lambda m, p: m.ground(p, "it is on"), TextError, "no phrase"),
        (lambda m, p: m.ground(p, ""), TextError, "empty"),
        (lambda m, p: m.ground(p, None), TextError, "string"),
        (lambda m, p: m.ground(p, "a red dog", []), TextError, "no phrase"),
        (lambda m, p: m.ground(p, "a red dog", [(2, 99)]), TextError, "span"),
        (lambda m, p: m.ground(p, "собака на траве"), TextError, "vocabulary"),
    ],
)
def test_bad_input_is_a_typed_error_with_a_hint(model, coloured, ask, error, says):
    with pytest.raises(error, match=says) as caught:
        ask(model, coloured)
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_thresholds_at_their_ends(model, coloured):
    assert len(model.detect(coloured, "red", threshold=1)) == 0
    assert len(model.detect(coloured, "red", threshold=0)) == 24


def test_it_only_yields(model, coloured):
    """No engine, thread or device shows in the pipeline."""
    found, steps = watch(model, model.pipeline.detect(coloured, "red"))
    assert found.names == ("red",)
    assert {type(step) for step in steps} == {Work, Call, All}


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"sizes": []}, "sizes"),
        ({"sizes": [[64, 96], [32, 32]]}, "detector_32x32"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": 2}, "max_tokens"),
        ({"separators": ["."]}, "separators"),
    ],
)
def test_a_bundle_whose_config_means_nothing(toy_grounding, tmp_path, config, says):
    toy_grounding.write_grounding(tmp_path / "odd.bundle", **config)
    with pytest.raises(ManifestError, match=says):
        saccade.load(tmp_path / "odd.bundle")


def test_one_engine_for_all_sizes_where_the_graph_takes_any(grounding_bundle):
    pipeline = Grounding(saccade.Bundle.open(grounding_bundle))
    assert [graph.name for graph in pipeline.graphs] == ["text", "detector_64x96", "detector_96x64"]
