"""Sphinx extension: what the book claims, each with its verdict and the cell that shows it.

    :::{claims} scaling
    :::

shows the claims of a chapter, from book/claims.yml; `scaling/kappa` is one of them, and without an argument
all of them are shown, a section a chapter.

    :::{verdicts}
    :::

says what the verdicts mean. {verdict}`measured` is a verdict's badge: it is told by its word and its shape.
"""

import re
from pathlib import Path

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = ROOT / "book" / "claims.yml"

VERDICTS = {
    "proven": "an identity: derived in the text, and tested in float64",
    "measured": "computed here, over several seeds, with the code beside it",
    "reported": "a paper's figure, not run again here",
    "contested": "serious sources disagree, or what we ran does not decide",
    "false": "often said, and refuted here",
}


def load() -> dict[str, dict[str, dict[str, str]]]:
    """By chapter, by name: claim, verdict, cell or source, and scope."""
    # BaseLoader: "false" is a verdict, no truth value
    return yaml.load(CLAIMS.read_text("utf-8"), yaml.BaseLoader)


def chosen(names: list[str]) -> list[tuple[str, dict[str, str]]]:
    """(chapter, claim) for each of "chapter" and "chapter/name".

    Raises:
        KeyError: there is no such chapter or claim.
    """
    claims, found = load(), []
    for name in names:
        chapter, _, one = name.partition("/")
        found += (
            [(chapter, claims[chapter][one])] if one else [(chapter, c) for c in claims[chapter].values()]
        )
    return found


def row(chapter: str, claim: dict[str, str]) -> str:
    """A claim as a row of a Markdown table, the scope linked to what shows it."""
    scope = claim["scope"]
    if "cell" in claim:
        scope = f"{{ref}}`{scope} <cell:{chapter}/{claim['cell']}>`"
    if "source" in claim:
        scope += f" {{cite:p}}`{claim['source']}`"
    return f"| {claim['claim']} | {{verdict}}`{claim['verdict']}` | {scope} |"


HEAD = ["| Claim | Verdict | Shown by |", "|---|---|---|"]


class Claims(SphinxDirective):
    """Claims, verdicts, and links to what shows them."""

    optional_arguments = 100
    has_content = False

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(CLAIMS))
        if not self.arguments:
            return [self._section(chapter) for chapter in load()]
        try:
            found = chosen(self.arguments)
        except KeyError as missing:
            raise self.error(f"book/claims.yml has no {missing}") from None
        return [self._parsed([*HEAD, *(row(*pair) for pair in found)])]

    def _section(self, chapter: str) -> nodes.section:
        page = ROOT / "book" / f"{chapter}.md"
        self.env.note_dependency(str(page))
        section = nodes.section(ids=[f"claims-{chapter}"], names=[])
        section += nodes.title(text=re.search(r"^# (.+)$", page.read_text("utf-8"), flags=re.M)[1])
        section += self._parsed([*HEAD, *(row(*pair) for pair in chosen([chapter]))])
        return section

    def _parsed(self, lines: list[str]) -> nodes.Node:
        node = nodes.container(classes=["claims"])
        self.state.nested_parse(StringList(lines), self.content_offset, node)
        return node


class Verdicts(SphinxDirective):
    """What each verdict means."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        lines = ["| Verdict | Meaning |", "|---|---|"]
        lines += [f"| {{verdict}}`{verdict}` | {meaning} |" for verdict, meaning in VERDICTS.items()]
        node = nodes.container(classes=["verdicts"])
        self.state.nested_parse(StringList(lines), self.content_offset, node)
        return [node]


def verdict(name, rawtext, text, lineno, inliner, options=None, content=None):
    """A verdict's badge."""
    if text not in VERDICTS:
        said = f"a verdict is one of {', '.join(VERDICTS)}, not {text!r}"
        error = inliner.reporter.error(said, line=lineno)
        return [inliner.problematic(rawtext, rawtext, error)], [error]
    return [nodes.inline(rawtext, text, classes=["verdict", text])], []


def setup(app) -> dict:
    """Sphinx calls this."""
    app.add_directive("claims", Claims)
    app.add_directive("verdicts", Verdicts)
    app.add_role("verdict", verdict)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
