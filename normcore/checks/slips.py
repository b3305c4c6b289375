"""Mistakes as edits of a plain solution: what a learner would have written instead."""

import inspect
import textwrap
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


def slips(plain: Callable, own: Sequence[Slip] = (), shared: Sequence[Slip] = ()) -> tuple[Mistake, ...]:
    """The mistakes of a task.

    Args:
        plain: the solution, step by step.
        own: of this task; each must change it.
        shared: of a family of tasks; those whose places it does not have are left out.

    Raises:
        ValueError: an own slip that changes nothing.
    """
    source = textwrap.dedent(inspect.getsource(plain))
    found = [(slip, _changed(source, slip.change)) for slip in (*own, *shared)]
    if missing := [s.name for s, text in found if text is None and s in own]:
        raise ValueError(f"{plain.__name__} has no place for: {', '.join(missing)}")
    return tuple(Mistake(s.name, s.hint, _defined(plain, text)) for s, text in found if text is not None)


def _changed(source: str, change: str) -> str | None:
    for edit in change.split("; "):
        before, after = edit.split(" → ")
        if before not in source:
            return None
        source = source.replace(before, after)
    return source


def _defined(plain: Callable, source: str) -> Callable:
    namespace = dict(vars(inspect.getmodule(plain)))
    exec(compile(source, f"<{plain.__name__}>", "exec"), namespace)
    return namespace[plain.__name__]
