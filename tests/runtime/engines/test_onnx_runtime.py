"""ONNX Runtime: right numbers for every kind of array, no copies of inputs, no silent fallback, safe among threads."""

import json
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

from saccade.runtime.bundle import Bundle, write
from saccade.runtime.engines import Options, onnx_runtime, open_engine
from saccade.runtime.errors import Closed, EngineError

X = np.arange(6, dtype=np.float32).reshape(2, 3)
Y = np.ones((2, 3), np.float32)


@pytest.fixture
def real(tiny):
    made = open_engine(tiny, "linear", Options(threads=1))
    yield made
    made.close()


def test_closing_gives_the_session_back(real):
    session = weakref.ref(real._session)
    real.close()
    assert session() is None


def test_numbers(real):
    out = real(x=X, y=Y)
    assert np.array_equal(out["sum"], X + 1)
    assert np.array_equal(out["difference"], X - 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda a: np.asfortranarray(a),
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: a[::-1][::-1],
        lambda a: np.flip(np.flip(a, 1), 1),
        lambda a: np.concatenate([a, a])[:2],
        lambda a: np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(np.float32).reshape(2, 3),  # not aligned
        lambda a: np.lib.stride_tricks.as_strided(a, a.shape, a.strides),
    ],
)
def test_views_of_every_kind_are_read_right(make, real):
    view = make(X)
    view.flags.writeable = False
    assert np.array_equal(view, X)
    assert np.array_equal(real(x=view, y=Y)["sum"], X + 1)


def test_broadcast_and_empty_arrays(real):
    assert np.array_equal(
        real(x=np.broadcast_to(np.float32(2), (4, 3)), y=np.ones((4, 3), np.float32))["sum"], np.full((4, 3), 3)
    )
    empty = np.zeros((0, 3), np.float32)
    assert real(x=empty, y=empty)["sum"].shape == (0, 3)


def test_scalars_stay_scalars(tiny):
    engine = open_engine(tiny, "scalar", Options(threads=1))
    out = engine(x=np.array(3, np.float32), y=np.array([1, 2], np.float32))["out"]
    assert np.array_equal(out, [3, 6])
    assert open_engine(tiny, "mean")(x=np.array([1, 3], np.float32))["out"].shape == ()


INPUT_IS_NOT_COPIED = """
import sys, numpy as np
from saccade.runtime.bundle import Bundle
from saccade.runtime.engines import Options, open_engine

def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) << 10

engine = open_engine(Bundle.open(sys.argv[1]), "mean", Options(threads=1))
engine(x=np.ones(10, np.float32))
x = np.ones(32 << 20, np.float32)
x = x[:: int(sys.argv[2])]
before = peak()
assert engine(x=x)["out"] == 1
print(peak() - before)
"""


@pytest.mark.parametrize(("step", "copied"), [(1, False), (2, True)])
def test_contiguous_inputs_are_used_where_they_lie(step, copied, tiny_path):
    """128 MiB of input: the peak of memory does not move, unless a view must be made contiguous."""
    done = subprocess.run(
        [sys.executable, "-c", INPUT_IS_NOT_COPIED, tiny_path, str(step)], capture_output=True, text=True, check=True
    )
    assert (int(done.stdout) > 32 << 20) is copied, done.stdout


def test_threads_are_those_asked_for(tiny, monkeypatch):
    assert open_engine(tiny, "linear", Options(threads=3)).about["threads"] == 3
    assert onnx_runtime.session_options(Options(threads=3)).intra_op_num_threads == 3
    monkeypatch.setattr(onnx_runtime.os, "sched_getaffinity", lambda _: {1, 5, 7, 9})
    assert onnx_runtime.threads(Options()) == 4


def test_arena_and_spin_reach_the_session():
    import onnxruntime

    plain, other = (
        onnx_runtime.session_options(Options()),
        onnx_runtime.session_options(Options(arena=False, spin=False)),
    )
    assert (plain.enable_cpu_mem_arena, other.enable_cpu_mem_arena) == (True, False)
    assert other.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert isinstance(plain, onnxruntime.SessionOptions)


