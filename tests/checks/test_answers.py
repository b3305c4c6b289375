"""Each task has a plain solution, which is right; what students get has no answer to paste."""

import ast
import contextlib
import importlib
import inspect
import math
import sys
import types
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from normcore.checks.answers import answer, sealed
from normcore.checks.catalogue import HIDDEN_CASES, VISIBLE_CASES, VISIBLE_SEED, names
from normcore.checks.check import Check
from normcore.checks.notebook import attempt
from scripts import public
from tests.checks.problem_sets import IDS, ROOT, TASKS, check_of


def module(name):
    return importlib.import_module(f"normcore.checks.{name}")


@pytest.mark.parametrize(("name", "task"), TASKS, ids=IDS)
def test_the_plain_solution_is_an_answer_and_right(name, task):
    source = getattr(module(name), f"_{task}").source
    notebook = {"__name__": "notebook", "math": math, "torch": torch}
    exec(source, notebook)
    verdict = attempt(check_of(name, task), notebook[f"_{task}"], 3, HIDDEN_CASES)
    assert verdict.passed, verdict.message


@pytest.mark.parametrize("name", names())
def test_sealed_it_is_the_same_problem_set(name, monkeypatch):
    """Without the texts of the answers, but with all that they do."""
    path = ROOT / f"normcore/checks/{name}.py"
    text = path.read_text("utf-8")
    opened = types.ModuleType("opened")
    monkeypatch.setitem(sys.modules, "opened", opened)
    exec(compile(sealed(text), path, "exec"), vars(opened))
    answers = {a: f.source for a, f in vars(module(name)).items() if hasattr(f, "source")}
    assert {a: f.source for a, f in vars(opened).items() if hasattr(f, "source")} == answers
    for source in answers.values():
        body = source.partition("\n")[2].strip()
        assert body in text and body not in sealed(text)
    for task, check in module(name).PROBLEM_SET.checks.items():
        again = opened.PROBLEM_SET.checks[task]
        for mistake, twin in zip(check.mistakes, again.mistakes, strict=True):
            assert (mistake.name, mistake.hint) == (twin.name, twin.hint)
            assert code(mistake.function) == code(twin.function)


def code(function):
    if isinstance(function, type):
        return {name: code(f) for name, f in vars(function).items() if isinstance(f, types.FunctionType)}
    return function.__code__.co_code, function.__code__.co_consts, function.__code__.co_names


def test_a_seal_hides_what_is_marked_and_nothing_else():
    text = "import x\n\n\n@answer\ndef _f(a):\n    return a + 1  # é\n\n\ndef g(a):\n    return _f(a)\n"
    hidden = sealed(text)
    assert "a + 1" not in hidden and "é" not in hidden and "def g(a):\n    return _f(a)\n" in hidden
    namespace = {"__name__": "somewhere", "answer": answer}
    exec(hidden.replace("import x\n", ""), namespace)
    assert namespace["g"](1) == 2 and namespace["_f"].source == "def _f(a):\n    return a + 1  # é\n"
    assert sealed(hidden) == hidden


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("public")
    public.write(folder)
    return folder


def pasted(path: Path):
    """Each function, class, method and lambda of a file, called as a task's answer: (where, its text as `name`)."""
    text = path.read_text("utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Lambda):
            source = ast.unparse(node)
            yield node.lineno, lambda name, source=source: f"{name} = {source}"
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):

            def renamed(name, node=node):
                changed = ast.parse(ast.unparse(node)).body[0]
                changed.name, changed.decorator_list = name, []
                return ast.unparse(changed)

            yield node.lineno, renamed


def around(path: Path) -> dict[str, object]:
    """What stands around it in its file, for one that was pasted with all its neighbours: not what is sealed."""
    namespace = {"__name__": "pasted", "math": math, "torch": torch}
    for statement in ast.parse(path.read_text("utf-8")).body:
        made_by = getattr(getattr(getattr(statement, "value", None), "func", None), "id", "")
        if made_by not in ("answer", "Check", "ProblemSet"):
            with contextlib.suppress(NameError):  # of what is left out
                exec(ast.unparse(statement), namespace)
    return namespace


def fits(function, task):
    """It can be called as the task's function is."""
    plain = task.plain
    if isinstance(plain, type) or isinstance(function, type):
        return isinstance(plain, type) and isinstance(function, type)
    try:
        inspect.signature(function).bind(*inspect.signature(plain).parameters)
    except TypeError:
        return False
    return True


class Task(NamedTuple):
    name: str
    check: Check
    plain: object


def test_no_function_that_students_get_with_the_checks_is_an_answer(tree):
    files = sorted((tree / "normcore/checks").glob("*.py"))
    assert {f"{name}.py" for name in names()} <= {f.name for f in files}
    tasks = [(n, Task(t, check_of(n, t), getattr(module(n), f"_{t}"))) for n, t in TASKS]
    tried, found = [], []
    for path in files:
        context = around(path)
        own = [task for n, task in tasks if n == path.stem]
        for line, renamed in pasted(path):
            for task in own or [task for _, task in tasks]:
                namespace = dict(context)
                exec(renamed(task.name), namespace)
                if fits(namespace[task.name], task):
                    where = f"{path.name}, line {line}: {task.name}"
                    tried.append(where)
                    if attempt(task.check, namespace[task.name], VISIBLE_SEED, VISIBLE_CASES, False).passed:
                        found.append(where)
    assert not found and len(tried) > 50
