"""What stands in a folder without being a plain file (row B3): refused before it is opened."""

from __future__ import annotations

import os
import socket
import stat
import time
from pathlib import Path

import pytest

from saccade.runtime.bundle import Bundle
from saccade.runtime.errors import BundleError, BundleLimit, CorruptBundle, ManifestError, UnsafePath
from tests.attacks.conftest import digested


def _symlink(path: Path) -> None:
    path.rename(path.parent.parent / "real")
    path.symlink_to("../real")


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _hard_link(path: Path) -> None:
    os.link(path, path.parent.parent / "second")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _socket(path: Path) -> None:
    path.unlink()
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path is at most 108 bytes
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _device(path: Path) -> None:
    path.unlink()
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero: never ends
    except PermissionError:
        pytest.skip("only root can make a device")


@pytest.mark.parametrize("name", ["add.onnx", "golden.safetensors", "bundle.json"])
@pytest.mark.parametrize("attack", [_symlink, _dangling, _loop, _hard_link, _pipe, _socket, _folder, _device])
def test_odd_files(attack, name, small, watch, attempt):
    attack(small / name)
    started = time.monotonic()
    with watch.refused(UnsafePath, near=small) as seen:
        attempt(small)
    assert time.monotonic() - started < 2  # a pipe is not waited for
    assert seen["error"].message.startswith(f"[bundle] {name}: ")


def test_odd_files_are_refused_although_a_stamp_is_there(small, watch, attempt):
    attempt(small)
    watch.engines.clear()
    time.sleep(0.03)
    Bundle.open(small)
    _symlink(small / "add.onnx")
    with watch.refused(UnsafePath):
        attempt(small)


def test_a_bundle_may_be_reached_through_links_but_not_hold_any(small, tmp_path, attempt):
    (tmp_path / "link").symlink_to(small.parent)
    assert attempt(tmp_path / "link" / small.name)


def test_hard_links_are_accepted_when_asked_for(small, attempt):
    _hard_link(small / "add.onnx")
    opened = Bundle.open(small, hard_links=True)
    assert opened.read("add.onnx")
    assert attempt(small, hard_links=True)


@pytest.mark.parametrize("listed", [None, 1 << 40, (1 << 37) + 1])
def test_sparse_terabyte(listed, small, watch, attempt):
    """Refused by its size before a byte is read, whether or not the manifest says so too."""
    try:
        os.truncate(small / "labels.txt", listed or 1 << 40)
    except OSError:
        pytest.skip("this file system has no files of 1 TB")
    if listed:
        text = (small / "bundle.json").read_bytes()
        (small / "bundle.json").write_bytes(digested(text.replace(b'"size": 8\n', b'"size": %d\n' % listed)))
    started = time.monotonic()
    with watch.refused(BundleLimit if listed else CorruptBundle):
        attempt(small)
    assert time.monotonic() - started < 1


def test_sparse_manifest(small, watch, attempt):
    os.truncate(small / "bundle.json", 1 << 34)
    with watch.refused(ManifestError):
        attempt(small)


@pytest.mark.parametrize("path", ["nothing", "a\0b", "x" * 300, "bundle.json/x", "\x1b[31m"])
def test_no_such_bundle(path, small, watch):
    with watch.refused(BundleError):
        Bundle.open(small / path)


def test_a_folder_without_a_manifest(tmp_path, watch):
    with watch.refused(BundleError):
        Bundle.open(tmp_path)
