"""``MODULE:FUNCTION``, a function of the user's that makes a model and data."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from simkit.activations import Channels, NamedPool
from simkit.spec import check_choice
from simkit.text import printable, shortened, shown

__all__ = ["MAKER", "Maker", "made", "model_options"]

MAKER = "MODULE:FUNCTION"
Maker = Annotated[
    str,
    typer.Argument(
        metavar=MAKER,
        help="A function without arguments that returns (model, data), of a module in the current directory or an "
        "installed one: mynet:make. It runs with your rights.",
        show_default=False,
    ),
]
_EXPECTED = "expected MODULE:FUNCTION, such as mynet:make for the function make() in mynet.py, which returns (model, data)"


def made(target: str) -> tuple[Any, Any]:
    """The model and the data that a function of the user's returns; it runs with the rights of the user.

    Parameters
    ----------
    target : str
        ``MODULE:FUNCTION``, where a module is found in the current directory first, or ``FILE.py:FUNCTION``.

    Raises
    ------
    ValueError
        The module or function is missing, fails, or returns something else.
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise ValueError(f"{target}: {_EXPECTED}.")
    here = str(Path.cwd())
    if here not in sys.path:  # and stays there: data may import more while they are read
        sys.path.insert(0, here)
    module = _module(place, target)
    make = getattr(module, name, None)
    if not callable(make):
        functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        there = f"; it has {', '.join(functions[:10])}" if functions else ""
        what = "has no function" if make is None else f"has a {type(make).__name__}, no function, called"
        raise ValueError(f"{target}: {place} {what} {name!r}{there}.")
    try:
        found = make()
    except (Exception, SystemExit) as error:
        raise ValueError(f"{target}: {name}() failed: {_in_words(error)}{_TRACED}.") from error
    if not (isinstance(found, tuple | list) and len(found) == 2):
        kind = f"{len(found)} values" if isinstance(found, tuple | list) else f"a {type(found).__name__}, {shown(found)}"
        raise ValueError(f"{target}: {name}() returned {kind}; expected (model, data).")
    return found[0], found[1]


def model_options(layers: list[str] | None, pool: list[str] | None) -> dict[str, Any]:
    """`layers`, `pool` and `channels` of `simkit.torch.activations`, as they are given on the command line."""
    options: dict[str, Any] = {}
    if layers:
        options["layers"] = list(layers)
    rules: dict[str, str] = {}
    channels: dict[str, str | None] = {}  # of each rule, so that those of a later one are not for layers of an earlier
    for given in pool or ():
        pattern, _, rule = given.rpartition("=")
        pattern = pattern or "**"
        rule, colon, where = rule.partition(":")
        check_choice("--pool", "RULE", rule, get_args(NamedPool))
        if colon:
            check_choice("--pool", "CHANNELS", where, get_args(Channels))
        if pattern in rules:
            raise ValueError(f"--pool {given}: there is a rule for {pattern} already, {rules[pattern]}; give one.")
        rules[pattern], channels[pattern] = rule, where or None
    for_all = list(rules) == ["**"]
    if rules:
        options["pool"] = rules["**"] if for_all else rules
    if any(channels.values()):
        options["channels"] = channels["**"] if for_all else channels
    return options


_TRACED = " (--traceback shows where)"


def _module(place: str, target: str) -> Any:
    """The module, from a file or by its name."""
    try:
        if place.endswith(".py"):
            path = Path(place)
            if not path.is_file():
                raise ValueError(f"{target}: there is no file {place} in {Path.cwd()}.")
            sys.path.insert(0, str(path.resolve().parent))
            spec = importlib.util.spec_from_file_location(path.stem, path)
            module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
            sys.modules[path.stem] = module  # where pickle, as loaders with workers use it, looks
            spec.loader.exec_module(module)  # type: ignore[union-attr]
            return module
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(f"{error.name}.")):
            raise ValueError(
                f"{target}: there is no module {error.name!r}, neither in {Path.cwd()} nor installed; {_EXPECTED}."
            ) from None
        raise ValueError(f"{target}: {place} needs {error.name}, which is not installed{_TRACED}.") from error
    except ValueError as error:
        if str(error).startswith(target):
            raise
        raise ValueError(f"{target}: {place} cannot be imported: {_in_words(error)}{_TRACED}.") from error
    except (Exception, SystemExit) as error:
        raise ValueError(f"{target}: {place} cannot be imported: {_in_words(error)}{_TRACED}.") from error


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {shortened(printable(' '.join(str(error).split())), 300)}".rstrip(": .")
