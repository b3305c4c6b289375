"""The engine on a check of its own, small enough to see through."""

import dataclasses
import sys
import warnings

import numpy as np
import pytest
import torch

from normcore.checks.catalogue import HIDDEN_CASES, ProblemSet, find_problem_set
from normcore.checks.check import Check, Mistake
from normcore.checks.judge import Judge
from normcore.checks.notebook import CheckFailed, HiddenCheck, VisibleCheck, attempt


def _draw(rng, number):
    return {"x": rng.normal(size=(int(rng.integers(3, 9)), 4)) + 3, "power": 2}


def _both_wrong(x, power):
    return x.sum(0), (x**power).sum(0)


CHECK = Check(
    name="two_means",
    run="mean, moment = two_means(x, power)",
    outputs=("mean", "moment"),
    draw=_draw,
    reference=lambda x, power: (x.mean(0), (x**power).mean(0)),
    forbidden=frozenset({"aten::std", "sklearn"}),
    mistakes=(
        Mistake("sum", "You summed.", lambda x, power: (x.sum(0), (x**power).mean(0))),
        Mistake("no power", "You forgot the power.", lambda x, power: (x.mean(0), x.mean(0))),
    ),
)


def verdict(function, seed=5, count=6):
    return attempt(CHECK, function, seed, count)


def test_right_in_several_styles():
    def with_numpy(x, power):
        return x.numpy().mean(0), np.mean(x.numpy() ** power, axis=0)

    def in_float32(x, power):
        x = x.float()
        return x.mean(0), x.pow(power).mean(0)

    def by_hand(x, power):
        total, moment = 0, 0
        for row in x:
            total, moment = total + row, moment + row**power
        return total / len(x), moment / len(x)

    def in_place(x, power):
        mean = x.mean(0)
        return mean, x.pow_(power).mean(0)

    def keeps_the_graph(x, power):
        x.requires_grad_()
        return x.mean(0), (x**power).mean(0)

    def warns(x, power):
        print("to stderr", file=sys.stderr)
        return x.mean(0), (x**power).mean(0)

    for function in (with_numpy, in_float32, by_hand, in_place, keeps_the_graph, warns):
        result = verdict(function)
        assert result.passed, (function.__name__, result.message)


def test_each_mistake_gets_its_own_hint():
    for mistake in CHECK.mistakes:
        result = verdict(mistake.function)
        assert not result.passed and result.mistakes == (mistake.name,)
        assert mistake.hint in result.message


def test_two_mistakes_at_once_get_both_hints():
    result = verdict(lambda x, power: (x.sum(0), x.mean(0)))
    assert result.mistakes == ("sum", "no power")


def test_an_unknown_mistake_gets_no_hint():
    result = verdict(lambda x, power: (x.mean(0) * 1.001, (x**power).mean(0)))
    assert not result.passed and result.mistakes == () and "Hint" not in result.message


def test_the_message_says_which_case_and_how_far_but_no_value():
    result = verdict(_both_wrong)
    case = CHECK.cases(5, 6)[0]
    assert f"x float32 {case.inputs['x'].shape}" in result.message
    assert "mean, moment = two_means(x, power)" in result.message
    assert "6 of 6 cases are wrong" in result.message and "rounding allows" in result.message
    for value in case.inputs["x"].ravel():
        assert f"{value:.4f}" not in result.message


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x, power: (x.mean(0), None), ["moment must be a tensor", "None: is a return missing?"]),
        (lambda x, power: None, ["raised an error", "TypeError"]),
        (lambda x, power: (x.mean(0), (x**power).mean(0), 1), ["too many values to unpack"]),
        (lambda x, power: (x.mean(), (x**power).mean(0)), ["mean: has shape (), expected (4,)"]),
        (lambda x, power: (x.mean(0), "four"), ["moment must be a tensor of numbers, but it is a str"]),
        (lambda x, power: (x.mean(0), x.mean(0) * float("nan")), ["moment: 4 of 4 entries are nan"]),
        (
            lambda x, power: (x.mean(0) + 0j, x.mean(0)),
            ["mean must be a tensor of numbers, but it is of complex"],
        ),
        (lambda x, power: x.nope(), ["raised an error", "AttributeError", "nope"]),
        (lambda x: x, ["raised an error", "TypeError"]),
    ],
)
def test_what_is_not_an_answer_is_named(function, words):
    result = verdict(function)
    assert not result.passed
    for word in words:
        assert word in result.message


def test_the_stub_is_told_from_an_error():
    def two_means(x, power):
        raise NotImplementedError()

    assert "not written yet" in verdict(two_means).message


def test_an_error_shows_the_learners_own_lines():
    def two_means(x, power):
        wrong = x.mean(0) + torch.ones(7)
        return wrong, wrong

    message = verdict(two_means).message
    assert "of two_means: wrong = x.mean(0) + torch.ones(7)" in message
    assert "__torch_dispatch__" not in message and "in _plain" not in message


