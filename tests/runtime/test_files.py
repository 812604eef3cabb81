"""Writing whole or not at all: what a crash, a full disk or a second writer leaves behind."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from saccade.runtime import files as disk
from saccade.runtime.bundle import Bundle, write
from saccade.runtime.errors import InputError, NoSpace


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def renamed(manifest, name: str):
    return msgspec.structs.replace(manifest, name=name)


def test_only_a_bundle_is_overwritten_and_only_when_asked(parts, tmp_path):
    manifest, files = parts
    write(tmp_path / "one", manifest, files)
    before = content(tmp_path / "one")
    with pytest.raises(InputError, match="exists"):
        write(tmp_path / "one", renamed(manifest, "new"), files)
    assert content(tmp_path / "one") == before
    write(tmp_path / "one", renamed(manifest, "new"), files, overwrite=True)
    assert Bundle.open(tmp_path / "one").name == "new"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "nowhere" / "x").parent.mkdir()
    for name in ("folder", "file", "nowhere"):
        with pytest.raises(InputError, match="no bundle"):
            write(tmp_path / name, manifest, files, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "nowhere", "one"]


def test_a_link_to_a_bundle_stays_a_link(parts, tmp_path):
    manifest, files = parts
    write(tmp_path / "v1", manifest, files)
    (tmp_path / "current").symlink_to("v1")
    write(tmp_path / "current", renamed(manifest, "new"), files, overwrite=True)
    assert (tmp_path / "current").is_symlink()
    assert Bundle.open(tmp_path / "v1").name == "new"
    assert sorted(os.listdir(tmp_path)) == ["current", "v1"]


@pytest.mark.parametrize("exchange", [True, False])
def test_without_an_exchange_in_one_step(exchange, parts, tmp_path, monkeypatch):
    manifest, files = parts
    if not exchange:
        monkeypatch.setattr(disk, "_exchange", lambda *_: False)
    write(tmp_path / "one", manifest, files)
    write(tmp_path / "one", renamed(manifest, "new"), files, overwrite=True)
    assert Bundle.open(tmp_path / "one").name == "new"
    assert os.listdir(tmp_path) == ["one"]


@pytest.mark.parametrize("target", ["x" * 250, "file/x", "a\0b", "\x1b[2J" * 50])
def test_targets_that_cannot_be(target, parts, tmp_path):
    (tmp_path / "file").write_text("x")
    if target.startswith("\x1b"):
        target = target + "x" * 100
    with pytest.raises(InputError) as caught:
        write(tmp_path / target, *parts)
    assert str(caught.value).isprintable()
    assert os.listdir(tmp_path) == ["file"]


def test_the_slower_of_two_writers_loses(parts, tmp_path):
    manifest, files = parts

    def slower():
        with disk.new_folder(tmp_path / "one") as folder:
            (folder / "x").write_text("x")
            write(tmp_path / "one", manifest, files)  # meanwhile; its sweep leaves us alone
            assert folder.exists()

    with pytest.raises(InputError, match="not empty"):
        slower()
    assert os.listdir(tmp_path) == ["one"]
    assert Bundle.open(tmp_path / "one").name == "tiny"


WRITER = """
import sys, time
from pathlib import Path
import msgspec
from saccade.runtime.bundle import Bundle, write
target = Path(sys.argv[1])
source = Bundle.open(sys.argv[2])
files = {name: source.read(name) for name in source.manifest.files}
print("ready", flush=True)
for turn in range(1000):
    write(target, msgspec.structs.replace(source.manifest, name=f"turn{turn}"), files, overwrite=True)
"""


@pytest.mark.parametrize("turn", range(2))
def test_killed_while_writing(turn, tiny_path, tmp_path):
    """20 kills at seeded moments: the target is always whole, and the next write leaves nothing else behind."""
    rng, target = random.Random(turn), tmp_path / "one"
    for _ in range(10):
        process = subprocess.Popen([sys.executable, "-c", WRITER, target, tiny_path], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"ready\n"
        time.sleep(rng.uniform(0.001, 0.06))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if target.exists():
            assert Bundle.open(target, remember=False).name.startswith("turn")
    source = Bundle.open(tiny_path)
    write(target, source.manifest, {n: source.read(n) for n in source.manifest.files}, overwrite=True)
    assert Bundle.open(target).name == "tiny"
    assert os.listdir(tmp_path) == ["one"]


def test_killed_between_two_renames(parts, tmp_path, monkeypatch):
    """Where the system has no exchange: the old bundle comes back with the next write."""
    manifest, files = parts
    target = tmp_path / "one"
    write(target, manifest, files)
    aside = tmp_path / ".one.12345678.tmp"
    aside.mkdir()
    target.rename(aside / "replaced")
    other = tmp_path / ".one.two.12345678.tmp"  # another target's, whose name begins like ours
    shutil.copytree(aside, other)
    with pytest.raises(InputError):
        write(target, renamed(manifest, "new"), files)
    assert Bundle.open(target).name == "tiny"
    assert sorted(os.listdir(tmp_path)) == [".one.two.12345678.tmp", "one"]
    write(target, renamed(manifest, "new"), files, overwrite=True)
    assert Bundle.open(target).name == "new"


def test_a_living_writers_folder_is_not_swept(parts, tmp_path):
    manifest, files = parts
    with disk.new_folder(tmp_path / "one") as folder:
        (folder / "x").write_text("x")
        disk._sweep(tmp_path / "one")
        assert (folder / "x").exists()
    (stale := tmp_path / ".one.abcdefgh.tmp").mkdir()
    disk._sweep(tmp_path / "one")
    assert not stale.exists()


@pytest.mark.parametrize("limit", [0, 100, 300, 2000])
def test_a_full_disk(limit, parts, tmp_path):
    """A limit on file sizes stands in for a full disk: typed error, the old bundle whole, nothing left behind."""
    manifest, files = parts
    write(tmp_path / "one", manifest, files)
    before = content(tmp_path / "one")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(NoSpace) as caught:
            write(tmp_path / "one", renamed(manifest, "new"), files, overwrite=True)
        with pytest.raises(NoSpace):
            write(tmp_path / "two", manifest, files)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.hint
    assert content(tmp_path / "one") == before
    assert os.listdir(tmp_path) == ["one"]


@pytest.mark.parametrize("errno", [30, 13, 1, 122])
def test_a_disk_that_cannot_be_written(errno, parts, tmp_path, monkeypatch):
    """By errno, since root may write everywhere: read-only, forbidden, not permitted, over quota."""

    def refuse(*_, **__):
        raise OSError(errno, os.strerror(errno))

    monkeypatch.setattr(disk.tempfile, "mkdtemp", refuse)
    with pytest.raises(NoSpace, match=os.strerror(errno).lower()):
        write(tmp_path / "one", *parts)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(parts, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(NoSpace):
        write(tmp_path / "one", *parts)
