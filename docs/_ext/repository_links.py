"""Links to files of the repository that are not pages: to the page that includes them, or to the repository on the web.

READMEs, the changelog and the results of the benchmarks are written to be read where they lie, and are included in pages of
the site as well. Their relative links are those of the place where they lie.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

INCLUDED = {
    "README.md": "index",
    "CHANGELOG.md": "reference/changelog",
    "CODE_OF_CONDUCT.md": "development/code_of_conduct",
    "CONTRIBUTING.md": "development/contributing",
    "SECURITY.md": "development/security",
    "benchmarks/RESULTS.md": "reference/benchmarks",
    "plugins/simkit-nngp/README.md": "reference/plugins",
    "plugins/simkit-shape/README.md": "reference/plugins",
    "plugins/simkit-topology/README.md": "reference/plugins",
    "simkit/demo/README.md": "reference/demo_networks",
    "docs/examples": "gallery/index",
    "docs/examples/indexes": "gallery/indexes/index",
    "docs/examples/plots": "gallery/plots/index",
}


def resolved(app: Sphinx, doctree: nodes.document) -> None:
    """Rewrite what a page or a file that it includes links to by a path."""
    docs = Path(app.srcdir)
    root = docs.parent
    for node in list(doctree.findall(addnodes.pending_xref)):
        target = node["reftarget"]
        if node.get("refdomain") == "doc":  # a page, by its path without suffix, from docs/
            path = Path(os.path.normpath(docs / f"{target}.md"))
        elif node.get("reftype") == "myst" and node.source and not target.startswith("#"):
            path = Path(os.path.normpath(Path(node.source).parent / target.partition("#")[0]))
        else:
            continue
        if not path.is_relative_to(root) or not path.exists():
            continue  # MyST warns of it
        name = path.relative_to(root).as_posix()
        if name in INCLUDED or path.is_relative_to(docs):
            page = INCLUDED.get(name) or path.relative_to(docs).with_suffix("").as_posix()
            node["refdomain"], node["reftype"], node["reftarget"] = "doc", "myst", page
            node["reftargetid"] = target.partition("#")[2] or node.get("reftargetid")
        else:
            base = app.config.repository_links_url
            link = nodes.reference("", "", *node.children, refuri=f"{base}/{name}", internal=False)
            node.replace_self(link)


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx calls this."""
    app.add_config_value("repository_links_url", "", "env")
    app.connect("doctree-read", resolved)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
