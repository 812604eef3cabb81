"""Every back end keeps the same contract; ONNX Runtime also computes what it should."""

import threading

import numpy as np
import pytest

from saccade.runtime.call import Graph
from saccade.runtime.engines import AUTOMATIC, BACKENDS, Engines, Options, choose, onnx_runtime, open_engine, open_vino
from saccade.runtime.errors import (
    Closed,
    MissingExtra,
    SettingsError,
    SpecError,
)

X = np.arange(6, dtype=np.float32).reshape(2, 3)
Y = np.ones((2, 3), np.float32)


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


@pytest.fixture
def engine(backend, tiny):
    made = open_engine(tiny, "linear", Options(backend=backend))
    yield made
    made.close()


def test_outputs_have_the_specs_names_shapes_and_dtypes(engine, tiny):
    out = engine(x=X, y=Y)
    assert engine.spec is tiny.graphs["linear"].spec
    assert list(out) == ["sum", "difference"]
    assert {name: (a.shape, a.dtype) for name, a in out.items()} == {n: ((2, 3), np.float32) for n in out}
    assert all(type(a) is np.ndarray and a.flags.writeable for a in out.values())


def test_about_says_what_runs(engine, backend):
    assert engine.about["backend"] == backend.replace("_", "")
    assert engine.about["device"] in ("cpu", "cuda")
    assert engine.about["precision"] == "fp32"


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"x": X},
        {"x": X, "y": Y, "z": X},
        {"x": X, "Y": Y},
        {"x": X.astype(np.float64), "y": Y},
        {"x": X.astype(">f4"), "y": Y},
        {"x": X.astype(object), "y": Y},
        {"x": X[0], "y": Y},
        {"x": X[:, :2], "y": Y},
        {"x": X[:1], "y": Y},
        {"x": X.tolist(), "y": Y},
        {"x": None, "y": Y},
        {"x": "text", "y": Y},
        {"x": 1.0, "y": Y},
    ],
    ids=lambda given: "-".join(f"{k}{type(v).__name__}" for k, v in given.items()) or "none",
)
def test_inputs_that_do_not_fit_are_refused(inputs, engine):
    with pytest.raises(SpecError, match=r"^\[linear\] ") as caught:
        engine(**inputs)
    assert caught.value.hint
    assert engine(x=X, y=Y)["sum"].shape == (2, 3)  # and the next call works


def test_outputs_are_the_callers(engine):
    first = engine(x=X, y=Y)
    kept = {name: array.copy() for name, array in first.items()}
    first["sum"][0, 0] += 0  # writable
    for turn in range(20):
        second = engine(x=X + turn, y=Y)
        assert not any(np.shares_memory(a, b) for a in first.values() for b in (*second.values(), X, Y))
    assert all(np.array_equal(first[name], kept[name]) for name in kept)


def test_close_then_closed(engine):
    engine.close()
    engine.close()
    with pytest.raises(Closed, match=r"^\[linear\]") as caught:
        engine(x=X, y=Y)
    assert caught.value.hint


def test_precision_is_chosen(tiny, parts):
    entry = tiny.graphs["linear"]
    assert choose(entry, "linear", "").precision == "fp32"
    assert choose(entry, "linear", "int8").file == "int8.onnx"
    assert open_engine(tiny, "linear", Options(precision="int8")).about["file"] == "int8.onnx"
    with pytest.raises(SettingsError, match="the bundle holds fp32, int8, not fp16") as caught:
        open_engine(tiny, "linear", Options(precision="fp16"))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backend": "tensorflow"}, "backend: no 'tensorflow'"),
        ({"precision": "fp64"}, "precision: no 'fp64'"),
        ({"device": "tpu"}, "device: no 'tpu'"),
        ({"threads": -1}, "threads: -1"),
        ({"backend": "\x1b[2J"}, r"backend: no '\\x1b\[2J'"),
    ],
)
def test_options_that_mean_nothing(given, message):
    with pytest.raises(SettingsError, match=message) as caught:
        Options.of(**{"backend": None, "precision": None, "device": None, "threads": None, **given})
    assert caught.value.hint
    assert str(caught.value).isprintable()


def test_options_come_from_arguments_then_environment(monkeypatch):
    nothing = {"backend": None, "precision": None, "device": None, "threads": None}
    assert Options.of(**nothing) == Options()
    monkeypatch.setenv("SACCADE_BACKEND", "onnxruntime")
    monkeypatch.setenv("SACCADE_PRECISION", "int8")
    monkeypatch.setenv("SACCADE_THREADS", "2")
    assert Options.of(**nothing) == Options("onnx_runtime", "int8", threads=2)
    assert Options.of("null", "fp32", "cpu", 1, spin=False) == Options("null", "fp32", "cpu", 1, spin=False)
    monkeypatch.setenv("SACCADE_BACKEND", "nonsense")
    with pytest.raises(SettingsError, match="nonsense"):
        Options.of(**nothing)


@pytest.mark.parametrize("asked", ["", "onnx_runtime"])
def test_a_missing_library_names_its_extra(asked, tiny, monkeypatch):
    monkeypatch.setattr(onnx_runtime, "find_spec", lambda _: None)
    monkeypatch.setattr(open_vino, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match="onnxruntime is not installed") as caught:
        open_engine(tiny, "linear", Options(backend=asked))
    assert caught.value.hint == "pip install 'saccade[cpu]'"
    assert caught.value.exit_code == 3
    assert open_engine(tiny, "linear", Options(backend="null"))(x=X, y=Y)


def test_engines_are_opened_once_and_closed_together(tiny):
    engines, graphs = Engines(Options(threads=1)), [Graph(tiny, name) for name in ("linear", "mean")]
    found = []
    threads = [threading.Thread(target=lambda: found.append(engines(graphs[0]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    other = engines(graphs[1])
    engines.close()
    engines.close()
    with pytest.raises(Closed):
        found[0](x=X, y=Y)
    with pytest.raises(Closed):
        other(x=X[0])
    with pytest.raises(Closed, match=r"\[linear\]"):
        engines(graphs[0])


def test_null_is_never_chosen_by_itself():
    assert set(AUTOMATIC) < set(BACKENDS)
    assert "null" not in AUTOMATIC
