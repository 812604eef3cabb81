"""The launcher against a stub driver that writes down what it gets: parameters, variants, contexts, messages."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from importlib.util import find_spec

import numpy as np
import pytest

from saccade.kernels import cubins, gpu, native
from saccade.kernels.aot import architectures, count_parameters
from saccade.runtime.errors import KernelError, SettingsError

SETUP = """
import ctypes, json, os, sys, threading
import saccade._native as native
driver = ctypes.CDLL("libcuda.so.1")
def kernel(*variants, kinds="pif"):
    return native.GpuKernel([native.GpuVariant(b"code", "f", t, s, d) for t, s, d in variants], kinds)
def raises(call, part):
    try:
        call()
    except RuntimeError as error:
        assert part in str(error), error
    else:
        raise AssertionError("no error: " + part)
def log():
    return [json.loads(line) for line in open(os.environ["STUB_LOG"])] if os.path.exists(os.environ["STUB_LOG"]) else []
driver.stub_print(b"f", 5)
"""


@pytest.fixture
def on_stub(stub, environment, tmp_path):
    """on_stub(script): runs it in a process of its own, with the stub driver; gives the launches written down."""

    def run(script, **more):
        env = environment(stub, STUB_LOG=str(tmp_path / "log"), **more)
        file = tmp_path / "script.py"  # Triton wants its kernels in a file
        file.write_text(SETUP + textwrap.dedent(script))
        command = [sys.executable, "-P", file]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        log = tmp_path / "log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    return run


def test_parameters_grid_and_memory(on_stub):
    (launch,) = on_stub("""
        k = kernel((96, 50_000, []))
        assert k.launch(0, 7, (3, 4, 5), 0x123456789ABCDEF0, -2, 0.5) == 0
        assert driver.stub_depth() == 0  # the context was left again
    """)
    assert (launch["grid"], launch["block"]) == ([3, 4, 5], [96, 1, 1])
    assert (launch["shared"], launch["allowed_shared"]) == (50_000, 50_000)  # above 48 KB it has to be asked for
    pointer, number, real, *scratch = launch["params"]
    assert pointer == [0x9ABCDEF0, 0x12345678]
    assert number[0] == 2**32 - 2
    assert real[0] == int(np.float32(0.5).view(np.uint32))
    assert scratch == [[0, 0], [0, 0]]  # Triton's two


def test_the_variant_is_the_first_whose_promises_hold(on_stub):
    launches = on_stub("""
        k = kernel((32, 0, [0, 1]), (64, 0, [0]), (96, 0, []), kinds="pip")
        chosen = [k.launch(0, 0, (1, 1, 1), *a) for a in ((32, 16, 3), (32, 5, 3), (24, 16, 3), (0, -16, 3), (8, 8, 8))]
        assert chosen == [0, 1, 2, 0, 2], chosen
        raises(lambda: kernel((32, 0, [0])).launch(0, 0, (1, 1, 1), 8, 1, 1.0), "no multiples of 16")
    """)
    assert [launch["block"][0] for launch in launches] == [32, 64, 96, 32, 96]


def test_an_empty_grid_does_nothing_and_a_wrong_one_is_refused(on_stub):
    launches = on_stub("""
        k = kernel((32, 0, []))
        for grid in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
            assert k.launch(0, 0, grid, 0, 0, 0.0) == -1
        raises(lambda: k.launch(0, 0, (1, 65536, 1), 0, 0, 0.0), "grid")
        raises(lambda: k.launch(0, 0, (1 << 31, 1, 1), 0, 0, 0.0), "grid")
        raises(lambda: k.launch(0, 0, (-1, 1, 1), 0, 0, 0.0), "grid")
        raises(lambda: k.launch(3, 0, (1, 1, 1), 0, 0, 0.0), "no such device")
    """)
    assert launches == []


def test_code_is_loaded_once_from_any_thread(on_stub):
    launches = on_stub("""
        k = kernel((32, 0, [0]), (64, 0, []))
        go = threading.Barrier(8)
        def work():
            go.wait()
            for i in range(50):
                k.launch(0, 0, (1, 1, 1), 16 * i, 1, 1.0)
        threads = [threading.Thread(target=work) for _ in range(8)]
        [t.start() for t in threads]; [t.join() for t in threads]
        assert driver.stub_loads() == 1
        k.load(0)  # the other variant too
        k.load(0)
        assert driver.stub_loads() == 2
    """)
    assert len(launches) == 400


def test_what_the_driver_says_is_said(on_stub):
    on_stub("""
        k = kernel((32, 0, []))
        driver.stub_fail(209)  # CUDA_ERROR_NO_BINARY_FOR_GPU
        raises(lambda: k.launch(0, 0, (1, 1, 1), 0, 0, 0.0), "cannot load f: the stub's error 209")
        k.launch(0, 0, (1, 1, 1), 0, 0, 0.0)
        driver.stub_fail(700)
        raises(lambda: k.launch(0, 0, (1, 1, 1), 0, 0, 0.0), "cannot launch f: the stub's error 700")
        assert driver.stub_depth() == 0
        assert native.gpu_unusable() == ""
        assert native.gpu_capability(0) == 87
        raises(lambda: native.gpu_capability(1), "no such device")
    """, STUB_ARCH="87")  # fmt: skip


def test_kernels_take_what_python_gives_them(on_stub):
    """The letters in each launch.py are those of the C++ signatures."""
    on_stub("""
        from saccade.kernels.mask_decode import launch as masks
        from saccade.kernels.nms import launch as boxes
        from saccade.kernels.resize_normalize import launch as pictures
        driver.stub_kinds.restype = ctypes.c_char_p
        for name, (kinds, _) in {**boxes.FUNCTIONS, **masks.FUNCTIONS, **pictures.FUNCTIONS}.items():
            assert driver.stub_kinds(name.encode()).decode() == kinds, name
    """)


def test_each_architecture_finds_its_file(on_stub, tmp_path):
    digest = cubins.source_digest("nms")
    for home, threads in (("sm_80", 1), ("sm_90", 2), ("ptx_80", 3)):
        folder = tmp_path / "cache/kernels/nms" / home
        folder.mkdir(parents=True)
        for alignment in cubins.ALIGNMENTS:
            contract = {
                "name": "f", "arch": home, "params": ["u64", "i32", "f32"], "warps": threads, "shared": 0,
                "divisible": [0] if alignment == "aligned" else [], "constexprs": {"TILE": 8}, "source_sha256": digest,
            }  # fmt: skip
            (folder / f"fp32.{alignment}.json").write_text(json.dumps(contract))
            (folder / f"fp32.{alignment}.{'ptx' if home == 'ptx_80' else 'cubin'}").write_bytes(b"code")
    (tmp_path / "cache/kernels").chmod(0o700)
    launches = on_stub("""
        from saccade.kernels import cubins
        from saccade.runtime.errors import KernelError
        for arch in (80, 86, 90, 87, 121):
            k, constants = cubins.triton("nms", "fp32", arch)
            assert constants == {"TILE": 8}
            k.launch(0, 0, (1, 1, 1), 8, 1, 1.0)
        for variant in ("fp16", "../fp32"):
            try:
                cubins.triton("nms", variant, 90)
            except KernelError as error:
                assert "no cubin for sm_90" in str(error) and "build-kernels" in error.hint
            else:
                raise AssertionError(variant)
        os.chmod(cubins.private_folder(), 0o777)  # anybody could write code there
        assert cubins.private_folder() not in cubins.folders()
    """, SACCADE_CACHE=str(tmp_path / "cache"))  # fmt: skip
    assert [launch["block"][0] // 32 for launch in launches] == [1, 1, 2, 3, 3]


def test_cubins_of_another_source_are_not_taken(tmp_path, monkeypatch):
    if native.module is None:
        pytest.skip(native.MISSING)
    folder = tmp_path / "kernels/nms/sm_90"
    folder.mkdir(parents=True)
    (tmp_path / "kernels").chmod(0o700)
    for alignment in cubins.ALIGNMENTS:
        (folder / f"old.{alignment}.json").write_text(json.dumps({"source_sha256": "0" * 64, "constexprs": {}}))
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path))
    with pytest.raises(KernelError, match="cannot be used: they were made from another source"):
        cubins.triton("nms", "old", 90)


BY_TRITON = """
sys.modules["torch"] = None  # with it, triton asks it for the driver
import triton, triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

