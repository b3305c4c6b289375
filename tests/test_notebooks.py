"""The notebooks: derived files are up to date, stored clean, and problem sets run."""

import ast
import copy
import re
import subprocess
import sys
import types

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from normcore.checks.catalogue import find_problem_set, names
from scripts import notebooks
from scripts.problem_set_text import read
from tests.commands import ROOT

SOURCES = sorted(ROOT.glob("solutions/ps*/ps*.ipynb"))
RELEASES = sorted(ROOT.glob("exercises/ps*/ps*.ipynb"))
PAGES = sorted(ROOT.glob("book/*.ipynb"))


def execute(notebook, folder=ROOT, **options):
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}, **options)
    return client.execute()


def ids(paths):
    return [p.relative_to(ROOT).as_posix() for p in paths]


def test_there_is_a_release_for_each_source():
    assert [p.stem for p in SOURCES] == [p.stem for p in RELEASES] == names() and len(SOURCES) >= 5


def test_notebooks_are_up_to_date(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["notebooks", "--check"])
    assert notebooks.main() == 0, capsys.readouterr().out


def test_what_is_out_of_date_is_said(capsys, monkeypatch, tmp_path):
    (tmp_path / "old.ipynb").write_text("of yesterday")
    files = [(tmp_path / name, "of today") for name in ("old.ipynb", "new.ipynb")]
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(notebooks, "derived", lambda: files)
    monkeypatch.setattr("sys.argv", ["notebooks", "--check"])
    assert notebooks.main() == 1
    said = capsys.readouterr().out
    assert [line.split(":")[0] for line in said.splitlines()] == ["old.ipynb", "new.ipynb"]
    assert "out of date: run `make exercises`" in said and not (tmp_path / "new.ipynb").exists()
    monkeypatch.setattr("sys.argv", ["notebooks"])
    assert notebooks.main() == 0
    assert {path.read_text() for path, _ in files} == {"of today"}


@pytest.mark.parametrize("path", SOURCES + RELEASES, ids=ids(SOURCES + RELEASES))
def test_stored_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None
        marks = cell.metadata.get("nbgrader")
        assert marks is not None and cell.id == marks["grade_id"], "a cell's id is its grade id"
    if path in RELEASES:
        text = path.read_text("utf-8")
        assert "BEGIN SOLUTION" not in text and "HIDDEN TESTS" not in text and "hidden_check" not in text


@pytest.mark.parametrize("path", SOURCES + RELEASES, ids=ids(SOURCES + RELEASES))
def test_a_task_has_one_name_in_its_cells_its_function_and_its_check(path):
    """The grader finds a task's points, source and verdict by this name."""
    cells = {cell.id: cell for cell in nbformat.read(path, as_version=4).cells}
    tasks = list(find_problem_set(path.stem).checks)
    solved = [i for i, c in cells.items() if c.cell_type == "code" and c.metadata["nbgrader"]["solution"]]
    assert solved == tasks
    for task in tasks:
        defined = [getattr(node, "name", "") for node in ast.parse(cells[task].source).body]
        assert task in defined
        assert cells[f"{task}-task"].cell_type == "markdown"
        assert cells[f"{task}-check"].source.startswith(f"check({task})")
        assert cells[f"{task}-check"].metadata["nbgrader"]["grade"]


def said(cell):
    """What a cell printed or displayed."""
    return "".join(o.get("text") or o.get("data", {}).get("text/markdown", "") for o in cell.outputs)


@pytest.mark.parametrize("path", SOURCES, ids=ids(SOURCES))
def test_the_source_passes_its_own_checks(path):
    """And at its end has all points, and shows the model answers beside its own."""
    executed = execute(nbformat.read(path, as_version=4), path.parent)
    checks = sum("hidden_check(" in c.source for c in executed.cells)
    assert sum(said(c).count("✓") for c in executed.cells if c.cell_type == "code") == 2 * checks
    cells, text = {c.id: c for c in executed.cells}, read(path.with_suffix(".md"))
    points = sum(task.points for task in text.tasks)
    assert f"{points} of {points} points so far" in said(cells["summary"])
    for question in text.questions:
        assert question.solution in said(cells["model-answers"])
        assert question.graded_by in said(cells["model-answers"])


@pytest.mark.parametrize("path", RELEASES, ids=ids(RELEASES))
def test_the_untouched_release_says_what_is_to_be_written(path):
    executed = execute(nbformat.read(path, as_version=4), path.parent, allow_errors=True)
    for cell in executed.cells:
        if cell.cell_type == "code" and cell.source.startswith("check("):
            (output,) = cell.outputs
            assert output.ename == "CheckFailed"
            assert "not written yet" in output.evalue and len(output.traceback) == 1
    cells, text = {c.id: c for c in executed.cells}, read(ROOT / f"solutions/{path.stem}/{path.stem}.md")
    assert f"{path.stem.upper()}: 0 of {sum(task.points for task in text.tasks)} points" in said(
        cells["summary"]
    )
    shown = said(cells["model-answers"])
    assert shown.count("Write your own answer first") == len(text.questions) > 0
    assert len(shown.splitlines()) == len(text.questions)


