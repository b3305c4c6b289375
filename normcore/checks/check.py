"""The definition of a graded task, and the cases that are drawn from it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Case", "Check", "Inputs", "Mistake"]

# Arrays (which the learner's function gets as tensors) and plain numbers, flags, names or tuples of them.
Inputs = Mapping[str, Any]

DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Mistake:
    """A wrong implementation that learners write, and the sentence that helps them.

    Args:
        name: short, for reports: "unbiased variance".
        hint: what was done, and what is right instead.
        function: the wrong implementation, on float64 tensors; called as the learner's function is.
    """

    name: str
    hint: str
    function: Callable


@dataclass(frozen=True)
class Case:
    """One draw of inputs; floating-point arrays are already rounded to `dtype`."""

    number: int
    dtype: str
    inputs: Inputs

    def describe(self, values: bool = False) -> str:
        """Shapes and dtypes of arrays; what is no array is shown only where `values` may be."""
        shown = [
            f"{k} {v.dtype} {v.shape}" if isinstance(v, np.ndarray) else f"{k} {_short(v)}"
            for k, v in self.inputs.items()
            if isinstance(v, np.ndarray) or (values and not callable(v))
        ]
        return f"case {self.number}: " + ", ".join(shown) if shown else f"case {self.number}"


@dataclass(frozen=True)
class Check:
    """A graded task.

    Args:
        name: the name of the learner's function or class.
        run: how it is run: lines of Python in which `name` and the inputs are defined.
        outputs: the variables of `run` that are compared.
        draw: (rng, number) → inputs of case `number`. Arrays of floats are drawn in float64; a case
            rounds them to its dtype.
        reference: what is right, in float64; called as the learner's function is.
        mistakes: what is known to go wrong.
        shown: how it is run in words, for messages, where `run` looks at more than a learner needs to read.
        optional: those outputs that may be empty: what a right answer need not have.
        exact: those outputs that are whole numbers: no rounding excuses them.
        forbidden: names of torch operators ("aten::…") and of modules that would do the work for the
            learner.
        equivalent: mutants of the solution that compute the same thing, each with the reason why.
    """

    name: str
    run: str
    outputs: tuple[str, ...]
    draw: Callable[[np.random.Generator, int], Inputs]
    reference: Callable
    mistakes: tuple[Mistake, ...]
    shown: str = ""
    optional: frozenset[str] = frozenset()
    exact: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    equivalent: Mapping[str, str] = field(default_factory=dict)

    @property
    def lines(self) -> list[str]:
        """How it is run, as messages show it."""
        return (self.shown or self.run).strip().splitlines()

    def in_words(self, cases: Sequence[Case], failed: Sequence[int], explained: bool) -> list[str]:
        """What a learner reads of wrong cases, where this kind of task has words of its own.

        Args:
            cases: all.
            failed: the numbers of the wrong ones.
            explained: a hint follows.
        """
        return []

    def cases(self, seed: int, count: int) -> list[Case]:
        """`count` cases; the same for the same seed, whatever the other tasks draw."""
        streams = np.random.SeedSequence([seed, *self.name.encode()]).spawn(count)
        return [self._case(number, np.random.default_rng(s)) for number, s in enumerate(streams)]

    def _case(self, number: int, rng: np.random.Generator) -> Case:
        dtype = DTYPES[number % len(DTYPES)]
        inputs = self.draw(rng, number)
        rounded = {k: v.astype(dtype) if _is_float_array(v) else v for k, v in inputs.items()}
        return Case(number, dtype, rounded)


def _is_float_array(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (tuple, list)):
        inner = ", ".join(_short(v) for v in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
    return repr(value)
