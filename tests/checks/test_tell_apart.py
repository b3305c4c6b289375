"""Tests that learners write: right ones accept and refuse what they should, and others hear what got past them."""

import re

import numpy as np
import pytest
import torch

from normcore.checks import tell_apart
from normcore.checks.catalogue import HIDDEN_CASES, VISIBLE_CASES, VISIBLE_SEED, find_problem_set
from normcore.checks.judge import Judge
from normcore.checks.notebook import attempt
from normcore.checks.tell_apart import TellApart, wrong_ones
from tests.checks.problem_sets import TASKS, check_of, namespace

TELLING = [(n, t) for n, t in TASKS if isinstance(check_of(n, t), TellApart)]
telling = pytest.mark.parametrize(("name", "task"), TELLING, ids=[f"{n}-{t}" for n, t in TELLING])


def right_inputs(check, flag=True):
    """Arguments that an implementation of the task takes."""
    generator = torch.Generator().manual_seed(1)
    sizes, given = {}, {}
    for name, shape in check.parameters.items():
        if shape is None:
            given[name] = flag
        elif not shape:
            given[name] = 0.3
        else:
            size = [sizes.setdefault(letter, 4 + len(sizes)) for letter in shape]
            table = torch.randn(size, generator=generator, dtype=torch.float64)
            given[name] = table.abs() + 0.1 if name.endswith("var") else table
    return given


def test_there_are_such_tasks():
    assert len(TELLING) >= 1 and {"is_batch_norm"} <= {task for _, task in TELLING}


@telling
def test_there_are_right_and_wrong_ones_and_words_for_each(name, task):
    check = check_of(name, task)
    right = [one for one in check.implementations if one.right]
    wrong = [one for one in check.implementations if not one.right]
    assert len(right) >= 3 and len(wrong) >= 8
    words = [one.words for one in check.implementations]
    assert len(set(words)) == len(words) and all(re.match(r"[a-z]", w) and w[-1] != "." for w in words)
    assert all(one.seen_by.endswith(".") for one in wrong)


@telling
def test_right_ones_agree_with_one_another_and_wrong_ones_with_none(name, task):
    check = check_of(name, task)
    given = [right_inputs(check, flag) for flag in (True, False)]
    outputs = [torch.cat([flat(function(**g)) for g in given]) for function in shown(check)]
    for one, y in zip(check.implementations, outputs, strict=True):
        for other, z in zip(check.implementations, outputs, strict=True):
            if other.right and one is not other:
                same = y.shape == z.shape and torch.allclose(y, z, 1e-9, 1e-9)
                assert same == one.right, (one.words, other.words)


def shown(check):
    return [check._shown(one) for one in check.implementations]


def flat(value):
    return torch.cat([v.double().flatten() for v in (value if isinstance(value, tuple) else (value,))])


@telling
def test_the_order_is_the_seeds(name, task):
    check = check_of(name, task)

    def order(seed):
        (argument,) = check.cases(seed, 1)[0].inputs
        return [check.reference(case.inputs[argument]) for case in check.cases(seed, 1)]

    orders = [tuple(order(seed)) for seed in range(20)]
    assert order(3) == order(3) and len(set(orders)) > 15
    assert {len(o) for o in orders} == {len(check.implementations)}


@telling
def test_what_says_always_the_same_or_guesses_fails(name, task):
    check = check_of(name, task)
    rng = np.random.default_rng(0)
    calls = iter(range(10**6))
    blind = {
        "yes": lambda f: True,
        "no": lambda f: False,
        "by turns": lambda f: next(calls) % 2 == 0,
        "by chance": lambda f: bool(rng.random() < 0.2),
        "by its name": lambda f: f.__name__ == "right",
        "by its text": lambda f: "right" in (f.__doc__ or ""),
    }
    for way, test in blind.items():
        for seed in range(3):
            verdict = attempt(check, test, seed, HIDDEN_CASES)
            assert not verdict.passed, way


