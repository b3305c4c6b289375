"""What instructor and learner open in a browser: no other host, formulas drawn, nothing of a learner's that runs."""

import html
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlparse

import nbformat
import nbgrader
import pytest
from nbconvert.exporters import HTMLExporter
from traitlets.config import Config

from normcore.checks.catalogue import find_problem_set, names
from normcore.grading.feedback import FeedbackExporter, mathml
from normcore.grading.grade import RIGHT, WRONG, Graded, TaskVerdict
from normcore.grading.page import autograded, harmless, listed, plain
from tests.commands import ROOT

TEMPLATES = str(Path(nbgrader.__file__).parent / "server_extensions/formgrader/templates")


class Active(HTMLParser):
    """Collects what a browser would run or fetch."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag in ("script", "iframe", "object", "embed", "svg", "form", "meta", "base", "link", "style"):
            self.found.append(tag)
        for name, value in attributes:
            scheme = urlparse((value or "").strip()).scheme
            if name.startswith("on") or (
                name in ("href", "src", "srcset", "action") and scheme not in ("", "https")
            ):
                self.found.append((tag, name, value))


def body(page):
    """Only cells: the page's own head has styles and scripts."""
    return page[page.index("<body") :]


def export(exporter, template, source):
    cell = nbformat.v4.new_markdown_cell(source)
    cell.metadata.nbgrader = {
        "grade": True,
        "solution": True,
        "grade_id": "bias",
        "points": 2,
        "locked": False,
        "score": 0,
        "comment": "",
        "schema_version": 3,
    }
    return show(exporter, template, nbformat.v4.new_notebook(cells=[cell]))


def show(exporter, template, notebook):
    for cell in notebook.cells:
        if "nbgrader" in cell.metadata:
            cell.metadata.nbgrader = {"score": 0, "comment": "", "points": 1} | cell.metadata.nbgrader
    config = Config({"HTMLExporter": {"template_name": template, "extra_template_basedirs": [TEMPLATES]}})
    css = str(Path(TEMPLATES).parent / "static/node_modules/bootstrap/dist/css")
    config.HTMLExporter.extra_template_paths = [css]
    grading = {"notebook": "ps02", "assignment": "ps02", "student": "s", "score": 0, "max_score": 2}
    grading |= {"late_penalty": 0, "index": 0, "total": 1, "first_name": None, "last_name": None}
    grading |= dict.fromkeys(
        ("assignment_id", "notebook_id", "submission_id", "base_url", "mathjax_url", "notebook_path"), "x"
    )
    return exporter(config=config).from_notebook_node(notebook, resources={"nbgrader": grading, **grading})[0]


HOSTILE = [
    "<script>fetch('/api/contents')</script>",
    "<img src=x onerror=alert(1)>",
    "<img\nsrc=x onerror=alert(1)>",
    "text <b onmouseover=alert(1)>bold</b>",
    "<svg/onload=alert(1)>",
    "<iframe src='https://evil'></iframe>",
    "<!--><script>alert(1)</script>-->",
    "<?xml ?><script>alert(1)</script>",
    "[click](javascript:alert(1))",
    "[click](java\nscript:alert(1))",
    "[click](&#106;avascript:alert(1))",
    "[click][1]\n\n[1]: javascript:alert(1)",
    "[1]\n\n[1]: javascript:alert(1)",
    "![x](javascript:alert(1))",
    "<javascript:alert(1)>",
    "[a](data:text/html,<script>alert(1)</script>)",
    r"$\text{<script>alert(1)</script>}$",
    r"$\href{javascript:alert(1)}{x}$",
    "$<img src=x onerror=alert(1)>$",
    "$$\n<script>alert(1)</script>\n$$",
    "```html\n<script>alert(1)</script>\n```",
    "    <script>alert(1)</script>",
    "`<script>alert(1)</script>`",
    "> <script>alert(1)</script>",
    "| a | b |\n|---|---|\n| <script>alert(1)</script> | [x](javascript:alert(1)) |",
]  # fmt: skip


@pytest.mark.parametrize("source", HOSTILE)
def test_an_answer_in_words_runs_nothing_in_the_graders_browser(source):
    assert (
        Active(body(export(HTMLExporter, "formgrade", harmless(source)))).found
        == Active(body(export(HTMLExporter, "formgrade", "words"))).found
    )
    assert Active(body(export(FeedbackExporter, "feedback", harmless(source)))).found == []


