"""Code for GPUs, as files: where it lies, which file suits a device, and the kernels in it, opened once.

    cubins/<op>.fatbin                           CUDA C++, all architectures, made by CMake where there is an nvcc
    cubins/<op>/sm_90/<variant>.aligned.cubin    Triton, made by saccade.kernels.aot; .general. beside it
    cubins/<op>/ptx_80/<variant>.aligned.ptx     for devices that no cubin suits
    …/<variant>.aligned.json                     the contract of each

Folders: the private cache, where `saccade build-kernels` puts them, then the wheel.
"""

from __future__ import annotations

import hashlib
import json
import stat
import sys
from collections.abc import Mapping
from functools import cache
from os import getuid
from pathlib import Path
from typing import Any

from saccade.kernels import native
from saccade.runtime.errors import KernelError
from saccade.runtime.settings import setting

ALIGNMENTS = ("aligned", "general")  # the pickier first: the launcher takes the first whose promises hold
BUILD = "run `saccade build-kernels`, or build saccade where triton and nvcc are"
_SAME = {86: 80, 88: 87}  # a cubin also runs on later minor versions; 87 is not one of 80's, by NVIDIA's rule
_KINDS = {"u64": "p", "i32": "i", "i64": "l", "f32": "f"}


def private_folder() -> Path:
    """Where this user's own kernels are. May not exist."""
    cache_folder: Path = setting("SACCADE_CACHE")
    return cache_folder / "kernels"


def folders() -> list[Path]:
    """Where kernels may be, in order. The private one counts only if nobody else can write to it."""
    packages = [Path(place) / "cubins" for place in sys.modules["saccade"].__path__]
    return [*([private_folder()] if _private(private_folder()) else []), *packages]


def _private(folder: Path) -> bool:
    try:
        info = folder.lstat()
    except (OSError, ValueError):
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == getuid() and not info.st_mode & 0o077


def cuda(op: str, functions: Mapping[str, tuple[str, int]]) -> dict[str, Any]:
    """The CUDA C++ kernels of `op` by name, as native.GpuKernel.

    functions: for each, a letter a parameter (launch.h) and the threads of a block
    Raises KernelError where none were built.
    """
    return _cuda(op, tuple(functions.items()), tuple(folders()))


@cache
def _cuda(op: str, functions: tuple[tuple[str, tuple[str, int]], ...], places: tuple[Path, ...]) -> dict[str, Any]:
    file = next((place / f"{op}.fatbin" for place in places if (place / f"{op}.fatbin").is_file()), None)
    if file is None:
        raise KernelError(f"[{op}] no CUDA kernels: saccade was built without nvcc", hint=BUILD)
    image = file.read_bytes()
    return {
        name: native.module.GpuKernel([native.module.GpuVariant(image, name, threads, 0, [])], kinds)
        for name, (kinds, threads) in functions
    }


def triton(op: str, variant: str, capability: int) -> tuple[Any, dict[str, Any]]:
    """The Triton kernel of `op` for a device, as native.GpuKernel, and the constants it was compiled with.

    variant: as the op's triton.py names it; capability: 90 for 9.0
    Raises KernelError where there is none.
    """
    return _triton(op, variant, capability, tuple(folders()))


@cache
def _triton(op: str, variant: str, capability: int, places: tuple[Path, ...]) -> tuple[Any, dict[str, Any]]:
    homes = [f"sm_{capability}", f"sm_{_SAME.get(capability, capability)}", "ptx_80"]
    reason = f"no cubin for sm_{capability}"
    for place in (folder / op / home for folder in places for home in homes):
        contracts = [place / f"{variant}.{alignment}.json" for alignment in ALIGNMENTS]
        if not all(file.is_file() for file in contracts):
            continue
        try:
            return open_files(contracts, source_digest(op))
        except (OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
            reason = f"the cubins for sm_{capability} cannot be used: {error}"
    raise KernelError(f"[{op}] {reason}", hint=BUILD)


def open_files(contracts: list[Path], digest: str) -> tuple[Any, dict[str, Any]]:
    """The kernel whose variants have these contracts, and its constants. Raises ValueError if `digest` is another."""
    kinds, variants, constants = "", [], {}
    for file in contracts:
        contract = json.loads(file.read_bytes())
        constants = contract["constexprs"]
        if contract["source_sha256"] != digest:
            raise ValueError("they were made from another source")
        kinds = "".join(_KINDS[kind] for kind in contract["params"])
        image = file.with_suffix(".ptx" if contract["arch"] == "ptx_80" else ".cubin").read_bytes()
        variants.append(
            native.module.GpuVariant(
                image + b"\0", contract["name"], 32 * contract["warps"], contract["shared"], contract["divisible"]
            )
        )
    return native.module.GpuKernel(variants, kinds), constants


@cache
def source_digest(op: str) -> str:
    """SHA-256 of the op's Triton source, which its cubins carry."""
    return hashlib.sha256((Path(__file__).parent / op / "triton.py").read_bytes()).hexdigest()
