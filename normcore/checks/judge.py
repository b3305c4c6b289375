"""Compares outputs with the reference under tolerances that follow from the arithmetic; names mistakes."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from normcore.checks.check import Case, Check, Mistake
from normcore.checks.patterns import describe, where
from normcore.inside.runner import run, shaken_noise

__all__ = ["Judge", "Verdict"]

Outputs = Mapping[str, np.ndarray]

PERTURBATIONS = 8
# a mistake's tolerance only decides whether its hint is given
MISTAKEN_PERTURBATIONS = 2
SLACK = 16.0


@dataclass(frozen=True)
class Verdict:
    """What came of one check.

    Attributes:
        passed: every output of every case was right.
        message: what a learner reads; no hidden value in it.
        mistakes: names of the known mistakes that the outputs are those of.
        first: the number of the first wrong case.
    """

    passed: bool
    message: str
    mistakes: tuple[str, ...] = ()
    first: int | None = None


@dataclass(frozen=True)
class Expected:
    """A case's right outputs and how far off an honest computation may be, entry by entry."""

    values: Outputs
    tolerance: Outputs


class Judge:
    """Judges outputs for the cases of one check. It never runs the learner's code.

    The tolerance of an output entry y_i is

        SLACK · √n · (u·|y_i| + s_i)

    u is the unit roundoff of the case's dtype, but never less than float32's: work in float32 is right.
    n is the size of the largest input, an upper bound on the length of any reduction: rounding errors
    of a sum of n terms grow as √n (Higham and Mary 2019). s_i is what a relative change of u in every
    input does to y_i in float64 (root mean square over random changes): the part of the error that the
    problem itself makes, however it is computed. An entry of a table that happens to be small, because
    larger terms cancelled in it, may be off as its column usually is: its error is at least the column's
    root mean square.

    Args:
        check, cases: what is judged.
        visible: the learner may see these cases' plain inputs.
    """

    def __init__(self, check: Check, cases: Sequence[Case], visible: bool = False) -> None:
        self.check = check
        self.cases = cases
        self.visible = visible
        self._mistaken: dict[tuple[str, int, int], Expected | None] = {}

    def judge(self, outputs: Sequence[Outputs], diagnose: bool = True) -> Verdict:
        """The verdict on one set of outputs a case.

        Args:
            outputs: for each case, the outputs by name, as `runner.run` returns them.
            diagnose: compare wrong outputs with each mistake's; this takes most of the time.
        """
        wrong = {
            (number, name): problem
            for number, (given, expected) in enumerate(zip(outputs, self.expected, strict=True))
            for name in self.check.outputs
            if (problem := self._problem(name, given, expected))
        }
        failed_cases = sorted({number for number, _ in wrong})
        if not wrong:
            return Verdict(True, f"{self.check.name}: all {len(self.cases)} cases are right.")
        failed_outputs = [name for name in self.check.outputs if any(name == n for _, n in wrong)]
        found = self._diagnose(outputs, failed_outputs) if diagnose else {}
        mistakes = list({m.name: m for m in found.values()}.values())
        right = [
            name
            for name, value in self.expected[0].values.items()
            if name not in failed_outputs and name not in self.check.optional and value.dtype.kind == "f"
        ]
        first, are = failed_cases[0], "is" if len(failed_cases) == 1 else "are"
        where = self.check.in_words(self.cases, failed_cases, bool(mistakes)) or [
            f"{self.check.name}: {len(failed_cases)} of {len(self.cases)} cases {are} wrong.",
            f"  first in {self.cases[first].describe(self.visible)}",
            *(f"  run as   {line}" for line in self.check.lines),
            *(f"  {name}: {wrong[first, name]}" for name in failed_outputs if (first, name) in wrong),
            *([f"  right: {', '.join(right)}"] if right else []),
        ]
        lines = [
            *where,
            *(f"Hint: {m.hint}" for m in mistakes),
            *(self._patterns(outputs, failed_outputs, found) if diagnose else []),
        ]
        return Verdict(False, "\n".join(lines), tuple(m.name for m in mistakes), first)

    def is_right(self, number: int, given: Outputs) -> bool:
        """The outputs of one case are right."""
        return not any(self._problem(name, given, self.expected[number]) for name in self.check.outputs)

    @cached_property
    def expected(self) -> list[Expected]:
        """The reference's outputs in float64, with their tolerances."""
        return [self._expect(self.check.reference, case) for case in self.cases]

    def _problem(self, name: str, given: Outputs, expected: Expected) -> str:
        if name in self.check.optional and given[name].shape == (0,):
            return ""
        return _difference(given[name], expected.values[name], expected.tolerance[name])

    def _of(self, mistake: Mistake, number: int, perturbations: int) -> Expected | None:
        """A mistake's outputs on one case, with its own tolerances: it may amplify rounding. None where it
        cannot be computed.
        """
        key = mistake.name, number, perturbations
        if key not in self._mistaken:
            try:
                self._mistaken[key] = self._expect(mistake.function, self.cases[number], perturbations)
            except (ArithmeticError, RuntimeError, ValueError, IndexError):
                self._mistaken[key] = None
        return self._mistaken[key]

    def _run(self, function: Callable, inputs: Mapping[str, object]) -> Outputs:
        exact = {k: _as_float64(v) for k, v in inputs.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a mistake's are not the learner's
            return run(self.check.run, self.check.name, function, exact, self.check.outputs)

    def _expect(self, function: Callable, case: Case, perturbations: int = PERTURBATIONS) -> Expected:
        values = self._run(function, case.inputs)
        u = max(np.finfo(case.dtype).eps, np.finfo(np.float32).eps) / 2
        n = max((v.size for v in case.inputs.values() if isinstance(v, np.ndarray)), default=1)
        rng = np.random.default_rng(case.number)
        squares = {name: np.zeros_like(y) for name, y in values.items() if y.dtype.kind == "f"}
        for _ in range(perturbations):
            with shaken_noise(u, rng):  # gradients are small differences of what comes back
                moved = self._run(function, {k: _perturb(v, u, rng) for k, v in case.inputs.items()})
            for name, total in squares.items():
                # infinities and shapes that depend on the values are compared exactly
                if moved[name].shape == total.shape:
                    with np.errstate(invalid="ignore"):
                        change = moved[name] - values[name]
                    total += np.where(np.isfinite(change), change, 0.0) ** 2
        errors = {
            name: u * np.abs(values[name]) + np.sqrt(total / max(perturbations, 1))
            for name, total in squares.items()
        }
        tolerance = {
            name: SLACK * np.sqrt(n) * _by_column(error)
            for name, error in errors.items()
            if name not in self.check.exact
        }
        exact = {name: np.zeros(y.shape) for name, y in values.items()}
        return Expected(values, exact | tolerance)

    def _diagnose(self, outputs: Sequence[Outputs], failed: list[str]) -> dict[str, Mistake]:
        """For each failed output the mistake that it is of.

        The one mistake whose every output was given; else, output by output, a mistake that is wrong in
        nothing that was given rightly: what its hint says must hold.
        """
        for mistake in self.check.mistakes:
            if self._fits(mistake, outputs, self.check.outputs):
                return dict.fromkeys(failed, mistake)
        right = [name for name in self.check.outputs if name not in failed]
        found = {}
        for name in failed:
            for mistake in self.check.mistakes:
                if self._fits(mistake, outputs, [name, *right]):
                    found[name] = mistake
                    break
        return found

    def _fits(self, mistake: Mistake, outputs: Sequence[Outputs], names: Sequence[str]) -> bool:
        differs = False
        for number, (given, right) in enumerate(zip(outputs, self.expected, strict=True)):
            # most often the rounding of the result alone explains the difference, which costs one run
            for perturbations in (0, MISTAKEN_PERTURBATIONS):
                mistaken = self._of(mistake, number, perturbations)
                if mistaken and not any(self._problem(name, given, mistaken) for name in names):
                    break
            else:
                return False
            differs = differs or any(self._problem(name, mistaken.values, right) for name in names)
        return differs

    def _patterns(self, outputs: Sequence[Outputs], failed: list[str], found: Mapping) -> list[str]:
        """What else can be said of outputs that are no known mistake's."""
        values, tolerance = [e.values for e in self.expected], [e.tolerance for e in self.expected]
        inputs = [case.inputs for case in self.cases]
        unknown = [name for name in failed if name not in found]
        said = {name: describe(name, failed, outputs, values, tolerance, inputs) for name in unknown}
        return [f"  {name}: {sentence}" for name, sentence in said.items() if sentence]


def _by_column(error: np.ndarray) -> np.ndarray:
    """At least the root mean square along the first dimension; the entries of a vector stay their own."""
    if error.ndim < 2 or not error.size:
        return error
    finite = np.where(np.isfinite(error), error, 0.0)
    return np.maximum(error, np.sqrt((finite**2).mean(0, keepdims=True)))


def _difference(given: np.ndarray, expected: np.ndarray, tolerance: np.ndarray) -> str:
    """Why `given` is not `expected`; empty where it is."""
    if (given.dtype.kind == "b") != (expected.dtype.kind == "b"):
        # True is no number: anything but 0 would be right
        wanted, found = ("of numbers", "of bool") if given.dtype.kind == "b" else ("of bool", "of numbers")
        return f"must be a tensor {wanted}, but it is {found}"
    if given.shape != expected.shape:
        return f"has shape {given.shape}, expected {expected.shape}"
    if given.dtype.kind == "b":
        count = int((given != expected).sum())
        if given.ndim == 0:
            return f"is {given}, but should be {expected}" if count else ""
        return f"{count} of {given.size} entries are wrong" if count else ""
    if not given.size:
        return ""
    same = (given == expected) | (np.isnan(given) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.abs(given - expected))
    bad = ~same & ~(error <= tolerance)
    if not bad.any():
        return ""
    strange = given[bad][~np.isfinite(given[bad])]
    if strange.size:
        return f"{strange.size} of {given.size} entries are {strange[0]}{where(bad)}"
    worst = np.argmax(np.where(bad, error, 0.0))
    far, near = error.flat[worst], tolerance.flat[worst]
    rounding = f" where rounding allows {near:.1g}" if near else ""
    if given.ndim == 0:
        return f"is off by {far:.2g}{rounding}"
    are = "entry is" if bad.sum() == 1 else "entries are"
    return f"{int(bad.sum())} of {given.size} {are} off{where(bad)}, the worst by {far:.2g}{rounding}"


def _as_float64(value: object) -> object:
    return value.astype(np.float64) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def _perturb(value: object, u: float, rng: np.random.Generator) -> object:
    """A relative change of up to u, the same for equal entries: what is constant or tied stays so."""
    if isinstance(value, float):
        return value * (1 + u * rng.uniform(-1, 1))
    if not (isinstance(value, np.ndarray) and value.dtype.kind == "f"):
        return value
    distinct, position = np.unique(value, return_inverse=True)
    moved = distinct.astype(np.float64) * (1 + u * rng.uniform(-1, 1, distinct.shape))
    return moved[position].reshape(value.shape)
