"""Every task of every problem set, found by name, with its solution: what tests run over."""

import types
from functools import cache
from pathlib import Path

from normcore.checks.audit import solution_sources
from normcore.checks.catalogue import find_problem_set, names
from normcore.checks.check import Check
from normcore.checks.judge import Judge, Verdict
from normcore.inside.runner import run

ROOT = Path(__file__).resolve().parents[2]
TASKS = [(name, task) for name in names() for task in find_problem_set(name).checks]
IDS = [f"{name}-{task}" for name, task in TASKS]


def check_of(name: str, task: str) -> Check:
    return find_problem_set(name).checks[task]


@cache
def solutions(name: str) -> dict[str, str]:
    """The sources of a problem set's solutions, by the task."""
    return solution_sources(ROOT / "solutions" / name / f"{name}.ipynb")


def namespace(name: str, *more: str) -> dict[str, object]:
    """What a notebook holds when its tasks are solved, and more was run after them."""
    module = types.ModuleType(name).__dict__
    for source in ("import torch", *solutions(name).values(), *more):
        exec(source, module)
    return module


def judged(judge: Judge, function: object, diagnose: bool = False) -> Verdict:
    """As `attempt` does, but for a judge that already knows what is right, which takes most of the time."""
    check = judge.check
    try:
        outputs = [run(check.run, check.name, function, c.inputs, check.outputs) for c in judge.cases]
    except Exception as error:
        return Verdict(False, f"{check.name} raised an error: {error}")
    return judge.judge(outputs, diagnose)
