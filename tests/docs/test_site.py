"""The site: made without a warning, whole, and read without a network."""

import subprocess
import sys
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from tests.paths import REPOSITORY

DOCS = REPOSITORY / "docs"
LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
"""What a browser fetches by itself."""


class Page(HTMLParser):
    """Links, anchors and what is loaded of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.ids, self.texts = [], [], set(), defaultdict(list)
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids.add(given.get("id"))
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in LOADS and given.get(LOADS[tag]) and given.get("rel") not in ("search", "index", "next", "prev"):
            self.loaded.append(given[LOADS[tag]])
        if tag == "img":
            self.texts["img"].append(given.get("alt"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages of the site by their path in it."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "-d", folder / "trees"]
    done = subprocess.run([*words, DOCS, folder / "site"], capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    made = folder / "site"
    return made, {path.relative_to(made).as_posix(): Page(path) for path in sorted(made.rglob("*.html"))}


def test_every_page_is_in_it_and_can_be_reached(site):
    _, pages = site
    written = {page.relative_to(DOCS).with_suffix(".html").as_posix() for page in DOCS.rglob("*.md")}
    assert written <= pages.keys()
    reached, open_ = set(), {"index.html"}
    while open_:
        name = open_.pop()
        reached.add(name)
        open_ |= {target for target, _ in targets(name, pages[name].links) if target in pages} - reached
    assert written <= reached


def targets(name, links):
    """Path in the site and anchor of links of a page that stay in the site."""
    for link in links:
        path, anchor = urldefrag(link)
        if not path.startswith(("https:", "http:", "mailto:")):
            whole = (Path("/") / name).parent / unquote(path) if path else Path("/") / name
            yield Path(*whole.parts[1:]).as_posix() if ".." not in whole.parts else normal(whole), anchor


def normal(path):
    """The path without `..`."""
    parts: list[str] = []
    for part in path.parts[1:]:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


def test_no_link_and_no_anchor_is_dead(site):
    made, pages = site
    dead = [
        f"{name}: {target}#{anchor}"
        for name, page in pages.items()
        for target, anchor in targets(name, [*page.links, *(each.partition("?")[0] for each in page.loaded)])
        if not (made / target).exists() or (anchor and target in pages and anchor not in pages[target].ids)
    ]
    assert dead == []
    assert sum(len(page.links) for page in pages.values()) > 1000


def test_nothing_is_loaded_from_elsewhere(site):
    _, pages = site
    loaded = [each for page in pages.values() for each in page.loaded]
    assert [each for each in loaded if each.startswith(("http", "//"))] == []
    assert len(loaded) > 100


def test_every_picture_says_what_it_shows(site):
    _, pages = site
    texts = [text for page in pages.values() for text in page.texts["img"]]
    assert texts
    assert all(text and len(text) > 20 for text in texts)
