"""A page is executed again where something that it imports has changed, and only there."""

import sys
from pathlib import Path

import nbformat
import pytest

from tests.book.pages import CHAPTERS
from tests.commands import ROOT, run

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import execution

CONF = """\
import sys
from pathlib import Path
sys.path[:0] = [{extensions!r}]
import execution
execution.ROOT, execution.PACKAGE = Path({root!r}), "trial"
execution.ENVIRONMENT = execution.ROOT / "constraints.txt"
extensions = ["myst_nb", "execution"]
nb_execution_mode = "cache"
nb_execution_cache_path = {root!r} + "/cache"
nb_execution_raise_on_error = True
"""
PAGE = """\
---
jupytext:
  formats: md:myst
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  name: python3
---
# {name}

```{{code-cell}} ipython3
from {package} import {module} as m
print("printed", m.VALUE)
```
"""


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_page_depends_on_what_its_cells_import_and_not_on_the_grader(page):
    files = execution.dependencies(execution.myst_nb_reader_plugin(str(ROOT / f"{page}.md")))
    names = {path.relative_to(ROOT / "normcore").as_posix() for path in files}
    assert {"__init__.py", "plotting.py"} <= names
    assert not [name for name in names if name.startswith(("grading/", "checks/", "bench"))]


def test_imports_of_imports_and_stored_results_count():
    source = "import torch\nfrom normcore.experiments import growth, placement\n%matplotlib inline"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    names = {p.relative_to(ROOT / "normcore").as_posix() for p in execution.dependencies(notebook)}
    stored = {f"experiments/results/{p.name}" for p in (ROOT / "normcore/experiments/results").iterdir()}
    assert "experiments/results/growth.json" in stored & names
    assert {"statistics.py", "nn/__init__.py", "experiments/growth.py", "experiments/placement.py"} <= names


@pytest.fixture
def project(tmp_path):
    """A site of two pages, each with a module of its own, and one that both modules import."""
    package = tmp_path / "trial"
    (package / "results").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "common.py").write_text("BASE = 1\n")
    (package / "a.py").write_text("from trial.common import BASE\nVALUE = BASE + 10\n")
    (package / "b.py").write_text("from trial import common\nVALUE = common.BASE + 20\n")
    (tmp_path / "constraints.txt").touch()
    pages = tmp_path / "pages"
    pages.mkdir()
    extensions = str(ROOT / "book" / "_ext")
    (pages / "conf.py").write_text(CONF.format(extensions=extensions, root=str(tmp_path)))
    (pages / "index.md").write_text("# Index\n\n```{toctree}\na\nb\n```\n")
    for name in ("a", "b"):
        (pages / f"{name}.md").write_text(PAGE.format(name=name, package="trial", module=name))
    return tmp_path


def build(project: Path) -> dict[str, tuple[int, str]]:
    """For each page, the number of its execution, and what its cell printed."""
    run("sphinx-build", "-b", "text", "-d", project / "doctrees", project / "pages", project / "out",
        PYTHONPATH=str(project), PYTHONDONTWRITEBYTECODE="1")  # fmt: skip
    cache = execution.get_cache(str(project / "cache"))
    found = {}
    for name in ("a", "b"):
        notebook = execution.myst_nb_reader_plugin(str(project / "pages" / f"{name}.md"))
        text = (project / "out" / f"{name}.txt").read_text("utf-8")
        found[name] = cache.match_cache_notebook(notebook).pk, text.split("printed")[-1].strip()
    return found


def test_only_pages_whose_imports_or_stored_results_changed_are_executed_again(project):
    """Each build starts a process that takes seconds: the page that did not change says that none would be again."""
    first = build(project)
    assert (first["a"][1], first["b"][1]) == ("11", "21")
    (project / "trial/results/a.json").write_text("1")
    (project / "trial/a.py").write_text(
        "from pathlib import Path\n"
        "from trial.common import BASE\n"
        "VALUE = BASE, (Path(__file__).parent / 'results/a.json').read_text()\n"
    )
    second = build(project)
    assert second["a"][1] == "(1, '1')" and second["b"] == first["b"]
    (project / "trial/results/a.json").write_text("2")
    third = build(project)
    assert third["a"][1] == "(1, '2')" and third["b"] == first["b"]
    (project / "trial/common.py").write_text("BASE = 2\n")
    fourth = build(project)
    assert (fourth["a"][1], fourth["b"][1]) == ("(2, '2')", "22")


def test_a_cell_that_fails_ends_the_build_with_its_page_and_error(project):
    (project / "trial/b.py").write_text("raise RuntimeError('no such luck')\n")
    with pytest.raises(AssertionError, match=r"(?s)b\.md.*no such luck"):
        build(project)
