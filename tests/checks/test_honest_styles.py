"""Right answers in other styles than the solution's pass, for every task of every problem set."""

import pytest

from normcore.checks.catalogue import HIDDEN_CASES
from normcore.checks.notebook import attempt
from tests.checks.problem_sets import TASKS, check_of
from tests.checks.styles import ANSWERS

# what is missing is told in tests/test_problem_sets.py
ANSWERED = [(name, task) for name, task in TASKS if hasattr(ANSWERS.get(name), task)]


@pytest.mark.parametrize(("name", "task"), ANSWERED, ids=[f"{name}-{task}" for name, task in ANSWERED])
def test_an_honest_answer_in_another_style_passes(name, task):
    for seed in range(4):
        verdict = attempt(check_of(name, task), getattr(ANSWERS[name], task), seed, HIDDEN_CASES)
        assert verdict.passed, verdict.message
