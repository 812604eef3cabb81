"""Bytes and names that are not what was written (rows B1 and B2): never loaded, whatever bit it is."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest

from saccade.runtime.bundle import Bundle, write
from saccade.runtime.errors import BundleError, CorruptBundle, ForbiddenFile, ManifestError, UnsafePath
from saccade.runtime.manifest import FileEntry, check_name
from tests.attacks.conftest import contents, described, digested, relist

FILES = ["bundle.json", *contents()]
SEED = 20


def test_the_small_bundle_works_undamaged(small, attempt):
    answers = attempt(small)
    assert np.array_equal(answers["add"], np.tile([1, 2, 3, 4], (2, 1)))
    assert np.array_equal(answers["mul"], np.tile([0, 1, 2, 3], (2, 1)))


@pytest.mark.parametrize("name", FILES)
def test_truncated(name, small, watch, attempt):
    """At each 4 KiB, at its first and last bytes, and at random points."""
    whole = (small / name).read_bytes()
    rng = random.Random(SEED)
    cuts = {*range(0, len(whole), 4096), 0, 1, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(20))}
    for cut in sorted(cuts):
        (small / name).write_bytes(whole[:cut])
        with watch.refused(CorruptBundle, ManifestError, near=small) as seen:
            attempt(small)
        if name != "bundle.json":
            assert (seen["error"].file, seen["error"].got) == (name, f"{cut} bytes")


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit(name, small, watch, attempt):
    whole = (small / name).read_bytes()
    rng = random.Random(SEED)
    for _ in range(150):
        at, bit = rng.randrange(len(whole)), rng.randrange(8)
        (small / name).write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        with watch.refused(BundleError, near=small) as seen:
            attempt(small)
        if name != "bundle.json" and not isinstance(seen["error"], ForbiddenFile):
            assert seen["error"].file == name
    (small / name).write_bytes(whole)
    assert attempt(small)


def test_every_byte_of_the_manifests_head_counts(small, watch, attempt):
    whole = (small / "bundle.json").read_bytes()
    for at in range(120):
        for new in b'0a" {':
            if whole[at] != new:
                (small / "bundle.json").write_bytes(whole[:at] + bytes([new]) + whole[at + 1 :])
                with watch.refused(CorruptBundle, ManifestError):
                    attempt(small)


@pytest.mark.parametrize("extra", [b"\n", b" ", b"\0", b"{}"])
@pytest.mark.parametrize("name", FILES)
def test_longer_than_listed(name, extra, small, watch, attempt):
    with (small / name).open("ab") as file:
        file.write(extra)
    with watch.refused(CorruptBundle, ManifestError):
        attempt(small)


@pytest.mark.parametrize("name", FILES)
def test_missing(name, small, watch, attempt):
    (small / name).unlink()
    with watch.refused(BundleError):
        attempt(small)


BAD_NAMES = [
    "../x.onnx", "a/../b.onnx", "/etc/passwd", "/x.onnx", "a/b.onnx", "./x.onnx", "..", ".", "", "...onnx", ".x.onnx",
    "C:\\x.onnx", "C:x.onnx", "a\\b.onnx", "..\\x.onnx", "\\\\host\\share.onnx", "x\0.onnx", "x.onnx\0", "x.onnx.",
    "x.onnx ", " x.onnx", "x\n.onnx", "x.onnx\n", "x\t.onnx", "con", "CON.onnx", "nul.json", "com1.onnx", "LPT9.txt",
    "aux.safetensors", "prn.data", "x" * 4096 + ".onnx", "x" * 129, "bundle.json", "BUNDLE.JSON", "Bundle.json",
    "\u00e9.onnx", "e\u0301.onnx", "ﬁ.onnx", "x．onnx", "x\u202eonnx.", "x\u200b.onnx", "\x1b[2J.onnx", "$(id).onnx",
    "`id`.onnx",
    "x;id.onnx", "x|id.onnx", "-rf.onnx", "--help.onnx", "~.onnx", "~root.onnx", "%2e%2e%2fx.onnx", "x:y.onnx",
    "*.onnx", "file:x.onnx", "x\ud800.onnx", "_x.onnx",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_names(name, small, watch, attempt):
    """Refused by the rule, when read, and when written: then before it is joined to a folder."""
    with watch.refused(UnsafePath):
        check_name(name)
    with watch.refused(UnsafePath):
        write(small.parent / "new.bundle", described(), {**contents(), name: b"x"})
    if name.isprintable() or name.isascii():  # others never get past the strict JSON
        text = (small / "bundle.json").read_bytes()
        entry = json.dumps({name: {"size": 1, "sha256": "0" * 64}})[1:-1]
        (small / "bundle.json").write_bytes(
            digested(text.replace(b'"files": {', b'"files": {' + entry.encode() + b",", 1))
        )
        with watch.refused(UnsafePath):
            attempt(small)


def test_names_that_differ_only_in_case(small, watch, attempt):
    (small / "LABELS.txt").write_bytes(b"x")
    relist(small, files={"LABELS.txt": FileEntry(1, "0" * 64)})
    with watch.refused(UnsafePath):
        attempt(small)
    with watch.refused(UnsafePath):
        write(small.parent / "new.bundle", described(), {**contents(), "LABELS.txt": b"x"})


@pytest.mark.parametrize("name", ["x.onnx", "A", "encoder.int8.onnx", "0.data", "x" * 120 + ".onnx"])
def test_good_names(name):
    if name == "A":
        with pytest.raises(ForbiddenFile):
            check_name(name)
    else:
        check_name(name)


def test_files_that_are_not_listed_are_not_opened(small, attempt, monkeypatch):
    (small / "evil.onnx").write_bytes(b"x")
    os.mkfifo(small / "pipe.data")
    assert attempt(small)


def test_opening_leaks_no_descriptors(small):
    before = len(os.listdir("/proc/self/fd"))
    for name in contents():
        (small / name).write_bytes(b"x")
        for _ in range(5):
            with pytest.raises(BundleError):
                Bundle.open(small)
    assert len(os.listdir("/proc/self/fd")) == before


def test_opening_survives_a_hostile_working_folder(small, tmp_path):
    """Nothing is taken from the working folder: a model read from bytes has no other folder."""
    (tmp_path / "json.py").write_text("raise SystemExit('taken')")
    code = f"from saccade.runtime.bundle import Bundle; print(Bundle.open({str(small)!r}).name)"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "small\n"
