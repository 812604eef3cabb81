"""Files that can run code when they are opened (rows B6 and B12): refused by name and by their first bytes."""

from __future__ import annotations

import ast
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from saccade.runtime.bundle import write
from saccade.runtime.errors import ForbiddenFile
from saccade.runtime.files import refuse_magic
from tests.attacks.conftest import contents, described, entry, relist, with_external

CODE_NAMES = [
    "model.pkl", "model.pickle", "model.pt", "model.pth", "model.bin", "model.ckpt", "data.npy", "data.npz", "model.h5",
    "model.keras", "model.joblib", "model.zip", "model.tar", "model.gz", "model.py", "model.pyc", "model.so", "run.sh",
    "model.plan", "model.engine", "model.trt", "model.ort", "model.yaml", "model.yml", "model.ONNX", "model.onnx.pkl",
    "Dockerfile", "model", "model.mar", "model.pb", "model.tflite", "model.html", "model.svg",
]  # fmt: skip


@pytest.mark.parametrize("name", CODE_NAMES)
def test_kinds_that_are_refused_by_name(name, small, watch):
    with watch.refused(ForbiddenFile):
        write(small.parent / "new.bundle", described(), {**contents(), name: b"x"})


def _zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps([1]))
    return made.getvalue()


def _array() -> bytes:
    made = io.BytesIO()
    np.save(made, np.array([{}], dtype=object), allow_pickle=True)
    return made.getvalue()


LONG_MAGIC = {
    "torch": _zipped(),
    "empty zip": b"PK\x05\x06" + bytes(18),
    "npy": _array(),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(64),
    "program": b"\x7fELF" + bytes(60),
    "plan": b"ftrt" + bytes(60),
    "plan, other order": b"ptrt" + bytes(60),
}
CODE = LONG_MAGIC | {
    **{f"pickle {p}": pickle.dumps({"a": [1, 2]}, p) for p in (2, 3, 4, 5)},
    **{f"pickle of {v!r}": pickle.dumps(v, 4) for v in (None, 1, "x", (), [])},
    "torch, before 1.6": b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
    "gzip": b"\x1f\x8b\x08\0" + bytes(20),
    "script": b"#!/bin/sh\nid\n",
}


PLACES = [(what, name) for what in CODE for name in ("add.onnx", "golden.safetensors", "labels.txt", "t.json", "t.png")]
PLACES += [(what, "w.data") for what in LONG_MAGIC]  # raw weights may begin with any two bytes


@pytest.mark.parametrize(("what", "name"), PLACES)
def test_kinds_that_are_refused_by_their_first_bytes(what, name, small, watch, attempt):
    (small / name).write_bytes(CODE[what])
    relist(small, files={name: entry(CODE[what])})
    with watch.refused(ForbiddenFile):
        attempt(small)
    with watch.refused(ForbiddenFile):
        write(small.parent / "new.bundle", described(), {**contents(), name: CODE[what]})


def test_a_model_in_onnx_runtimes_own_format(small, watch, attempt):
    """ONNX Runtime takes bytes 4 to 8 as the sign of a flatbuffer, so a protobuf that holds them would pass unseen."""
    hidden = b"\x0a\x20\0\0ORTM" + bytes(26)
    (small / "add.onnx").write_bytes(hidden)
    relist(small)
    with watch.refused(ForbiddenFile):
        attempt(small)


def test_golden_sets_of_every_length_of_header_are_accepted():
    """A safetensors file begins with the header's length: 640 is 80 02, which is also how a pickle begins."""
    seen = set()
    for blanks in range(0, 1500, 8):
        data = save({"x": np.zeros(1, np.float32)}, metadata={"note": "-" * blanks})
        refuse_magic("golden.safetensors", data[:8])
        seen.add(data[:2])
    assert {b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"} <= seen


def test_raw_weights_may_begin_with_anything(split, attempt, tmp_path):
    held, files = with_external()
    for head in (b"\x80\x04", b"\x80\x02", b"\x1f\x8b\x08", b"#!"):
        files["w.data"] = head + files["w.data"][len(head) :]
        write(tmp_path / "weights.bundle", held, files, overwrite=True)
        assert attempt(tmp_path / "weights.bundle")["add"].shape == (2, 4)


# What runs code from data. `re.compile` and methods named `eval` are something else.
RUNS_CODE = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle", "yaml", "tarfile"}
CALLS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {"torch.load", "yaml.load", "numpy.load", "np.load", "os.system", "os.popen", "subprocess.getoutput"}


def _sources() -> list[Path]:
    root = Path(__file__).parents[2]
    found = [file for folder in ("runtime", "kernels", "python") for file in sorted((root / folder).rglob("*.py"))]
    assert len(found) > 15
    return found


def dangers(source: str) -> list[str]:
    """Names in `source` that can turn data into code."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in RUNS_CODE]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in RUNS_CODE:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            safe = name == "np.load" and any(k.arg == "allow_pickle" and not _true(k.value) for k in node.keywords)
            found += [name] if name in CALLS | ATTRIBUTES and not safe else []
            found += [f"{k.arg}=True" for k in node.keywords if k.arg in ("allow_pickle", "shell") and _true(k.value)]
            if name.endswith("import_module") and node.args and isinstance(node.args[0], ast.Constant):
                found += [node.args[0].value] if node.args[0].value.split(".")[0] in RUNS_CODE else []
    return found


def _true(node: ast.expr) -> bool:
    return not (isinstance(node, ast.Constant) and not node.value)


@pytest.mark.parametrize("file", _sources(), ids=lambda f: str(f.relative_to(Path(__file__).parents[2])))
def test_nothing_that_runs_turns_data_into_code(file):
    assert dangers(file.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from marshal import loads", "import yaml.loader", "eval(x)", "exec(x)", "np.load(f)",
        "torch.load(f, weights_only=False)", "f(allow_pickle=True)", "f(allow_pickle=flag)",
        "importlib.import_module('pickle')",
        "subprocess.run(x, shell=True)", "__import__(x)", "import torch, shelve as s",
    ],
)  # fmt: skip
def test_the_test_above_would_notice(line):
    assert dangers(line)
    assert not dangers("re.compile(x); model.eval(); f(allow_pickle=False)")
