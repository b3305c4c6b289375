"""A problem set's notebook from its text: cells and their ids, nbgrader's marks, checks with hidden tests."""

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from scripts.problem_set_text import SourceError, Text

__all__ = ["notebook"]

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
TITLE = """\
# {name} · {text.title}

Chapter: {chapter}. About {text.minutes} minutes. Difficulty: {text.difficulty} of 3.

{text.introduction}"""
IMPORTS = """\
import torch

from normcore.checks.{name} import check"""
CHECK = """\
check({task})
### BEGIN HIDDEN TESTS
from normcore.checks.{name} import hidden_check

hidden_check({task})
### END HIDDEN TESTS"""


def notebook(text: Text, setup: str, chapter: str) -> NotebookNode:
    """What nbgrader takes.

    Args:
        text: of the problem set.
        setup: the code that makes sure that the course's package is there.
        chapter: a link to its chapter.

    Raises:
        SourceError: a task or a question has the name of another cell.
    """
    cells = [
        _cell("title", new_markdown_cell(TITLE.format(name=text.name.upper(), text=text, chapter=chapter))),
        _cell("setup", new_code_cell(setup)),
        _cell("imports", new_code_cell(IMPORTS.format(name=text.name))),
    ]
    for s in text.sections:
        cells.append(_cell(f"{s.name}-task", new_markdown_cell(s.statement)))
        if s.graded_by:
            cells.append(_cell(s.name, new_markdown_cell(s.solution), solution=True, points=s.points))
        else:
            check = CHECK.format(task=s.name, name=text.name)
            cells.append(_cell(s.name, new_code_cell(s.solution), solution=True))
            cells.append(_cell(f"{s.name}-check", new_code_cell(check), points=s.points))
    _each_name_once(text, cells)
    return new_notebook(cells=cells, metadata=METADATA)


def _each_name_once(text: Text, cells: list[NotebookNode]) -> None:
    ids = [cell.id for cell in cells]
    for s in text.sections:
        if ids.count(s.name) > 1:
            raise SourceError(text.path, s.line, f"every notebook has a cell {s.name!r}: choose another name")


def _cell(name: str, cell: NotebookNode, solution: bool = False, points: int = 0) -> NotebookNode:
    """With nbgrader's marks: the learner writes a solution, and nothing else; what has points is graded."""
    cell["id"] = name
    marks = {
        "grade": bool(points),
        "grade_id": name,
        "locked": not solution,
        "schema_version": 3,
        "solution": solution,
        "task": False,
    }
    cell["metadata"] = {"nbgrader": marks | ({"points": points} if points else {})}
    return cell
