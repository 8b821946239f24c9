"""``edgecnn``: finds the commands of this package and runs the one that was asked for.

The file ``edgecnn/cli/verify.py`` is the command ``edgecnn verify``. It defines:

- ``command(...)``: a function with Typer annotations. Its docstring is the command's help.
- ``EXAMPLES``: a tuple of command lines, shown at the end of the help.

A command file imports only the standard library, typer, `edgecnn.errors` and `edgecnn.cli.console` at its top; what is
heavy (torch, onnx, an engine, cv2) is imported inside the function, so that ``--help`` is instant and needs no engine.
Commands do not catch errors of `edgecnn.errors`: `main` prints them and turns them into the exit code.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from edgecnn import __version__
from edgecnn.cli import console
from edgecnn.errors import EdgecnnError
from edgecnn.plugins import discover

PACKAGE = "edgecnn.cli"
NOT_COMMANDS = ("app", "console", "evaluate_table", "export_table", "watching")


def command_names() -> list[str]:
    """Return the names of all commands, sorted, without importing them."""
    return [name for name in discover(PACKAGE) if name not in NOT_COMMANDS]


def build() -> typer.Typer:
    """Build the application with every command in it."""
    app = typer.Typer(
        name="edgecnn",
        help="From a folder of images, or any CNN, to an INT8 bundle that is proven on the device that runs it.",
        epilog=console.EXIT_CODE_HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
    )
    app.callback()(_options)
    for name in command_names():
        module = importlib.import_module(f"{PACKAGE}.{name}")
        app.command(name, epilog=_epilog(module.EXAMPLES), no_args_is_help=False)(module.command)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit code; see `console.exit_code` for its meaning.

    Args:
        arguments: The command line without the program's name, None for that of the process.
    """
    try:
        build()(args=None if arguments is None else list(arguments), prog_name="edgecnn")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except EdgecnnError as error:
        return console.fail(error)
    except KeyboardInterrupt:
        return console.INTERRUPTED
    except Exception as error:
        return console.fail_unexpectedly(error)
    return 0


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgecnn {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that stand before a command; `_show_version` has dealt with them already."""


def _epilog(examples: Sequence[str]) -> str:
    return "\n\n".join(("**Examples**", *(f"`{example}`" for example in examples)))


if __name__ == "__main__":
    sys.exit(main())
