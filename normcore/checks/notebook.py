"""What a notebook calls: run the learner's function here, judge it here, say what came of it."""

import contextlib
import os
import secrets
import sys
import traceback
from collections.abc import Sequence
from types import FunctionType

from normcore.checks import runner
from normcore.checks.check import Case, Check
from normcore.checks.judge import Judge, Outputs, Verdict
from normcore.checks.runner import SOURCE_NAME, OutputError, Watch, run

__all__ = ["SEED_VARIABLE", "CheckFailed", "ProblemSet", "attempt"]

SEED_VARIABLE = "NORMCORE_SEED"
VISIBLE_SEED = 0
VISIBLE_CASES = 8
HIDDEN_CASES = 12


class CheckFailed(AssertionError):
    """A check that did not pass. Jupyter shows its message alone, without our own frames."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


class ProblemSet:
    """The checks of one problem set, by the names of the functions that learners write.

    Args:
        name: "ps02".
        checks: one a task.
    """

    def __init__(self, name: str, checks: Sequence[Check]) -> None:
        self.name = name
        self.checks = {check.name: check for check in checks}

    def check(self, function: FunctionType | type) -> None:
        """The visible check: the same cases each time, a hint where the mistake is a known one.

        Raises:
            CheckFailed: the function is wrong, or there is no such task.
        """
        print("✓ " + self._verdict(function, VISIBLE_SEED, VISIBLE_CASES).message)

    def hidden_check(self, function: FunctionType | type) -> None:
        """The same check on other cases, drawn from the seed in $NORMCORE_SEED, or afresh each time."""
        given = os.environ.get(SEED_VARIABLE)
        if given and not given.isdecimal():
            raise ValueError(f"{SEED_VARIABLE} must be a whole number, 0 or more, but it is {given!r}")
        seed = int(given) if given else secrets.randbits(64)
        print("✓ " + self._verdict(function, seed, HIDDEN_CASES).message)

    def _verdict(self, function: FunctionType | type, seed: int, count: int) -> Verdict:
        verdict = attempt(self._find(function), function, seed, count)
        if not verdict.passed:
            raise CheckFailed(verdict.message)
        return verdict

    def _find(self, function: FunctionType | type) -> Check:
        name = getattr(function, "__name__", type(function).__name__)
        if name not in self.checks:
            tasks = ", ".join(self.checks)
            raise CheckFailed(f"{self.name} has no task named {name!r}. Its tasks are: {tasks}.")
        return self.checks[name]


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
