"""The built site, as visitors have it: links, search, narrow screens, dark mode, and nothing from elsewhere.

Skipped unless SIMKIT_SITE names the folder of the built HTML.
"""

from __future__ import annotations

import functools
import html
import http.server
import os
import re
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

SITE = Path(os.environ.get("SIMKIT_SITE", "nowhere")).resolve()
pytestmark = pytest.mark.skipif("SIMKIT_SITE" not in os.environ, reason="SIMKIT_SITE does not name a built site")

NOT_WRITTEN = {"genindex.html", "py-modindex.html", "search.html"}  # lists that Sphinx makes
# Where a visitor wants to arrive; one of them has to be among the first three results.
SEARCHES = {
    "cka": r"indexes\.CKA|mathematics/.*(cka|hsic)",
    "chance": r"topics/chance|inference\.chance|meaning",
    "canonical correlation": r"indexes\.(CCA|SVCCA|PWCCA|CanonicalRidge)|mathematics/.*(cca|canonical)",
    "compare": r"simkit\.compare",
}


@functools.cache
def pages():
    """Path from the site's root to source, of the pages that are no listings of source."""
    found = {path.relative_to(SITE).as_posix(): path.read_text(encoding="utf-8") for path in SITE.rglob("*.html")}
    return {name: text for name, text in found.items() if not name.startswith(("_modules/", "_static/"))}


@functools.cache
def anchors(path):
    return set(map(html.unescape, re.findall(r'\s(?:id|name)="([^"]+)"', path.read_text(encoding="utf-8"))))


def targets(text):
    """What a page links to or shows, itself and other hosts left out."""
    return {
        html.unescape(found) for found in re.findall(r'<(?:a|img|script|link|source)\b[^>]*?\s(?:href|src)="([^"]*)"', text)
    }


def test_links_anchors_and_pictures_lead_somewhere():
    dead = set()
    checked = 0
    for name, text in pages().items():
        for target in targets(text):
            parts = urlsplit(target)
            if parts.scheme or target.startswith("//"):
                continue
            checked += 1
            path = SITE / name if not parts.path else (SITE / name).parent / unquote(parts.path)
            path = Path(os.path.normpath(path / "index.html" if path.is_dir() else path))
            there = path.is_relative_to(SITE) and path.is_file()
            if there and parts.fragment and path.suffix == ".html":
                there = unquote(parts.fragment) in anchors(path)
            if not there:
                dead.add(f"{name}: {target}")
    assert not dead, "\n".join(sorted(dead))
    assert checked > 1000


def test_every_page_has_a_title_and_one_heading():
    titles = {}
    for name, text in pages().items():
        titles[name] = html.unescape(re.search(r"<title>(.*?)</title>", text, re.DOTALL)[1]).partition(" — ")[0].strip()
        assert titles[name] not in {"", "<no title>"}, name
        if name not in NOT_WRITTEN:
            assert len(re.findall(r"<h1\b", text)) == 1, name
        assert '<html lang="en"' in text, name
    assert len(set(titles.values())) > len(titles) * 0.9, "pages cannot be told apart by their titles"


def test_pictures_have_a_description():
    """But for the gallery's small ones, below which their title stands."""
    without = [
        f"{name}: {picture[:120]}"
        for name, text in pages().items()
        for picture in re.findall(r"<img\b[^>]*>", text)
        if not re.search(r'\salt="[^"]+"|_thumb\.png', picture)
    ]
    assert not without, "\n".join(without)


def test_no_bar_on_the_left_is_empty():
    """A page of the top level without others below it is named in html_sidebars of conf.py."""
    bars = {name: re.search(r'<nav class="bd-docs-nav.*?</nav>', text, re.DOTALL) for name, text in pages().items()}
    assert sum(bar is not None for bar in bars.values()) > 20
    assert not [name for name, bar in bars.items() if bar and "<li" not in bar[0]]


def test_nothing_of_the_build_machine_is_told():
    root = Path(__file__).parents[1]
    for name, text in pages().items():
        assert not re.search(rf"{re.escape(str(root))}|{re.escape(str(Path.home()))}|/site-packages/", text), name


