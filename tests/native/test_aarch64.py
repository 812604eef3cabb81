"""The C++ tests, cross-built for 64-bit ARM and run under emulation: NEON gives what x86 gives, bit for bit.

Needs g++-aarch64-linux-gnu and qemu-user, which no make target installs. Emulation says nothing about speed.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("cmake", "aarch64-linux-gnu-g++", "qemu-aarch64")
MISSING = [tool for tool in TOOLS if not shutil.which(tool)]
SEED = str(int(np.random.SeedSequence().entropy % 2**31))
SOURCES = sorted((ROOT / "csrc/tests").glob("test_*.cpp"))
OPS = [path.stem.removeprefix("test_") for path in SOURCES]
OPS.remove("parallel")
DIGESTED = [path.stem.removeprefix("test_") for path in SOURCES if '"digest.h"' in path.read_text()]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


def build(folder: Path, *options: str) -> Path:
    common = ["-DSACCADE_PYTHON=OFF", "-DSACCADE_TESTS=ON"]
    subprocess.run(["cmake", "-S", ROOT, "-B", folder, *common, *options], check=True, capture_output=True)
    made = subprocess.run(["cmake", "--build", folder, "--parallel", "2"], capture_output=True, text=True)
    assert made.returncode == 0, made.stdout[-4000:] + made.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def arm(tmp_path_factory):
    toolchain = ROOT / "csrc/cmake/aarch64.cmake"
    return build(tmp_path_factory.mktemp("aarch64"), f"-DCMAKE_TOOLCHAIN_FILE={toolchain}")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return build(tmp_path_factory.mktemp("here"))


@cache
def run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, f"seed {SEED}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.parametrize("op", OPS)
def test_every_candidate_agrees_under_emulation(arm, op):
    said = run("qemu-aarch64", arm / f"test_{op}", SEED)
    listed = re.search("candidates:(.*)", said)[1]
    assert "base" in listed.split()
    assert ("neon" in listed.split()) == bool(list(ROOT.glob(f"csrc/{op}/*_neon.cpp"))), said
    assert "unusable" not in listed


def test_the_loop_over_threads_under_emulation(arm):
    run("qemu-aarch64", arm / "test_parallel")


@pytest.mark.parametrize("op", DIGESTED)
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the other side is x86-64")
def test_results_are_those_of_x86(arm, here, op):
    theirs = re.findall("digest .*", run(here / f"test_{op}", SEED))
    ours = re.findall("digest .*", run("qemu-aarch64", arm / f"test_{op}", SEED))
    assert theirs
    assert ours == theirs, f"seed {SEED}"
