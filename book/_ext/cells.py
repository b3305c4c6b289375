"""Sphinx extension: a named cell can be linked to, a figure leads to its experiment, assertions are marked.

    ```{code-cell} python3
    :name: kappa

is the target `cell:CHAPTER/kappa`, as in {ref}`ten seeds <cell:scaling/kappa>`. Below the outputs of a cell
that draws an experiment stands a link to the experiment's source, as the page's imports have it. Below a cell
with assertions stands how many there are, and when the page was run: one that does not hold ends the build.
"""

import ast
import re
from datetime import datetime
from pathlib import Path

from docutils import nodes
from sphinx.transforms import SphinxTransform

PACKAGE = "normcore.experiments"


class NameCells(SphinxTransform):
    """Targets for named cells."""

    default_priority = 690  # after MyST-NB has made its cells, before predictions fold them

    def apply(self) -> None:
        chapter = self.env.docname.rpartition("/")[2]
        for cell in cells(self.document):
            if name := cell["cell_metadata"].get("name"):
                cell["ids"].append(f"cell-{nodes.make_id(name)}")
                cell["names"].append(nodes.fully_normalize_name(f"cell:{chapter}/{name}"))
                self.document.note_explicit_target(cell)


class LinkExperiments(SphinxTransform):
    """Below a drawn experiment, where its source is."""

    default_priority = 691

    def apply(self) -> None:
        options = self.config.html_theme_options
        tree = f"{options['repository_url']}/blob/{options['repository_branch']}/"
        imported: dict[str, str] = {}
        for cell in cells(self.document):
            code = parsed(cell[0].astext())
            imported |= experiments(code)
            for path in sorted({imported[name] for name in drawn(code) if name in imported}):
                link = nodes.reference(text=Path(path).name, refuri=tree + path)
                cell += nodes.paragraph("", "The experiment: ", link, classes=["experiment"])


class MarkAssertions(SphinxTransform):
    """Below a cell that asserts something, that it held and when."""

    default_priority = 689  # nearer to the cell than the experiment's link

    def apply(self) -> None:
        executed = getattr(self.env, "executed", {}).get(self.env.docname)
        for cell in cells(self.document):
            if executed and (count := assertions(parsed(cell[0].astext()))):
                cell += nodes.raw("", mark(count, executed), format="html")


def assertions(code: ast.Module) -> int:
    """How many statements of a cell assert something."""
    return sum(isinstance(node, ast.Assert) for node in ast.walk(code))


def mark(count: int, executed: datetime) -> str:
    """The line below a cell; the search passes over it."""
    said = f"{count} assertion{'' if count == 1 else 's'} held on {executed.day} {executed:%B %Y}"
    return f'<p class="checked" data-pagefind-ignore>{said}</p>'


def cells(document: nodes.document) -> list[nodes.container]:
    """The code cells of a page."""
    return [node for node in document.findall(nodes.container) if node.get("nb_element") == "cell_code"]


def parsed(source: str) -> ast.Module:
    """A cell's code, without IPython's own lines."""
    return ast.parse(re.sub(r"^\s*[%!].*$", "", source, flags=re.M))


def experiments(code: ast.Module) -> dict[str, str]:
    """Names that a cell imports of the experiments, and the files they stand for."""
    found = {}
    for node in ast.walk(code):
        if isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            for name in node.names:
                found[name.asname or name.name] = f"{PACKAGE}.{name.name}".replace(".", "/") + ".py"
    return found


def drawn(code: ast.Module) -> set[str]:
    """What a cell's calls `module.draw…(…)` name as their module."""
    return {
        node.func.value.id
        for node in ast.walk(code)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.attr.startswith("draw")
    }


def setup(app) -> dict:
    """Sphinx calls this."""
    app.add_transform(NameCells)
    app.add_transform(LinkExperiments)
    app.add_transform(MarkAssertions)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
