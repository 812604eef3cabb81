"""Shared by all tests: a private cache, the shipped bundle and pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


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
