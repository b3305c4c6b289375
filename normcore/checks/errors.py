"""What a learner reads when their function raised: their own lines, without the course's or a library's."""

import linecache
import traceback
from collections import Counter

from normcore.checks.check import Case, Check
from normcore.inside.runner import SOURCE_NAME, OutputError

__all__ = ["explain"]

LINES_SHOWN = 6


def explain(check: Check, case: Case, error: BaseException, visible: bool = False) -> str:
    """The case, the lines that led to the error, and the error.

    Args:
        check, case: what was run.
        error: what it raised.
        visible: the learner may see the case's plain inputs.
    """
    head = [f"  in {case.describe(visible)}", *(f"  run as   {line}" for line in check.lines)]
    frames = _own(error)
    if isinstance(error, OutputError):
        end = "" if str(error).endswith("?") else "."
        return "\n".join([f"{check.name}: {error}{end}", *head])
    if isinstance(error, NotImplementedError) and not str(error):
        return _unwritten(check, frames[-1][0] if frames else check.name)
    lines = _few([f"  line {number} of {name}: {text}" for name, number, text in frames])
    if isinstance(error, KeyboardInterrupt):
        return "\n".join([f"{check.name} was interrupted.", head[0], *lines[-2:]])
    if isinstance(error, RecursionError):
        head = head[:1]  # how it was called matters less than that it calls itself
    if isinstance(error, SystemExit):
        return "\n".join([f"{check.name} ended the program with exit(). Return the result.", *head, *lines])
    return "\n".join(
        [f"{check.name} raised an error.", *head, *lines, f"{type(error).__name__}: {error}".rstrip(": ")]
    )


def _unwritten(check: Check, name: str) -> str:
    what = f"{name}: not written yet"
    if name not in (check.name, f"{check.name}.__init__") and not name.startswith(f"{check.name}."):
        what = f"{check.name}: it calls {name}, which is not written yet"
    return f"{what}. Replace the line `raise NotImplementedError()`."


def _own(error: BaseException) -> list[tuple[str, int, str]]:
    """Name, line number and line of each of the learner's frames, outermost first."""
    found = []
    for frame, number in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        module = str(frame.f_globals.get("__name__"))
        if code.co_filename == SOURCE_NAME or module.startswith("normcore."):
            continue
        if "site-packages" in code.co_filename or module.split(".")[0] == "torch":
            continue
        # Python 3.10 has no qualified names of code
        name = getattr(code, "co_qualname", code.co_name).rpartition("<locals>.")[2]
        text = linecache.getline(code.co_filename, number, frame.f_globals).strip()
        found.append((name, number, text))
    return found


def _few(lines: list[str]) -> list[str]:
    """Endless recursion is the same line, or the same few, a thousand times."""
    lines = [f"{line} ({times} times)" if times > 1 else line for line, times in Counter(lines).items()]
    if len(lines) <= LINES_SHOWN:
        return lines
    half = LINES_SHOWN // 2
    return [*lines[:half], f"  … {len(lines) - LINES_SHOWN} more …", *lines[-half:]]
