"""Sphinx extension: what pages need to know about the repository and its problem sets.

    :::{problem-set} ps02
    :::

shows a problem set's card: its title, time and difficulty, a link to Colab and one to download it.

    :::{course-map}
    :::

shows all chapters, as _toc.yml has them: number, title, question, minutes, problem set.

    :::{counts}
    :::

says how many chapters, predictions, claims, assertions and problem sets there are.

    ```{check-message} ps02 batch_norm "unbiased variance"
    ```

shows what a check says to one of its known mistakes, as it is run when the book is built.

    :::{widget} index-sets
    A sentence for those who see the page without its script.
    :::

shows a figure to play with, made by book/_static/widgets/index-sets.js.
`{{ repository }}` is the repository's address, as _config.yml has it; `{{ colab }}` is Colab's for its files.
"""

import html
import re
import shlex
from pathlib import Path

import claims
import nbformat
import yaml
from docutils import nodes
from docutils.statemachine import StringList
from pages import colab_url, minutes
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[2]


def exercise(name: str) -> Path:
    """The released notebook of a problem set."""
    return ROOT / "exercises" / name / f"{name}.ipynb"


def heading(name: str) -> tuple[str, str]:
    """Title, and the line with minutes and difficulty, from the notebook's first cell."""
    lines = nbformat.read(exercise(name), as_version=4).cells[0].source.splitlines()
    about = next(line for line in lines if "minutes" in line)
    return lines[0].lstrip("# "), re.sub(r"^Chapter: .*?\. (?=About)", "", about)


class ProblemSet(SphinxDirective):
    """The card of one problem set."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if not exercise(name).is_file():
            raise self.error(f"there is no problem set {name!r}: {exercise(name)} does not exist")
        self.env.note_dependency(str(exercise(name)))
        title, about = heading(name)
        options = self.config.html_theme_options
        url = colab_url(options, exercise(name).relative_to(ROOT).as_posix())
        card = nodes.container(classes=["problem-set"])
        card += nodes.paragraph("", "", nodes.strong(text=f"Problem set {title}"))
        card += nodes.paragraph(text=about)
        links = nodes.paragraph(classes=["run"])
        links += nodes.reference(text="Open in Colab", refuri=url, classes=["button"])
        download, _ = self.parse_inline(
            f"{{download}}`Download the notebook </{exercise(name).relative_to(ROOT)}>`"
        )
        links += download
        card += links
        return [card]


class CourseMap(SphinxDirective):
    """A row a chapter: number and title, its question, minutes, problem set."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        lines = ["| | Chapter | Its question | Minutes | Problem set |", "|---|---|---|---|---|"]
        for number, chapter in enumerate(chapters(), 1):
            path = ROOT / f"{chapter}.md"
            self.env.note_dependency(str(path))
            source = path.read_text("utf-8")
            sets = re.findall(r"\{problem-set\} (\w+)", source)
            lines.append(
                f"| {number} | [](/{chapter}) | {question(source)} | {minutes(source)} "
                f"| {', '.join(name.upper() for name in sets) or '–'} |"
            )
        node = nodes.container(classes=["course-map"])
        self.state.nested_parse(StringList(lines), self.content_offset, node)
        return [node]


class Counts(SphinxDirective):
    """What there is of everything, in a line."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        pages = [ROOT / f"{chapter}.md" for chapter in chapters()]
        for page in pages:
            self.env.note_dependency(str(page))
        counts = count([page.read_text("utf-8") for page in pages])
        line = nodes.paragraph(classes=["counts"])
        for number, (name, found) in enumerate(counts.items()):
            if number:
                line += nodes.Text(" · ")
            line += nodes.strong(text=str(found))
            line += nodes.Text(f"\N{NO-BREAK SPACE}{name}")
        return [line]


def count(sources: list[str]) -> dict[str, int]:
    """Of chapters' texts, and of all problem sets."""
    text = "\n".join(sources)
    code = [cell for cell in re.findall(r"^```\{code-cell\}.*?\n(.*?)^```$", text, flags=re.S | re.M)]
    return {
        "chapters": len(sources),
        "predictions": len(re.findall(r"^:::\{predict\}", text, flags=re.M)),
        "claims with verdicts": sum(map(len, claims.load().values())),
        "assertions": len(re.findall(r"^\s*assert\b", "\n".join(code), flags=re.M)),
        "problem sets": len(list(ROOT.glob("exercises/ps*/ps*.ipynb"))),
    }


def chapters() -> list[str]:
    """The numbered ones, as _toc.yml has them."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    return [c["file"] for part in toc["parts"] if part.get("numbered") for c in part["chapters"]]


def question(source: str) -> str:
    """The question that a chapter asks, in bold type at the end of its section."""
    section = source.split("## The question\n")[1].split("\n## ")[0]
    return " ".join(re.findall(r"\*\*([^*]+\?)\*\*", section)[-1].split())


class CheckMessage(SphinxDirective):
    """What a check says to one of its known mistakes."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        from normcore.checks.catalogue import VISIBLE_CASES, VISIBLE_SEED, find_problem_set
        from normcore.checks.judge import Judge
        from normcore.inside.runner import run

        problem_set, task, name = shlex.split(self.arguments[0])
        check = find_problem_set(problem_set).checks[task]
        (mistake,) = [m for m in check.mistakes if m.name == name]
        cases = check.cases(VISIBLE_SEED, VISIBLE_CASES)
        outputs = [run(check.run, task, mistake.function, case.inputs, check.outputs) for case in cases]
        message = Judge(check, cases, visible=True).judge(outputs).message
        return [nodes.literal_block(message, message, language="text")]


class Widget(SphinxDirective):
    """A figure to play with; without a script its still picture and the content stand in."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        folder = ROOT / "book" / "_static" / "widgets"
        for kind in ("js", "svg"):
            if not (folder / f"{name}.{kind}").is_file():
                raise self.error(f"there is no widget {name!r}: it needs {folder / name}.{kind}")
            self.env.note_dependency(str(folder / f"{name}.{kind}"))
        still = (folder / f"{name}.svg").read_text("utf-8")
        said = f"With JavaScript, this is a figure to play with: {' '.join(self.content)}"
        instead = f"{still}<p>{html.escape(said)}</p>"
        static = "../" * self.env.docname.count("/") + "_static"
        text = (
            f'<div class="widget" data-widget="{name}"><noscript>{instead}</noscript></div>'
            f'<script defer src="{static}/widgets.js"></script>'
            f'<script defer src="{static}/widgets/{name}.js"></script>'
        )
        return [nodes.raw("", text, format="html")]


def write_addresses(app, docname, source) -> None:
    """`{{ repository }}` and `{{ colab }}`; also in code blocks, where MyST has no substitutions."""
    options = app.config.html_theme_options
    source[0] = source[0].replace("{{ repository }}", options["repository_url"])
    source[0] = source[0].replace("{{ colab }}", colab_url(options, "").rstrip("/"))


def setup(app) -> dict:
    """Sphinx calls this."""
    app.add_directive("problem-set", ProblemSet)
    app.add_directive("course-map", CourseMap)
    app.add_directive("counts", Counts)
    app.add_directive("check-message", CheckMessage)
    app.add_directive("widget", Widget)
    app.connect("source-read", write_addresses)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
