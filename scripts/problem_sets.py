"""A problem set's notebooks from its text, solutions/psNN/psNN.md:

    ---
    title: The transform
    chapter: transform          the page, book/transform.md
    minutes: 50
    difficulty: 2               of 3
    ---

    What is said before the first task.

    ## 1. One idea, any axes · 2 points

    A task: its statement, and a cell with its solution, which defines one function or class. That is the task's
    name, and the check in normcore/checks/psNN.py has it, too.

    ```{code-cell}
    def normalize(x, dim, eps):
        ### BEGIN SOLUTION
        …
        ### END SOLUTION
    ```

    ## 6. In words · 2 points

    A question: under a name of your own its model answer, and what a person looks for.

    :::{model-answer} bias
    …
    :::

    :::{graded-by}
    …
    :::

Everything else is derived: cells and their ids, nbgrader's marks and points, checks with their hidden tests.
`python -m scripts.notebooks` writes the notebooks.
"""

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml
from markdown_it import MarkdownIt
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.front_matter import front_matter_plugin
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

__all__ = ["Section", "SourceError", "Text", "notebook", "read", "same_tasks"]

MARKDOWN = MarkdownIt("commonmark").use(front_matter_plugin).use(colon_fence_plugin)
ABOUT = {"title": str, "chapter": str, "minutes": int, "difficulty": int}
HEADING = re.compile(r"(\d+)\. (\S.*) · ([1-9]\d*) points?")
# cells that every notebook has
TAKEN = {"title", "setup", "imports"}
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
IMPORTS = """\
import torch

from normcore.checks.{name} import check"""
CHECK = """\
check({task})
### BEGIN HIDDEN TESTS
from normcore.checks.{name} import hidden_check

hidden_check({task})
### END HIDDEN TESTS"""


class SourceError(ValueError):
    """A problem set's text is not as it must be; says where, and what would be right."""

    def __init__(self, path: Path, line: int, what: str) -> None:
        super().__init__(f"{path}:{line}: {what}")


@dataclass(frozen=True)
class Section:
    """A task, or a question in words.

    Attributes:
        name: what the solution defines, or the name of the question.
        line: of the heading, in the file.
        points: what it is worth.
        statement: with its heading.
        solution: code with nbgrader's marks, or the model answer.
        graded_by: what a person looks for; empty for a task, which a check grades.
    """

    name: str
    line: int
    points: int
    statement: str
    solution: str
    graded_by: str


@dataclass(frozen=True)
class Text:
    """A problem set's text.

    Attributes:
        path: of the file.
        title, chapter, minutes, difficulty: as its head has them.
        introduction: what is said before the first task.
        sections: tasks and questions, in order.
    """

    path: Path
    title: str
    chapter: str
    minutes: int
    difficulty: int
    introduction: str
    sections: tuple[Section, ...]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def tasks(self) -> list[Section]:
        return [section for section in self.sections if not section.graded_by]

    @property
    def questions(self) -> list[Section]:
        return [section for section in self.sections if section.graded_by]


def read(path: Path) -> Text:
    """A problem set's text from its file.

    Raises:
        SourceError: it is not as it must be.
    """
    lines = path.read_text("utf-8").splitlines()
    blocks = [token for token in MARKDOWN.parse("\n".join(lines)) if token.level == 0 and token.map]
    if not blocks or blocks[0].type != "front_matter":
        raise SourceError(path, 1, f"it must begin with a head, between lines of ---: {', '.join(ABOUT)}")
    about = _about(path, blocks[0].content)
    headings = [token for token in blocks if token.type == "heading_open"]
    for token in headings:
        if token.tag == "h1":
            raise SourceError(
                path, token.map[0] + 1, "the title stands in the head; write no heading of one #"
            )
    starts = [token.map[0] for token in headings if token.tag == "h2"]
    if not starts:
        raise SourceError(
            path, len(lines), "there is no task: a heading such as `## 1. Batch norm · 2 points`"
        )
    sections = []
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(lines)], strict=True), 1):
        inside = [token for token in blocks if start < token.map[0] < end]
        section = _section(path, lines, number, start, end, inside)
        if section.name in TAKEN | {s.name for s in sections}:
            raise SourceError(
                path, section.line, f"a second cell is named {section.name!r}; choose another name"
            )
        sections.append(section)
    return Text(
        path, **about, introduction=_joined(lines[blocks[0].map[1] : starts[0]]), sections=tuple(sections)
    )


def _about(path: Path, head: str) -> dict:
    found = yaml.safe_load(head)
    found = found if isinstance(found, dict) else {}
    if found.keys() != ABOUT.keys():
        raise SourceError(
            path, 1, f"its head must have {', '.join(ABOUT)}, but has {', '.join(found) or 'nothing'}"
        )
    for key, kind in ABOUT.items():
        if type(found[key]) is not kind:
            wanted = "a whole number" if kind is int else "text"
            raise SourceError(path, 1, f"{key} must be {wanted}, but is {found[key]!r}")
    return found