@triton.jit
def f(x, n, m, scale, y, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < n) * scale + m, mask=i < n)

class At:
    def __init__(self, at): self.at = at
    def data_ptr(self): return self.at

signature = {"x": "*fp32", "n": "i32", "m": "i64", "scale": "fp32", "y": "*fp32", "BLOCK": "constexpr"}
made = triton.compile(ASTSource(fn=f, signature=signature, constexprs={"BLOCK": 256}, attrs={}),
                      target=GPUTarget("cuda", 90, 32), options={"num_warps": 8, "enable_fp_fusion": True})
driver.stub_print(b"f", 7)
made[(5, 2, 1)](At(0x7000_0000_1000), -3, -(1 << 40), 0.75, At(64), 256)
assert made.metadata.global_scratch_size == made.metadata.profile_scratch_size == 0
ours = native.GpuKernel([native.GpuVariant(made.asm["cubin"], "f", 256, made.metadata.shared, [])], "pilfp")
ours.launch(0, 0, (5, 2, 1), 0x7000_0000_1000, -3, -(1 << 40), 0.75, 64)
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed: pip install 'saccade[kernels]'")
def test_parameters_are_those_of_tritons_own_launcher(on_stub, stub, tmp_path):
    """A new contract in a new triton shows here, not on a GPU."""
    theirs, ours = on_stub(BY_TRITON, TRITON_LIBCUDA_PATH=str(stub), TRITON_CACHE_DIR=str(tmp_path / "triton"))
    for what in ("name", "grid", "block", "shared"):
        assert theirs[what] == ours[what], what
    halves = [2, 1, 2, 1, 2, 2, 2]  # 4-byte parameters say nothing in the second
    for kept, a, b in zip(halves, theirs["params"], ours["params"], strict=True):
        assert a[:kept] == b[:kept]


