"""A problem set's text, solutions/psNN/psNN.md:

---
title: The transform
chapter: transform          the page, book/transform.md
minutes: 50
difficulty: 2               of 3
---

What is said before the first task.

## 1. One idea, any axes · 2 points

A task: its statement, and a cell with its solution, which defines one function or class. That is the
task's name, and the check in normcore/checks/psNN.py has it, too.

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

__all__ = ["Section", "SourceError", "Text", "read", "same_tasks"]

MARKDOWN = MarkdownIt("commonmark").use(front_matter_plugin).use(colon_fence_plugin)
HEAD = {"title": str, "chapter": str, "minutes": int, "difficulty": int}
HEADING = re.compile(r"## (\d+)\. (\S.*) · ([1-9]\d*) points?")
CODE, ANSWER, GRADED_BY = "{code-cell}", "{model-answer}", "{graded-by}"


class SourceError(ValueError):
    """A problem set's text is not as it must be; says where, and what would be right.

    Args:
        path: of the file.
        line: counted from 1.
        what: is wrong.
    """

    def __init__(self, path: Path, line: int, what: str) -> None:
        super().__init__(f"{path}:{line}: {what}")


@dataclass(frozen=True)
class Section:
    """A task, or a question in words.

    Attributes:
        name: what the solution defines, or the name of the question.
        line: of the heading, counted from 1.
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
    graded_by: str = ""


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


@dataclass(frozen=True)
class _Block:
    """A directive's content, its argument, and its first and last line, counted from 0."""

    text: str
    argument: str
    first: int
    last: int


def read(path: Path) -> Text:
    """A problem set's text from its file.

    Raises:
        SourceError: it is not as it must be.
    """
    lines = path.read_text("utf-8").splitlines()
    blocks = [token for token in MARKDOWN.parse("\n".join(lines)) if token.level == 0 and token.map]
    if not blocks or blocks[0].type != "front_matter":
        raise SourceError(path, 1, f"it must begin with a head between lines of ---, with {', '.join(HEAD)}")
    head = _head(path, blocks[0].content)
    headings = [token for token in blocks if token.type == "heading_open"]
    for token in headings:
        if token.tag == "h1":
            raise SourceError(path, token.map[0] + 1, "the title stands in the head: no heading with one #")
    starts = [token.map[0] for token in headings if token.tag == "h2"]
    if not starts:
        raise SourceError(path, len(lines), "no task: write a heading such as `## 1. Batch norm · 2 points`")
    sections: list[Section] = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        inside = [token for token in blocks if start < token.map[0] < end]
        section = _section(path, lines, len(sections) + 1, start, end, inside)
        if section.name in {s.name for s in sections}:
            raise SourceError(path, start + 1, f"a second task is named {section.name}")
        sections.append(section)
    introduction = _joined(lines[blocks[0].map[1] : starts[0]])
    return Text(path, **head, introduction=introduction, sections=tuple(sections))


def _head(path: Path, text: str) -> dict:
    found = yaml.safe_load(text)
    found = found if isinstance(found, dict) else {}
    if found.keys() != HEAD.keys():
        there = ", ".join(map(str, found)) or "nothing"
        raise SourceError(path, 1, f"the head must have {', '.join(HEAD)}, but has {there}")
    for key, kind in HEAD.items():
        if type(found[key]) is not kind:
            wanted = "a whole number" if kind is int else "text"
            raise SourceError(path, 1, f"{key} must be {wanted}, but is {found[key]!r}")
    return found


