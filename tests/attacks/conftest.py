"""A small valid bundle to damage, and the watch over it: a typed error, no engine opened, nothing written outside."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import save

from saccade.runtime import bundle, engines, manifest
from saccade.runtime.bundle import Bundle, write
from saccade.runtime.engines import onnx_runtime
from saccade.runtime.errors import SaccadeError
from saccade.runtime.manifest import FileEntry, GraphEntry, Manifest, Source, Variant, digest_of, serialise
from saccade.runtime.spec import GraphSpec, TensorSpec

SPEC = GraphSpec((TensorSpec("x", "float32", ("B", 4)),), (TensorSpec("y", "float32", ("B", 4)),), batch="B")
WEIGHTS = np.arange(4, dtype=np.float32)


def value(name: str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", 4])


def outside(entries: Mapping[str, str], dims: tuple[int, ...] = (4,), name: str = "w") -> TensorProto:
    """A float32 tensor that says that its data lies elsewhere."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, text in entries.items():
        tensor.external_data.add(key=key, value=text)
    return tensor


GOOD = {"location": "w.data", "offset": "0", "length": "16"}


def model(op: str = "Add", weights: TensorProto | None = None, padding: int = 0) -> Any:
    """y = x op w, as an ONNX ModelProto; `padding` bytes of notes make the file larger."""
    weights = weights or helper.make_tensor("w", TensorProto.FLOAT, [4], WEIGHTS)
    graph = helper.make_graph([helper.make_node(op, ["x", "w"], ["y"])], "g", [value("x")], [value("y")], [weights])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    made.doc_string = "-" * padding
    return made


def described(**changes: Any) -> Manifest:
    """The manifest of a bundle with the graphs `add` and `mul`; write() fills in digest and files."""
    graphs = {g: GraphEntry(SPEC, (Variant("fp32", f"{g}.onnx"),)) for g in ("add", "mul")}
    fields = {"digest": "", "schema": 1, "family": "test", "name": "small", "source": Source("here"), "graphs": graphs}
    return Manifest(**{**fields, "files": {}, "golden": "golden.safetensors", **changes})


def contents() -> dict[str, bytes]:
    """The files of that bundle."""
    x = np.ones((1, 4), np.float32)
    golden = {"add.x": x, "add.y": x + WEIGHTS, "mul.x": x, "mul.y": x * WEIGHTS}
    return {
        "add.onnx": model("Add", padding=20_000).SerializeToString(),
        "mul.onnx": model("Mul").SerializeToString(),
        "golden.safetensors": save(golden),
        "labels.txt": b"one\ntwo\n",
    }


def with_external() -> tuple[Manifest, dict[str, bytes]]:
    """A bundle whose one graph keeps its weights in w.data."""
    graphs = {"add": GraphEntry(SPEC, (Variant("fp32", "add.onnx"),))}
    files = {"add.onnx": model(weights=outside(GOOD)).SerializeToString(), "w.data": WEIGHTS.tobytes()}
    return described(graphs=graphs, golden=""), files


def relist(folder: Path, **changes: Any) -> None:
    """Make the manifest fit the files again, as an attacker would who knows the format; then `changes` of its files."""
    held = manifest.parse((folder / "bundle.json").read_bytes())
    made = {n: entry((folder / n).read_bytes()) for n in held.files if (folder / n).is_file()}
    made.update(changes.pop("files", {}))
    (folder / "bundle.json").write_bytes(serialise(msgspec.structs.replace(held, files=made, **changes)))


def replace(folder: Path, made: Any) -> None:
    """Another add.onnx, listed as it is."""
    (folder / "add.onnx").write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    relist(folder)


def entry(data: bytes) -> FileEntry:
    """How a manifest lists a file of this content."""
    return FileEntry(len(data), hashlib.sha256(data).hexdigest())


def digested(text: bytes) -> bytes:
    """The bytes of a manifest with a digest that fits them."""
    at = text.index(b'"digest": "') + 11
    return text[:at] + digest_of(text).encode() + text[at + 64 :]


@dataclass
class Watch:
    """What an attack may not do."""

    root: Path
    engines: list[str]

    @contextlib.contextmanager
    def refused(self, *kinds: type[SaccadeError], near: Path | None = None) -> Iterator[dict[str, Any]]:
        """The block must raise one of `kinds` with a good message, open no engine, and leave the tree as it was."""
        before = tree(self.root)
        seen: dict[str, Any] = {}
        with pytest.raises(kinds) as caught:
            yield seen
        assert tree(self.root) == before
        assert not self.engines
        seen["error"] = caught.value
        assert_shown_well(caught.value)
        if near is not None:
            assert str(near) not in str(caught.value)


def assert_shown_well(error: SaccadeError) -> None:
    """One printable line, a hint, nothing of the machine's insides."""
    assert isinstance(error, SaccadeError)
    assert error.hint
    for text in (str(error), error.hint, *map(str, error.args)):
        assert text.isprintable(), text
        assert "0x" not in text
        assert "/proc/" not in text
        assert "Traceback" not in text
        assert len(text) < 1000
        text.encode()


def tree(root: Path) -> dict[str, tuple[int, int, int, int]]:
    """Every name below `root`, by mode, size, inode and, for files, the time of its content."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            info = os.lstat(os.path.join(folder, name))
            own = (0, 0) if name in folders else (info.st_size, info.st_mtime_ns)
            found[os.path.join(folder, name)] = (info.st_mode, info.st_ino, *own)
    return found


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both bundles, written once: a write waits for the disk."""
    folder = tmp_path_factory.mktemp("originals")
    write(folder / "small.bundle", described(), contents())
    write(folder / "split.bundle", *with_external())
    return folder


@pytest.fixture
def small(tmp_path: Path, originals: Path) -> Path:
    """A fresh copy of the small bundle."""
    return Path(shutil.copytree(originals / "small.bundle", tmp_path / "here" / "small.bundle"))


@pytest.fixture
def split(tmp_path: Path, originals: Path) -> Path:
    """A fresh copy of the bundle with external data."""
    return Path(shutil.copytree(originals / "split.bundle", tmp_path / "here" / "split.bundle"))


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Sees every engine that is opened, and everything under tmp_path."""
    opened: list[str] = []
    real = onnx_runtime.Engine.__init__

    def noted(self: Any, bundle: Bundle, graph: str, *rest: Any) -> None:
        opened.append(graph)
        real(self, bundle, graph, *rest)

    monkeypatch.setattr(onnx_runtime.Engine, "__init__", noted)
    return Watch(tmp_path, opened)


@pytest.fixture
def attempt() -> Callable[[Path], dict[str, Any]]:
    """Open the bundle and run each of its graphs once, as a caller would."""

    def run(path: Path, **options: Any) -> dict[str, Any]:
        opened = bundle.Bundle.open(path, **options)
        answers = {}
        for name in opened.graphs:
            engine = engines.open_engine(opened, name)
            answers[name] = engine(x=np.ones((2, 4), np.float32))["y"]
            engine.close()
        return answers

    return run
