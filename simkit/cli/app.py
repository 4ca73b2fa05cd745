"""The Typer application, and what becomes of its errors: one line each, and an exit code.

0 for success, 1 where a check fails, memory is out or something unforeseen happens, 2 for bad input, 130 after Ctrl-C, 141
where nobody reads the output.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from typing import Annotated, Any

import typer

import simkit
from simkit.cli.activations import activations
from simkit.cli.compare import compare
from simkit.cli.console import one_line
from simkit.cli.demo import demo
from simkit.cli.listing import indexes, kernels
from simkit.cli.models import models
from simkit.cli.new_plugin import new_plugin
from simkit.cli.plugins import plugins
from simkit.cli.report import report
from simkit.cli.sanity import sanity
from simkit.cli.significance import significance
from simkit.cli.subspace import subspace
from simkit.cli.wording import in_options
from simkit.errors import SimkitError
from simkit.text import printable, shortened

__all__ = ["app", "run"]

_TRACEBACK = "--traceback"
_COMPLETION = "_SIMKIT_COMPLETE"
_CLOSED = 141  # what a program returns that SIGPIPE ended

app = typer.Typer(
    name="simkit",
    help="How similar are two neural representations?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(activations)
app.command()(compare)
app.command()(demo)
app.command()(indexes)
app.command()(kernels)
app.command()(models)
app.command()(new_plugin)
app.command()(plugins)
app.command()(report)
app.command()(sanity)
app.command("test")(significance)
app.command()(subspace)


def run(arguments: list[str] | None = None) -> int:
    """Run the application on the command line's arguments; the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    given = [argument for argument in arguments if argument != _TRACEBACK]  # it may stand anywhere
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # an encoding that lacks a character is no reason to fail
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning  # type: ignore[assignment]
        try:
            code = _invoke(given)
            sys.stdout.flush()
            return code
        except BaseException as error:
            if any(isinstance(each, BrokenPipeError) for each in (error, error.__context__)):  # Rich makes an exit of it
                return _closed()
            if len(given) < len(arguments):
                print(printable(traceback.format_exc(), keep="\n"), end="", file=sys.stderr)
            return _failed(error)


def _invoke(arguments: list[str]) -> int:
    """Run a command; unlike Typer's own way, it lets every exception pass."""
    command = typer.main.get_command(app)
    try:
        if _COMPLETION in os.environ:  # the shell asks, and Typer answers
            command.main([], prog_name="simkit")
        context = command.make_context("simkit", arguments)
    except SystemExit as leave:  # what Typer does after completion, or having installed it
        if isinstance(leave.__context__, BrokenPipeError):
            raise
        return leave.code if isinstance(leave.code, int) else 0
    except typer.Exit as leave:
        return leave.exit_code
    try:
        with context:
            command.invoke(context)
    except typer.Exit as leave:
        return leave.exit_code
    return 0


def _failed(error: BaseException) -> int:
    """Say what went wrong, in one line."""
    if isinstance(error, KeyboardInterrupt):
        return _complain("interrupted.", 130)
    if isinstance(error, MemoryError) and not isinstance(error, SimkitError):
        what = in_options(str(error)) or "read files in chunks, or compare fewer layers at once."
        return _complain(f"out of memory: {what}", 1)
    if hasattr(error, "format_message"):  # Typer's errors of usage; they know how to phrase themselves
        message = error.format_message()
        if not message or type(error).__name__ == "NoArgsIsHelpError":  # help was printed
            return 2
        # Where pydantic is installed Typer checks choices by it, and tells its words too.
        return _complain(message.replace(" Value error, ", " ") + _hint(error), 2)
    if isinstance(error, SimkitError | OSError | ImportError) or (isinstance(error, ValueError) and _is_own(error)):
        return _complain(in_options(str(error)), 2)
    return _complain(
        f"internal error: {type(error).__name__}: {shortened(str(error), 300)} (as far as can be told, a fault of simkit or "
        f"of a library and not of the input; add {_TRACEBACK} to see where it happened)",
        1,
    )


def _hint(error: BaseException) -> str:
    """Where to read how a command is used, if it lacks something."""
    command = getattr(getattr(error, "ctx", None), "command_path", "")
    return f" See {command} --help." if command and "Missing" in type(error).__name__ else ""


def _is_own(error: BaseException) -> bool:
    """Whether it was raised in simkit, and not in a library that it called."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and str(frames[-1].f_globals.get("__name__", "")).partition(".")[0] == "simkit"


def _complain(message: str, code: int) -> int:
    print(f"simkit: {one_line(message)}", file=sys.stderr)
    return code


def _closed() -> int:
    """Nobody reads any more, as after ``simkit indexes | head -1``: no reason to complain."""
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), sys.stdout.fileno())  # where the interpreter flushes when it ends
    return _CLOSED


def _show_warning(message: Any, *_: Any) -> None:
    print(f"simkit: warning: {one_line(in_options(str(message)))}", file=sys.stderr)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
    traced: Annotated[  # read by `run`
        bool, typer.Option(_TRACEBACK, help="Show where an error happened; also after the command.")
    ] = False,
) -> None:
    if version:
        print(f"simkit {simkit.__version__}")
        raise typer.Exit
