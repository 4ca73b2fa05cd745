"""`simkit new-plugin`: a distribution that works, passes its own tests, and waits for another formula."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import keyword
import re
import tempfile
from importlib import resources
from pathlib import Path
from string import Template
from typing import Annotated, Any, Literal, NamedTuple, Optional

import typer

import simkit
from simkit.cli.console import say
from simkit.discovery import OWN
from simkit.errors import SpecError
from simkit.files import whole_file
from simkit.registry import ALIASES, OFFERED_ELSEWHERE, Registry
from simkit.registry import indexes as index_registry
from simkit.registry import kernels as kernel_registry

PREFIX = "simkit-"
KINDS: dict[str, Registry[Any]] = {"kernel": kernel_registry, "index": index_registry}


class Names(NamedTuple):
    """What a plugin called "simkit-soft-cosine" is called in the places where it has a name."""

    distribution: str  # simkit-soft-cosine
    module: str  # simkit_soft_cosine
    name: str  # soft_cosine, in spec strings
    cls: str  # SoftCosine


def new_plugin(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Its name in spec strings, such as soft-cosine; 'simkit-' is put before it."),
    ],
    kind: Annotated[Literal["kernel", "index"], typer.Option("--kind", "-k", help="What it adds.", show_default=False)],
    output: Annotated[
        Optional[Path],
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="The folder to make, by default ./simkit-NAME.", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that exists, over files that exist.")] = False,
) -> None:
    """Begin a distribution with a kernel or an index of your own: an example that works, its tests and its entry point."""
    names = named(name)
    folder = Path(f"./{names.distribution}") if output is None else output
    files = rendered(names, kind)
    write(files, folder, force=force)
    say(f"Written to {folder}: {' '.join(files)}")
    say(f"Next:  pip install -e '{folder}[test]';  python -m pytest {folder};  simkit plugins --check {names.name}")
    say(f"Then put your formula into {folder / 'src' / names.module / '__init__.py'}")


def named(name: str) -> Names:
    """All names of a plugin.

    Raises
    ------
    SpecError
        No spec string can hold the name, or somebody has it already.
    """
    short = name.removeprefix(PREFIX).removeprefix("simkit_").replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", short) or keyword.iskeyword(short):
        raise SpecError(
            f"{name!r} cannot be a name: expected lower-case letters, digits and single hyphens or underscores, a letter "
            "first, such as soft-cosine, and no keyword of Python."
        )
    names = Names(
        f"{PREFIX}{short.replace('_', '-')}", f"simkit_{short}", short, "".join(map(str.capitalize, short.split("_")))
    )
    for what, registry in KINDS.items():
        taken = registry.entries().get(short)
        if taken:
            raise SpecError(f"{taken[0].distribution} already offers the {what} {short!r}; choose another name.")
    if short in ALIASES:
        raise SpecError(f"{short!r} is another name of the index {ALIASES[short]!r} already; choose another one.")
    if short in OFFERED_ELSEWHERE:
        raise SpecError(f"{OFFERED_ELSEWHERE[short]} offers {short!r} already; choose another name.")
    if names.distribution in (OWN, *OFFERED_ELSEWHERE.values()) or _installed(names):
        raise SpecError(f"There is a distribution or a module called {names.distribution} already; choose another name.")
    return names


def _installed(names: Names) -> bool:
    try:
        importlib.metadata.distribution(names.distribution)
    except importlib.metadata.PackageNotFoundError:
        return importlib.util.find_spec(names.module) is not None
    return True


def rendered(names: Names, kind: str) -> dict[str, str]:
    """The files of the distribution: path -> text."""
    major, minor = (int(part) for part in simkit.__version__.split(".")[:2])
    words = names._asdict() | {
        "group": "kernels" if kind == "kernel" else "indexes",
        "range": f">={major}.{minor},<{major}.{minor + 1}",
        "summary": f"{'A kernel' if kind == 'kernel' else 'A similarity index'} for simkit: {names.name}.",
    }
    sources = {
        "pyproject.toml": "pyproject.toml",
        "README.md": f"README.{kind}.md",
        f"src/{names.module}/__init__.py": f"{kind}.py",
        f"tests/test_{names.name}.py": f"test_{kind}.py",
    }
    folder = resources.files("simkit.cli") / "templates"
    return {
        path: Template((folder / f"{source}.txt").read_text(encoding="utf-8")).substitute(words)
        for path, source in sources.items()
    }


def write(files: dict[str, str], folder: Path, *, force: bool) -> None:
    """Write all files or none; over files that exist only with `force`.

    Raises
    ------
    FileExistsError
        The folder holds something already.
    FileNotFoundError
        The folder that it would be made in does not exist.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not force or not folder.is_dir():
            raise FileExistsError(f"{folder} exists; choose another --output, or pass --force to replace files in it.")
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with whole_file(folder / path, force=True) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return
    parent = folder.absolute().parent
    if not parent.is_dir():
        raise FileNotFoundError(f"The folder {parent} does not exist; make it first.")
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=parent) as beside:
        whole = Path(beside) / folder.name
        for path, text in files.items():
            (whole / path).parent.mkdir(parents=True, exist_ok=True)
            (whole / path).write_text(text, encoding="utf-8")
        whole.rename(folder)  # at once: nobody ever sees half of it