def _section(path: Path, lines: list[str], number: int, start: int, end: int, tokens: list) -> Section:
    """A task or a question; its heading is line `start`, counted from 0."""

    def wrong(line: int, what: str) -> SourceError:
        return SourceError(path, line + 1, what)

    heading = HEADING.fullmatch(lines[start])
    if not heading or int(heading[1]) != number:
        wanted = f"## {number}. Title · 2 points"
        raise wrong(start, f"the heading must read as `{wanted}`, but reads `{lines[start]}`")
    points = int(heading[3])
    found: dict[str, _Block] = {}
    for token in tokens:
        kind, _, argument = token.info.partition(" ")
        if token.type in ("fence", "colon_fence") and kind.startswith("{"):
            first, last = token.map[0], token.map[1] - 1
            if kind not in (CODE, ANSWER, GRADED_BY):
                raise wrong(first, f"{kind} is unknown here: a notebook would show it as it is typed")
            if kind in found:
                raise wrong(first, f"a second {kind} under one heading: give it a heading of its own")
            closed = first < last and lines[last].strip().startswith(token.markup)
            if not closed or re.search(r"^(:::|```)\{", token.content, flags=re.M):
                raise wrong(first, f"this {kind} has no end, a line of {token.markup}")
            found[kind] = _Block(token.content.strip("\n"), argument.strip(), first, last)
    if (CODE in found) == (ANSWER in found):
        raise wrong(start, f"there must be a {CODE} with a solution or, for words, a {ANSWER}, and not both")
    first = min(block.first for block in found.values())
    statement = _joined(lines[start:first])
    if statement == lines[start]:
        raise wrong(start, "there is no statement below the heading")
    for n in range(first, end):
        if lines[n].strip() and not any(block.first <= n <= block.last for block in found.values()):
            raise wrong(n, "this stands behind the answer: the statement comes first, whole")
    if CODE in found:
        if GRADED_BY in found:
            raise wrong(found[GRADED_BY].first, "a check grades this task, not a person")
        block = found[CODE]
        return Section(_task(path, block.first + 1, block.text), start + 1, points, statement, block.text)
    answer = found[ANSWER]
    if not answer.argument.isidentifier():
        raise wrong(answer.first, f"a question needs a name, as in `:::{ANSWER} bias`")
    if GRADED_BY not in found:
        raise wrong(start, f"there is no {GRADED_BY}: what does a person look for?")
    for kind in (ANSWER, GRADED_BY):
        if not found[kind].text.strip():
            raise wrong(found[kind].first, f"this {kind} is empty")
    return Section(answer.argument, start + 1, points, statement, answer.text, found[GRADED_BY].text)


def _task(path: Path, line: int, code: str) -> str:
    """The name that a solution defines; `line` is that of its fence, counted from 1."""
    try:
        tree = ast.parse(code)
    except SyntaxError as error:
        raise SourceError(path, line + error.lineno, f"the solution is no Python: {error.msg}") from None
    defined = [node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    if len(defined) != 1:
        told = ", ".join(defined) or "none"
        raise SourceError(path, line, f"a solution defines one function or class, but here it is {told}")
    marks = re.findall(r"^ *### (BEGIN|END) SOLUTION$", code, flags=re.M)
    if not marks or marks != ["BEGIN", "END"] * (len(marks) // 2):
        what = "what learners write must stand between ### BEGIN SOLUTION and ### END SOLUTION"
        raise SourceError(path, line, what)
    return defined[0]


def _joined(lines: list[str]) -> str:
    return "\n".join(lines).strip("\n")


def same_tasks(text: Text, checks: Iterable[str]) -> None:
    """Raises a SourceError where tasks and checks are not the same, in the same order.

    Args:
        text: of the problem set.
        checks: the names of its checks.
    """
    module, checks = f"normcore/checks/{text.name}.py", list(checks)
    for task in text.tasks:
        if task.name not in checks:
            raise SourceError(text.path, task.line, f"the task {task.name} has no check in {module}")
    names = [task.name for task in text.tasks]
    for check in checks:
        if check not in names:
            raise SourceError(text.path, 1, f"{module} checks {check}, but there is no such task")
    if checks != names:
        raise SourceError(text.path, 1, f"{module} has the tasks in another order: {', '.join(checks)}")
