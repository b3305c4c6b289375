"""Proves a problem set: `normcore audit ps02`.

1. The reference passes, and so does the solution in the source notebook.
2. Every known mistake fails on every seed, and its hint is given and no other.
3. Machine-made mutants of the solution fail: ours, and those by cosmic-ray's operators where it is installed.
   Survivors are listed, each with its explanation if the check has one: a mutant that computes the same thing
   cannot be told from the solution.
"""

import ast
import contextlib
import io
import signal
import types
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from normcore.checks import cosmic, mutants
from normcore.checks.catalogue import HIDDEN_CASES, VISIBLE_CASES, ProblemSet
from normcore.checks.check import Check
from normcore.checks.judge import Judge
from normcore.checks.notebook import attempt
from normcore.checks.tell_apart import TellApart
from normcore.inside.runner import run

__all__ = ["MAKERS", "CheckAudit", "audit", "solution_sources"]

MAKERS = {"ours": mutants.mutants, **({"cosmic-ray": cosmic.mutants} if cosmic.INSTALLED else {})}

SECONDS_A_MUTANT = 20
SEEDS = (101, 102)


@dataclass
class CheckAudit:
    """What was found about one check.

    Attributes:
        problems: sentences; empty where the check is proven.
        mutants, killed: how many mutants there were, and how many failed the check, by their maker.
        survivors: the change of each mutant that passed, with the explanation or "".
    """

    name: str
    problems: list[str] = field(default_factory=list)
    mutants: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)
    survivors: dict[str, str] = field(default_factory=dict)


def solution_sources(notebook: Path) -> dict[str, str]:
    """The solution cells of a source notebook, by the function or class that each defines.

    Raises:
        FileNotFoundError: no notebook there.
    """
    import nbformat  # of the extra [grading]

    if not notebook.is_file():
        raise FileNotFoundError(f"no source notebook at {notebook}: run from the root of the repository")
    found = {}
    for cell in nbformat.read(notebook, as_version=4).cells:
        marks = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code" and marks.get("solution"):
            for name in _defined(cell.source):
                found[name] = cell.source
    return found


def audit(problem_set: ProblemSet, solutions: Mapping[str, str], seeds: int) -> Iterator[CheckAudit]:
    """Audit each check, one after the other.

    Args:
        problem_set: whose checks.
        solutions: source of the solution, by the check's name.
        seeds: on how many seeds each mistake must fail and be told from the others.
    """
    for check in problem_set.checks.values():
        result = CheckAudit(check.name)
        if check.name not in solutions:
            result.problems.append("the source notebook has no solution for it")
        else:
            _audit_solution(check, solutions, result)
            _audit_mutants(check, solutions, result)
        _audit_mistakes(check, seeds, result)
        yield result


def _audit_mistakes(check: Check, seeds: int, result: CheckAudit) -> None:
    """On as many cases as a learner's check has: with more, mistakes are told apart more easily."""
    hints = {mistake.name: mistake.hint for mistake in check.mistakes}
    if len(hints) < len(check.mistakes):
        result.problems.append("two mistakes have one name")
    for seed in range(seeds):
        judge = Judge(check, check.cases(seed, VISIBLE_CASES))
        verdict = judge.judge(_outputs(check, check.reference, judge))
        if not verdict.passed:
            result.problems.append(f"seed {seed}: the reference fails: {verdict.message}")
        for mistake in check.mistakes:
            verdict = judge.judge(_outputs(check, mistake.function, judge))
            if verdict.passed:
                result.problems.append(f"seed {seed}: the mistake {mistake.name!r} passes")
            elif {hints[name] for name in verdict.mistakes} != {mistake.hint}:
                result.problems.append(f"seed {seed}: {mistake.name!r} is taken for {verdict.mistakes}")


def _outputs(check: Check, function, judge: Judge) -> list:
    """As a learner's function would be run: on tensors of the case's dtype."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [run(check.run, check.name, function, case.inputs, check.outputs) for case in judge.cases]


def _audit_solution(check: Check, solutions: Mapping[str, str], result: CheckAudit) -> None:
    for seed in SEEDS:
        try:
            with _time_limit(SECONDS_A_MUTANT):
                function = _notebook(solutions, solutions[check.name])[check.name]
                verdict = attempt(check, function, seed, HIDDEN_CASES, diagnose=False)
        except Exception as error:
            result.problems.append(f"the solution fails: {type(error).__name__}: {error}")
        else:
            if not verdict.passed:
                result.problems.append(f"the solution fails: {verdict.message}")


def _audit_mutants(check: Check, solutions: Mapping[str, str], result: CheckAudit) -> None:
    if isinstance(check, TellApart):
        return  # a test that is changed and still tells them apart is another right answer
    judges = [Judge(check, check.cases(seed, HIDDEN_CASES)) for seed in SEEDS]
    lives: dict[str, bool] = {}
    made = set()
    for maker, mutants_of in MAKERS.items():
        for mutant in mutants_of(solutions[check.name]):
            made.add(mutant.change)
            if mutant.source not in lives:
                lives[mutant.source] = _lives(check, solutions, mutant.source, judges)
            result.mutants[maker] += 1
            result.killed[maker] += not lives[mutant.source]
            if lives[mutant.source]:
                result.survivors[mutant.change] = check.equivalent.get(mutant.change, "")
    # what only cosmic-ray makes is not missed where it is not installed
    expected = set(check.equivalent) if cosmic.INSTALLED else set(check.equivalent) & made
    result.problems += [
        f"explained as equivalent, but no survivor: {change}"
        for change in sorted(expected - set(result.survivors))
    ]
    result.problems += [
        f"a mutant survives unexplained: {c}" for c, why in result.survivors.items() if not why
    ]


def _lives(check: Check, solutions: Mapping[str, str], source: str, judges: Sequence[Judge]) -> bool:
    """The mutant is right in all cases: it is run case by case, and most fail in the first."""
    try:
        with _time_limit(SECONDS_A_MUTANT), _silence():
            function = _notebook(solutions, source)[check.name]
            for judge in judges:
                for number, case in enumerate(judge.cases):
                    given = run(check.run, check.name, function, case.inputs, check.outputs)
                    if not judge.is_right(number, given):
                        return False
    except Exception:
        return False
    return True


def _notebook(solutions: Mapping[str, str], source: str) -> dict[str, object]:
    """A notebook whose other tasks are solved, and then `source` is run."""
    namespace = types.ModuleType("solution").__dict__
    for cell in ("import torch", *solutions.values(), source):
        exec(_compiled(cell), namespace)
    return namespace


@cache
def _compiled(source: str):
    return compile(source, "<solution>", "exec")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    """A mutant may loop for ever."""

    def stop(*_):
        raise TimeoutError(f"not done in {seconds} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def _defined(source: str) -> list[str]:
    return [n.name for n in ast.parse(source).body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
