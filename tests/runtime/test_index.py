"""Indexes: exact, resumable, whole at every moment."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import saccade
from saccade.runtime import indexing
from saccade.runtime.errors import IndexFileError, InputError
from saccade.runtime.index import Entry, Writer, open_index
from saccade.runtime.results import Embeddings


@pytest.fixture(scope="module")
def model(clip_bundle):
    with saccade.load(saccade.Bundle.open(clip_bundle, hard_links=True)) as loaded:
        yield loaded


@pytest.fixture
def folder(tmp_path, pictures):
    made = tmp_path / "photos"
    (made / "below").mkdir(parents=True)
    for at, picture in enumerate(pictures[:6]):
        shutil.copy(picture, made / ("below" if at % 2 else ".") / picture.name)
    (made / ".hidden.png").write_bytes(b"x")
    (made / "notes.txt").write_text("no picture")
    return made


class Counting:
    """Counts the pictures that a model embeds."""

    def __init__(self, model):
        self.model, self.bundle, self.seen = model, model.bundle, 0

    def encode_image(self, paths):
        self.seen += len(paths)
        return self.model.encode_image(paths)


def test_every_picture_is_found_by_itself(model, folder, tmp_path):
    index, skipped = saccade.index_pictures(model, folder, tmp_path / "i")
    assert (len(index), skipped) == (6, [])
    for name in [entry.name for entry in index.entries]:
        found = model.search(index, folder / name, 2)
        assert found.names[0] == name
        assert found.scores[0] == pytest.approx(1, abs=1e-5)
        assert index.path(name).samefile(folder / name)


def test_only_what_changed_is_embedded_again(model, folder, tmp_path, pictures):
    counting = Counting(model)
    first, _ = indexing.index_pictures(counting, folder, tmp_path / "i")
    assert counting.seen == 6
    indexing.index_pictures(counting, folder, tmp_path / "i")
    assert counting.seen == 6
    changed, gone = first.entries[0].name, first.entries[1].name
    shutil.copy(pictures[7], folder / changed)
    os.utime(folder / changed, ns=(1, 1))
    (folder / gone).unlink()
    shutil.copy(pictures[8], folder / "new.png")
    again, _ = indexing.index_pictures(counting, folder, tmp_path / "i")
    assert counting.seen == 8
    names = [entry.name for entry in again.entries]
    assert "new.png" in names
    assert gone not in names
    alone = model.encode_image(folder / changed).vectors[0]
    assert np.allclose(again.vectors[names.index(changed)], alone, atol=1e-5)


def test_a_bad_picture_is_skipped_named_and_tried_again(model, folder, tmp_path, pictures):
    (folder / "bad.jpg").write_bytes(b"\xff\xd8 no picture")
    index, skipped = saccade.index_pictures(model, folder, tmp_path / "i")
    assert len(index) == 6
    assert [name for name, _ in skipped] == ["bad.jpg"]
    shutil.copy(pictures[9], folder / "bad.jpg")
    index, skipped = saccade.index_pictures(model, folder, tmp_path / "i")
    assert (len(index), skipped) == (7, [])


def test_moved_together_index_and_pictures_still_find_each_other(model, folder, tmp_path):
    saccade.index_pictures(model, folder, folder.parent / "i")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(folder, moved / folder.name)
    shutil.move(tmp_path / "i", moved / "i")
    index = open_index(moved / "i")
    assert all(index.path(entry.name).exists() for entry in index.entries)


def test_texts_are_found_by_a_picture(model, tmp_path, pictures):
    texts = ["a red circle", "a blue star", "a green triangle", "a red circle"]
    index = saccade.index_texts(model, texts, tmp_path / "t")
    assert [entry.name for entry in index.entries] == texts[:3]
    found = model.search(index, pictures[0], 5)
    assert set(found.names) == set(texts)
    assert list(found.scores) == sorted(found.scores, reverse=True)


def test_nearest_is_exact(tmp_path):
    rng = np.random.default_rng()
    vectors = Embeddings.of(rng.standard_normal((500, 16)), tuple(map(str, range(500)))).vectors
    writer = Writer(tmp_path / "i", "texts", "m")
    entries = [Entry(str(i)) for i in range(500)]
    writer.add(entries[:123], vectors[:123])
    writer.add(entries[123:], vectors[123:])
    index = writer.finish(entries)
    query = Embeddings(vectors[77:78], ("q",), "m")
    exact = vectors.astype(np.float64) @ vectors[77].astype(np.float64)
    assert index.nearest(query, 10).names == tuple(map(str, np.argsort(-exact)[:10]))
    assert index.nearest(query, 0).names == ()
    with pytest.raises(IndexFileError, match="made with model"):
        index.nearest(Embeddings(vectors[:1], ("q",), "other"))


def test_ctrl_c_keeps_what_was_done(model, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(indexing, "BATCH", 1)
    monkeypatch.setattr(indexing, "PART", 2)

    def interrupt(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        indexing.index_pictures(model, folder, tmp_path / "i", progress=interrupt)
    with pytest.raises(IndexFileError, match="interrupted"):
        open_index(tmp_path / "i")
    counting = Counting(model)
    index, _ = indexing.index_pictures(counting, folder, tmp_path / "i")
    assert (len(index), counting.seen) == (6, 2)
    assert sorted(p.suffix for p in (tmp_path / "i").iterdir()) == [".json", ".safetensors"]


def test_killed_at_any_moment_the_old_index_or_the_new_one_stands(tmp_path):
    """A process that refreshes an index is killed at seeded moments; what is read afterwards is always whole."""
    script = textwrap.dedent(
        """
        import sys, numpy as np
        from saccade.runtime.index import Entry, Writer
        print("up", flush=True)
        for turn in range(10**6):
            writer = Writer(sys.argv[1], "texts", "m")
            entries = [Entry(f"{turn}.{i}") for i in range(20)]
            writer.add(entries, np.full((20, 64), turn, np.float32))
            writer.finish(entries)
        """
    )
    target = tmp_path / "i"
    moments = random.Random(3)
    for _ in range(8):
        child = subprocess.Popen([sys.executable, "-c", script, str(target)], stdout=subprocess.PIPE)
        child.stdout.readline()
        try:
            child.wait(moments.uniform(0.005, 0.15))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
        child.stdout.close()
        if (target / "index.json").exists():
            index = open_index(target)
            turns = {entry.name.split(".")[0] for entry in index.entries}
            assert len(turns) == 1
            assert (index.vectors == float(turns.pop())).all()
    Writer(target, "texts", "m").finish([])
    assert len(list(target.iterdir())) == 2


def test_what_is_no_index_or_another_models_is_refused(model, folder, tmp_path):
    with pytest.raises(IndexFileError, match="no index"):
        open_index(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        saccade.index_pictures(model, tmp_path / "none", tmp_path / "i")
    with pytest.raises(IndexFileError, match="not empty"):
        saccade.index_pictures(model, folder, folder)
    Writer(tmp_path / "other", "pictures", "another model").finish([])
    with pytest.raises(IndexFileError, match="another folder|holds"):
        saccade.index_pictures(model, folder, tmp_path / "other")
    saccade.index_pictures(model, folder, tmp_path / "i")
    listed = tmp_path / "i" / "index.json"
    whole = json.loads(listed.read_text())
    for broken in (
        {**whole, "entries": whole["entries"][:2]},
        {**whole, "vectors": "../x"},
        {"format": 1},
        [],
        {**whole, "format": "x"},
    ):
        listed.write_text(json.dumps(broken))
        with pytest.raises(IndexFileError) as caught:
            open_index(tmp_path / "i")
        assert caught.value.hint
