"""Values of odd kinds are never right: each task's own outputs, replaced by what no formula gives."""

import functools
import inspect

import numpy as np
import pytest
import torch

from normcore.checks.catalogue import HIDDEN_CASES, VISIBLE_CASES, VISIBLE_SEED
from normcore.checks.judge import Judge
from normcore.checks.tell_apart import TellApart
from tests.checks.problem_sets import IDS, TASKS, check_of, judged, namespace


def _like(value, fill):
    return torch.full_like(torch.as_tensor(value, dtype=torch.float64), fill)


# (the right value, the call's arguments) → something odd of the same shape, where it has one
ODD = {
    "true": lambda y, inputs: _like(y, 1).bool(),
    "false": lambda y, inputs: _like(y, 0).bool(),
    "a comparison": lambda y, inputs: torch.as_tensor(y) == torch.as_tensor(y),
    "a numpy bool": lambda y, inputs: np.full(np.shape(y), True),
    "zeros": lambda y, inputs: _like(y, 0),
    "ones": lambda y, inputs: _like(y, 1),
    "nan": lambda y, inputs: _like(y, float("nan")),
    "inf": lambda y, inputs: _like(y, float("inf")),
    "empty": lambda y, inputs: torch.empty(0),
    "no rows": lambda y, inputs: torch.empty(0, *np.shape(y)[1:]),
    "its own input": lambda y, inputs: next(
        (v for v in inputs if isinstance(v, torch.Tensor) and v.shape == np.shape(y)), inputs[0]
    ),
    "none": lambda y, inputs: None,
    "words": lambda y, inputs: "right",
}


def replaced(function, odd):
    """`function`, or each public method of a class that returns something, with odd results."""
    if isinstance(function, type):
        methods = {n: m for n, m in vars(function).items() if inspect.isfunction(m) and n[0] != "_"}
        wrapped = {n: replaced(m, lambda y, inputs: odd(y, inputs[1:])) for n, m in methods.items()}
        return type(function.__name__, (function,), wrapped)

    @functools.wraps(function)
    def wrapper(*inputs):
        result = function(*inputs)
        if result is None:
            return None
        return tuple(odd(y, inputs) for y in result) if isinstance(result, tuple) else odd(result, inputs)

    return wrapper


@pytest.mark.parametrize(("seed", "count"), [(VISIBLE_SEED, VISIBLE_CASES), (7, HIDDEN_CASES)])
@pytest.mark.parametrize(("name", "task"), TASKS, ids=IDS)
def test_no_odd_value_is_right(name, task, seed, count):
    """In the visible check and in a hidden one."""
    check, solution = check_of(name, task), namespace(name)[task]
    judge = Judge(check, check.cases(seed, count))
    assert judged(judge, replaced(solution, lambda y, inputs: y)).passed
    for odd, value in ODD.items():
        verdict = judged(judge, replaced(solution, value))
        assert not verdict.passed, odd
        if not isinstance(check, TellApart) and odd in ("true", "false", "a comparison", "a numpy bool"):
            assert "must be a tensor of numbers, but it is of bool" in verdict.message
