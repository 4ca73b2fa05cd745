"""The command line: one module for each group of commands, on Typer and Rich."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; bad input ends with one line on standard error and exit code 2, never a traceback."""
    try:
        from simkit.cli.app import run

        code = run()
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in {"typer", "rich", "click"}:
            raise
        print('simkit: the command line needs Typer and Rich: pip install "simkit-similarity[cli]"', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("simkit: interrupted.", file=sys.stderr)
        sys.exit(130)
    sys.exit(code)