def test_forbidden_operators_and_modules_are_found_however_they_are_reached():
    def operator(x, power):
        hidden = getattr(torch, "s" + "td")
        hidden(x, 0)
        return x.mean(0), (x**power).mean(0)

    def module(x, power):
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(x.numpy())
        return torch.from_numpy(scaler.mean_), (x**power).mean(0)

    assert "it calls aten::std" in verdict(operator).message
    assert "it calls sklearn" in verdict(module).message


def test_cases_are_reproducible_and_depend_on_the_seed_and_the_task():
    first, again, other = (CHECK.cases(seed, 4) for seed in (1, 1, 2))
    assert all(np.array_equal(a.inputs["x"], b.inputs["x"]) for a, b in zip(first, again, strict=True))
    assert not any(
        a.inputs["x"].shape == b.inputs["x"].shape and np.array_equal(a.inputs["x"], b.inputs["x"])
        for a, b in zip(first, other, strict=True)
    )
    assert {case.inputs["x"].dtype.name for case in first} == {"float32", "float64"}


@pytest.mark.parametrize("factor", [1 - 2e-4, 1 + 2e-4])
def test_tolerances_are_tight_enough_to_see_two_parts_in_ten_thousand(factor):
    assert not verdict(lambda x, power: (x.mean(0) * factor, (x**power).mean(0))).passed


def test_tolerance_grows_with_the_conditioning_of_the_problem():
    """A variance at a large mean: float32 loses digits however it is computed, and that is allowed."""
    check = Check(
        name="f",
        run="y = f(x)",
        outputs=("y",),
        draw=lambda rng, number: {"x": rng.normal(size=(50,)) + 10.0 ** (number // 2)},
        reference=lambda x: x.var(correction=0),
        mistakes=(),
    )
    judge = Judge(check, check.cases(0, 8))
    allowed = [float(e.tolerance["y"]) for e in judge.expected]
    assert allowed[6] > 20 * allowed[0]
    assert attempt(check, lambda x: (x - x.mean()).square().mean(), 0, 8).passed


def test_the_learners_notebook_names_its_tasks(capsys):
    check = VisibleCheck(ProblemSet("ps99", [CHECK]))

    def two_means(x, power):
        return x.mean(0), (x**power).mean(0)

    check(two_means)
    assert "✓ two_means: all 8 cases are right." in capsys.readouterr().out

    def other(x, power):
        return x

    with pytest.raises(CheckFailed, match=r"no task named 'other'\. Its tasks are: two_means"):
        check(other)
    with pytest.raises(CheckFailed, match="no task named 'int'"):
        check(3)


def test_the_hidden_check_takes_its_seed_from_the_environment(monkeypatch):
    seen = []

    def two_means(x, power):
        seen.append(x.sum().item())
        return x.mean(0), (x**power).mean(0)

    hidden_check = HiddenCheck(ProblemSet("ps99", [CHECK]))
    for seed in ("7", "7", "8", None):
        monkeypatch.setenv("NORMCORE_SEED", seed) if seed else monkeypatch.delenv("NORMCORE_SEED")
        hidden_check(two_means)
    runs = [tuple(seen[i : i + 12]) for i in range(0, 48, 12)]
    assert runs[0] == runs[1] and len({runs[0], runs[2], runs[3]}) == 3


@pytest.mark.parametrize("seed", ["-3", "abc", "1.5"])
def test_a_seed_that_is_none_is_named(monkeypatch, seed):
    monkeypatch.setenv("NORMCORE_SEED", seed)
    with pytest.raises(
        ValueError, match=f"NORMCORE_SEED must be a whole number, 0 or more, but it is '{seed}'"
    ):
        HiddenCheck(ProblemSet("ps99", [CHECK]))(type("two_means", (), {}))


def test_jupyter_shows_the_message_without_our_frames():
    assert CheckFailed("one\ntwo")._render_traceback_() == ["one", "two"]


def test_what_a_function_prints_is_no_call_of_ours_and_is_cut(capsys):
    check = dataclasses.replace(CHECK, forbidden=frozenset({"normcore"}))

    def two_means(x, power):
        for number in range(2000):
            print("a line", number)
        warnings.warn("a warning", stacklevel=1)
        return x.mean(0), (x**power).mean(0)

    assert attempt(check, two_means, 0, 8).passed
    printed = capsys.readouterr()
    assert "a line 0\n" in printed.out and len(printed.out.splitlines()) < 60 and not printed.err
    assert "more lines that your function printed" in printed.out


@pytest.mark.parametrize("seed", [1213813, 1942361, 1989875])
def test_a_small_gradient_is_as_exact_as_what_it_is_the_difference_of(seed):
    """Of a few values normalization leaves hardly any gradient: what cancelled was larger, and its rounding is."""

    def normalize(x, dim, eps):
        mean, var = x.mean(dim, keepdim=True), x.var(dim, correction=0, keepdim=True)
        return (x - mean) / (var + eps).sqrt()

    check = find_problem_set("ps02").checks["normalize"]
    verdict = attempt(check, normalize, seed, HIDDEN_CASES)
    assert verdict.passed, verdict.message
