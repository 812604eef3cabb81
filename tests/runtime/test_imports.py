"""Imports point one way, and importing saccade is cheap."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = {
    "python/saccade": "saccade",
    "runtime": "saccade.runtime",
    "kernels": "saccade.kernels",
    "export": "saccade.export",
}
PARTS |= {"zoo": "saccade.zoo", "benchmarks": "saccade.benchmarks"}


def modules() -> dict[str, set[str]]:
    """For each module of ours, the modules of ours that it imports, wherever in the file that stands."""
    found = {}
    files = {}
    for folder, package in PARTS.items():
        for file in sorted((ROOT / folder).rglob("*.py")):
            inner = file.relative_to(ROOT / folder).with_suffix("").parts
            files[".".join((package, *inner)).removesuffix(".__init__")] = file
    for name, file in files.items():
        wanted = set()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: write saccade.…, not dots"
                wanted |= {
                    f"{node.module}.{a.name}" if f"{node.module}.{a.name}" in files else str(node.module)
                    for a in node.names
                }
        found[name] = {w for w in wanted if w.split(".")[0] == "saccade"}
    return found


MODULES = modules()


def inside(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def test_the_walk_sees_imports():
    assert "saccade.runtime.errors" in MODULES["saccade.runtime.settings"]
    assert "saccade.runtime.strict_json" in MODULES["saccade.runtime.manifest"]
    assert len(MODULES) > 20


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("saccade.runtime.errors", set()),
        ("saccade.runtime.strict_json", set()),
        ("saccade.runtime.settings", {"saccade.runtime.errors"}),
        ("saccade.runtime.spec", {"saccade.runtime.errors"}),
        ("saccade.runtime.onnx_scan", {"saccade.runtime.errors"}),
    ],
)
def test_the_bottom_rests_on_little(module, allowed):
    assert MODULES[module] <= allowed


R = "saccade.runtime"
TOOLS = ("saccade.export", "saccade.zoo", "saccade.benchmarks")
RULES = [
    (
        "pipelines do not know who runs them",
        f"{R}.pipelines",
        (f"{R}.engines", f"{R}.scheduler", f"{R}.scheduling", f"{R}.direct"),
    ),
    ("the runtime does not export, render or measure", R, TOOLS),
    ("kernels do not export, render or measure", "saccade.kernels", TOOLS),
    ("engines do not know models", f"{R}.engines", (f"{R}.model", f"{R}.pipelines")),
]


@pytest.mark.parametrize(("why", "package", "banned"), RULES, ids=lambda v: v if isinstance(v, str) else "")
def test_imports_point_one_way(why, package, banned):
    broken = {n: w for n, wanted in MODULES.items() if inside(n, package) for w in wanted if inside(w, *banned)}
    assert not broken, why


def test_of_the_runtime_kernels_know_errors_and_settings():
    allowed = {"saccade.runtime.errors", "saccade.runtime.settings"}
    for name, wanted in MODULES.items():
        if inside(name, "saccade.kernels"):
            assert {w for w in wanted if inside(w, "saccade.runtime")} <= allowed, name


def test_only_the_command_line_imports_export_and_serve():
    for name, wanted in MODULES.items():
        if not inside(name, "saccade.cli", "saccade.commands", "saccade.__main__", "saccade.benchmarks", "saccade.zoo"):
            for banned in ("saccade.export", "saccade.runtime.serve"):
                if not inside(name, banned):
                    assert not [w for w in wanted if inside(w, banned)], name


def test_there_is_no_circle_at_import_time():
    """Every module can be the first that is imported."""
    names = [n for n in MODULES if inside(n, "saccade.runtime") and n.count(".") == 2]
    code = """
import importlib, sys
for name in sys.argv[1:]:
    for loaded in [m for m in sys.modules if m.split(".")[0] == "saccade"]:
        del sys.modules[loaded]
    importlib.import_module(name)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code, *names], check=True, cwd="/")


def test_the_bare_folder_names_are_refused():
    # Of a Python started in the root without PYTHONSAFEPATH, which the Makefile sets.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    for folder in ("runtime", "export"):
        run = [sys.executable, "-c", f"import {folder}"]
        done = subprocess.run(run, cwd=ROOT, env=env, capture_output=True, text=True)
        assert done.returncode, folder
        assert "folder of saccade" in done.stderr


HEAVY = (
    "onnxruntime",
    "torch",
    "transformers",
    "starlette",
    "uvicorn",
    "triton",
    "openvino",
    "onnx",
    "tensorrt",
    "cupy",
)
HEAVY += ("matplotlib", "scipy", "typer", "rich", "tokenizers", "safetensors", "huggingface_hub")


def test_importing_saccade_loads_nothing_heavy():
    code = "import sys, saccade; print([m for m in sys.argv[1:] if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "[]"


def test_importing_saccade_costs_at_most_60_ms_over_numpy():
    """The least of several runs, taken in turn, so that a busy machine slows both."""
    code = "import time; a = time.perf_counter(); import {}; print(time.perf_counter() - a)"

    def once(what: str) -> float:
        given = {"env": {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}, "cwd": "/", "capture_output": True}
        done = subprocess.run([sys.executable, "-c", code.format(what)], check=True, **given)
        return float(done.stdout)

    runs = [(once("numpy"), once("numpy, saccade")) for _ in range(7)]
    over = min(ours for _, ours in runs) - min(numpy for numpy, _ in runs)
    assert over <= 0.060, f"{over * 1e3:.0f} ms"
