"""Right answers in other styles than the solution's pass, for every task of every problem set."""

import pytest

from normcore.checks.catalogue import HIDDEN_CASES, names
from normcore.checks.notebook import attempt
from tests.checks.problem_sets import IDS, TASKS, check_of
from tests.checks.styles import ANSWERS


def test_every_problem_set_has_an_answer_in_another_style_for_every_task():
    assert list(ANSWERS) == names()
    for name, task in TASKS:
        assert hasattr(ANSWERS[name], task), f"tests/checks/styles/{name}.py has no {task}"


@pytest.mark.parametrize(("name", "task"), TASKS, ids=IDS)
def test_an_honest_answer_in_another_style_passes(name, task):
    for seed in range(4):
        verdict = attempt(check_of(name, task), getattr(ANSWERS[name], task), seed, HIDDEN_CASES)
        assert verdict.passed, verdict.message
