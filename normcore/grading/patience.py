"""What passes by itself, or by a person's hand: a locked gradebook, a full disk. The batch waits for it."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from nbgrader.api import InvalidEntry
from sqlalchemy.exc import OperationalError

__all__ = ["Stopped", "patiently"]

Result = TypeVar("Result")
MINUTES = 30.0
SECONDS_BETWEEN = 2.0


class Stopped(RuntimeError):
    """It did not pass. What is recorded stays."""


def patiently(act: Callable[[], Result], tell: Callable[[str], None], minutes: float = MINUTES) -> Result:
    """Do something that may be done twice, again and again while the gradebook is locked or the disk full.

    Args:
        act: what to do.
        tell: called once with what is waited for, in words.
        minutes: after which it gives up.

    Raises:
        Stopped: it has not passed in time.
        Exception: any other that `act` raises, at once.
    """
    end, told = time.monotonic() + 60 * minutes, ""
    while True:
        try:
            return act()
        except (OSError, OperationalError, InvalidEntry) as error:
            reason = _reason(error)
            if not reason:
                raise
            if time.monotonic() > end:
                raise Stopped(
                    f"{reason}; after {minutes:.0f} minutes it still does. What is recorded stays; the same "
                    "command goes on."
                ) from error
            if told != reason:
                tell(f"{reason}. Waiting.")
                told = reason
            time.sleep(SECONDS_BETWEEN)


def _reason(error: Exception) -> str:
    """In words; empty where waiting does not help."""
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return f"the disk has no room for {error.filename or 'what is written'}" if full else ""
    # nbgrader sometimes wraps what SQLite says into an error of its own
    said = str(error).partition("\n")[0]
    if "database is locked" in said:
        return "another program holds the gradebook locked"
    if "disk is full" in said or "disk I/O" in said:
        return "the disk has no room for the gradebook"
    return ""
