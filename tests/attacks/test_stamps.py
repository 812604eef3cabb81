"""Stamps save time and vouch for nothing that changed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from saccade.runtime import bundle as bundles
from saccade.runtime.bundle import Bundle
from saccade.runtime.engines import open_engine
from saccade.runtime.errors import CorruptBundle, UnsafePath
from tests.attacks.conftest import contents, digested


@pytest.fixture
def hashes(monkeypatch):
    """The number of files hashed so far."""
    count: list[int] = []
    real = bundles.hashlib.file_digest
    monkeypatch.setattr(bundles.hashlib, "file_digest", lambda *given: (count.append(1), real(*given))[1])
    return count


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A private cache of this test's own."""
    place = tmp_path / "cache"
    monkeypatch.setenv("SACCADE_CACHE", str(place))
    return place


@pytest.fixture
def stamped(small, cache, hashes):
    """The small bundle, opened once long enough after it was written."""
    time.sleep(0.03)
    Bundle.open(small)
    assert len(hashes) == 4
    hashes.clear()
    return small


def test_a_second_open_hashes_nothing(stamped, hashes, attempt):
    Bundle.open(stamped)
    assert attempt(stamped)
    assert not hashes


def test_without_remembering_everything_is_hashed(stamped, hashes):
    Bundle.open(stamped, remember=False)
    assert len(hashes) == 4


def test_a_file_that_changed_a_moment_ago_gets_no_stamp(small, cache, hashes, monkeypatch):
    """Before Linux 6.13 a second change in the same tick would not show in its times."""
    changed = max(os.stat(small / name).st_ctime_ns for name in contents())
    monkeypatch.setattr(bundles.time, "time_ns", lambda: changed + 1_000_000)
    Bundle.open(small)
    Bundle.open(small)
    assert len(hashes) == 8
    monkeypatch.setattr(bundles.time, "time_ns", lambda: changed + 1_000_000_000)
    Bundle.open(small)
    Bundle.open(small)
    assert len(hashes) == 12


def _edit(path: Path) -> None:
    info = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (info.st_mtime_ns, info.st_size)


@pytest.mark.parametrize("name", contents())
def test_an_edited_file_with_its_old_mtime(name, stamped, watch, attempt):
    _edit(stamped / name)
    with watch.refused(CorruptBundle):
        attempt(stamped)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o720, 0o755, 0o711])
def test_stamps_in_a_folder_that_others_can_enter_do_not_count(mode, stamped, cache, hashes):
    (cache / "verified").chmod(mode)
    Bundle.open(stamped)
    assert len(hashes) == 4


def test_a_stamp_that_somebody_else_wrote_does_not_count(stamped, cache, hashes, monkeypatch):
    monkeypatch.setattr(bundles.stamp.os, "getuid", lambda: os.geteuid() + 1)
    Bundle.open(stamped)
    assert len(hashes) == 4


def test_a_stamp_behind_a_link_does_not_count(stamped, cache, hashes):
    (kept,) = (cache / "verified").iterdir()
    kept.rename(cache / "elsewhere")
    kept.symlink_to(cache / "elsewhere")
    Bundle.open(stamped)
    assert len(hashes) == 4


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"null",
        b'{"manifest": 1}',
        b'{"manifest": 1, "files": []}',
        b"\xff",
        b"[" * 10**5,
        bytes(99),
    ],
    ids=lambda c: ascii(c[:24]),
)
def test_a_damaged_stamp_is_ignored_and_replaced(content, stamped, cache, hashes):
    (kept,) = (cache / "verified").iterdir()
    kept.write_bytes(content)
    Bundle.open(stamped)
    assert len(hashes) == 4
    Bundle.open(stamped)
    assert len(hashes) == 4


@pytest.mark.parametrize("files", [[], {"add.onnx": []}, {"add.onnx": [[1], "x"]}, {"add.onnx": 7}, {"add.onnx": None}])
def test_a_stamp_of_another_shape_is_ignored(files, stamped, cache, hashes):
    (kept,) = (cache / "verified").iterdir()
    kept.write_text(json.dumps({"manifest": json.loads(kept.read_bytes())["manifest"], "files": files}))
    Bundle.open(stamped)
    assert len(hashes) == 4


@pytest.mark.parametrize("place", ["/dev/null/x", "\0", "/proc/x"])
def test_a_cache_that_cannot_be_made_costs_only_time(place, small, hashes, monkeypatch):
    monkeypatch.setattr(bundles.stamp, "setting", lambda _: Path(place))
    Bundle.open(small)
    Bundle.open(small)
    assert len(hashes) == 8


def test_a_user_without_a_home_has_no_stamps(small, hashes, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SACCADE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    Bundle.open(small)
    assert len(hashes) == 4


def test_stamps_hold_for_one_manifest_only(split, cache, watch, attempt):
    """The ONNX file is the same, but what it points at is no longer listed."""
    time.sleep(0.03)
    Bundle.open(split)
    text = (split / "bundle.json").read_bytes()
    document = json.loads(text)
    del document["files"]["w.data"]
    (split / "bundle.json").write_bytes(digested(json.dumps(document, indent=1).encode()))
    with watch.refused(UnsafePath):
        attempt(split)


def test_a_file_exchanged_after_opening(small):
    opened = Bundle.open(small)
    data = (small / "add.onnx").read_bytes()
    (small / "new").write_bytes(data)
    os.replace(small / "new", small / "add.onnx")
    with pytest.raises(CorruptBundle, match="add.onnx: expected the file that was verified"):
        opened.read("add.onnx")
    with pytest.raises(CorruptBundle):
        opened.confirm()


def test_a_file_edited_after_opening(small):
    opened = Bundle.open(small)
    assert opened.read("add.onnx")
    time.sleep(0.02)
    _edit(small / "add.onnx")
    with pytest.raises(CorruptBundle):
        opened.read("add.onnx")


def test_a_file_edited_while_it_is_read(small, monkeypatch):
    opened = Bundle.open(small)
    real = Bundle.file

    def then_edited(self, name):
        file = real(self, name)
        time.sleep(0.02)
        _edit(small / name)
        return file

    monkeypatch.setattr(Bundle, "file", then_edited)
    with pytest.raises(CorruptBundle):
        opened.read("add.onnx")


def test_external_data_exchanged_after_opening_is_never_run(split, watch):
    opened = Bundle.open(split)
    time.sleep(0.02)
    _edit(split / "w.data")
    with pytest.raises(CorruptBundle, match=r"w\.data"):
        open_engine(opened, "add")


def test_external_data_exchanged_while_the_engine_opens_is_never_run(split, monkeypatch):
    import onnxruntime

    opened = Bundle.open(split)
    time.sleep(0.02)
    real = onnxruntime.InferenceSession

    def while_it_loads(*given, **named):
        _edit(split / "w.data")
        session = real(*given, **named)
        _edit(split / "w.data")  # and put back
        return session

    monkeypatch.setattr(onnxruntime, "InferenceSession", while_it_loads)
    with pytest.raises(CorruptBundle, match=r"w\.data"):
        open_engine(opened, "add")
