"""The problem sets: what one is, which there are, and where to find one by its name."""

import importlib
from collections.abc import Sequence
from pathlib import Path

from normcore.checks.check import Check

__all__ = ["HIDDEN_CASES", "VISIBLE_CASES", "VISIBLE_SEED", "ProblemSet", "find_problem_set", "names"]

# The visible check draws the same cases each time, the hidden one others, from a secret or a fresh seed.
VISIBLE_SEED = 0
VISIBLE_CASES = 8
HIDDEN_CASES = 12


class ProblemSet:
    """The checks of one problem set, by the names of the functions that learners write.

    Args:
        name: "ps02".
        checks: one a task.
    """

    def __init__(self, name: str, checks: Sequence[Check]) -> None:
        self.name = name
        self.checks = {check.name: check for check in checks}


def names() -> list[str]:
    """The problem sets that there are, in order: a file psNN.py beside this one is one."""
    return sorted(p.stem for p in Path(__file__).parent.glob("ps[0-9][0-9].py"))


def find_problem_set(name: str) -> ProblemSet:
    """The problem set "ps02" from its module.

    Raises:
        ValueError: no such problem set; says which there are.
    """
    if name not in names():
        raise ValueError(f"no problem set named {name!r}; there are: {', '.join(names())}")
    return importlib.import_module(f"normcore.checks.{name}").PROBLEM_SET
