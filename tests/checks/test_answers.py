"""Each task has a plain solution, which is right; what students get has no answer to paste."""

import ast
import contextlib
import importlib
import inspect
import math
import sys
import types
import warnings
from functools import cache
from pathlib import Path

import pytest
import torch

from normcore.checks.answers import answer, sealed
from normcore.checks.catalogue import HIDDEN_CASES, VISIBLE_CASES, VISIBLE_SEED, names
from normcore.checks.judge import Judge
from normcore.checks.notebook import attempt
from scripts import public
from tests.checks.problem_sets import IDS, ROOT, TASKS, check_of, judged


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
    """Each function, class, method and lambda of a file, taken as text: (line, what it defines)."""
    context = around(path)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Lambda):
            yield node.lineno, eval(ast.unparse(node), dict(context))
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            node.decorator_list, namespace = [], dict(context)
            exec(ast.unparse(node), namespace)
            yield node.lineno, namespace[node.name]


def around(path: Path) -> dict[str, object]:
    """What stands around it in its file, for one that was pasted with all its neighbours: not what is sealed."""
    namespace = {"__name__": "pasted", "math": math, "torch": torch}
    for statement in ast.parse(path.read_text("utf-8")).body:
        made_by = getattr(getattr(getattr(statement, "value", None), "func", None), "id", "")
        if made_by not in ("answer", "Check", "TellApart", "ProblemSet"):
            if any(
                isinstance(d, ast.Name) and d.id == "answer" for d in getattr(statement, "decorator_list", ())
            ):
                statement.decorator_list = []
            with contextlib.suppress(NameError, AttributeError):  # of what is left out
                exec(ast.unparse(statement), namespace)
    return namespace


def fits(function, plain):
    """It can be called as the task's function is."""
    if isinstance(plain, type) or isinstance(function, type):
        return isinstance(plain, type) and isinstance(function, type)
    try:
        inspect.signature(function).bind(*inspect.signature(plain).parameters)
    except TypeError:
        return False
    return True


@cache
def first_case(name, task):
    check = check_of(name, task)
    return Judge(check, check.cases(VISIBLE_SEED, VISIBLE_CASES)[:1])


def passes(name, task, function):
    """The visible check; the first case alone shows most of what is wrong, and costs less."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not judged(first_case(name, task), function).passed:
            return False
    return attempt(check_of(name, task), function, VISIBLE_SEED, VISIBLE_CASES, diagnose=False).passed


def answers_in(path: Path) -> tuple[int, set[str]]:
    """How many were tried, and the tasks that one of them passes."""
    tasks = [(n, t) for n, t in TASKS if n == path.stem] or TASKS
    tried, found = 0, set()
    for _line, function in pasted(path):
        for name, task in tasks:
            if fits(function, getattr(module(name), f"_{task}")):
                tried += 1
                if passes(name, task, function):
                    found.add(task)
    return tried, found


def test_no_function_that_students_get_with_the_checks_is_an_answer(tree):
    files = sorted((tree / "normcore/checks").glob("*.py"))
    assert {f"{name}.py" for name in names()} <= {f.name for f in files}
    results = {path.name: answers_in(path) for path in files}
    assert sum(tried for tried, _ in results.values()) > 50
    assert not {name: found for name, (_, found) in results.items() if found}


@pytest.mark.parametrize("name", names())
def test_an_answer_that_is_not_sealed_would_be_found(name):
    _, found = answers_in(ROOT / f"normcore/checks/{name}.py")
    assert found == {task for n, task in TASKS if n == name}
