"""Triton kernels to GPU code, ahead of time and without a GPU: `python -m saccade.kernels.aot --out FOLDER`.

    <op>/triton.py: KERNEL, variants() ──▶ for each architecture, aligned and general ──▶ cubin + JSON contract
                                       ──▶ sm_80's PTX for devices that no cubin suits

The contract is Triton's (3.9): parameters in order of declaration without constants, then two pointers to scratch
memory that kernels here do not use. What would break it is refused. saccade.kernels.cubins reads what this writes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from saccade.kernels.cubins import ALIGNMENTS, source_digest
from saccade.runtime.errors import KernelError, MissingExtra, SettingsError

ARCHITECTURES = (80, 87, 89, 90, 100, 110, 120)
OPS = ("relpos_attention", "deformable_attention", "mask_decode", "nms")
PTX = 80  # architecture and PTX version of the fallback: an old driver reads it, and every newer GPU runs it
NEW = 110  # the one architecture that the ptxas of CUDA 12.9 does not know
SCRATCH = 2  # pointers that Triton adds to the parameters
SPILLS = {"aligned": 16, "general": 1024}  # most bytes of stack: the second is there to be right
_KINDS = {"i32": "i32", "i64": "i64", "fp32": "f32"}


class Task(NamedTuple):
    """One compilation. home: the folder of its architecture."""

    op: str
    home: str
    variant: str
    alignment: str


def build(
    out: Path,
    *,
    architectures: Iterable[int] = ARCHITECTURES,
    ops: Iterable[str] = OPS,
    only: str = "",
    jobs: int | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Compile to `out`/<op>/<architecture>/; gives the contracts, in order.

    only: a part of the variants' names; "" for all. jobs: processes, all cores by default
    report: takes how many are done, and of how many
    Raises MissingExtra without triton, KernelError where a kernel breaks the contract.
    """
    if find_spec("triton") is None:
        raise MissingExtra("triton", "kernels", purpose="compiling kernels")
    homes = [*(f"sm_{arch}" for arch in architectures), f"ptx_{PTX}"]
    made, ops = [], list(ops)
    # Processes of their own: one that has triton for something else may have it in another mode.
    with ProcessPoolExecutor(jobs or len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        tasks = [
            Task(op, home, variant, alignment)
            for op, variants in zip(ops, pool.map(variant_names, ops), strict=True)
            for variant in variants
            if only in variant
            for home in homes
            for alignment in ALIGNMENTS
        ]
        for done, contract in enumerate(pool.map(partial(compile_one, out), tasks), 1):
            made.append(contract)
            report(done, len(tasks))
    return made


def _source(op: str) -> Any:
    os.environ.pop("TRITON_INTERPRET", None)  # read where triton is imported and a kernel defined
    return import_module(f"saccade.kernels.{op}.triton")


def variant_names(op: str) -> list[str]:
    """The variants that the op's triton.py lists."""
    return [variant["name"] for variant in _source(op).variants()]


def compile_one(out: Path, task: Task) -> dict[str, Any]:
    """One cubin or PTX, and the contract beside it, which is written last. Returns the contract."""
    source = _source(task.op)
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    (variant,) = (v for v in source.variants() if v["name"] == task.variant)
    parameters = [name for name in source.KERNEL.arg_names if name in variant["signature"]]
    promised = variant["divisible"] if task.alignment == "aligned" else []
    ptx, arch = task.home.startswith("ptx"), int(task.home.split("_")[1])
    options = {"num_warps": variant["warps"], "num_stages": variant["stages"], "enable_fp_fusion": variant["fuse"]}
    places = {name: at for at, name in enumerate(source.KERNEL.arg_names)}
    ast = ASTSource(
        fn=source.KERNEL,
        signature={**variant["signature"], **dict.fromkeys(variant["constexprs"], "constexpr")},
        constexprs=variant["constexprs"],
        attrs={(places[name],): [["tt.divisibility", 16]] for name in promised},
    )
    with tempfile.TemporaryDirectory() as scratch:
        _environment(arch, Path(triton.__file__).parent, scratch)
        target = GPUTarget("cuda", arch, 32)
        made = triton.compile(ast, target=target, options={**options, **({"ptx_version": PTX} if ptx else {})})
    what = f"[{task.op}] {task.home}/{task.variant}.{task.alignment}"
    _refuse(what, made.metadata, made.asm["ptx"], len(parameters))
    contract = {
        "op": task.op,
        "name": made.metadata.name,
        "arch": task.home,
        "params": [_kind(variant["signature"][name]) for name in parameters],
        "divisible": [parameters.index(name) for name in promised],
        "warps": made.metadata.num_warps,
        "shared": made.metadata.shared,
        "constexprs": variant["constexprs"],
        "source_sha256": source_digest(task.op),
        "triton": triton.__version__,
        **resources(made.asm["cubin"]),
    }
    if contract.get("stack", 0) > SPILLS[task.alignment]:
        raise KernelError(f"{what} spills {contract['stack']} bytes", hint="fewer rows a program, or more warps")
    place = out / task.op / task.home
    place.mkdir(parents=True, exist_ok=True)
    code = made.asm["ptx"].encode() if ptx else made.asm["cubin"]
    _write(place / f"{task.variant}.{task.alignment}{'.ptx' if ptx else '.cubin'}", code)
    _write(place / f"{task.variant}.{task.alignment}.json", json.dumps(contract, indent=1).encode())
    return contract


def _environment(arch: int, triton: Path, scratch: str) -> None:
    """What triton reads from the environment: no line tables, no cache of its own, and the older of its assemblers."""
    os.environ["TRITON_DISABLE_LINE_INFO"] = "1"
    os.environ["TRITON_CACHE_DIR"] = scratch
    older = triton / "backends/nvidia/bin/ptxas"  # what it makes runs on any driver of CUDA 12 or later
    os.environ.pop("TRITON_PTXAS_BLACKWELL_PATH", None)
    if arch != NEW and older.is_file():
        os.environ["TRITON_PTXAS_BLACKWELL_PATH"] = str(older)


def _kind(written: str) -> str:
    return "u64" if written.startswith("*") else _KINDS[written]


def _refuse(what: str, metadata: Any, ptx: str, parameters: int) -> None:
    """What the launcher does not do, and a count of parameters that is not what it would give."""
    ones = {"num_ctas": 1, "launch_cooperative_grid": False, "launch_pdl": False, "tensordesc_meta": None}
    zeros = dict.fromkeys(("global_scratch_size", "profile_scratch_size"), 0)
    for name, wanted in {**ones, **zeros}.items():
        if (found := getattr(metadata, name, wanted)) != wanted and found:
            raise KernelError(f"{what}: {name} is {found}", hint=f"the launcher wants {wanted}")
    found = count_parameters(ptx)
    if found != parameters + SCRATCH:
        raise KernelError(
            f"{what} takes {found} parameters", hint=f"{parameters} and {SCRATCH} of scratch were expected"
        )


def count_parameters(ptx: str) -> int:
    """How many parameters the one kernel in this PTX takes."""
    entry = re.search(r"\.entry\s+\w+\s*\((.*?)\)", ptx, re.DOTALL)
    return entry.group(1).count(".param") if entry else -1


def resources(cubin: bytes) -> dict[str, int]:
    """registers a thread and bytes of stack, by cuobjdump; empty where that is missing."""
    tool = Path(import_module("triton").__file__ or "").parent / "backends/nvidia/bin/cuobjdump"
    if not tool.is_file():
        return {}
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=False)
    found = re.search(r"REG:(\d+) STACK:(\d+)", done.stdout)
    return {"registers": int(found[1]), "stack": int(found[2])} if found else {}


