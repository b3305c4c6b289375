"""What a learner meets: the failing case in their hands, odd states of their function, names, patterns."""

import dataclasses
import functools

import numpy as np
import pytest
import torch

from normcore.checks import ps01, ps02, tell_apart
from normcore.checks.catalogue import VISIBLE_CASES, VISIBLE_SEED, find_problem_set
from normcore.checks.judge import Judge
from normcore.checks.notebook import CheckFailed, VisibleCheck, attempt
from normcore.checks.patterns import describe
from normcore.inside.runner import run
from tests.checks.problem_sets import IDS, TASKS, check_of, namespace
from tests.commands import ROOT


@pytest.mark.parametrize(("name", "task"), TASKS, ids=IDS)
def test_the_visible_case_can_be_had_and_no_hidden_one(name, task):
    import importlib

    module, solution = importlib.import_module(f"normcore.checks.{name}"), namespace(name)[task]
    cases = check_of(name, task).cases(VISIBLE_SEED, VISIBLE_CASES)
    for number, case in enumerate(cases):
        inputs = module.check.case(solution, number)
        assert inputs.keys() == case.inputs.keys()
        for key, value in case.inputs.items():
            if isinstance(value, np.ndarray):
                assert torch.equal(inputs[key], torch.tensor(value))
            elif callable(value):  # a function of one's own for each who asks, and the same behind it
                assert tell_apart._behind[inputs[key]] is tell_apart._behind[value]
            else:
                assert inputs[key] == value
    for number in (-1, len(cases), "0", 1000):
        with pytest.raises(ValueError, match=f"number must be from 0 to {len(cases) - 1}"):
            module.check.case(solution, number)
    assert not hasattr(module.hidden_check, "case")
    with pytest.raises(TypeError):
        module.check.case(solution, 0, seed=1)


def test_plain_inputs_are_shown_where_the_learner_may_see_them_and_nowhere_else():
    check = ps02.NORMALIZE

    def normalize(x, dim, eps):
        return x

    shown = attempt(check, normalize, VISIBLE_SEED, VISIBLE_CASES, visible=True).message
    case = check.cases(VISIBLE_SEED, VISIBLE_CASES)[0].inputs
    assert f"dim ({', '.join(map(str, case['dim']))}" in shown and f"eps {case['eps']:.4g}" in shown
    assert "check.case(normalize, 0)" in shown
    hidden = attempt(check, normalize, 5, 12).message
    assert "eps 0" not in hidden and "dim (" not in hidden and "check.case" not in hidden


def test_a_function_under_another_name_is_found_by_the_notebooks(monkeypatch):
    right = namespace("ps02")["batch_norm"]

    def wrapper(*inputs):
        return right(*inputs)

    class Callable:
        def __call__(self, *inputs):
            return right(*inputs)

    for function in (lambda *inputs: right(*inputs), functools.partial(right), wrapper, Callable()):
        monkeypatch.setitem(globals(), "batch_norm", function)
        ps02.check(function)
    monkeypatch.delitem(globals(), "batch_norm")
    with pytest.raises(CheckFailed, match="ps02 has no task named 'wrapper'"):
        ps02.check(wrapper)


def test_the_summary_counts_what_the_checks_said_last(capsys, monkeypatch):
    check = VisibleCheck(find_problem_set("ps02"))
    solved = namespace("ps02")
    right, wrong = solved["identity_parameters"], lambda x, eps: (x.mean(0), x.mean(0))

    def rows():
        capsys.readouterr()
        check.summary(normalize=2, identity_parameters=3, hidden_layer=2, bias=4)
        first, *found = capsys.readouterr().out.splitlines()
        return first, [" ".join(row.split()) for row in found]

    untouched = [
        "normalize not yet run 0 of 2",
        "identity_parameters not yet run 0 of 3",
        "hidden_layer not yet run 0 of 2",
    ]
    in_words = "bias graded by hand – of 4"
    assert rows() == ("PS02: 0 of 7 points so far, and 4 for answers in words.", [*untouched, in_words])
    monkeypatch.setitem(globals(), "identity_parameters", wrong)
    with pytest.raises(CheckFailed):
        check(wrong)
    assert rows()[1] == [untouched[0], "identity_parameters wrong 0 of 3", untouched[2], in_words]
    monkeypatch.setitem(globals(), "identity_parameters", right)
    assert rows()[1][1] == "identity_parameters changed since: run again 0 of 3"
    check(right)
    check(solved["normalize"])
    first, found = rows()
    assert first.startswith("PS02: 5 of 7 points so far") and found[1] == "identity_parameters right 3 of 3"


def said(function, name="ps02", task="batch_norm"):
    return attempt(check_of(name, task), function, VISIBLE_SEED, VISIBLE_CASES, visible=True).message


def test_an_interrupt_names_the_case_and_the_line_in_five_lines():
    def batch_norm(x, gamma, beta, eps):
        raise KeyboardInterrupt

    lines = said(batch_norm).splitlines()
    assert lines[0] == "batch_norm was interrupted." and "case 0" in lines[1] and len(lines) <= 5
    assert "raise KeyboardInterrupt" in lines[-1]


@pytest.mark.parametrize(("name", "task"), TASKS, ids=IDS)
def test_an_interruption_and_a_recursion_take_five_lines(name, task):
    def interrupted(*inputs, **named):
        raise KeyboardInterrupt

    def endless(*inputs, **named):
        return endless(*inputs, **named)

    for function, words in ((interrupted, "was interrupted"), (endless, "RecursionError")):
        said = attempt(check_of(name, task), function, VISIBLE_SEED, VISIBLE_CASES, visible=True).message
        assert words in said and len(said.splitlines()) <= 5, said