def test_without_a_driver_it_is_said(private_cache):
    del private_cache
    if native.module is None or not native.module.gpu_unusable():
        pytest.skip("there is a driver here")
    assert native.module.gpu_unusable().startswith("no CUDA driver: libcuda.so.1")
    assert gpu.machine() == native.module.gpu_unusable()
    with pytest.raises(RuntimeError, match="no CUDA driver"):
        native.module.gpu_capability(0)


@pytest.mark.parametrize(
    ("variants", "kinds", "part"),
    [
        ([], "p", "needs a variant"),
        ([(b"", "f", 32, 0, [])], "p", "lacks code"),
        ([(b"c", "f", 0, 0, [])], "p", "block"),
    ]
    + [([(b"c", "f", 32, 0, [1])], "p", "promise"), ([(b"c", "f", 32, 0, [0])], "f", "promise")]
    + [([(b"c", "f", 2048, 0, [])], "p", "block"), ([(b"c", "f", 32, 0, [])], "px", "kind")],
)
def test_kernels_that_cannot_be_are_refused(variants, kinds, part):
    if native.module is None:
        pytest.skip(native.MISSING)
    with pytest.raises(RuntimeError, match=part):
        native.module.GpuKernel([native.module.GpuVariant(*variant) for variant in variants], kinds)


def test_architectures_are_read_or_refused():
    assert architectures("80,sm_90") == (80, 90)
    for text in ("", "75", "80,,90", "x"):
        with pytest.raises(SettingsError, match="unknown architecture"):
            architectures(text)


def test_parameters_are_counted():
    assert count_parameters(".visible .entry f(\n.param .u64 a,\n.param .u32 b\n)\n{ ld.param.u64 }") == 2
    assert count_parameters("nothing") == -1
