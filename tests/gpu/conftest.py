"""A GPU, or the reason why there is none. tests/kernels/test_emulated.py runs this folder on an emulated one."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from saccade.kernels import cubins, gpu


@pytest.fixture(scope="session")
def cupy() -> Any:
    """The module, where a GPU can run what we have."""
    if reason := gpu.machine():
        pytest.skip(f"no GPU: {reason}")
    found = gpu.cupy()
    if getattr(found, "EMULATED", False):  # the stub driver knows our kernels by name; any file will do
        cubins.private_folder().mkdir(mode=0o700)
        for op in ("nms", "mask_decode", "resize_normalize"):
            (cubins.private_folder() / f"{op}.fatbin").write_bytes(b"stub")
    return found


@pytest.fixture
def usable(cupy: Any) -> Any:
    """usable(op, name): skips with its reason where a candidate cannot run."""

    def check(op: str, name: str) -> str:
        candidates = import_module(f"saccade.kernels.{op}").CANDIDATES
        reason = next(candidate.unusable() for candidate in candidates if candidate.name == name)
        if name == "triton" and getattr(cupy, "EMULATED", False):
            pytest.skip("needs a GPU, this one is emulated")
        if reason:
            pytest.skip(f"{op} {name}: {reason}")
        return name

    return check


@pytest.fixture
def real(cupy: Any) -> None:
    """Only where the GPU is one: streams, graphs and Triton's cubins are not emulated."""
    if getattr(cupy, "EMULATED", False):
        pytest.skip("needs a GPU, this one is emulated")
