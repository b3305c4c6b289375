"""What a notebook calls: run the learner's function here, judge it here, say what came of it."""

import contextlib
import io
import os
import secrets
import sys
from collections.abc import Callable, Iterator

from normcore.checks.catalogue import HIDDEN_CASES, VISIBLE_CASES, VISIBLE_SEED, ProblemSet
from normcore.checks.check import Check
from normcore.checks.errors import explain
from normcore.checks.forbidden import spoken
from normcore.checks.judge import Judge, Outputs, Verdict
from normcore.checks.model_answers import compare
from normcore.checks.summary import summary
from normcore.inside.runner import Watch, run, tensors

__all__ = ["SEED_VARIABLE", "CheckFailed", "HiddenCheck", "VisibleCheck", "attempt"]

SEED_VARIABLE = "NORMCORE_SEED"
LINES_PRINTED = 40


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
        self._last: dict[
            str, tuple[Callable, bool]
        ] = {}  # by task, what was checked last, and whether it passed

    def __call__(self, function: Callable) -> None:
        """Check a function.

        Raises:
            CheckFailed: it is wrong, or there is no such task.
        """
        check = _find(self.problem_set, function, sys._getframe(1).f_globals)
        verdict = attempt(check, function, VISIBLE_SEED, VISIBLE_CASES, visible=True)
        self._last[check.name] = function, verdict.passed
        _tell(verdict)

    def summary(self, **points: int) -> None:
        """Print a row a task, with what its check said last, and the points so far.

        Args:
            points: of each task, by its name; what is no task is a question in words.
        """
        notebook = sys._getframe(1).f_globals
        states = {task: self._state(task, notebook.get(task)) for task in self.problem_set.checks}
        print(summary(self.problem_set.name, points, states))

    def _state(self, task: str, function: object) -> str:
        checked, passed = self._last.get(task, (None, False))
        if checked is None:
            return "not yet run"
        if function is not None and function is not checked:
            return "changed since: run again"
        return "right" if passed else "wrong"

    def model_answer(self, question: str, answer: str | None = None) -> None:
        """Show a model answer to a question in words, once the learner has written their own.

        Args:
            question: its name.
            answer: the learner's own; by default it is read in their notebook, as it was saved.

        Raises:
            ValueError: no such question.
        """
        _show(compare(self.problem_set.name, question, answer, sys._getframe(1).f_globals))

    def case(self, function: Callable, number: int = 0) -> dict[str, object]:
        """The inputs of one of the cases that `check` draws, by their names: to try a function on.

        Args:
            function: of the task.
            number: of the case, as the message has it.

        Raises:
            CheckFailed: there is no such task.
            ValueError: there is no such case.
        """
        check = _find(self.problem_set, function, sys._getframe(1).f_globals)
        cases = check.cases(VISIBLE_SEED, VISIBLE_CASES)
        if number not in range(len(cases)):
            raise ValueError(f"number must be from 0 to {len(cases) - 1}, but it is {number!r}")
        return tensors(cases[number].inputs)


class HiddenCheck:
    """The same check on other cases, drawn from the seed in $NORMCORE_SEED, or afresh each time."""

    def __init__(self, problem_set: ProblemSet) -> None:
        self.problem_set = problem_set

    def __call__(self, function: Callable) -> None:
        """Check a function.

        Raises:
            CheckFailed: it is wrong, or there is no such task.
            ValueError: the seed is no whole number.
        """
        given = os.environ.get(SEED_VARIABLE)
        if given and not given.isdecimal():
            raise ValueError(f"{SEED_VARIABLE} must be a whole number, 0 or more, but it is {given!r}")
        seed = int(given) if given else secrets.randbits(64)
        check = _find(self.problem_set, function, sys._getframe(1).f_globals)
        _tell(attempt(check, function, seed, HIDDEN_CASES))


def _tell(verdict: Verdict) -> None:
    if not verdict.passed:
        raise CheckFailed(verdict.message)
    print("✓ " + verdict.message)


def _show(markdown: str) -> None:
    """With its formulas, where there is a notebook."""
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython():
        from IPython.display import Markdown, display

        display(Markdown(markdown))
    else:
        print(markdown)


def _find(problem_set: ProblemSet, function: Callable, notebook: dict) -> Check:
    """By the function's name; else by the name that the notebook has for it, as for a lambda or a partial."""
    named = getattr(function, "__name__", "")
    bound = [name for name in problem_set.checks if notebook.get(name) is function]
    for name in (named, *bound):
        if name in problem_set.checks:
            return problem_set.checks[name]
    tasks, what = ", ".join(problem_set.checks), named or type(function).__name__
    raise CheckFailed(f"{problem_set.name} has no task named {what!r}. Its tasks are: {tasks}.")


def attempt(
    check: Check, function: Callable, seed: int, count: int, diagnose: bool = True, visible: bool = False
) -> Verdict:
    """Run and judge in one process: the verdict on `function` for `count` cases of `seed`.

    Args:
        check, function: what is judged.
        seed, count: the cases.
        diagnose: say what kind of mistake was made.
        visible: the learner may see these cases' plain inputs.
    """
    cases = check.cases(seed, count)
    outputs: list[Outputs] = []
    changed: set[str] = set()
    with _few_lines():
        for case in cases:
            watch = Watch(check.forbidden)
            try:
                with watch:
                    found = run(check.run, check.name, function, case.inputs, check.outputs, changed)
            except (Exception, KeyboardInterrupt, SystemExit) as error:
                return Verdict(False, explain(check, case, error, visible))
            outputs.append(found)
            if watch.seen:
                called = " and ".join(spoken(watch.seen))
                return Verdict(
                    False,
                    f"{check.name}: it calls {called}, which does the task. Write out the formula instead.",
                )
    verdict = Judge(check, cases, visible).judge(outputs, diagnose)
    lines = [verdict.message]
    if visible and not verdict.passed:
        lines.append(
            f"The inputs of that case, to try it yourself: check.case({check.name}, {verdict.first})"
        )
    if changed:
        lines.append(
            f"Note: it changed {' and '.join(sorted(changed))} in place, which the caller may still need. "
            "Work on a new tensor."
        )
    return Verdict(verdict.passed, "\n".join(lines), verdict.mistakes)


class _FewLines(io.TextIOBase):
    """Passes on the first lines that are written, and counts the others."""

    def __init__(self, to) -> None:
        self.to, self.left, self.dropped = to, LINES_PRINTED, 0

    def write(self, text: str) -> int:
        shown = "".join(text.splitlines(keepends=True)[: self.left])
        self.to.write(shown)
        self.left -= shown.count("\n")
        self.dropped += text.count("\n") - shown.count("\n")
        return len(text)

    def flush(self) -> None:
        self.to.flush()


@contextlib.contextmanager
def _few_lines() -> Iterator[None]:
    """What a function prints, cut; stderr too: nbgrader gives 0 to a cell that wrote there, but a warning is
    no mistake.
    """
    out = _FewLines(sys.stdout)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            yield
    finally:
        if out.dropped:
            print(f"… and {out.dropped} more lines that your function printed")
