"""Writing and reading bundles; what a crash, a full disk or a second writer leaves behind."""

import os
from pathlib import Path

import msgspec
import numpy as np
import pytest

from saccade.runtime import manifest as format
from saccade.runtime.bundle import Bundle, write
from saccade.runtime.errors import (
    BundleError,
    BundleLimit,
    CorruptBundle,
    InputError,
    ManifestError,
    UnsafePath,
)


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def renamed(manifest, name: str):
    return msgspec.structs.replace(manifest, name=name)


def test_what_is_written_is_what_is_read(tiny, parts):
    manifest, files = parts
    assert {name: tiny.read(name) for name in files} == files
    assert msgspec.structs.replace(tiny.manifest, digest="", files={}) == manifest
    assert (tiny.name, sorted(tiny.graphs)) == ("tiny", ["linear", "mean", "scalar"])
    assert np.array_equal(tiny.golden()["linear.x"], np.ones((1, 3)))
    assert not tiny.has_external("linear.onnx")
    with tiny.file("linear.onnx") as file:
        assert file.read() == files["linear.onnx"]


def test_equal_input_gives_equal_bytes(parts, tmp_path):
    manifest, files = parts
    one = write(tmp_path / "one", manifest, files)
    two = write(tmp_path / "elsewhere" / "two", manifest, dict(reversed(files.items())))
    assert one == two == Bundle.open(tmp_path / "one").digest
    assert content(tmp_path / "one") == content(tmp_path / "elsewhere" / "two")
    assert write(tmp_path / "three", renamed(manifest, "other"), files) != one


def test_files_are_taken_from_paths_too(parts, tmp_path):
    manifest, files = parts
    (tmp_path / "source").write_bytes(files["linear.onnx"])
    write(tmp_path / "one", manifest, {**files, "linear.onnx": tmp_path / "source"})
    assert Bundle.open(tmp_path / "one").read("linear.onnx") == files["linear.onnx"]
    with pytest.raises(InputError, match="no such file"):
        write(tmp_path / "two", manifest, {**files, "linear.onnx": tmp_path / "nothing"})
    assert sorted(os.listdir(tmp_path)) == ["one", "source"]


def test_a_bundle_can_be_read_by_others(parts, tmp_path):
    write(tmp_path / "one", *parts)
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o755


def test_what_would_not_open_is_not_written(parts, tmp_path):
    manifest, files = parts
    tries = [
        (manifest, {}, ManifestError),
        (manifest, {**files, "linear.onnx": b"\x80"}, CorruptBundle),
        (manifest, {**files, "../x.onnx": b"x"}, UnsafePath),
        (manifest, {**files, "bundle.json": b"x"}, UnsafePath),
        (renamed(manifest, "\ud800"), files, ManifestError),
        (msgspec.structs.replace(manifest, config={"x": float("nan")}), files, ManifestError),
        (msgspec.structs.replace(manifest, config={"x": np.float32(1)}), files, ManifestError),
        (msgspec.structs.replace(manifest, config={"x": "-" * (1 << 20)}), files, BundleLimit),
        (msgspec.structs.replace(manifest, family=7), files, ManifestError),
    ]
    for given, held, kind in tries:
        with pytest.raises(kind) as caught:
            write(tmp_path / "new", given, held)
        assert caught.value.hint
        assert os.listdir(tmp_path) == []


def test_an_older_schema_is_brought_along(parts, tmp_path, monkeypatch):
    """As if schema 2 had renamed a key: bundles of schema 1 open, and their digest is still checked first."""
    write(tmp_path / "one", *parts)
    seen = []

    def upgrade(document):
        seen.append(document["schema"])
        return {**document, "labels": document["config"].get("labels", ["upgraded"])}

    monkeypatch.setattr(format, "SCHEMA", 2)
    with pytest.raises(ManifestError, match="1 is no known schema"):
        Bundle.open(tmp_path / "one")
    monkeypatch.setitem(format.UPGRADES, 1, upgrade)
    opened = Bundle.open(tmp_path / "one")
    assert (opened.manifest.schema, opened.manifest.labels, seen) == (2, ("upgraded",), [1])
    text = (tmp_path / "one" / "bundle.json").read_bytes()
    (tmp_path / "one" / "bundle.json").write_bytes(text.replace(b"tiny", b"tony"))
    with pytest.raises(CorruptBundle):
        Bundle.open(tmp_path / "one")
    assert seen == [1]
    monkeypatch.setitem(format.UPGRADES, 1, lambda document: document["gone"])
    (tmp_path / "one" / "bundle.json").write_bytes(text)
    with pytest.raises(ManifestError, match="not a document of schema 1"):
        Bundle.open(tmp_path / "one")


def test_golden_sets_that_are_none(parts, tmp_path):
    manifest, files = parts
    write(tmp_path / "one", manifest, {**files, "golden.safetensors": b"\x08" + bytes(7) + b"{}      "})
    assert Bundle.open(tmp_path / "one").golden() == {}
    write(tmp_path / "two", msgspec.structs.replace(manifest, golden=""), files)
    assert Bundle.open(tmp_path / "two").golden() == {}
    for bad in (b"", b"123", b"\xff" * 20, b"\x08" + bytes(7) + b"{]      ", b"\x02" + bytes(7) + b"[]"):
        write(tmp_path / "bad", manifest, {**files, "golden.safetensors": bad}, overwrite=True)
        with pytest.raises(CorruptBundle, match="golden"):
            Bundle.open(tmp_path / "bad").golden()


def test_a_path_that_is_no_bundle_says_so(tmp_path):
    for path, why in (
        (tmp_path / "no", "no such folder"),
        (tmp_path, "is no bundle"),
        (Path(__file__), "not a directory"),
    ):
        with pytest.raises(BundleError, match=why) as caught:
            Bundle.open(path)
        assert caught.value.hint
