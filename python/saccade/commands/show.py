"""What the commands share: options, progress bars, tables, JSON."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saccade.runtime.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from rich.table import Table

    from saccade.runtime.model import Model

BundleArgument = Annotated[Path, typer.Argument(help="A bundle's folder, or the name of a shipped one (clip-tiny).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Backend = Annotated[str | None, typer.Option(help="onnxruntime, openvino or null; the first usable by default.")]
Precision = Annotated[str | None, typer.Option(help="fp32, bf16, fp16 or int8; fp32 by default.")]
Threads = Annotated[int | None, typer.Option(help="Threads of an engine; all cores by default.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda; cuda when the installed engine has it.")]


def load(
    bundle: Path,
    backend: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    device: str | None = None,
) -> Model:
    """The model of a folder, or of a shipped bundle's name."""
    import saccade

    path, shipped = bundle_path(bundle)
    opened = saccade.Bundle.open(path, hard_links=shipped)
    return saccade.load(opened, backend=backend, precision=precision, threads=threads, device=device)


def bundle_path(bundle: Path) -> tuple[Path, bool]:
    """The folder, and whether it is one that came with saccade (installers may have hard-linked its files)."""
    from saccade.zoo.shipped import bundle_path as shipped
    from saccade.zoo.shipped import names

    if not bundle.exists() and bundle.name == str(bundle) and str(bundle) in names():
        return shipped(str(bundle)), True
    return bundle, False


def as_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def table(title: str, *columns: str) -> Table:
    """A table whose columns after the first are flush right if their name ends in a unit or number sign."""
    from rich import box
    from rich.table import Table

    made = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        right = name.startswith("#")
        made.add_column(name.removeprefix("#"), justify="right" if right else "left", overflow="fold")
    return made


def show(*parts: Any) -> None:
    """Print tables and plain text; markup in names is not interpreted."""
    from rich.console import Console

    console = Console(markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else 120)
    for part in parts:
        console.print(part)


@contextlib.contextmanager
def progress(title: str, *, quiet: bool = False) -> Iterator[Bar]:
    """A bar on standard error, so that standard output can be piped."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True, quiet=quiet or not sys.stderr.isatty())
    with Progress(*columns, console=console, transient=True) as shown:
        yield Bar(shown, title, shown.add_task(title, total=None))


class Bar:
    """Shows how many steps are done, of how many, and at what."""

    def __init__(self, shown: Progress, title: str, task: TaskID):
        self._shown, self._title, self._task = shown, title, task

    def __call__(self, done: int, total: int) -> None:
        self._shown.update(self._task, completed=done, total=total)

    def stage(self, name: str) -> None:
        """What begins now."""
        self._shown.update(self._task, description=f"{self._title}: {name}")


def lines(file: Path) -> list[str]:
    """The non-empty lines of a UTF-8 text file. Raises InputError."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(
            f"cannot read {file}: {str(why).lower()}", hint="give a UTF-8 text file, one entry a line"
        ) from None
    return [line.strip() for line in text.splitlines() if line.strip()]
