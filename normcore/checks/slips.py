"""Mistakes as edits of a plain solution: what a learner would have written instead."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from normcore.checks.check import Mistake

__all__ = ["Slip", "slips"]


@dataclass(frozen=True)
class Slip:
    """A change of one or more places.

    Args:
        name: short, for reports.
        change: "before → after"; several are separated by "; ".
        hint: what was done, and what is right instead.
    """

    name: str
    change: str
    hint: str

    def at(self, change: str) -> "Slip":
        """The same slip in a solution whose line reads otherwise."""
        return dataclasses.replace(self, change=change)

    def applied(self, source: str) -> str | None:
        """The changed source; None where a place is missing."""
        for edit in self.change.split("; "):
            before, after = edit.split(" → ")
            if before not in source:
                return None
            source = source.replace(before, after)
        return source


def slips(plain: Callable, own: Sequence[Slip] = (), shared: Sequence[Slip] = ()) -> tuple[Mistake, ...]:
    """The mistakes of a task.

    Args:
        plain: the solution, step by step; an `answer`.
        own: of this task; each must change it.
        shared: of a family of tasks; those whose places it does not have, or that are among `own` by their
            name, are left out.

    Raises:
        ValueError: an own slip that changes nothing.
    """
    if missing := [slip.name for slip in own if slip.applied(plain.source) is None]:
        raise ValueError(f"{plain.__name__} has no place for: {', '.join(missing)}")
    names = {slip.name for slip in own}
    every = (*own, *(slip for slip in shared if slip.name not in names))
    found = [(slip, slip.applied(plain.source)) for slip in every]
    return tuple(Mistake(s.name, s.hint, _defined(plain, text)) for s, text in found if text is not None)


def _defined(plain: Callable, source: str) -> Callable:
    namespace = dict(vars(sys.modules[plain.__module__]))
    exec(compile(source, f"<{plain.__name__}>", "exec"), namespace)
    return namespace[plain.__name__]
