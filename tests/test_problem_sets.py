"""A problem set is a text and its checks: what else it needs is derived, and what is missing is said."""

import ast
import re
import types

import pytest

from normcore.checks.catalogue import find_problem_set, names
from normcore.checks.notebook import attempt
from scripts.problem_set_text import read
from tests.checks.styles import ANSWERS
from tests.checks.wrong import WRONG
from tests.commands import ROOT

LEAST_TASKS, LEAST_WRONG = 4, 12


def lacking(name):
    """What a problem set has not, in sentences."""
    text, tasks = read(ROOT / "solutions" / name / f"{name}.md"), list(find_problem_set(name).checks)
    if len(tasks) < LEAST_TASKS:
        yield f"{text.path}: {len(tasks)} tasks, where there should be {LEAST_TASKS} or more"
    if not text.questions:
        yield f"{text.path}: no question in words"
    for task in tasks:
        if not hasattr(ANSWERS.get(name), task):
            yield f"tests/checks/styles/{name}.py: no answer to {task} in another style"
        if (count := len(WRONG.get(name, {}).get(task, {}))) < LEAST_WRONG:
            yield f"tests/checks/wrong/{name}.py: {count} wrong answers to {task}, of {LEAST_WRONG} or more"
    for task in WRONG.get(name, {}).keys() - tasks:
        yield f"tests/checks/wrong/{name}.py: {task} is no task"
    if f"{{problem-set}} {name}" not in (ROOT / "book" / f"{text.chapter}.md").read_text("utf-8"):
        yield f"book/{text.chapter}.md: no card, :::{{problem-set}} {name}"


@pytest.mark.parametrize("name", names())
def test_a_problem_set_lacks_nothing(name):
    found = list(lacking(name))
    assert not found, "\n".join(found)


def typed_lists(source):
    """Lines where two or more problem sets stand in one literal."""
    for node in ast.walk(ast.parse(source)):
        items = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", [])
        values = {item.value for item in items if isinstance(item, ast.Constant)}
        if len([v for v in values if isinstance(v, str) and re.fullmatch(r"ps\d\d", v)]) > 1:
            yield node.lineno


def test_no_test_has_a_list_of_problem_sets_of_its_own():
    """They ask normcore.checks.catalogue, so that a new one is in every suite."""
    assert list(typed_lists("SETS = ['ps01', 'ps02']")) == [1]
    files = [path for path in (ROOT / "tests").rglob("*.py") if path.name != "test_problem_sets.py"]
    found = [f"{path}:{line}" for path in files for line in typed_lists(path.read_text("utf-8"))]
    assert files and not found


# what a chapter has before its functions, for them to be defined without running it
PREAMBLE = "import copy, math\nimport numpy as np\nimport torch\nfrom torch import nn"


def printed(chapter):
    """The statements of a chapter's code."""
    page = (ROOT / "book" / f"{chapter}.md").read_text("utf-8")
    cells = re.findall(r"```\{code-cell\}[^\n]*\n(.*?)\n```", page, flags=re.S)
    return [node for cell in cells for node in ast.parse(re.sub(r"^(:[\w-]+:.*\n)+", "", cell)).body]


def defined(statements):
    """Each function and class among them, defined, with the others in sight."""
    module = types.ModuleType("chapter").__dict__
    exec(PREAMBLE, module)
    nodes = [node for node in statements if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    for node in nodes:
        exec(ast.unparse(node), module)
    return [module[node.name] for node in nodes]


def steps(solution):
    """What is computed, statement by statement; of a tuple, each part."""
    nodes = [node for node in ast.walk(ast.parse(solution)) if isinstance(node, (ast.Assign, ast.Return))]
    values = [part for node in nodes for part in getattr(node.value, "elts", [node.value])]
    return {ast.unparse(value) for value in values if not isinstance(value, (ast.Name, ast.Constant))}


@pytest.mark.parametrize("name", names())
def test_at_most_one_task_is_solved_by_what_the_chapter_prints(name):
    """By one of its functions, or by its lines, one beside the other."""
    text = read(ROOT / "solutions" / name / f"{name}.md")
    statements = printed(text.chapter)
    expressions = {
        ast.unparse(node) for top in statements for node in ast.walk(top) if isinstance(node, ast.expr)
    }
    checks = find_problem_set(name).checks
    copied = {task.name for task in text.tasks if steps(task.solution) <= expressions}
    for function in defined(statements):
        copied |= {t for t, check in checks.items() if attempt(check, function, 0, 2, diagnose=False).passed}
    assert len(copied) <= 1
