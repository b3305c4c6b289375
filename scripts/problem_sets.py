"""A problem set's notebook from its text: cells and their ids, nbgrader's marks, checks, and
at the end the points so far and the model answers.
"""

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from scripts.problem_set_text import Section, SourceError, Text

__all__ = ["model_answer", "notebook"]

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
TITLE = """\
# {name} · {text.title}

Chapter: {chapter}. About {text.minutes} minutes. Difficulty: {text.difficulty} of 3.

{text.introduction}

After each task, a cell calls `check(...)`: it runs what you wrote on random inputs and says what kind of
mistake was made. `check.case({first}, 0)` gives you the inputs of case 0, to try it yourself. You may call
what you wrote for earlier tasks: each task is checked as a whole, and a mistake in what it calls is a mistake
in it. In a course that collects notebooks, the same checks then run on other inputs."""
IMPORTS = """\
import torch

from normcore.checks.{name} import check"""
CHECK = """\
check({task})
### BEGIN HIDDEN TESTS
from normcore.checks.{name} import hidden_check

hidden_check({task})
### END HIDDEN TESTS"""
IN_WORDS = """\
{statement}

*A person grades this. On your own, compare your answer with the model answer at the end of the notebook.*"""
POINTS = """\
## Your points

What your checks have said so far."""
MODEL_ANSWERS = """\
## Model answers

Where nobody grades your answers in words, you can: write them, save the notebook, and run this cell. It shows
a model answer and what it would be graded by; before there is an answer of yours, it shows nothing."""
BACK = """\
Back to the chapter: {chapter}."""
MODEL_ANSWER = """\
**Model answer**

{section.solution}

**Graded by**, of {section.points} points

{section.graded_by}"""


def notebook(text: Text, setup: str, chapter: str) -> NotebookNode:
    """What nbgrader takes.

    Args:
        text: of the problem set.
        setup: the code that makes sure that the course's package is there.
        chapter: a link to its chapter.

    Raises:
        SourceError: a task or a question has the name of another cell.
    """
    title = TITLE.format(name=text.name.upper(), text=text, chapter=chapter, first=text.sections[0].name)
    cells = [
        _cell("title", new_markdown_cell(title)),
        _cell("setup", new_code_cell(setup)),
        _cell("imports", new_code_cell(IMPORTS.format(name=text.name))),
    ]
    for s in text.sections:
        statement = IN_WORDS.format(statement=s.statement) if s.graded_by else s.statement
        cells.append(_cell(f"{s.name}-task", new_markdown_cell(statement)))
        if s.graded_by:
            cells.append(_cell(s.name, new_markdown_cell(s.solution), solution=True, points=s.points))
        else:
            check = CHECK.format(task=s.name, name=text.name)
            cells.append(_cell(s.name, new_code_cell(s.solution), solution=True))
            cells.append(_cell(f"{s.name}-check", new_code_cell(check), points=s.points))
    points = "".join(f"\n    {s.name}={s.points}," for s in text.sections)
    cells += [
        _cell("summary-text", new_markdown_cell(POINTS)),
        _cell("summary", new_code_cell(f"check.summary({points}\n)")),
    ]
    if text.questions:
        show = "\n".join(f'check.model_answer("{s.name}")' for s in text.questions)
        cells += [
            _cell("model-answers-text", new_markdown_cell(MODEL_ANSWERS)),
            _cell("model-answers", new_code_cell(show)),
        ]
    cells.append(_cell("chapter", new_markdown_cell(BACK.format(chapter=chapter))))
    _each_name_once(text, cells)
    return new_notebook(cells=cells, metadata=METADATA)


def model_answer(section: Section) -> str:
    """What a learner may compare an answer in words with, in Markdown."""
    return MODEL_ANSWER.format(section=section)


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
