"""Sphinx extension: what pages need to know about the repository and its problem sets.

    :::{problem-set} ps02
    :::

shows a problem set's card: its title, time and difficulty, a link to Colab and one to download it.
    :::{widget} index-sets
    A sentence for those who see the page without its script.
    :::

shows a figure to play with, made by book/_static/widgets/index-sets.js.
`{{ repository }}` is the repository's address, as _config.yml has it.
"""

import html
import re
from pathlib import Path

import nbformat
from docutils import nodes
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


def colab_url(repository: str, branch: str, name: str) -> str:
    """Where Colab opens a released notebook."""
    owner_and_name = repository.removeprefix("https://github.com/").rstrip("/")
    path = exercise(name).relative_to(ROOT).as_posix()
    return f"https://colab.research.google.com/github/{owner_and_name}/blob/{branch}/{path}"


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
        url = colab_url(options["repository_url"], options["repository_branch"], name)
        card = nodes.admonition(classes=["problem-set"])
        card += nodes.title(text=f"Problem set {title}")
        card += nodes.paragraph(text=about)
        links = nodes.paragraph()
        links += nodes.reference(text="Open on Colab", refuri=url)
        links += nodes.Text(" · ")
        download, _ = self.parse_inline(
            f"{{download}}`Download the notebook </{exercise(name).relative_to(ROOT)}>`"
        )
        links += download
        card += links
        return [card]


class Widget(SphinxDirective):
    """A figure to play with; its content stands in where there is no script."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if not (ROOT / "book" / "_static" / "widgets" / f"{name}.js").is_file():
            raise self.error(f"there is no widget {name!r} in book/_static/widgets")
        source = "../" * self.env.docname.count("/") + f"_static/widgets/{name}.js"
        instead = html.escape(" ".join(self.content))
        text = (
            f'<div class="widget" data-widget="{name}"><noscript>{instead}</noscript></div>'
            f'<script defer src="{source}"></script>'
        )
        return [nodes.raw("", text, format="html")]


def write_repository(app, docname, source) -> None:
    """`{{ repository }}` in a page; also in code blocks, where MyST's own substitutions do not reach."""
    source[0] = source[0].replace("{{ repository }}", app.config.html_theme_options["repository_url"])


def drop_thebe(app, pagename, templatename, context, doctree) -> None:
    """Jupyter Book loads Thebe on every page, twice, though it is switched off: an error in the console."""
    context["script_files"] = [
        script
        for script in context.get("script_files", [])
        if "thebe" not in f"{script} {getattr(script, 'attributes', {}).get('body', '')}".lower()
    ]


def setup(app) -> dict:
    """Sphinx calls this."""
    app.connect("html-page-context", drop_thebe, priority=900)
    app.add_directive("problem-set", ProblemSet)
    app.add_directive("widget", Widget)
    app.connect("source-read", write_repository)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
