"""The embedding cache: what it keeps, what it forgets, and that many threads compute once."""

import threading
import time

import numpy as np
import pytest

import saccade
from saccade.runtime.cache import Cache, complete
from saccade.runtime.call import Call, Graph
from saccade.runtime.errors import ImageError, SettingsError

KB = np.zeros(1024, np.uint8)


def value(fill=0, count=1):
    return {"x": np.full(1024 * count, fill, np.uint8)}


def test_the_second_time_it_is_kept():
    cache, made = Cache(10_000), []

    def make():
        made.append(1)
        return value(7)

    first, second = cache.get(b"k", make), cache.get(b"k", make)
    assert made == [1]
    assert first["x"] is second["x"]
    assert first is not second
    counts = cache.counts
    assert (counts.hits, counts.misses, counts.entries, counts.nbytes) == (1, 1, 1, 1024)
    with pytest.raises(ValueError, match="read-only"):
        first["x"][0] = 1
    first["y"] = KB  # the dict is the caller's
    assert set(cache.get(b"k", make)) == {"x"}


def test_what_was_not_asked_for_longest_goes_first():
    cache = Cache(3 * 1024)
    for key in (b"a", b"b", b"c"):
        cache.get(key, value)
    cache.get(b"a", value)
    cache.get(b"d", value)  # b goes
    assert cache.counts.evictions == 1
    before = cache.counts.misses
    for key in (b"a", b"c", b"d"):
        cache.get(key, value)
    assert cache.counts.misses == before
    cache.get(b"b", value)
    assert cache.counts.misses == before + 1
    assert cache.counts.nbytes == 3 * 1024


def test_what_is_larger_than_the_budget_is_handed_out_and_not_kept():
    cache = Cache(2000)
    cache.get(b"small", value)
    big = cache.get(b"big", lambda: value(count=2))
    assert big["x"].nbytes == 2048
    assert cache.counts.entries == 1
    assert cache.counts.evictions == 0
    assert Cache(0).get(b"k", value)["x"].nbytes == 1024


def test_an_error_is_not_kept():
    cache, tries = Cache(10_000), []

    def make():
        tries.append(1)
        if len(tries) == 1:
            raise ImageError("[x] broken", hint="again")
        return value()

    with pytest.raises(ImageError):
        cache.get(b"k", make)
    assert cache.get(b"k", make)["x"].nbytes == 1024
    assert len(tries) == 2


def together(cache, make, count=8):
    """`count` threads that ask one key, all before it is made; their answers and errors."""
    answers, errors = [], []

    def ask():
        try:
            answers.append(cache.get(b"k", make))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, answers, errors


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_threads_that_ask_the_same_compute_once():
    cache, made, go = Cache(10_000), [], threading.Event()

    def make():
        made.append(1)
        assert go.wait(20)
        return value(3)

    threads, answers, errors = together(cache, make)
    wait_for(lambda: cache.counts.joined == 7)
    go.set()
    for thread in threads:
        thread.join(20)
    assert made == [1]
    assert not errors
    assert len({id(a["x"]) for a in answers}) == 1
    assert len(answers) == 8
    assert cache.counts.misses == 1


def test_an_error_reaches_everybody_who_waits():
    cache, go = Cache(10_000), threading.Event()

    def make():
        assert go.wait(20)
        raise ImageError("[x] broken", hint="again")

    threads, answers, errors = together(cache, make)
    wait_for(lambda: cache.counts.joined == 7)
    go.set()
    for thread in threads:
        thread.join(20)
    assert not answers
    assert [type(e) for e in errors] == [ImageError] * 8
    assert cache.get(b"k", value)["x"].nbytes == 1024


def test_when_the_one_who_computes_is_interrupted_another_does_it():
    cache, made, go = Cache(10_000), [], threading.Event()

    def make():
        made.append(1)
        if len(made) == 1:
            assert go.wait(20)
            raise KeyboardInterrupt
        return value(5)

    threads, answers, errors = together(cache, make)
    wait_for(lambda: cache.counts.joined == 7)
    go.set()
    for thread in threads:
        thread.join(20)
    assert [type(e) for e in errors] == [KeyboardInterrupt]
    assert len(answers) == 7
    assert len(made) == 2


def test_under_many_threads_the_books_balance():
    cache, rng = Cache(20 * 1024), np.random.default_rng(0)
    keys = rng.zipf(1.3, (8, 300)) % 64

    def work(row):
        for key in row:
            assert cache.get(bytes([key]), lambda key=key: value(key))["x"][0] == key

    threads = [threading.Thread(target=work, args=(row,)) for row in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    counts = cache.counts
    assert counts.hits + counts.joined + counts.misses == keys.size
    assert counts.misses - counts.evictions == counts.entries
    assert counts.nbytes == counts.entries * 1024 <= 20 * 1024
    cache.clear()
    assert cache.counts.nbytes == cache.counts.entries == 0


def test_the_key_covers_all_that_the_answer_depends_on(toy_sam, write_toy, tmp_path):
    write_toy(tmp_path / "other.bundle", name="other")
    one, two = (saccade.Bundle.open(p) for p in (toy_sam, tmp_path / "other.bundle"))
    about = {"backend": "onnxruntime", "version": "1", "device": "cpu", "precision": "fp32"}
    pixels = np.zeros((1, 3, 128, 128), np.float32)

    def key(bundle=one, graph="encoder", array=pixels, content=b"picture", tenant="", **changed):
        return complete(Call(Graph(bundle, graph), {"pixels": array}, lambda: content), {**about, **changed}, tenant)

    assert len(key()) == 32
    assert key() == key()
    others = [
        key(bundle=two),
        key(graph="decoder"),
        key(array=pixels.reshape(3, 1, 128, 128)),
        key(array=pixels.astype(np.float16)),
        key(content=b"another"),
        key(tenant="somebody"),
        key(precision="int8"),
        key(backend="openvino"),
        key(device="cuda"),
    ]
    assert len({key(), *others}) == len(others) + 1


@pytest.mark.parametrize("bad", [-1, 1.5, "many", None])
def test_a_budget_is_a_number_of_bytes(bad):
    with pytest.raises(SettingsError):
        Cache(bad)


def test_a_model_keeps_what_it_encoded(toy_sam):
    rng = np.random.default_rng(1)
    one, two = (rng.integers(0, 255, (40, 60, 3), np.uint8) for _ in range(2))
    with saccade.load(toy_sam, cache_bytes=1 << 20) as model:
        first, again, other = model.encode(one), model.encode(one.copy()), model.encode(two)
        assert first.features["embedding"] is again.features["embedding"]
        assert not np.array_equal(first.features["embedding"], other.features["embedding"])
        assert (model.cache.counts.hits, model.cache.counts.misses) == (1, 2)
        turned = model.encode(one.reshape(60, 40, 3))  # the same bytes, another picture
        assert model.cache.counts.misses == 3
        assert turned.frame.original == (60, 40)
        want = saccade.load(toy_sam).encode(one).segment(points=[(9, 9)])
        assert again.segment(points=[(9, 9)]).rle == want.rle
    assert model.cache.counts.nbytes == 0
    with saccade.load(toy_sam) as model:
        assert model.cache is None
        assert model.encode(one).features["embedding"] is not model.encode(one).features["embedding"]


def test_a_view_outlives_its_place_in_the_cache(toy_sam):
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 255, (40, 60, 3), np.uint8) for _ in range(5)]
    with saccade.load(toy_sam, cache_bytes=3000) as model:
        views = [model.encode(p) for p in pictures]
        assert model.cache.counts.evictions == 3
        assert len(views[0].segment(points=[(3, 3)])) == 3
