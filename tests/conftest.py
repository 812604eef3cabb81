"""Shared by all tests: a private cache, the shipped bundle and pictures."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--real", action="store_true", help="also run networks of real size: minutes and gigabytes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--real"):
        for item in items:
            if "real" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="a network of real size: make test PYTEST=--real"))


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test touches the user's cache, and no SACCADE_* variable of the user reaches a test."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("SACCADE_")}
    cache = tmp_path_factory.mktemp("cache")
    cache.chmod(0o700)
    os.environ["SACCADE_CACHE"] = str(cache)
    yield cache
    del os.environ["SACCADE_CACHE"]
    os.environ.update(kept)


@pytest.fixture(scope="session")
def clip_bundle() -> Path:
    """The shipped tiny CLIP."""
    from saccade.zoo.shipped import bundle_path

    return bundle_path("clip-tiny")


@pytest.fixture(scope="session")
def pictures() -> list[Path]:
    """The shipped pictures."""
    from saccade.zoo.shipped import pictures

    return pictures()


@pytest.fixture(scope="session")
def toy_sam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SAM of a few ONNX nodes (tests/toy_sam.py)."""
    target = tmp_path_factory.mktemp("toy") / "toy.bundle"
    toy().write_toy(target)
    return target


def toy(name: str = "toy_sam") -> Any:
    """tests/toy_sam.py as a module: with importmode=importlib there is no package to import it from."""
    pytest.importorskip("onnx")
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def sam_bundle(request: pytest.FixtureRequest) -> Path:
    """The shipped tiny SAM; in a build that has none, the toy."""
    from saccade.zoo.shipped import bundle_path, names

    return bundle_path("sam-tiny") if "sam-tiny" in names() else request.getfixturevalue("toy_sam")


@pytest.fixture(scope="session")
def write_toy() -> Any:
    """toy_sam.write_toy, for tests that want another one."""
    return toy().write_toy


@pytest.fixture(scope="session")
def toy_grounding() -> Any:
    """tests/toy_grounding.py: writes detectors that know colours."""
    return toy("toy_grounding")


@pytest.fixture(scope="session")
def grounding_bundle(toy_grounding: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of family grounding that knows colours."""
    target = tmp_path_factory.mktemp("toy") / "grounding.bundle"
    toy_grounding.write_grounding(target)
    return target


@pytest.fixture(scope="session")
def owl_bundle(toy_grounding: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of family owl that knows colours."""
    target = tmp_path_factory.mktemp("toy") / "owl.bundle"
    toy_grounding.write_owl(target)
    return target


@pytest.fixture(scope="session")
def coloured() -> Any:
    """A picture (64, 96, 3) of grey with a red cell at 32, 16 and a blue one at 0, 48; cells are 16 pixels wide."""
    pixels = np.full((64, 96, 3), 128, np.uint8)
    pixels[16:32, 32:48] = 255, 0, 0
    pixels[48:64, 0:16] = 0, 0, 255
    return pixels
