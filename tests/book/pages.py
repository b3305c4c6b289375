"""The book's pages by kind, and how they are looked at."""

import re
import sys
from html.parser import HTMLParser

import yaml

from tests.commands import ROOT

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import claims  # noqa: F401 the pages' own, for the tests

TOC = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
# of the reference, a page a module
REFERENCE = [s["file"] for p in TOC["parts"] for c in p["chapters"] for s in c.get("sections", ())]
CHAPTERS = [page for page in PAGES if "code-cell" in (ROOT / f"{page}.md").read_text("utf-8")]
NUMBERED = [c["file"] for part in TOC["parts"] if part.get("numbered") for c in part["chapters"]]
CELL = re.compile(r"```\{code-cell\}[^\n]*\n((?::[\w-]+:[^\n]*\n)*)(.*?)\n```\n", flags=re.S)
WITH_PROBLEM_SET = [page for page in CHAPTERS if "{problem-set}" in (ROOT / f"{page}.md").read_text("utf-8")]


class Elements(HTMLParser):
    """Every element of a page, as (tag, attributes)."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def elements(site, page):
    return Elements((site / f"{page}.html").read_text("utf-8")).found


def widgets_of(page):
    return re.findall(r"^:::\{widget\} ([\w-]+)$", (ROOT / f"{page}.md").read_text("utf-8"), flags=re.M)


WIDGETS = [(page, name) for page in PAGES for name in widgets_of(page)]


REFERENCES = set(
    re.findall(r"^@\w+\{([\w:-]+),", (ROOT / "book/references.bib").read_text("utf-8"), flags=re.M)
)
