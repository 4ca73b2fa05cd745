"""How the site is built: ``python -m sphinx -W --keep-going -n docs build/site``.

Pages that begin with ``file_format: mystnb`` and notebooks are executed. In the environment, SIMKIT_DOCS_EXECUTE=off leaves
that out, SIMKIT_DOCS_API=off the pages of the API, and SIMKIT_DOCS_ONLINE=1 links the types of other libraries to their own
documentation, whose inventories come from the network.
"""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

# Two pages are read at a time; matrices on them are small, and several threads of BLAS would wait for each other.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import simkit  # noqa: E402

HERE = Path(__file__).parent
METADATA = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
sys.path.insert(0, str(HERE / "_ext"))

project = "simkit"
author = METADATA["authors"][0]["name"]
copyright = f"2026, {author}"  # the name that Sphinx reads
version = release = simkit.__version__

extensions = [
    "gallery",
    "invariances",
    "myst_nb",
    "numpydoc",
    "repository_links",
    "simkit_docs",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["_build", "_ext", "examples", "gallery/**.ipynb", "gallery/**.py", "**.ipynb_checkpoints"]
templates_path = ["_templates"]
nitpicky = True
# Types of Python and of other libraries, where their inventories are not asked for.
nitpick_ignore_regex = [
    (r"py:.*", rf"({library})(\..*)?")
    for library in ("abc", "collections", "lightning", "matplotlib", "numpy", "pathlib", "torch", "torchmetrics", "typing")
]
default_role = "py:obj"  # of docstrings; simkit_docs.references says what their names mean

# --- pages ----------------------------------------------------------------------------------------------------------------

myst_enable_extensions = [
    "amsmath",
    "attrs_block",
    "attrs_inline",
    "colon_fence",
    "deflist",
    "dollarmath",
    "fieldlist",
    "substitution",
]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]  # a progress bar's widget, which a page does not need

nb_execution_mode = "off" if os.environ.get("SIMKIT_DOCS_EXECUTE") == "off" else "cache"
if nb_execution_mode == "off":
    suppress_warnings += ["myst-nb.lexer"]  # only a page that was executed knows its language
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

bibtex_bibfiles = ["../simkit/page/templates/references.bib", "references.bib"]
bibtex_default_style = "unsrt"
bibtex_reference_style = "author_year"

# --- the API --------------------------------------------------------------------------------------------------------------

autosummary_generate = False  # simkit_docs writes the pages
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
numpydoc_show_class_members = False

intersphinx_mapping = (
    {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "matplotlib": ("https://matplotlib.org/stable", None),
        "pandas": ("https://pandas.pydata.org/docs", None),
        "xarray": ("https://docs.xarray.dev/en/stable", None),
        "dask": ("https://docs.dask.org/en/stable", None),
    }
    if os.environ.get("SIMKIT_DOCS_ONLINE")
    else {}
)

# --- gallery --------------------------------------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "NONE" if os.environ.get("SIMKIT_DOCS_EXECUTE") == "off" else "/plot_",
    "image_scrapers": ("gallery.scraper",),
    "reset_modules": ("gallery.plain_warnings",),
    "abort_on_example_error": True,
    "doc_module": ("simkit",),
    "backreferences_dir": "gallery/backreferences",
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 5,
    "download_all_examples": False,
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
    "write_computation_times": False,
}

# --- looks ----------------------------------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = f"simkit {release}"
html_static_path = ["_static"]
html_favicon = "_static/icon.svg"
html_css_files = ["custom.css"]
# Pages of the top level without others below them: nothing to put into the bar on the left.
html_sidebars = {page: [] for page in ("meaning", "paper/reproducing", "quickstart", "references", "which_index")}
repository_links_url = METADATA["urls"]["Repository"] + "/blob/main"
html_show_sourcelink = False
html_context = {"default_mode": "auto"}  # light or dark as the visitor's system has it
html_theme_options = {
    "logo": {"text": "simkit"},
    "github_url": METADATA["urls"]["Repository"],
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
