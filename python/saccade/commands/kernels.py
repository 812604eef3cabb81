"""build-kernels: code for GPUs, made on this machine, which needs none."""

from __future__ import annotations

from typing import Annotated

import typer

from saccade.commands.show import progress, show, table
from saccade.runtime.errors import NoSpace, SettingsError


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("build-kernels")(build_kernels)


def build_kernels(
    arch: Annotated[str, typer.Option(help="Compute capabilities with commas between: 80,90. All by default.")] = "",
    op: Annotated[list[str] | None, typer.Option(help="Only this op; may be repeated.")] = None,
    only: Annotated[str, typer.Option(help="Only variants with this in their names, such as fp16.")] = "",
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; all cores by default.")] = None,
) -> None:
    """Compile the Triton kernels for GPUs into the private cache. Needs the [kernels] extra and no GPU."""
    from saccade.kernels import aot, cubins

    ops = op or list(aot.OPS)
    if unknown := [name for name in ops if name not in aot.OPS]:
        raise SettingsError(f"no Triton kernel of {unknown[0][:64]!r}", hint=f"there is {', '.join(aot.OPS)}")
    architectures = aot.architectures(arch) if arch else aot.ARCHITECTURES
    folder = cubins.private_folder()
    try:
        folder.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise NoSpace(
            f"cannot make {folder}: {error.strerror}", hint="set SACCADE_CACHE to a folder of yours"
        ) from None
    if folder not in cubins.folders():
        raise SettingsError(f"{folder} is open to others", hint=f"chmod 700 {folder}")
    with progress("compiling") as report:
        made = aot.build(folder, architectures=architectures, ops=ops, only=only, jobs=jobs, report=report)
    shown = table("", "op", "architectures", "#kernels", "#most registers", "#most stack, bytes")
    for name in ops:
        contracts = [contract for contract in made if contract["op"] == name]
        most = [str(max((c.get(what, 0) for c in contracts), default=0)) for what in ("registers", "stack")]
        homes = dict.fromkeys(contract["arch"].removeprefix("sm_") for contract in contracts)
        shown.add_row(name, " ".join(homes), str(len(contracts)), *most)
    show(shown, str(folder))
