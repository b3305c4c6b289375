"""What each chapter must contain, as its source has it: its parts, claims with their cells, numbers that are computed."""

import ast
import re

import pytest

from scripts import format_pages
from tests.book.pages import (
    CELL,
    CHAPTERS,
    NUMBERED,
    PAGES,
    REFERENCES,
    WIDGETS,
    WITH_PROBLEM_SET,
    claims,
)
from tests.commands import ROOT


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_chapter_has_its_shape(page):
    text = (ROOT / f"{page}.md").read_text("utf-8")
    for part in ("After this chapter you can", "## The question", "## The idea in a picture", "{predict}",
                 "assert ", "## Summary", f"{{claims}} {page.split('/')[1]}\n", "## Further reading"):  # fmt: skip
        assert part in text, part
    assert page in WITH_PROBLEM_SET or "There is no problem set for this chapter" in text


@pytest.mark.parametrize("page", PAGES)
def test_code_is_formatted_and_fits(page):
    text = (ROOT / f"{page}.md").read_text("utf-8")
    assert format_pages.formatted(text) == text, "run `make lint`"
    assert not format_pages.too_long(text)


def named_cells(page):
    """Source of each named code cell of a page."""
    found = {}
    for options, source in CELL.findall((ROOT / f"{page}.md").read_text("utf-8")):
        if name := re.search(r":name: (\S+)", options):
            assert name[1] not in found, f"{page} has two cells {name[1]}"
            found[name[1]] = source
    return found


def wrong_with(claim, cells, references):
    """What is missing for a claim to be shown, or nothing."""
    if not {"claim", "verdict", "scope"} <= set(claim) <= {"claim", "verdict", "scope", "cell", "source"}:
        return "must have claim, verdict, scope, and a cell or a source"
    if claim["verdict"] not in claims.VERDICTS:
        return f"has the verdict {claim['verdict']}"
    if claim["verdict"] == "reported":
        return "" if claim.get("source") in references else "must name a source in references.bib"
    if claim.get("cell") not in cells:
        return f"has no cell {claim.get('cell')}"
    if not any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(cells[claim["cell"]]))):
        return f"is not asserted in the cell {claim['cell']}"
    return ""


@pytest.mark.parametrize("page", NUMBERED)
def test_each_claim_has_a_verdict_and_a_cell_that_asserts_it(page):
    found = claims.load()[page.split("/")[1]]
    cells = named_cells(page)
    assert len(found) >= 5
    wrong = {name: said for name, claim in found.items() if (said := wrong_with(claim, cells, REFERENCES))}
    assert not wrong


def test_a_claim_without_its_cell_or_its_assertion_would_be_found():
    cells = {"shows": "assert 1 < 2", "prints": "print('assert')"}
    claim = {"claim": "c", "verdict": "false", "scope": "s", "cell": "shows"}
    assert not wrong_with(claim, cells, REFERENCES)
    assert wrong_with({**claim, "cell": "prints"}, cells, REFERENCES) == "is not asserted in the cell prints"
    assert wrong_with({**claim, "cell": "gone"}, cells, REFERENCES) == "has no cell gone"
    assert wrong_with({**claim, "verdict": "true"}, cells, REFERENCES) == "has the verdict true"
    reported = {**claim, "verdict": "reported", "source": "nobody1900"}
    assert wrong_with(reported, cells, REFERENCES) == "must name a source in references.bib"


def typed_numbers(source):
    """Numbers in the alternative texts and captions of a cell's figures that were not computed."""
    found = []

    def look(node):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"[0-9]", node.value):
            found.append(node.value)
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, (ast.FormattedValue, ast.Subscript)):
                look(child)

    for node in ast.walk(ast.parse(re.sub(r"^\s*[%!].*$", "", source, flags=re.M))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "show":
            for keyword in node.keywords:
                if keyword.arg in ("alt", "caption"):
                    look(keyword.value)
    return found


def test_a_typed_number_in_an_alternative_text_would_be_found():
    assert typed_numbers('show(f, alt="near 3 euros")') == ["near 3 euros"]
    assert typed_numbers('show(f, alt="a" + f"from {x:.2f} to 7")') == [" to 7"]
    assert not typed_numbers(
        'show(f, alt="a" + ", ".join(f"{x:.2f} at {r[0]}" for x in y), caption=f"{n} runs")'
    )


@pytest.mark.parametrize("page", CHAPTERS)
def test_numbers_in_alternative_texts_and_captions_are_computed(page):
    for _, source in CELL.findall((ROOT / f"{page}.md").read_text("utf-8")):
        assert not typed_numbers(source)


def test_every_widget_has_its_page():
    assert {path.stem for path in (ROOT / "book/_static/widgets").iterdir()} == {name for _, name in WIDGETS}
