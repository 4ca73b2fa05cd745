"""Pages of the API reference: one for each public function and class, in groups as users think of them."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path

from simkit import Index, Kernel
from simkit.caching import cached_property
from simkit_docs import facts
from simkit_docs.equations import plain
from simkit_docs.generated import write_all
from simkit_docs.names import Public, documented, members_of, page_of

__all__ = ["GROUPS", "Group", "group_of", "write"]


class Group:
    """Names that are looked for together.

    Parameters
    ----------
    page, title, text : str
        The file, its heading and what stands below it.
    names : tuple of str
        Qualified names, or modules: those stand for what no other group names.
    """

    def __init__(self, page: str, title: str, text: str, *names: str) -> None:
        self.page, self.title, self.text, self.names = page, title, text, names


GROUPS = (
    Group(
        "comparing",
        "Comparing",
        "The two questions: how similar are X and Y, and how similar are all these layers?",
        "simkit.compare",
        "simkit.pairwise",
        "simkit.explain",
        "simkit.get_index",
        "simkit.list_indexes",
        "simkit.get_options",
        "simkit.set_options",
    ),
    Group(
        "matrices",
        "Matrices of scores",
        "What :func:`simkit.pairwise` returns: labelled, with parts by name, best matches, pictures and files.",
        "simkit.SimilarityMatrix",
        "simkit.matrix",
    ),
    Group(
        "examples",
        "Activations to examples",
        "From maps and tokens to matrices with one example a row; activations on disk; the networks of the demonstration.",
        "simkit.examples",
        "simkit.features",
        "simkit.demo",
    ),
    Group(
        "models",
        "Models of PyTorch",
        "From models and data to activations and scores; losses, metrics and drift of trainings.",
        "simkit.torch",
    ),
    Group(
        "indexes",
        "Indexes",
        "Each is a class, and a name for :func:`simkit.compare` and its kin. Parameters follow the name in brackets: "
        "``cka(estimator=unbiased)``. How they are called is the same for all of them: see :class:`simkit.Index`.",
        "simkit.indexes",
    ),
    Group(
        "kernels",
        "Kernels",
        "For the indexes that compare examples by a kernel: ``cka(kernel=rbf(fraction=0.4))``.",
        "simkit.get_kernel",
        "simkit.list_kernels",
        "simkit.kernels",
    ),
    Group(
        "scale",
        "Streams and scale",
        "More examples than fit into memory: batch by batch, from files, over processes, or approximately.",
        "simkit.stream",
        "simkit.scale.stream",
        "simkit.open_source",
        "simkit.scale.sources",
        "simkit.scale.projection",
        "simkit.scale.nystroem",
        "simkit.torch.distributed",
    ),
    Group(
        "inference",
        "Inference",
        "How sure is a score, and is it more than chance?",
        "simkit.interval",
        "simkit.permutation_test",
        "simkit.bootstrap",
        "simkit.jackknife",
        "simkit.inference",
    ),
    Group(
        "analysis",
        "Analyses of the paper",
        "Which index finds corresponding layers, which directions two layers share, what depends on a parameter.",
        "simkit.analysis",
    ),
    Group("plots", "Plots", "Pictures of matrices and of layers, with Matplotlib.", "simkit.plot"),
    Group("files", "Reports and files", "Pages to read and files to go on with.", "simkit.report", "simkit.io"),
    Group(
        "extending",
        "Extending",
        "What a new index or kernel is made of and tested with.",
        "simkit.Index",
        "simkit.Kernel",
        "simkit.register_index",
        "simkit.register_kernel",
        "simkit.index",
        "simkit.kernel",
        "simkit.properties",
        "simkit.representation",
        "simkit.testing",
        "simkit.registry",
        "simkit.spec",
        "simkit.arrays",
    ),
    Group(
        "linalg",
        "Linear algebra",
        "Operations for the formulas of indexes that run on every array library; plugins may use them.",
        "simkit.linalg",
    ),
    Group(
        "errors",
        "Errors and warnings",
        "What is raised and warned of; every error of simkit's own is a :class:`simkit.SimkitError`.",
        "simkit.SimkitError",
        "simkit.errors",
        "simkit.ChanceWarning",
        "simkit.ConstantInputWarning",
    ),
)


def group_of(item: Public) -> Group:
    """The group that names it, or else its module.

    Raises
    ------
    LookupError
        There is none: a new name of the module ``simkit`` has to be put somewhere.
    """
    for wanted in (item.full, item.module):
        for group in GROUPS:
            if wanted in group.names:
                return group
    raise LookupError(f"{item.full} is public but in no group of docs/_ext/simkit_docs/api.py.")


def write(folder: Path, *, pages: bool = True) -> None:
    """Write the pages into a folder, and remove those of names that are no more; what has not changed is left alone.

    Parameters
    ----------
    folder : Path
    pages : bool
        False for the page of groups alone, which says that the rest was left out.
    """
    written = _all_pages() if pages else {"index.rst": _title("API reference") + "\nLeft out of this build.\n"}
    write_all(folder, "*.rst", written)


def _all_pages() -> dict[str, str]:
    members: dict[str, list[Public]] = {group.page: [] for group in GROUPS}
    for item in documented():
        members[group_of(item).page].append(item)
    found = {"index.rst": _index(members)}
    for group in GROUPS:
        items = _sorted(members[group.page], group)
        found[f"{group.page}.rst"] = _group(group, items)
        found |= {f"{page_of(item)}.rst": _page(item) for item in items if not item.is_data}
    return found


def _sorted(items: list[Public], group: Group) -> list[Public]:
    """In the order of the group, and of the alphabet where it names a module."""
    place = {name: i for i, name in enumerate(group.names)}
    return sorted(items, key=lambda item: (place[item.full if item.full in place else item.module], item.name.lower()))


def _title(text: str) -> str:
    return f"{text}\n{'=' * len(text)}\n"


def _index(members: dict[str, list[Public]]) -> str:
    lines = [
        ":html_theme.sidebar_secondary.remove: true",
        "",
        _title("API reference"),
        "Every public name, by what it is for. What is promised of them says :doc:`../compatibility`.",
        "",
        ".. toctree::",
        "   :hidden:",
        "",
        *(f"   {group.page}" for group in GROUPS),
        "",
        ".. list-table::",
        "   :widths: 25 75",
        "   :class: simkit-names",
        "",
    ]
    for group in GROUPS:
        items = _sorted(members[group.page], group)
        links = ", ".join(f":py:obj:`~{item.full}`" for item in items)
        lines += [f"   * - :doc:`{group.page}`", f"     - {links}"]
    return "\n".join(lines) + "\n"


def _group(group: Group, items: list[Public]) -> str:
    lines = [_title(group.title), group.text, ""]
    pages = [item for item in items if not item.is_data]
    if group.page == "indexes":
        lines += facts.overview(pages)
    else:
        modules = list(dict.fromkeys(item.module for item in items))
        for module in modules:
            if len(modules) > 1:
                lines += [module, "-" * len(module), ""]
            lines += _listed([item for item in items if item.module == module])
    lines += [".. toctree::", "   :hidden:", "   :maxdepth: 1", ""]
    return "\n".join([*lines, *(f"   {item.name} <{page_of(item)}>" for item in pages), ""])


def _listed(items: list[Public]) -> list[str]:
    """A table of pages, and what has none."""
    pages = [item for item in items if not item.is_data]
    lines = [".. list-table::", "   :class: simkit-names", "   :widths: 30 70", ""] if pages else []
    for item in pages:
        lines += [f"   * - :py:obj:`~{item.full}`", f"     - {plain(item.summary)}"]
    lines += [""]
    for item in items:
        if item.is_data:
            lines += [f".. autodata:: {item.full}", "   :no-value:", ""]
    return lines


def _page(item: Public) -> str:
    lines = [_title(item.full), f".. currentmodule:: {item.module}", ""]
    if item.is_function:
        lines += [f".. autofunction:: {item.name}", ""]
        return "\n".join(lines)
    own = issubclass(item.thing, Index | Kernel) and item.thing not in (Index, Kernel)
    lines += [f".. autoclass:: {item.name}", "   :show-inheritance:", ""]
    for member in [] if own else members_of(item.thing):
        found = inspect.getattr_static(item.thing, member)
        kind = "autoproperty" if isinstance(found, property | functools.cached_property) else "automethod"
        kind = "autoattribute" if isinstance(found, cached_property) else kind
        lines += [f"   .. {kind}:: {item.name}.{member}", ""]
    if own:
        lines += facts.section(item)
    return "\n".join(lines)
