"""examples/: they run as they stand, and what they compose gives the same with and without a scheduler."""

import importlib.util
import random
import subprocess
import sys
from concurrent.futures import wait
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import saccade
from saccade.runtime.errors import DeadlineExceeded, Superseded
from saccade.zoo.shipped import bundle_path, names, truth

FOLDER = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.skipif("sam-tiny" not in names(), reason="this build has no sam-tiny")


@pytest.fixture(scope="module")
def rerank():
    spec = importlib.util.spec_from_file_location("rerank", FOLDER / "rerank.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def models():
    quiet = {"threads": 1, "spin": False}
    with saccade.load(bundle_path("sam-tiny"), **quiet) as sam, saccade.load(bundle_path("clip-tiny"), **quiet) as clip:
        yield sam, clip


def same(got, want):
    """Results of a question, one beside others: equal but for rounding. A pixel on an edge may fall to either side."""
    if isinstance(want, np.ndarray):
        np.testing.assert_allclose(got, want, atol=2e-3)
        return
    assert len(got) == len(want)
    np.testing.assert_allclose(got.score, want.score, atol=2e-3)
    if want.area.min(initial=100) > 50:
        assert got.iou(want).diagonal().min() > 0.97


def kinds(rerank, sam, clip, pictures, view):
    """Questions to both families and to both at once: name → a fresh pipeline."""

    def reranked(picture):
        return (yield from rerank.find(sam.pipeline, clip.pipeline, picture, ["a red circle", "a blue star"]))[1]

    def embedded(pipeline):
        return (yield from pipeline).vectors

    def scored(picture):
        return (yield from clip.pipeline.classify(picture, ["a red circle", "a blue star", "a moon"])).values

    made = {f"rerank {p.stem}": lambda p=p: reranked(p) for p in pictures[:1]}
    made |= {f"embed {p.stem}": lambda p=p: embedded(clip.pipeline.encode_image(p)) for p in pictures[:4]}
    made |= {
        f"text {t}": lambda t=t: embedded(clip.pipeline.encode_text(t)) for t in ("a red circle", "two blue stars")
    }
    made |= {f"classify {p.stem}": lambda p=p: scored(p) for p in pictures[:3]}
    for x, y in ((60, 60), (100, 140), (200, 90)):
        made[f"click {x} {y}"] = lambda x=x, y=y: sam.pipeline.segment(view, points=[[x, y]], multimask=False)
        made[f"box {x} {y}"] = lambda x=x, y=y: sam.pipeline.segment(view, boxes=[x - 40, y - 40, x + 40, y + 40])
        made[f"picture {x}"] = lambda x=x, y=y: sam.pipeline.segment(pictures[3], points=[[x, y]], multimask=False)
    return made


@pytest.mark.parametrize("policy", [{}, {"workers": 2, "max_delay_ms": 2.0}], ids=str)
def test_both_families_give_the_same_alone_and_in_random_traffic(rerank, models, pictures, policy):
    sam, clip = models
    view = sam.encode(pictures[0])
    asks = kinds(rerank, sam, clip, pictures, view)
    want = {name: _direct(models, ask()) for name, ask in asks.items()}
    rng = random.Random(len(str(policy)))
    with saccade.Scheduler(sam, clip, **policy) as scheduler:
        for name in asks:  # alone
            same(scheduler.call(asks[name]()), want[name])
        made = []
        for number in range(60):
            name = rng.choice(list(asks))
            if name.startswith("rerank") and rng.random() < 0.8:
                name = "text a red circle"
            stream = f"camera {name}" if rng.random() < 0.2 else ""
            terms = {"priority": rng.randint(-1, 1), "stream": stream, "tenant": rng.choice(["", "a"])}
            future = scheduler.submit(asks[name](), deadline_ms=rng.choice([None, None, 60_000]), **terms)
            made.append((name, future))
            if rng.random() < 0.1:
                future.cancel()
            if number % 20 == 10:
                wait([future], 60)
        for name, future in made:
            if not future.cancelled():
                error = future.exception(60)
                assert error is None or isinstance(error, Superseded | DeadlineExceeded), error
                if error is None:
                    same(future.result(0), want[name])
        counts = scheduler.journal.counts()
        assert counts["error"] == counts["open"] == 0
        assert counts["result"] > 30


def _direct(models, pipeline):
    """Without a scheduler: each call on its model's own engine, one after the other."""
    from saccade.runtime.direct import Direct

    homes = {graph: model.engines for model in models for graph in model.pipeline.graphs}
    return Direct(lambda graph: homes[graph](graph)).run(pipeline)


def test_rerank_finds_what_is_named(rerank, models, pictures):
    """Of the things in two pictures most are found by their name: the box that was drawn is the box that is found."""
    sam, clip = models
    found = []
    with saccade.Scheduler(sam, clip) as scheduler:
        for picture in pictures[2:4]:
            true = truth()[picture.name]
            phrases = sorted(set(true.labels))
            masks, scores = scheduler.call(rerank.find(sam.pipeline, clip.pipeline, picture, phrases))
            for k, phrase in enumerate(phrases):
                box = masks.boxes[scores[:, k].argmax()]
                found.append(
                    any(
                        overlap(box, b) > 0.7 for name, b in zip(true.labels, true.boxes, strict=True) if name == phrase
                    )
                )
    assert np.mean(found) >= 0.75, found


def overlap(one, other):
    both = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    inner = np.prod(np.maximum(both, 0))
    return inner / (np.prod(np.subtract(one[2:], one[:2])) + np.prod(np.subtract(other[2:], other[:2])) - inner)


def test_rerank_leaves_a_picture_behind(tmp_path):
    target = tmp_path / "rerank.png"
    done = subprocess.run(
        [sys.executable, str(FOLDER / "rerank.py"), "-o", str(target)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "a purple star" in done.stdout
    with Image.open(target) as picture:
        assert min(picture.size) > 400


def test_nothing_to_find_is_no_error(rerank, models):
    masks, scores = _direct(models, rerank.find(*(m.pipeline for m in models), np.zeros((64, 64, 3), np.uint8), ["x"]))
    assert scores.shape == (len(masks), 1)
