"""A problem set's text is read, or refused with the line and what is wrong."""

import re

import pytest

from normcore.checks.catalogue import find_problem_set, names
from scripts.format_pages import WIDTHS, formatted, too_long
from scripts.problem_set_text import SourceError, read, same_tasks
from scripts.problem_sets import notebook
from tests.commands import ROOT

GOOD = """\
---
title: A trial
chapter: transform
minutes: 5
difficulty: 1
---

About it.

## 1. Twice · 2 points

Write `twice(x)`.

```{code-cell}
def twice(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION
```

## 2. In words · 1 point

Why not three times?

:::{model-answer} why
Because two is enough.
:::

:::{graded-by}
* 1 point: the number.
:::
"""
# what is replaced, by what, in which line it is found, and what is said
BAD = [
    ("---\n", "", 1, "must begin with a head"),
    ("minutes: 5\n", "", 1, "must have title, chapter, minutes, difficulty, but has title, chapter, difficulty"),
    ("minutes: 5", "minutes: five", 1, "minutes must be a whole number, but is 'five'"),
    ("About it.", "# A trial", 8, "the title stands in the head"),
    (" · 2 points", "", 10, "must read as `## 1. Title · 2 points`, but reads `## 1. Twice`"),
    ("2 points", "0 points", 10, "must read as `## 1. Title · 2 points`"),
    ("## 2.", "## 3.", 21, "must read as `## 2. Title · 2 points`"),
    ("Write `twice(x)`.", "", 10, "no statement"),
    ("```{code-cell}", "```python", 10, "there must be a {code-cell} with a solution or, for words, a"),
    ("    ### END SOLUTION\n", "", 14, "between ### BEGIN SOLUTION and ### END SOLUTION"),
    ("    ### BEGIN SOLUTION\n", "", 14, "between ### BEGIN SOLUTION and ### END SOLUTION"),
    ("2 * x", "2 *", 17, "the solution is no Python"),
    ("def twice(x)", "x = 1\nif x", 14, "one function or class, but here it is none"),
    ("def twice(x)", "def thrice(x):\n    pass\n\n\ndef twice(x)", 14, "but here it is thrice, twice"),
    ("} why", "} twice", 21, "a second task is named twice"),
    ("} why", "} setup", 21, "every notebook has a cell 'setup': choose another name"),
    ("} why", "}", 25, "a question needs a name"),
    (":::{model-answer} why\nBecause two is enough.\n:::\n", "", 21, "there must be a {code-cell}"),
    ("Because two is enough.\n", "", 25, "this {model-answer} is empty"),
    (":::{graded-by}\n* 1 point: the number.\n:::\n", "", 21, "there is no {graded-by}"),
    ("* 1 point: the number.\n", "", 29, "this {graded-by} is empty"),
    ("enough.\n:::", "enough.", 25, "this {model-answer} has no end, a line of :::"),
    ("\n:::{graded-by}", "\n:::{note}\nA note.\n:::\n\n:::{graded-by}", 29, "{note} is unknown here"),
    ("\n## 2.", "\nOne more thing.\n\n## 2.", 21, "this stands behind the answer"),
    ("\n## 2.", "\n:::{graded-by}\nx\n:::\n\n## 2.", 21, "a check grades this task, not a person"),
    ("\n## 2.", "\n```{code-cell}\n1\n```\n\n## 2.", 21, "a second {code-cell} under one heading"),
]  # fmt: skip


def trial(folder, text):
    path = folder / "ps99.md"
    path.write_text(text, "utf-8")
    return path


def test_a_good_text_is_read(tmp_path):
    text = read(trial(tmp_path, GOOD))
    assert (text.name, text.title, text.chapter, text.minutes) == ("ps99", "A trial", "transform", 5)
    assert [(s.name, s.points) for s in text.tasks] == [("twice", 2)]
    (question,) = text.questions
    assert (question.name, question.points, question.graded_by) == ("why", 1, "* 1 point: the number.")
    assert question.solution == "Because two is enough." and question.statement.endswith("three times?")
    cells = {cell.id: cell for cell in notebook(text, "setup", "chapter").cells}
    assert cells["twice-check"].metadata.nbgrader.points == 2 and cells["why"].metadata.nbgrader.points == 1


@pytest.mark.parametrize(("before", "after", "line", "said"), BAD, ids=[b[3][:40] for b in BAD])
def test_a_bad_text_is_refused_with_file_line_and_what_is_wrong(before, after, line, said, tmp_path):
    assert before in GOOD
    path = trial(tmp_path, GOOD.replace(before, after, 1))
    with pytest.raises(SourceError, match=f"^{re.escape(f'{path}:{line}: ')}.*{re.escape(said)}"):
        notebook(read(path), "setup", "chapter")


@pytest.mark.parametrize(
    ("checks", "said"),
    [
        ([], ":10: the task twice has no check in normcore/checks/ps99.py"),
        (["twice", "thrice"], ":1: normcore/checks/ps99.py checks thrice, but there is no such task"),
    ],
)
def test_tasks_and_checks_are_the_same(checks, said, tmp_path):
    text = read(trial(tmp_path, GOOD))
    same_tasks(text, ["twice"])
    with pytest.raises(SourceError, match=re.escape(said)):
        same_tasks(text, checks)


@pytest.mark.parametrize("name", names())
def test_the_order_of_tasks_is_that_of_the_checks(name):
    text = read(ROOT / "solutions" / name / f"{name}.md")
    assert [task.name for task in text.tasks] == list(find_problem_set(name).checks)
    with pytest.raises(SourceError, match="in another order"):
        same_tasks(text, [task.name for task in reversed(text.tasks)])


@pytest.mark.parametrize("name", names())
def test_solutions_are_formatted(name):
    text = (ROOT / "solutions" / name / f"{name}.md").read_text("utf-8")
    width = WIDTHS["solutions/*/*.md"]
    assert formatted(text, width) == text, "run `make lint`"
    assert not too_long(text, width)