def _write(path: Path, content: bytes) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_bytes(content)
    scratch.replace(path)


def architectures(text: str) -> tuple[int, ...]:
    """80,90 as numbers. Raises SettingsError for what is not in ARCHITECTURES."""
    listed = [part.strip().removeprefix("sm_") for part in text.split(",")]
    if not all(part.isdecimal() and int(part) in ARCHITECTURES for part in listed):
        raise SettingsError(f"unknown architecture in {text!r}", hint=f"known: {', '.join(map(str, ARCHITECTURES))}")
    return tuple(int(part) for part in listed)


def main(arguments: list[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m saccade.kernels.aot", description="Triton kernels to cubins.")
    parser.add_argument("--out", type=Path, required=True, help="folder for <op>/<architecture>/")
    parser.add_argument("--arch", default=",".join(map(str, ARCHITECTURES)), help="compute capabilities: 80,90")
    parser.add_argument("--op", action="append", choices=OPS, help="only this op; may be repeated")
    parser.add_argument("--only", default="", help="only variants with this in their names, such as fp16")
    parser.add_argument("--jobs", type=int, help="processes; all cores by default")
    given = parser.parse_args(arguments)
    made = build(
        given.out, architectures=architectures(given.arch), ops=given.op or OPS, only=given.only, jobs=given.jobs
    )
    size = sum(file.stat().st_size for file in given.out.rglob("*") if file.suffix in (".cubin", ".ptx"))
    sys.stdout.write(f"{len(made)} kernels, {size / 1e6:.1f} MB in {given.out}\n")


if __name__ == "__main__":
    main()