# The learner's lines, and in what each typical mistake differs from them.
RIGHT = {
    "mean": "x.mean(0)",
    "scale": "torch.sqrt(x.var(0, correction=0) + eps)",
    "y": "gamma * x_hat + beta",
    "stored": "x.var(0, correction=1)",
}
SIX_MISTAKES = {
    "divide by m (in torch: correction=0)": {"scale": "torch.sqrt(x.var(0) + eps)"},
    "under the root, next to the variance": {"scale": "(x.std(0, correction=0) + eps)"},
    "averaged over the features of each example": {
        "mean": "x.mean(1, keepdim=True)",
        "scale": "torch.sqrt(x.var(1, correction=0, keepdim=True) + eps)",
    },
    "The last step is missing": {"y": "x_hat"},
    "You swapped gamma and beta": {"y": "beta * x_hat + gamma"},
    "averaged the standard deviation into running_var": {"stored": "x.std(0, correction=1)"},
}
ANSWER = """
def batch_norm_train(x, gamma, beta, running_mean, running_var, momentum, eps):
    x_hat = (x - {mean}) / {scale}
    new_mean = (1 - momentum) * running_mean + momentum * x.mean(0)
    new_var = (1 - momentum) * running_var + momentum * {stored}
    return {y}, new_mean, new_var
"""


def test_six_typical_mistakes_are_named_in_the_learners_notebook():
    """Written as a learner would write them, into the released notebook, one after the other."""
    notebook = nbformat.read(ROOT / "exercises/ps02/ps02.ipynb", as_version=4)
    cells = {cell.id: cell for cell in notebook.cells}
    notebook.cells = [cells["setup"], cells["imports"]]
    for mistake in SIX_MISTAKES.values():
        notebook.cells.append(nbformat.v4.new_code_cell(ANSWER.format(**RIGHT | mistake)))
        notebook.cells.append(copy.deepcopy(cells["batch_norm_train-check"]))
    checked = execute(notebook, allow_errors=True).cells[3::2]
    for hint, cell in zip(SIX_MISTAKES, checked, strict=True):
        (output,) = cell.outputs
        assert output.evalue.count("Hint:") == 1 and hint in output.evalue


def test_without_the_package_the_notebook_says_how_to_install_it():
    notebook = nbformat.read(RELEASES[0], as_version=4)
    blocked = nbformat.v4.new_code_cell("import sys\nsys.modules['normcore'] = None")
    setup = next(c for c in notebook.cells if c.id == "setup")
    # an import of None raises ModuleNotFoundError, as an import of what is not installed does
    notebook.cells = [blocked, setup]
    with pytest.raises(CellExecutionError) as raised:
        execute(notebook)
    said = str(raised.value)
    assert 'pip install "normcore-dl[course] @ git+https://' in said
    assert "pip install torch --index-url https://download.pytorch.org/whl/cpu" in said


def test_an_installation_on_colab_that_fails_says_so_in_one_sentence(monkeypatch):
    setup = next(c for c in nbformat.read(RELEASES[0], as_version=4).cells if c.id == "setup")
    monkeypatch.setitem(sys.modules, "normcore", None)
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("colab"))
    monkeypatch.setattr(subprocess, "run", lambda command: types.SimpleNamespace(returncode=1))
    with pytest.raises(RuntimeError, match=r"Could not install normcore-dl\[course\] @ git") as raised:
        exec(setup.source, {})
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("path", RELEASES, ids=ids(RELEASES))
def test_a_problem_set_links_to_its_chapter(path):
    title = nbformat.read(path, as_version=4).cells[0].source
    name, page = re.search(r"Chapter: \[\*(.+)\*\]\(https://.+/book/(.+)\.ipynb\)", title).groups()
    assert f"Back to the chapter: [*{name}*](" in nbformat.read(path, as_version=4).cells[-1].source
    text = (ROOT / "book" / f"{page}.md").read_text("utf-8")
    assert f"\n# {name}\n" in text and f"{{problem-set}} {path.stem}" in text
    assert (ROOT / "book" / f"{page}.ipynb").is_file()


@pytest.mark.parametrize("path", PAGES, ids=ids(PAGES))
def test_the_colab_notebook_of_a_page_has_its_code_and_no_markup_of_the_books(path):
    """The code is run where the book is built."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[1].id == "setup"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for markup in (":::", "{cite", "{admonition", "{ref}", "{doc}", "```{"):
                assert markup not in cell.source
    page = jupytext.read(path.with_suffix(".md"), fmt="md:myst")
    code = [cell.source for cell in page.cells if cell.cell_type == "code"]
    assert code == [c.source for c in notebook.cells if c.cell_type == "code" and c.id != "setup"]


@pytest.mark.parametrize("path", [*PAGES, *RELEASES], ids=lambda path: path.stem)
def test_links_lead_somewhere_wherever_the_notebook_is_saved(path):
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\(([^()\s]+(?:\([^()\s]*\)[^()\s]*)*)\)", text)
    ours = notebooks.in_the_repository("")
    assert links
    for link in links:
        assert link.startswith("https://"), link
        assert not link.startswith(ours) or (ROOT / link.removeprefix(ours)).is_file(), link
