"""Triton kernels compile for every architecture without a GPU, and their contracts are what the launcher gives."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

from saccade.kernels import cubins, native
from saccade.kernels.aot import ARCHITECTURES, OPS

pytestmark = pytest.mark.skipif(
    find_spec("triton") is None, reason="triton is not installed: pip install 'saccade[kernels]'"
)
POINTERS = {"relpos_attention": 6, "deformable_attention": 5, "mask_decode": 5, "nms": 3}
PARAMETERS = {"relpos_attention": 11, "deformable_attention": 11, "mask_decode": 12, "nms": 7}


def compiled(folder, *arguments):
    command = [sys.executable, "-P", "-m", "saccade.kernels.aot", "--out", folder, "--jobs", "1", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.match(r"\d+ kernels, [0-9.]+ MB", done.stdout)
    return folder


def contracts(folder):
    return {file: json.loads(file.read_text()) for file in sorted(folder.glob("*/*/*.json"))}


@pytest.fixture(scope="session")
def some(tmp_path_factory):
    """A variant of relpos_attention for every architecture, and the other ops for two."""
    folder = tmp_path_factory.mktemp("cubins")
    compiled(folder, "--op", "relpos_attention", "--only", "fp16.d64.n16")
    compiled(folder, "--op", "deformable_attention", "--only", "fp16.d32", "--arch", "80,90")
    return compiled(folder, "--op", "mask_decode", "--op", "nms", "--arch", "80,90")


def check(folder):
    for file, contract in contracts(folder).items():
        op, home = file.parts[-3:-1]
        assert contract["arch"] == home
        assert contract["source_sha256"] == cubins.source_digest(op)
        assert len(contract["params"]) == PARAMETERS[op]
        assert contract["params"].count("u64") == POINTERS[op]
        assert bool(contract["divisible"]) == (".aligned." in file.name)
        assert 0 <= contract["shared"] <= 99 << 10 or home in ("sm_90", "sm_100", "sm_110")  # what a block may have
        code = file.with_suffix(".ptx" if home == "ptx_80" else ".cubin").read_bytes()
        if home == "ptx_80":
            assert b".version 8.0" in code
            assert re.search(rb"\.target sm_80\b", code)
            assert b".loc" not in code
        else:
            assert code[:4] == b"\x7fELF"
            assert contract.get("registers", 0) <= 255


def test_every_architecture_has_both_variants(some):
    found = {(f.parts[-2], f.name.split(".")[-2]) for f in contracts(some) if f.parts[-3] == "relpos_attention"}
    homes = [*(f"sm_{arch}" for arch in ARCHITECTURES), "ptx_80"]
    assert found == {(home, alignment) for home in homes for alignment in cubins.ALIGNMENTS}


def test_contracts_are_what_the_launcher_gives(some):
    assert {file.parts[-3] for file in contracts(some)} == set(OPS)
    check(some)


def test_a_promise_pays(some):
    """With it, sixteen bytes are loaded at once."""

    def widest(variant, alignment):
        text = (some / f"{variant}.{alignment}.ptx").read_text()
        return "cp.async.cg.shared.global" in text or re.search(r"ld\.global\S*\.v4", text)

    for variant in ("relpos_attention/ptx_80/fp16.d64.n16", "deformable_attention/ptx_80/fp16.d32"):
        assert widest(variant, "aligned")
        assert not widest(variant, "general")


def test_nothing_is_fused_where_every_bit_counts(some):
    for op in ("mask_decode", "nms"):
        for file in (some / op / "ptx_80").glob("*.ptx"):
            text = file.read_text()
            assert "fma.rn.f32" not in text, file
            assert "div.full" not in text, file
            assert "div.approx" not in text, file


def test_the_launcher_opens_them(some):
    if native.module is None:
        pytest.skip(native.MISSING)
    for op, name in (
        ("relpos_attention", "fp16.d64.n16"),
        ("deformable_attention", "fp16.d32"),
        ("nms", "fp32"),
        ("mask_decode", "fp32"),
    ):
        for home in ("sm_90", "ptx_80"):
            files = [some / op / home / f"{name}.{alignment}.json" for alignment in cubins.ALIGNMENTS]
            _, constants = cubins.open_files(files, cubins.source_digest(op))
            assert constants


@pytest.mark.slow
def test_the_other_dtypes_compile_everywhere(tmp_path):
    compiled(tmp_path, "--op", "relpos_attention", "--only", "bf16.d64.n64")
    compiled(tmp_path, "--op", "relpos_attention", "--only", "fp32.d64.n16")
    check(tmp_path)
    assert len(contracts(tmp_path)) == 2 * 2 * (len(ARCHITECTURES) + 1)