@pytest.mark.parametrize(
    "source", [*HOSTILE, "```\n</code><script>alert(1)</script>", "````` <b> `````", "$$x$$ ~~~"]
)
def test_what_is_said_about_a_submission_runs_nothing(source):
    """Why it was refused and what was odd about it quote what the learner wrote."""
    said = listed([f"It names {source}.", source])
    assert (
        Active(body(export(HTMLExporter, "formgrade", said))).found
        == Active(body(export(HTMLExporter, "formgrade", "words"))).found
    )
    page = body(export(FeedbackExporter, "feedback", said))
    assert Active(page).found == [] and "<math" not in page
    text = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", "", page)))
    assert re.sub(r"\s+", " ", f"It names {plain(source)}") in text


SHOWN = {
    "refused": {"refused": "<script>alert(1)</script>"},
    "notes": {"notes": ("<img src=x onerror=alert(1)>", "[x](javascript:alert(1))")},
    "sources": {"sources": {"bias": "<svg/onload=alert(1)>", "normalize": "</pre><script>alert(1)</script>"}},
    "messages": {"message": "</pre><script>alert(1)</script>\x1b]8;;javascript:alert(1)\x07x\x1b]8;;\x07"},
}


@pytest.mark.parametrize("outcome", [RIGHT, WRONG])
@pytest.mark.parametrize("where", SHOWN)
def test_nothing_of_a_submission_reaches_a_page_but_as_text(where, outcome):
    given = {"refused": "", "notes": (), "sources": {}, "message": "x"} | SHOWN[where]
    tasks = {task: TaskVerdict(outcome, given["message"]) for task in find_problem_set("ps02").checks}
    graded = Graded("s", tasks, given["sources"], given["refused"], given["notes"])
    release = nbformat.read(ROOT / "exercises/ps02/ps02.ipynb", as_version=4)
    quiet = Graded("s", {task: TaskVerdict(outcome, "x") for task in tasks}, {}, "", ())
    for exporter, template in ((HTMLExporter, "formgrade"), (FeedbackExporter, "feedback")):
        found, usual = (
            Active(body(show(exporter, template, autograded(g, release)))).found for g in (graded, quiet)
        )
        assert found == usual


def test_without_it_they_would():
    """The test sees what it looks for: nbgrader shows a learner's Markdown as it is."""
    active = [s for s in HOSTILE if Active(body(export(HTMLExporter, "feedback", s))).found]
    assert len(active) >= 12


def test_ordinary_words_stay_as_they_are():
    for text in (
        "Because $\\mu < \\sigma$ and *x* > 0, `a < b`.\n\n* one\n* two",
        "# A heading\n\n$$x = \\frac{1}{2}$$\n\n| a | b |\n|---|---|\n| 1 | 2 |",
        "The mean [see above] is subtracted; x[0] too.",
    ):
        assert harmless(text) == text


@pytest.mark.parametrize("name", names())
def test_feedback_asks_no_other_host_and_draws_every_formula(name):
    release = nbformat.read(ROOT / f"exercises/{name}/{name}.ipynb", as_version=4)
    formulas = 0
    for cell in release.cells:
        if cell.cell_type != "markdown":
            continue
        page = export(FeedbackExporter, "feedback", cell.source)
        assert not re.search(r"""(src=|<link[^>]*href=)["']?(https?:)?//""", page) and "<script" not in page
        drawn = body(page)
        assert "$" not in re.sub(r"<code>.*?</code>", "", drawn), drawn
        written = len(re.findall(r"(?<!\$)\$\$?(?!\$)", cell.source)) // 2
        assert drawn.count("<math") == written, cell.source
        assert "\\" not in re.sub(r"<code>.*?</code>", "", drawn, flags=re.S)
        formulas += written
    assert formulas > 10


def test_a_formula_is_mathml_and_what_is_none_is_code():
    assert mathml(r"\frac{1}{2}").startswith('<math display="inline"><mrow><mfrac><mrow><mn>1')
    assert mathml("x", "block").startswith('<math display="block">')
    for tex in (r"\text{<script>x</script>}", r"\frac{", r"\left(", "<b>", r"\text{<i>x</i>}"):
        assert "<script" not in mathml(tex) and "<b>" not in mathml(tex) and "<i>" not in mathml(tex)
    assert "href" not in mathml(r"\href{javascript:alert(1)}{x}")
