"""saccade on the command line. Errors are two lines and an exit code: 2 for the request, 3 for the machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from saccade import __version__
from saccade.commands import annotate, bench, bundles, clip, demo, detect, kernels, plan, sam
from saccade.runtime.errors import SaccadeError, printable

app = typer.Typer(
    help="Run vision foundation models from small, verified bundles.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for group in (demo, clip, sam, detect, annotate, bundles, plan, kernels):
    group.register(app)
app.add_typer(bench.app, name="bench", help="Measure on this machine, against named peers, in one process.")

_INTERRUPTED = 130
_MANY = ("--labels", "--templates", "--text", "--categories", "--kinds")
"""Options that take several values in a row: --labels 'a cat' 'a dog'."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"saccade {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", help="Print the version and stop.", callback=_version, is_eager=True
    ),
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and leave with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run a command; give its exit code. Nothing is raised."""
    try:
        code = app(spread(arguments), prog_name="saccade", standalone_mode=False)
    except SaccadeError as error:
        return _fail(str(error), error.hint, error.exit_code)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's own, wherever this version of typer keeps click
            raise
        context = getattr(error, "ctx", None)
        return _fail(error.format_message(), f"see `{context.command_path if context else 'saccade'} --help`", 2)
    if code == _INTERRUPTED:
        return _fail("interrupted", "nothing half-written is left; run the same command again to go on", code)
    return code if isinstance(code, int) else 0


def spread(arguments: Sequence[str]) -> list[str]:
    """Repeat an option of _MANY before each of its values: --labels a b becomes --labels a --labels b."""
    made: list[str] = []
    repeated = ""
    for at, argument in enumerate(arguments):
        if argument == "--":
            return made + list(arguments[at:])
        if argument.startswith("-") and len(argument) > 1:
            repeated = argument if argument in _MANY else ""
            if not repeated:
                made.append(argument)
        elif repeated:
            made += [repeated, argument]
        else:
            made.append(argument)
    return made


def _fail(message: str, hint: str, code: int) -> int:
    typer.echo(f"error: {printable(message)}", err=True)
    if hint:
        typer.echo(f" hint: {printable(hint)}", err=True)
    return code
