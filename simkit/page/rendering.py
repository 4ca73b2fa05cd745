"""The page as text: a template of Jinja2, which escapes what it is given, with its style and its script inside."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import TYPE_CHECKING

from simkit.page.model import page_of

if TYPE_CHECKING:
    from simkit.page.contents import Report

__all__ = ["check_installed", "rendered"]

_NEEDED = 'A report needs Jinja2, which is not installed: pip install "simkit-similarity[report]".'


def rendered(report: Report) -> str:
    """The page of a report.

    Raises
    ------
    ImportError
        Jinja2 is not installed.
    """
    check_installed()
    import jinja2

    style, script = _part("page.css"), _part("page.js")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    template = environment.from_string(_part("page.html"))
    return template.render(page_of(report), style=style, script=script, policy=_policy(style, script))


def check_installed() -> None:
    """Raise ImportError, which says what to install, unless Jinja2 is there."""
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise ImportError(_NEEDED) from error


def _part(name: str) -> str:
    return resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _policy(style: str, script: str) -> str:
    """A Content Security Policy of this style and this script and nothing else: no network, no script of a stranger."""
    own = {
        kind: "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
        for kind, text in (("style-src", style), ("script-src", script))
    }
    return "; ".join(
        [
            "default-src 'none'",
            *(f"{kind} '{digest}'" for kind, digest in own.items()),
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
