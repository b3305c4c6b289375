"""The problem sets are proven, and the audit sees it where one is not."""

import dataclasses
import re
from pathlib import Path

import pytest

from normcore.__main__ import main
from normcore.checks import ps02
from normcore.checks.audit import MAKERS, audit, solution_sources
from normcore.checks.catalogue import ProblemSet, find_problem_set, names
from normcore.checks.check import Mistake
from normcore.checks.tell_apart import TellApart

ROOT = Path(__file__).resolve().parents[2]
SOURCES = solution_sources(ROOT / "solutions/ps02/ps02.ipynb")


@pytest.fixture(scope="module")
def audits():
    """Over two seeds here; `make audit` takes 100."""
    found = {}
    for name in names():
        sources = solution_sources(ROOT / "solutions" / name / f"{name}.ipynb")
        found[name] = list(audit(find_problem_set(name), sources, seeds=2))
    return found


@pytest.mark.parametrize("name", names())
def test_the_audit_is_clean(name, audits):
    results = audits[name]
    assert [r.problems for r in results] == [[]] * len(find_problem_set(name).checks)
    checks = find_problem_set(name).checks
    changed = [r.mutants["ours"] for r in results if not isinstance(checks[r.name], TellApart)]
    assert len(changed) >= 4 and min(changed) >= 5


@pytest.mark.parametrize("maker", MAKERS)
def test_nearly_all_mutants_are_killed(maker, audits):
    results = [r for found in audits.values() for r in found]
    killed, total = sum(r.killed[maker] for r in results), sum(r.mutants[maker] for r in results)
    assert killed >= 0.98 * total and total >= 300


def only(**changes):
    check = dataclasses.replace(ps02.IDENTITY_PARAMETERS, **changes)
    return ProblemSet("ps02", [check])


def problems(problem_set, source=None, seeds=2):
    solution = source or SOURCES["identity_parameters"]
    (result,) = audit(problem_set, {"identity_parameters": solution}, seeds)
    return " | ".join(result.problems)


def test_a_mistake_that_is_right_is_found():
    right = Mistake("no mistake", "", ps02.IDENTITY_PARAMETERS.reference)
    assert "the mistake 'no mistake' passes" in problems(only(mistakes=(right,)))


def test_mistakes_that_cannot_be_told_apart_are_found():
    first = ps02.IDENTITY_PARAMETERS.mistakes[0]
    twin = dataclasses.replace(first, name="twin", hint="another")
    assert "'twin' is taken for ('eps left out',)" in problems(only(mistakes=(first, twin)))


def test_a_check_that_looks_at_too_little_lets_mutants_live():
    assert "a mutant survives unexplained" in problems(only(outputs=("beta",), mistakes=()))


def test_a_stale_explanation_is_found():
    killed = MAKERS["ours"](SOURCES["identity_parameters"])[0].change
    assert "explained as equivalent, but no survivor" in problems(only(equivalent={killed: "why"}))


def test_a_wrong_solution_is_found():
    wrong = "def identity_parameters(x, eps):\n    return x.std(0), x.mean(0)"
    assert "the solution fails" in problems(only(), wrong)


def test_a_mutant_that_never_ends_is_killed(monkeypatch):
    monkeypatch.setattr("normcore.checks.audit.SECONDS_A_MUTANT", 1)
    looping = "def identity_parameters(x, eps):\n    while True:\n        pass"
    assert "TimeoutError: not done in 1 s" in problems(only(mistakes=()), looping)


def test_a_missing_solution_is_found():
    (result,) = audit(only(), {}, 1)
    assert result.problems == ["the source notebook has no solution for it"]


def test_the_command_says_what_is_wrong_with_its_call(capsys, tmp_path):
    assert main(["audit", "ps77"]) == 2
    assert "no problem set named 'ps77'; there are: ps01, ps02, ps03" in capsys.readouterr().err
    assert main(["audit", "ps02", "--solutions", str(tmp_path)]) == 2
    assert "run from the root of the repository" in capsys.readouterr().err


def test_the_command_prints_the_kill_rate(capsys):
    assert main(["audit", "ps05", "--seeds", "1", "--solutions", str(ROOT / "solutions")]) == 0
    printed = capsys.readouterr().out
    assert "mutants killed: " in printed and printed.rstrip().endswith("clean")
    for maker in MAKERS:
        assert re.search(rf"^\d+ of \d+ mutants killed \(\d+\.\d%\), {maker}$", printed, re.M)


def test_where_cosmic_ray_is_missing_the_rest_is_proven(monkeypatch):
    """And what is explained of its mutants is not taken for stale."""
    monkeypatch.setattr("normcore.checks.audit.MAKERS", {"ours": MAKERS["ours"]})
    monkeypatch.setattr("normcore.checks.cosmic.INSTALLED", False)
    assert problems(only(equivalent={"a line → only theirs": "why"})) == ""
