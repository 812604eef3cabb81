"""Objects compiled for one ISA hold no weak symbol that the linker could keep for a CPU without that ISA."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPILER = shutil.which(os.environ.get("CXX") or "c++")
ISAS = {
    "base": ["-march=x86-64-v2"],
    "avx2": ["-march=x86-64-v3"],
    "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
    "avx512vnni": ["-march=x86-64-v4", "-mavx512vbmi", "-mavx512vnni", "-mprefer-vector-width=512"],
}
FLAGS = ["-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-fPIC"]
SOURCES = sorted(ROOT.glob("csrc/*/*_*.cpp"))
OBJECTS = [(path, isa) for path in SOURCES for isa in ISAS if path.stem.endswith(f"_{isa}")]
FOR_ONE_ISA = [path for path in SOURCES if path.stem.split("_")[-1] in {*ISAS, "neon"}]

pytestmark = pytest.mark.skipif(
    not COMPILER or not shutil.which("nm") or platform.machine() != "x86_64" or not SOURCES,
    reason="needs a C++ compiler, nm, an x86-64 machine and the sources",
)


def weak_symbols(tmp_path: Path, source: Path, flags: list[str], *more: str) -> list[str]:
    target = tmp_path / "object.o"
    include = ["-I", str(ROOT / "csrc/include")]
    subprocess.run([COMPILER, *FLAGS, *flags, *more, *include, "-c", str(source), "-o", str(target)], check=True)
    listed = subprocess.run(["nm", str(target)], check=True, capture_output=True, text=True).stdout
    return re.findall(r"^\S* +[WwVvu] .*$", listed, re.MULTILINE)


@pytest.mark.parametrize("optimise", ["-O3", "-O0"])
@pytest.mark.parametrize(("source", "isa"), OBJECTS, ids=lambda value: getattr(value, "stem", value))
def test_no_weak_symbol(tmp_path, source, isa, optimise):
    assert weak_symbols(tmp_path, source, ISAS[isa], optimise) == []


def test_the_check_finds_one(tmp_path):
    source = tmp_path / "weak.cpp"
    source.write_text("#include <vector>\nint f(std::vector<int>& v) { v.push_back(1); return v[0]; }\n")
    assert weak_symbols(tmp_path, source, ISAS["avx512vnni"])


@pytest.mark.parametrize("source", FOR_ONE_ISA, ids=lambda source: source.stem)
def test_only_plain_headers(source):
    for path in (source, *source.parent.glob("*.inc")):
        included = re.findall(r"#include <(.+)>", path.read_text())
        assert set(included) <= {"stddef.h", "stdint.h", "math.h", "string.h", "immintrin.h", "arm_neon.h"}, path.name
