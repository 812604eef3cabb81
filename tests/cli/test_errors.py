"""Every bad input: two lines, the right exit code, no traceback, nothing on standard output, nothing written."""

import io
import shutil
import struct
import sys
import zlib

import pytest
from PIL import Image

from saccade.cli import run, spread
from saccade.runtime.engines import onnx_runtime, open_vino
from saccade.runtime.errors import printable


def huge_png(side: int) -> bytes:
    """A PNG that says it is side × side, in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def truncated_jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((200, 200), 50).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


@pytest.fixture
def place(tmp_path, clip_bundle, pictures, monkeypatch):
    """A folder with good and bad things, as the working directory."""
    shutil.copy(pictures[0], tmp_path / "good.png")
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "empty.png").touch()
    (tmp_path / "huge.png").write_bytes(huge_png(40_000))
    (tmp_path / "cut.jpg").write_bytes(truncated_jpeg())
    (tmp_path / "folder").mkdir()
    (tmp_path / "long.txt").write_text("x" * 100_001)
    (tmp_path / "none.txt").touch()
    shutil.copytree(clip_bundle, tmp_path / "flipped.bundle")
    file = next((tmp_path / "flipped.bundle").glob("image.fp32*"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    monkeypatch.chdir(tmp_path)
    return tmp_path


CLASSIFY = ["classify", "clip-tiny"]
CASES = [
    ([*CLASSIFY, "missing.png", "--labels", "a"], 2, "missing.png"),
    ([*CLASSIFY, "text.png", "--labels", "a"], 2, "text.png"),
    ([*CLASSIFY, "empty.png", "--labels", "a"], 2, "empty.png"),
    ([*CLASSIFY, "folder", "--labels", "a"], 2, "folder"),
    ([*CLASSIFY, "huge.png", "--labels", "a"], 2, "1600000000|1,600,000,000|40000"),
    ([*CLASSIFY, "cut.jpg", "--labels", "a"], 2, "cut.jpg"),
    ([*CLASSIFY, "good.png", "cut.jpg", "--labels", "a"], 2, "cut.jpg"),
    ([*CLASSIFY, "good.png", "--labels", "a", "--classifier", "c"], 2, "both"),
    ([*CLASSIFY, "good.png", "--labels", ""], 2, "empty"),
    ([*CLASSIFY, "good.png", "--labels-file", "none.txt"], 2, "no labels"),
    ([*CLASSIFY, "good.png", "--labels-file", "long.txt"], 2, "100"),
    ([*CLASSIFY, "good.png", "--labels-file", "nowhere.txt"], 2, "nowhere.txt"),
    ([*CLASSIFY, "good.png", "--labels", "a", "--precision", "fp12"], 2, "fp12"),
    ([*CLASSIFY, "good.png", "--classifier", "text.png"], 2, "text.png"),
    ([*CLASSIFY, "good.png", "--labels", "a", "--top", "0"], 2, "top"),
    ([*CLASSIFY, "good.png", "--labels", "a", "-o", "good.png/x.png"], 2, "good.png"),
    (["classify", "flipped.bundle", "good.png", "--labels", "a"], 2, "image.fp32"),
    (["classify", "folder", "good.png", "--labels", "a"], 2, "folder"),
    (["classify", "nowhere", "good.png", "--labels", "a"], 2, "nowhere"),
    (["export", "folder", "-o", "x.bundle", "--sizes", "480"], 2, "480"),
    (["export", "folder", "-o", "x.bundle", "--sizes", "480x640,8x8"], 2, "8, 8"),
    (["inspect", "flipped.bundle"], 2, "sha256"),
    (["inspect", "good.png"], 2, "good.png"),
    (["index", "clip-tiny", "nowhere", "-o", "i"], 2, "nowhere"),
    (["index", "clip-tiny", "folder", "-o", "i"], 2, "no pictures"),
    (["search", "clip-tiny", "folder", "a red circle"], 2, "no index"),
    (["search", "clip-tiny", "folder"], 2, "query"),
    (["embed", "clip-tiny"], 2, "text"),
    (["bench", "models", "quux"], 2, "quux"),
    (["bench", "models", "clip", "--small"], 2, "--small"),
    (["frobnicate"], 2, "frobnicate"),
    (["classify"], 2, "(?i)bundle"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "says"), CASES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_two_lines_and_an_exit_code(place, capfd, arguments, code, says):
    import re

    before = sorted(p.name for p in place.rglob("*"))
    assert run(arguments) == code
    out, err = capfd.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith("error: ")
    assert re.search(says, first)
    assert second.startswith(" hint: ")
    assert len(second) > 12
    assert "0x" not in err
    assert "Traceback" not in err
    assert sorted(p.name for p in place.rglob("*")) == before


def test_a_missing_engine_names_the_extra_and_is_the_machines_fault(place, capfd, monkeypatch):
    for engine in (onnx_runtime, open_vino):
        monkeypatch.setattr(engine, "find_spec", lambda name: None)
    assert run([*CLASSIFY, "good.png", "--labels", "a"]) == 3
    assert capfd.readouterr().err == (
        "error: onnxruntime is not installed; running a model needs it\n hint: pip install 'saccade[cpu]'\n"
    )


def test_a_missing_exporter_names_the_extra(place, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    code = run(["export", "folder", "-o", "x.bundle"])
    err = capfd.readouterr().err
    assert (code, err.count("\n")) == (3, 2)
    assert "saccade[export]" in err


def test_a_benchmark_without_its_libraries_names_the_extra(place, capfd, monkeypatch):
    from saccade.benchmarks import clip

    monkeypatch.setattr(clip, "find_spec", lambda name: None)
    assert run(["bench", "models", "clip"]) == 3
    assert "saccade[export]" in capfd.readouterr().err


def test_ctrl_c_is_two_lines_and_130(place, capfd, monkeypatch):
    import saccade.runtime.model as model

    def interrupt(*_args, **_more):
        raise KeyboardInterrupt

    monkeypatch.setattr(model.Model, "run", interrupt)
    assert run([*CLASSIFY, "good.png", "--labels", "a"]) == 130
    assert capfd.readouterr().err.startswith("error: interrupted\n hint: ")


def test_hostile_names_cannot_drive_the_terminal(place, capfd):
    assert run([*CLASSIFY, "\x1b[2Jx\n.png", "--labels", "a"]) == 2
    out, err = capfd.readouterr()
    assert "\x1b" not in out + err
    assert err.count("\n") == 2
    assert printable("a\x00b\u202ec") == "a\\x00b\\u202ec"


def test_options_with_several_values():
    assert spread(["c", "--labels", "a", "b", "--top", "3"]) == ["c", "--labels", "a", "--labels", "b", "--top", "3"]
    assert spread(["--labels", "a", "--", "--labels", "b"]) == ["--labels", "a", "--", "--labels", "b"]
    assert spread(["--labels=a b", "p"]) == ["--labels=a b", "p"]
    assert spread(["x", "-"]) == ["x", "-"]