def test_a_model_whose_tensors_are_not_the_manifests_is_refused(parts, tmp_path):
    manifest, files = parts
    write(tmp_path / "wrong", manifest, {**files, "linear.onnx": files["mean.onnx"]})
    with pytest.raises(EngineError, match=r"\[linear\] the model's tensors are not those of wrong"):
        open_engine(Bundle.open(tmp_path / "wrong"), "linear")


@pytest.mark.parametrize("data", [b"", b"\x08\x08", b"\x3a\x00"])
def test_a_model_that_cannot_be_loaded_is_an_engine_error(data, parts, tmp_path):
    manifest, files = parts
    write(tmp_path / "wrong", manifest, {**files, "linear.onnx": data})
    with pytest.raises(EngineError, match=r"^\[linear\] onnxruntime: ") as caught:
        open_engine(Bundle.open(tmp_path / "wrong"), "linear")
    assert str(caught.value).isprintable()
    assert str(tmp_path) not in str(caught.value)


def test_a_run_that_fails_is_an_engine_error(real, monkeypatch):
    class Broken:
        def run(self, *_):
            raise RuntimeError("first line\nsecond line at 0x7f00")

    monkeypatch.setattr(real, "_session", Broken())
    with pytest.raises(EngineError, match=r"^\[linear\] onnxruntime: first line$"):
        real(x=X, y=Y)


def test_several_threads_get_right_answers(real):
    wrong = []

    def work(number):
        for turn in range(100):
            x = np.full((1 + (number + turn) % 5, 3), number, np.float32)
            out = real(x=x, y=x * turn)
            if not (np.array_equal(out["sum"], x * (1 + turn)) and np.array_equal(out["difference"], x * (1 - turn))):
                wrong.append((number, turn))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_closing_while_others_call(tiny):
    """Each call ends with a right answer or Closed."""
    engine = open_engine(tiny, "linear", Options(threads=1))
    seen = []

    def work():
        try:
            for _ in range(5000):
                assert np.array_equal(engine(x=X, y=Y)["sum"], X + 1)
        except Closed:
            seen.append("closed")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    engine.close()
    for thread in threads:
        thread.join()
    assert seen == ["closed"] * 4


GROWS = """
import gc, json, sys
import numpy as np
from saccade.runtime.bundle import Bundle
from saccade.runtime.engines import Options, onnx_runtime, open_engine
from saccade.runtime.memory import resident_bytes

onnx_runtime.OUTLIER = float(sys.argv[2])
engine = open_engine(Bundle.open(sys.argv[1], hard_links=True), "image", Options(threads=1))

def grown(batch):
    engine(pixels=np.zeros((batch, 3, 64, 64), np.float32))
    gc.collect()
    return (resident_bytes() - before) / 2**20

before = 0
grown(1)
before = resident_bytes()
print(json.dumps([grown(1), grown(300), grown(1)] if before else []))
"""


@pytest.mark.parametrize("outlier", [4.0, float("inf")])
def test_memory_of_an_outlier_comes_back(clip_bundle, outlier):
    """The arena keeps what its largest run needed, 120 MB of activations here; without the shrinking it stays.

    In a process of its own: what the allocator gives back depends on what it was asked for before.
    """
    command = [sys.executable, "-c", GROWS, str(clip_bundle), str(outlier)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)
    if not told:
        pytest.skip("the system does not say how much memory a process has")
    usual, after, again = told
    assert usual < 20
    assert after < 30 if outlier < 100 else after > 60
    assert again < 30 or outlier > 100


def test_what_is_usual_is_no_outlier(real):
    """Sizes that come again and again are soon not shrunk after: that would cost each of them."""
    large, given = np.ones((64, 3), np.float32), []
    run, session = real._session.run, real._session
    real._session = type(
        "Watched", (), {"run": lambda self, names, feeds, how=None: given.append(how) or run(names, feeds)}
    )
    real._session = real._session()
    for size in (1, 1, 1, 64, 64, 64, 64, 64):
        real(x=large[:size], y=large[:size])
    shrunk = [how is not None for how in given]
    assert shrunk[:4] == [False, False, False, True]
    assert not any(shrunk[-3:])
    real._session = session
