"""The task "tell them apart": the learner writes the test, and hears which wrong implementation got past it.

The test is a function that is given one implementation after the other and returns True for the right ones.
Each is a case of the check; the cases are shuffled by the seed. An implementation computes and shows nothing
of itself: where a submission is graded, it is not even in the same process (`inside/wire.py`, a call).
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from normcore.checks.check import Case, Check, Inputs
from normcore.inside.runner import unwatched

__all__ = ["Implementation", "TellApart", "wrong_ones"]

MOST = 4096  # numbers in one argument: a test needs few, and a hostile one gets no more


@dataclass(frozen=True)
class Implementation:
    """One that the learner's test is to accept or to refuse.

    Args:
        words: what it does, as a message says it: "divides the variance by m − 1".
        function: on tensors.
        right: whether the test must accept it.
        seen_by: what makes a difference, for those that a test lets past: "An eps of 0.1 shows it."
    """

    words: str
    function: Callable
    right: bool
    seen_by: str = ""


# Which implementation a function is that a test was given: it does not carry that itself.
_behind: "weakref.WeakKeyDictionary[Callable, Implementation]" = weakref.WeakKeyDictionary()


def _nothing(rng: np.random.Generator, number: int) -> Inputs:
    """No case is drawn: each is an implementation."""
    return {}


def _is_right(function: Callable) -> bool:
    return _behind[function].right


@dataclass(frozen=True, kw_only=True)
class TellApart(Check):
    """A task whose answer is a test; its mistakes are weak tests.

    Args:
        argument: the name that the implementations have in the task: "candidate".
        parameters: of an implementation, in order, each with its shape: ("N", "C"), () for a number, None for
            a flag. The same letter is the same size.
        implementations: right ones and wrong ones.
    """

    argument: str
    parameters: Mapping[str, tuple[str, ...] | None]
    implementations: tuple[Implementation, ...]
    run: str = ""  # follows from the names
    outputs: tuple[str, ...] = ("accepted",)
    draw: Callable = _nothing
    reference: Callable = _is_right

    def __post_init__(self) -> None:
        object.__setattr__(self, "run", f"accepted = {self.name}({self.argument})")

    def cases(self, seed: int, count: int) -> list[Case]:
        """One for each implementation, in an order that the seed decides; `count` is the other tasks'."""
        rng = np.random.default_rng([seed, *self.name.encode()])
        chosen = [self.implementations[i] for i in rng.permutation(len(self.implementations))]
        return [
            Case(number, "float64", {self.argument: self._shown(implementation)})
            for number, implementation in enumerate(chosen)
        ]

    def in_words(self, cases: Sequence[Case], failed: Sequence[int], explained: bool) -> list[str]:
        """Which implementations were judged wrongly, and what would show it."""
        told = [_behind[cases[number].inputs[self.argument]] for number in failed]
        are = "is" if len(told) == 1 else "are"
        lines = [f"{self.name}: {len(told)} of {len(cases)} implementations {are} judged wrongly."]
        for number, one in zip(failed, told, strict=True):
            verdict = "refused, though right" if one.right else "accepted, though wrong"
            lines.append(f"  {verdict}: one that {one.words} (case {number})")
        advice = [one.seen_by for one in told if one.seen_by]
        # one piece at a time
        return lines if explained else lines + [f"Hint: {advice[0]}"] * bool(advice)

    def _shown(self, implementation: Implementation) -> Callable:
        """The function that a test is given."""

        def given(*positional, **named):
            with unwatched(), torch.no_grad():
                return implementation.function(**self._arguments(positional, named))

        given.__name__ = given.__qualname__ = self.argument
        given.__doc__ = f"One of the implementations: {self.argument}({', '.join(self.parameters)})."
        _behind[given] = implementation
        return given

    def _arguments(self, positional: Sequence, named: Mapping[str, object]) -> dict[str, object]:
        """By name, as tensors of their own, numbers and flags.

        Raises:
            TypeError: too few, too many, or twice.
            ValueError: one of another shape, or too large; says which.
        """
        call = f"{self.argument}({', '.join(self.parameters)})"
        names = list(self.parameters)
        given = dict(zip(names, positional, strict=False))
        if (
            len(positional) > len(names)
            or given.keys() & named.keys()
            or given.keys() | named.keys() != set(names)
        ):
            raise TypeError(f"call it as {call}")
        given |= named
        sizes: dict[str, int] = {}
        dtype = next((v.dtype for v in given.values() if _is_table(v)), torch.float64)
        return {name: self._argument(name, given[name], sizes, dtype) for name in names}

    def _argument(self, name: str, value: object, sizes: dict[str, int], dtype: torch.dtype) -> object:
        shape = self.parameters[name]
        if shape is None:
            return bool(value)
        try:
            if not shape:
                return float(value)
            tensor = value.detach().clone() if _is_table(value) else torch.tensor(value, dtype=dtype)
        except (TypeError, ValueError, RuntimeError) as error:
            what = "numbers" if shape else "a number"
            raise ValueError(f"{name} must be {what}, but it is a {type(value).__name__}") from error
        tensor = tensor if tensor.is_floating_point() else tensor.to(dtype)
        wanted = f"({', '.join(shape)}{',' * (len(shape) == 1)})"
        expected = [sizes.setdefault(letter, size) for letter, size in zip(shape, tensor.shape, strict=False)]
        if tensor.shape != tuple(expected) or tensor.dim() != len(shape):
            known = {k: v for k, v in sizes.items() if k in shape}
            where = f" with {', '.join(f'{k} = {v}' for k, v in known.items())}" if known else ""
            raise ValueError(f"{name} must have shape {wanted}{where}, but it has {tuple(tensor.shape)}")
        if tensor.numel() > MOST:
            raise ValueError(
                f"{name} has {tensor.numel():,} numbers; at most {MOST:,} are taken. Fewer will do"
            )
        return tensor


def _is_table(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() > 0


def wrong_ones(mistakes: Sequence, words: Mapping[str, tuple[str, str]]) -> tuple[Implementation, ...]:
    """Of a task's known mistakes those named, as wrong implementations.

    Args:
        mistakes: of the task whose implementations are to be told apart.
        words: by the mistake's name, what it does and what shows it.

    Raises:
        ValueError: no such mistake.
    """
    known = {mistake.name: mistake for mistake in mistakes}
    if unknown := sorted(words.keys() - known.keys()):
        raise ValueError(f"no mistake named {', '.join(unknown)}; there are: {', '.join(known)}")
    return tuple(
        Implementation(does, known[name].function, False, seen_by) for name, (does, seen_by) in words.items()
    )