# --- in a browser ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address():
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def visit(browser, address):
    """Open pages with a width and a colour scheme; what goes wrong in them is kept."""
    contexts, problems = [], []

    def opened(width, scheme):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: said.type == "error" and problems.append(f"{page.url}: {said.text}"))
        page.on("pageerror", lambda error: problems.append(f"{page.url}: {error}"))
        page.on("request", lambda asked: _elsewhere(asked.url, address) and problems.append(f"{page.url}: asks {asked.url}"))
        return page

    yield opened, problems
    for context in contexts:
        context.close()


def _elsewhere(url, address):
    return not url.startswith((address, "data:", "blob:"))


def looked_at():
    """All pages written by hand; of the API and of the gallery, made alike, the groups, one index and the longest."""
    alike = {name: text for name, text in pages().items() if re.match(r"reference/api/simkit\.|gallery/\w+/plot_", name)}
    longest = sorted(alike, key=lambda name: -len(alike[name]))[:6]
    return sorted({*(name for name in pages() if name not in alike), *longest, *(name for name in alike if "CKA." in name)})


SETTLED = "() => window.MathJax?.startup?.promise"
# By how many pixels the page, or what holds the article, is wider than it shows; tables and code scroll within themselves.
WIDER = """() => Math.max(...[document.documentElement, ...document.querySelectorAll("main, article, main div:has(article)")]
  .map(element => element.scrollWidth - element.clientWidth))"""
# The smallest contrast of text with what is behind it, by the formula of WCAG 2, and what text that is.
CONTRAST = """() => {
  const channel = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const known = new Map();
  const rgba = text => {
    if (!known.has(text)) {
      canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
      known.set(text, [...canvas.getImageData(0, 0, 1, 1).data]);
    }
    return known.get(text);
  };
  let worst = [21, ""];
  const walker = document.createTreeWalker(document.querySelector("article"), NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || seen.has(element) || !element.offsetParent || element.closest("svg, .MathJax")) continue;
    seen.add(element);
    let behind = element, found = [0, 0, 0, 0];
    while (behind && found[3] < 128) { found = rgba(getComputedStyle(behind).backgroundColor); behind = behind.parentElement; }
    const front = luminance(rgba(getComputedStyle(element).color)), back = luminance(found);
    const contrast = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    if (contrast < worst[0]) worst = [contrast, walker.currentNode.data.trim().slice(0, 60)];
  }
  return worst;
}"""


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_pages_on_a_phone(visit, address, scheme):
    """None scrolls sideways, all text stands out, no script fails, nothing comes from another host."""
    (opened, problems) = visit
    page = opened(390, scheme)
    names = (
        looked_at()
        if scheme == "dark"
        else ["index.html", "reference/api/simkit.indexes.CKA.html", "reference/backends.html"]
    )
    for name in names:
        page.goto(f"{address}/{name}", wait_until="load")
        page.evaluate(SETTLED)
        assert page.evaluate("() => document.documentElement.dataset.theme") == scheme
        if (wider := page.evaluate(WIDER)) > 0:
            problems.append(f"{name}: scrolls sideways, by {wider} pixels")
        if name not in NOT_WRITTEN:
            contrast, text = page.evaluate(CONTRAST)
            if contrast < 3:
                problems.append(f"{name}: {text!r} has a contrast of {contrast:.1f}")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("words", SEARCHES)
def test_search_finds(visit, address, words):
    opened, problems = visit
    page = opened(1200, "light")
    page.goto(f"{address}/search.html?q={words.replace(' ', '+')}")
    page.wait_for_selector("#search-results ul.search li a", timeout=20_000)
    page.wait_for_function("() => /\\d/.test(document.querySelector('#search-results .search-summary')?.textContent ?? '')")
    first = [link.get_attribute("href") for link in page.query_selector_all("#search-results ul.search > li > a")][:3]
    assert any(re.search(SEARCHES[words], link) for link in first), first
    assert not problems, "\n".join(problems)


def test_formulas_are_set_by_the_site_itself(visit, address):
    """MathJax is a file of the site, and has made something of every formula."""
    with_math = [name for name, text in pages().items() if 'class="math' in text]
    assert len(with_math) > 10
    opened, problems = visit
    page = opened(1200, "dark")
    for name in with_math:
        page.goto(f"{address}/{name}", wait_until="load")
        page.evaluate(SETTLED)
        formulas, made = (len(page.query_selector_all(kind)) for kind in (".math", ".math mjx-container"))
        if made < formulas or page.query_selector("mjx-merror"):
            problems.append(f"{name}: {made} of {formulas} formulas are set")
    assert not problems, "\n".join(problems)