@telling
def test_a_weak_test_hears_what_got_past_it_and_why(name, task):
    check = check_of(name, task)
    for weak in check.mistakes:
        judge = Judge(check, check.cases(5, HIDDEN_CASES))
        outputs = [{"accepted": np.asarray(weak.function(*case.inputs.values()))} for case in judge.cases]
        verdict = judge.judge(outputs)
        assert weak.hint in verdict.message
        told = re.findall(
            r"(accepted, though wrong|refused, though right): one that (.*) \(case (\d+)\)", verdict.message
        )
        assert told and verdict.first == int(told[0][2])
        assert {words for _, words, _ in told} <= {one.words for one in check.implementations}


@telling
def test_where_no_hint_is_known_what_would_show_it_is_said(name, task):
    """One that lets a single wrong one past."""
    check = check_of(name, task)
    truth = namespace(name)[task]
    cases = check.cases(VISIBLE_SEED, VISIBLE_CASES)
    wrong = [case for case in cases if not behind(check, case).right]
    for case in (wrong[0], wrong[-1]):
        asked = iter(range(len(cases)))
        missed = behind(check, case)
        lets_past = lambda f, n=case.number, asked=asked: next(asked) == n or truth(f)  # noqa: E731
        verdict = attempt(check, lets_past, VISIBLE_SEED, VISIBLE_CASES, visible=True)
        assert f"accepted, though wrong: one that {missed.words} (case {case.number})" in verdict.message
        assert missed.seen_by in verdict.message or verdict.mistakes
        assert f"check.case({task}, {case.number})" in verdict.message


def behind(check, case):
    return tell_apart._behind[case.inputs[check.argument]]


@telling
def test_implementations_say_what_they_cannot_take(name, task):
    check = check_of(name, task)
    function, given = shown(check)[0], right_inputs(check)
    tables = [n for n, shape in check.parameters.items() if shape]
    with pytest.raises(TypeError, match="call it as"):
        function()
    with pytest.raises(TypeError, match="call it as"):
        function(**given, more=1)
    with pytest.raises(TypeError, match="call it as"):
        function(*given.values(), given[tables[0]])
    for table in tables:
        with pytest.raises(ValueError, match=f"{table} must have shape"):
            function(**given | {table: given[table][None]})
        with pytest.raises(ValueError, match=f"{table} must be numbers"):
            function(**given | {table: object()})
    large = {n: torch.ones([70] * len(check.parameters[n])) for n in tables}
    with pytest.raises(ValueError, match="at most"):
        function(**given | large)


@telling
def test_what_is_given_stays_as_it_is_and_carries_no_graph(name, task):
    check, given = check_of(name, task), right_inputs(check_of(name, task))
    for function in shown(check):
        mine = {k: v.clone().requires_grad_() if isinstance(v, torch.Tensor) else v for k, v in given.items()}
        returned = function(**mine)
        assert not flat(returned).requires_grad
        assert all(torch.equal(mine[k], v) for k, v in given.items() if isinstance(v, torch.Tensor))


@telling
def test_a_candidate_is_not_the_learners_own_call_of_a_built_in(name, task):
    """Some of them call torch's; the learner's test may not."""
    check = check_of(name, task)
    solution = namespace(name)[task]
    assert attempt(check, solution, 1, HIDDEN_CASES).passed
    if "aten::native_batch_norm" in check.forbidden:
        x = torch.randn(5, 3)

        def cheats(f):
            torch.nn.functional.batch_norm(x, None, None, training=True)
            return solution(f)

        cheats.__module__ = "__main__"
        assert "which does the task" in attempt(check, cheats, 1, HIDDEN_CASES).message


def test_of_unknown_mistakes_it_is_said_which_there_are():
    mistakes = find_problem_set("ps02").checks["batch_norm"].mistakes
    with pytest.raises(ValueError, match="no mistake named nonsense; there are: .*unbiased variance"):
        wrong_ones(mistakes, {"nonsense": ("", "")})