def _section(path: Path, lines: list[str], number: int, start: int, end: int, blocks: list) -> Section:
    """A task or a question; its heading is line `start`, counted from 0."""
    heading = HEADING.fullmatch(lines[start].removeprefix("## "))
    if not heading or int(heading[1]) != number:
        raise SourceError(
            path,
            start + 1,
            f"the heading must read `## {number}. Title · 2 points`, but reads `{lines[start]}`",
        )
    points = int(heading[3])
    parts: dict[str, tuple[str, str, int, int]] = {}
    for token in blocks:
        if token.type not in ("fence", "colon_fence") or not token.info.startswith("{"):
            continue
        kind, _, name = token.info.partition(" ")
        line = token.map[0] + 1
        if kind not in ("{code-cell}", "{model-answer}", "{graded-by}"):
            raise SourceError(path, line, f"{kind} is unknown here; a notebook would show it as it is typed")
        if kind in parts:
            raise SourceError(path, line, f"a second {kind} under one heading; give it a heading of its own")
        last = lines[token.map[1] - 1].strip()
        if token.map[1] - token.map[0] < 2 or set(last) != set(token.markup) or len(last) < len(token.markup):
            raise SourceError(path, line, f"this {kind} has no end: a line of {token.markup}")
        parts[kind] = token.content.strip("\n"), name.strip(), *token.map
    if not parts or ("{code-cell}" in parts) == ("{model-answer}" in parts):
        raise SourceError(
            path,
            start + 1,
            "there must be a {code-cell} with a solution, or for a question in words a {model-answer}",
        )
    first = min(part[2] for part in parts.values())
    if rest := _joined(_without(lines[first:end], first, parts.values())):
        raise SourceError(
            path, first + 1, f"nothing may stand behind the answer, but there is: {rest.splitlines()[0]}"
        )
    if not _joined(lines[start + 1 : first]):
        raise SourceError(path, start + 1, "there is no statement")
    statement = _joined(lines[start:first])
    if "{code-cell}" in parts:
        if "{graded-by}" in parts:
            raise SourceError(path, parts["{graded-by}"][2] + 1, "a check grades this task, and not a person")
        code, _, line, _ = parts["{code-cell}"]
        return Section(_task(path, line + 1, code), start + 1, points, statement, code, "")
    answer, name, line, _ = parts["{model-answer}"]
    if not name.isidentifier():
        raise SourceError(
            path, line + 1, f"a question needs a name, as in {{model-answer}} bias, but has {name!r}"
        )
    graded_by = parts.get("{graded-by}", ("",))[0]
    for what, text in (("{model-answer}", answer), ("{graded-by}", graded_by)):
        if not text.strip():
            raise SourceError(path, line + 1, f"the question {name!r} has no {what}")
    return Section(name, start + 1, points, statement, answer, graded_by)


def _task(path: Path, line: int, code: str) -> str:
    """The name that a solution defines."""
    try:
        tree = ast.parse(code)
    except SyntaxError as error:
        raise SourceError(
            path, line + (error.lineno or 0), f"the solution is no Python: {error.msg}"
        ) from None
    defined = [n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    if len(defined) != 1:
        told = f"defines {', '.join(defined)}" if defined else "defines none"
        raise SourceError(path, line, f"a solution defines one function or class, but this cell {told}")
    marks = re.findall(r"^ *### (BEGIN|END) SOLUTION$", code, flags=re.M)
    if not marks or marks != ["BEGIN", "END"] * (len(marks) // 2):
        raise SourceError(
            path,
            line,
            "what learners write stands between ### BEGIN SOLUTION and ### END SOLUTION; here it does not",
        )
    return defined[0]


def _without(lines: list[str], offset: int, parts: Iterable[tuple]) -> list[str]:
    inside = {n - offset for _, _, start, end in parts for n in range(start, end)}
    return [line for n, line in enumerate(lines) if n not in inside]


def _joined(lines: list[str]) -> str:
    return "\n".join(lines).strip("\n")


def same_tasks(text: Text, checks: Iterable[str]) -> None:
    """Raises a SourceError where tasks and checks are not the same, in the same order.

    Args:
        text: of the problem set.
        checks: the names of its checks.
    """
    checks, module = list(checks), f"normcore/checks/{text.name}.py"
    for task in text.tasks:
        if task.name not in checks:
            raise SourceError(text.path, task.line, f"the task {task.name} has no check in {module}")
    names = [task.name for task in text.tasks]
    for check in checks:
        if check not in names:
            raise SourceError(text.path, 1, f"{module} has a check of {check}, but there is no such task")
    if checks != names:
        raise SourceError(
            text.path, 1, f"the order of the tasks is another than in {module}: {', '.join(checks)}"
        )


def notebook(text: Text, setup: str, chapter: str) -> NotebookNode:
    """What nbgrader takes.

    Args:
        text: of the problem set.
        setup: the code that makes sure that the course's package is there.
        chapter: a link to its chapter.
    """
    title = (
        f"# {text.name.upper()} · {text.title}\n\nChapter: {chapter}. About {text.minutes} minutes. "
        f"Difficulty: {text.difficulty} of 3.\n\n{text.introduction}"
    )
    cells = [
        _cell("title", new_markdown_cell(title)),
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
    return new_notebook(cells=cells, metadata=METADATA)


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
