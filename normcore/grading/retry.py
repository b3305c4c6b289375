"""What passes by itself, or by a person's hand: a locked gradebook, a full disk. The batch waits for it."""

import contextlib
import errno
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from nbgrader.api import InvalidEntry
from sqlalchemy.exc import DatabaseError
from tornado.log import app_log

__all__ = ["Stopped", "patiently"]

Result = TypeVar("Result")
MINUTES = 30.0
SECONDS_BETWEEN = 2.0
STAYS = "What is recorded stays; the same command goes on."
# What SQLite says of a file that no waiting mends, and what to do.
USELESS = {
    "readonly database": "Make the file and its folder writable.",
    "unable to open database": "See that its folder is there and can be written to.",
    "not a database": "Put it back from your backup.",
    "malformed": "Put it back from your backup.",
    "no such table": "Back it up, then run `nbgrader db upgrade`.",
    "no such column": "Back it up, then run `nbgrader db upgrade`.",
}


class Stopped(RuntimeError):
    """It did not pass. What is recorded stays."""


def patiently(act: Callable[[], Result], tell: Callable[[str], None], minutes: float = MINUTES) -> Result:
    """Do something that may be done twice, again and again while the gradebook is locked or the disk full.

    Args:
        act: what to do.
        tell: called once with what is waited for, in words.
        minutes: after which it gives up.

    Raises:
        Stopped: it has not passed in time, or the gradebook is such that waiting does not help.
        Exception: any other that `act` raises, at once.
    """
    end, told = time.monotonic() + 60 * minutes, ""
    while True:
        try:
            with _nbgrader_silent():
                return act()
        except (OSError, DatabaseError, InvalidEntry) as error:
            reason = _reason(error)
            if not reason:
                raise
            if time.monotonic() > end:
                raise Stopped(
                    f"{reason}, and after {minutes:.0f} minutes that has not changed. {STAYS}"
                ) from error
            if told != reason:
                tell(f"{reason}. Waiting.")
                told = reason
            time.sleep(SECONDS_BETWEEN)


def _reason(error: Exception) -> str:
    """In words; empty where neither waiting helps nor stopping.

    Raises:
        Stopped: the gradebook cannot be used at all.
    """
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return f"the disk has no room for {error.filename or 'what is written'}" if full else ""
    # nbgrader sometimes wraps what SQLite says into an error of its own
    said = str(error).partition("\n")[0]
    if "database is locked" in said:
        return "another program holds the gradebook locked"
    if "disk is full" in said or "disk I/O" in said:
        return "the disk has no room for the gradebook"
    for words, remedy in USELESS.items():
        if words in said:
            raise Stopped(f"the gradebook cannot be used: {said}. {remedy} {STAYS}") from error
    return ""


@contextlib.contextmanager
def _nbgrader_silent() -> Iterator[None]:
    """It logs a traceback of each error that it raises as well."""
    before, app_log.disabled = app_log.disabled, True
    try:
        yield
    finally:
        app_log.disabled = before
