"""Proves a problem set: `normcore audit ps02`.

1. The reference passes, and so does the solution in the source notebook.
2. Every known mistake fails on every seed, and its hint is given and no other.
3. Machine-made mutants of the solution fail. Survivors are listed, each with its explanation if the
   check has one: a mutant that computes the same thing cannot be told from the solution.
"""

import ast
import contextlib
import io
import signal
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from normcore.checks.catalogue import HIDDEN_CASES, ProblemSet
from normcore.checks.check import Check
from normcore.checks.judge import Judge, Verdict
from normcore.checks.mutants import mutants
from normcore.checks.notebook import attempt
from normcore.checks.tell_apart import TellApart
from normcore.inside.runner import run

__all__ = ["CheckAudit", "audit", "solution_sources"]

SECONDS_A_MUTANT = 20
MUTANT_SEEDS = (101, 102)


@dataclass
class CheckAudit:
    """What was found about one check.

    Attributes:
        problems: sentences; empty where the check is proven.
        mutants, killed: how many mutants there were, and how many failed the check.
        survivors: the change of each mutant that passed, with the explanation or "".
    """

    name: str
    problems: list[str] = field(default_factory=list)
    mutants: int = 0
    killed: int = 0
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
    hints = {mistake.name: mistake.hint for mistake in check.mistakes}
    if len(hints) < len(check.mistakes):
        result.problems.append("two mistakes have one name")
    for seed in range(seeds):
        judge = Judge(check, check.cases(seed, HIDDEN_CASES))
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
    return [run(check.run, check.name, function, case.inputs, check.outputs) for case in judge.cases]


def _audit_solution(check: Check, solutions: Mapping[str, str], result: CheckAudit) -> None:
    for seed in MUTANT_SEEDS:
        verdict = _try(check, solutions, solutions[check.name], seed)
        if not verdict.passed:
            result.problems.append(f"the solution fails: {verdict.message}")


def _audit_mutants(check: Check, solutions: Mapping[str, str], result: CheckAudit) -> None:
    if isinstance(check, TellApart):
        return  # a test that is changed and still tells them apart is another right answer
    changed = mutants(solutions[check.name])
    result.mutants = len(changed)
    for mutant in changed:
        if any(not _try(check, solutions, mutant.source, seed).passed for seed in MUTANT_SEEDS):
            result.killed += 1
        else:
            result.survivors[mutant.change] = check.equivalent.get(mutant.change, "")
    stale = set(check.equivalent) - set(result.survivors)
    result.problems += [f"explained as equivalent, but no survivor: {change}" for change in sorted(stale)]
    result.problems += [
        f"a mutant survives unexplained: {c}" for c, why in result.survivors.items() if not why
    ]


def _try(check: Check, solutions: Mapping[str, str], source: str, seed: int) -> Verdict:
    """The verdict on `source` in a notebook whose other tasks are solved."""
    namespace = types.ModuleType("solution").__dict__
    try:
        with _time_limit(SECONDS_A_MUTANT), contextlib.redirect_stdout(io.StringIO()):
            for cell in ("import torch", *solutions.values(), source):
                exec(cell, namespace)
            return attempt(check, namespace[check.name], seed, HIDDEN_CASES, diagnose=False)
    except Exception as error:
        return Verdict(False, f"{type(error).__name__}: {error}")


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