def test_recursion_is_short_and_exit_is_named():
    def batch_norm(x, gamma, beta, eps):
        return batch_norm(x, gamma, beta, eps)

    lines = said(batch_norm).splitlines()
    assert len(lines) <= 5 and "times)" in lines[-2] and "RecursionError" in lines[-1]

    def there(x, gamma, beta, eps):
        return back(x, gamma, beta, eps)

    def back(x, gamma, beta, eps):
        return there(x, gamma, beta, eps)

    lines = said(there).splitlines()
    assert len(lines) <= 5 and [" times)" in line for line in lines[-3:]] == [True, True, False]
    assert "ended the program with exit()" in said(lambda *inputs: exit())


def test_what_is_not_written_is_named():
    def hidden_layer(x, weight, gamma, beta, eps):
        return normalize(x)

    def normalize(x):
        raise NotImplementedError()

    message = said(hidden_layer, task="hidden_layer")
    assert "hidden_layer: it calls normalize, which is not written yet" in message

    class Standardizer:
        def fit(self, x):
            pass

        def transform(self, x):
            raise NotImplementedError()

    assert "Standardizer.transform: not written yet" in said(Standardizer, "ps01", "Standardizer")


def test_inputs_changed_in_place_are_told_but_not_wrong():
    scale, normalized = namespace("ps01")["min_max_scale"], namespace("ps02")["batch_norm"]

    def min_max_scale(x, low, high):
        return x.copy_(scale(x, low, high))

    def batch_norm(x, gamma, beta, eps):
        y = normalized(x, gamma, beta, eps)
        x.zero_(), gamma.zero_()
        return y

    for check, function, names in (
        (ps01.MIN_MAX_SCALE, min_max_scale, "x"),
        (ps02.BATCH_NORM, batch_norm, "gamma and x"),
    ):
        verdict = attempt(check, function, 0, 8)
        assert verdict.passed and f"Note: it changed {names} in place" in verdict.message


def test_whole_numbers_are_off_by_whole_numbers():
    message = said(lambda momentum, fraction: 1000, "ps04", "steps_to_forget")
    assert "steps: is off by" in message and "rounding" not in message


def patterns(change):
    """What is said of outputs a and b, changed."""
    rng = np.random.default_rng(0)
    right = [{"a": rng.normal(size=(5, 3)), "b": rng.normal(size=(5, 3))} for _ in range(4)]
    inputs = [{"x": rng.normal(size=(5, 3)), "eps": 0.1} for _ in range(4)]
    given = [change(dict(r), i) for r, i in zip(right, inputs, strict=True)]
    allowed = [{k: np.full(v.shape, 1e-9) for k, v in r.items()} for r in right]
    return describe("a", ["a", "b"], given, right, allowed, inputs)


COLUMN = np.array([1.0, 2.0, -3.0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r, i: {"a": r["b"], "b": r["a"]}, "This is what b should be"),
        (lambda r, i: {**r, "a": i["x"]}, "This is the input x, unchanged"),
        (lambda r, i: {**r, "a": -r["a"]}, "right but for its sign"),
        (lambda r, i: {**r, "a": r["a"] + 2.5}, "Every entry is off by +2.5, in every case"),
        (lambda r, i: {**r, "a": r["a"] + i["x"].sum()}, "off by one and the same number"),
        (lambda r, i: {**r, "a": r["a"] + i["x"][0]}, "Each column is off by a number of its own"),
        (lambda r, i: {**r, "a": 3 * r["a"]}, "It is 3 times what it should be, in every case"),
        (lambda r, i: {**r, "a": i["x"][0, 0] * r["a"]}, "off by a factor: something"),
        (lambda r, i: {**r, "a": i["x"][0] * r["a"]}, "Each column is off by a factor of its own"),
        (lambda r, i: {**r, "a": r["a"] + 0.1 * i["x"]}, ""),
        (lambda r, i: {**r, "a": r["a"][:2]}, ""),
        (lambda r, i: {**r, "a": r["a"] * np.nan}, ""),
    ],
)
def test_a_pattern_is_said_where_it_holds_and_only_there(change, words):
    found = patterns(change)
    assert (words in found) if words else not found


@pytest.mark.parametrize(("name", "task"), TASKS, ids=IDS)
def test_no_pattern_contradicts_a_known_mistake(name, task):
    """With the mistakes taken away, their answers get sentences: those of order and of unchanged inputs are
    checked against the values themselves.
    """
    check = check_of(name, task)
    bare, cases = dataclasses.replace(check, mistakes=()), check.cases(VISIBLE_SEED, 4)
    for mistake in check.mistakes:
        message = attempt(bare, mistake.function, VISIBLE_SEED, 4).message
        if "unchanged." in message:
            key = message.split("This is the input ")[1].split(",")[0]
            assert all(key in case.inputs for case in cases)
            words = (
                "kept",
                "not",
                "unchanged",
                "alone",
                "missing",
                "left",
                "nothing",
                "starts",
                "forgot",
                "β",
            )
            assert any(word in (mistake.hint + mistake.name).lower() for word in words), mistake.name
        if "is the order" in message:
            assert any(w in mistake.name + mistake.hint for w in ("swapped", "other", "place", "for", "is"))


def test_the_readme_shows_what_a_check_says():
    check = find_problem_set("ps02").checks["batch_norm"]
    (mistake,) = [m for m in check.mistakes if m.name == "unbiased variance"]
    cases = check.cases(VISIBLE_SEED, VISIBLE_CASES)
    outputs = [run(check.run, check.name, mistake.function, case.inputs, check.outputs) for case in cases]
    message = Judge(check, cases, visible=True).judge(outputs).message
    assert f"```\n{message}\n```" in (ROOT / "README.md").read_text("utf-8")
