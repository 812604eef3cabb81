"""A small GLIP's weights, and its parts in NumPy."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor


@pytest.fixture(scope="session")
def plain() -> Any:
    """The module glip_numpy, with what the tests compare by."""
    spec = importlib.util.spec_from_file_location("glip_numpy", Path(__file__).with_name("glip_numpy.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def weights() -> dict[str, Tensor]:
    """By the official names, those that are read."""
    from saccade.benchmarks.glip_checkpoint import SMALL, drawn, names
    from saccade.export.recipes.glip import UNREAD

    return {name: tensor for name, tensor in drawn(names(SMALL)).items() if not UNREAD.fullmatch(name)}


@pytest.fixture(scope="session")
def noise() -> Any:
    """noise(seed, *shape)"""
    return lambda seed, *shape: torch.randn(shape, generator=torch.Generator().manual_seed(seed))
