"""The C++ tests under the thread sanitizer: kernels on several threads write nothing that another reads.

Needs cmake, a C++ compiler that has the sanitizer, and an address space that it can map (some containers forbid it).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
THREADED = ("parallel", "mask_decode", "resize_normalize", "relpos_attention")
FOUND = "WARNING: ThreadSanitizer"
CXX = os.environ.get("CXX") or shutil.which("c++") or ""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("cmake") or not CXX, reason="not installed: cmake or a C++ compiler"),
]

RACE = """
#include <thread>
int shared = 0;
int main() {
    std::thread other([] { for (int i = 0; i < 1000; ++i) ++shared; });
    for (int i = 0; i < 1000; ++i) ++shared;
    other.join();
}
"""


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """The build; skips where the sanitizer does not even find a planted race."""
    folder = tmp_path_factory.mktemp("threads")
    (folder / "race.cpp").write_text(RACE)
    options = ["-std=c++17", "-g", "-fsanitize=thread", "-pthread", "race.cpp", "-o", "race"]
    made = subprocess.run([CXX, *options], cwd=folder, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"{Path(CXX).name} has no thread sanitizer: {made.stderr.strip()[-200:]}")
    ran = subprocess.run([folder / "race"], capture_output=True, text=True, check=False)
    if FOUND not in ran.stderr:
        pytest.skip(f"the thread sanitizer does not run here: {ran.stderr.strip()[-200:]}")
    chosen = ["-DSACCADE_PYTHON=OFF", "-DSACCADE_TESTS=ON", "-DSACCADE_SANITIZE=thread", f"-DCMAKE_CXX_COMPILER={CXX}"]
    subprocess.run(["cmake", "-S", ROOT, "-B", folder / "build", *chosen], check=True, capture_output=True)
    targets = [f"test_{op}" for op in THREADED]
    build = ["cmake", "--build", folder / "build", "--parallel", "2", "--target", *targets]
    made = subprocess.run(build, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout[-4000:] + made.stderr[-4000:]
    return folder / "build"


@pytest.mark.parametrize("op", THREADED)
def test_no_race(sanitized, op):
    ran = subprocess.run([sanitized / f"test_{op}"], capture_output=True, text=True, check=False)
    assert FOUND not in ran.stderr, ran.stderr[:4000]
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
