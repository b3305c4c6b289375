"""What a notebook calls: run the learner's function here, judge it here, say what came of it."""

import contextlib
import os
import secrets
import sys
import traceback
from types import FunctionType

from normcore.checks import runner
from normcore.checks.catalogue import HIDDEN_CASES, VISIBLE_CASES, VISIBLE_SEED, ProblemSet
from normcore.checks.check import Case, Check
from normcore.checks.judge import Judge, Outputs, Verdict
from normcore.checks.runner import SOURCE_NAME, OutputError, Watch, run

__all__ = ["SEED_VARIABLE", "CheckFailed", "HiddenCheck", "VisibleCheck", "attempt"]

SEED_VARIABLE = "NORMCORE_SEED"


class CheckFailed(AssertionError):
    """A check that did not pass. Jupyter shows its message alone, without our own frames."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


class VisibleCheck:
    """What a learner's notebook calls: `check(batch_norm)`.

    The same cases each time, and a hint where the mistake is a known one.
    """

    def __init__(self, problem_set: ProblemSet) -> None:
        self.problem_set = problem_set

    def __call__(self, function: FunctionType | type) -> None:
        """Check a function.

        Raises:
            CheckFailed: it is wrong, or there is no such task.
        """
        _tell(self.problem_set, function, VISIBLE_SEED, VISIBLE_CASES)


class HiddenCheck:
    """The same check on other cases, drawn from the seed in $NORMCORE_SEED, or afresh each time."""

    def __init__(self, problem_set: ProblemSet) -> None:
        self.problem_set = problem_set

    def __call__(self, function: FunctionType | type) -> None:
        """Check a function.

        Raises:
            CheckFailed: it is wrong, or there is no such task.
            ValueError: the seed is no whole number.
        """
        given = os.environ.get(SEED_VARIABLE)
        if given and not given.isdecimal():
            raise ValueError(f"{SEED_VARIABLE} must be a whole number, 0 or more, but it is {given!r}")
        seed = int(given) if given else secrets.randbits(64)
        _tell(self.problem_set, function, seed, HIDDEN_CASES)


def _tell(problem_set: ProblemSet, function: FunctionType | type, seed: int, count: int) -> None:
    verdict = attempt(_find(problem_set, function), function, seed, count)
    if not verdict.passed:
        raise CheckFailed(verdict.message)
    print("✓ " + verdict.message)


def _find(problem_set: ProblemSet, function: FunctionType | type) -> Check:
    name = getattr(function, "__name__", type(function).__name__)
    if name not in problem_set.checks:
        tasks = ", ".join(problem_set.checks)
        raise CheckFailed(f"{problem_set.name} has no task named {name!r}. Its tasks are: {tasks}.")
    return problem_set.checks[name]


def attempt(
    check: Check, function: FunctionType | type, seed: int, count: int, diagnose: bool = True
) -> Verdict:
    """Run and judge in one process: the verdict on `function` for `count` cases of `seed`."""
    cases = check.cases(seed, count)
    outputs: list[Outputs] = []
    for case in cases:
        watch = Watch(check.forbidden)
        try:
            # nbgrader gives 0 to a cell that wrote to stderr; a warning is no mistake
            with contextlib.redirect_stderr(sys.stdout), watch:
                outputs.append(run(check.run, check.name, function, case.inputs, check.outputs))
        except Exception as error:
            return Verdict(False, _explain_error(check, case, error))
        if watch.seen:
            # the names that a learner writes, rather than the operators behind them
            called = " and ".join(sorted(s for s in watch.seen if "::" not in s) or sorted(watch.seen))
            return Verdict(
                False, f"{check.name}: it calls {called}, which does the task. Write out the formula instead."
            )
    return Judge(check, cases).judge(outputs, diagnose)


def _explain_error(check: Check, case: Case, error: Exception) -> str:
    """The learner's own lines that led to an error, without the course's or a library's."""
    head = [f"  in {case.describe()}", *(f"  run as   {line}" for line in check.run.strip().splitlines())]
    if isinstance(error, OutputError):
        return "\n".join([f"{check.name}: {error}.", *head])
    if isinstance(error, NotImplementedError) and not str(error):
        return f"{check.name}: not written yet. Replace the line `raise NotImplementedError()`."
    frames = traceback.extract_tb(error.__traceback__)
    started = [i for i, frame in enumerate(frames) if frame.filename == SOURCE_NAME]
    ours = (runner.__file__, "site-packages")
    own = [f for f in frames[started[0] + 1 if started else 0 :] if not any(o in f.filename for o in ours)]
    lines = [f"  line {f.lineno} of {f.name}: {f.line}" for f in own]
    what = f"{type(error).__name__}: {error}"
    return "\n".join([f"{check.name} raised an error.", *head, *lines, what])
