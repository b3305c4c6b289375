"""A submission's folder, as collecting has left it: which file is read, and when it was handed in."""

import datetime
from pathlib import Path

import nbformat
from nbgrader.utils import parse_utc

from normcore.grading.intake import Intake, hash_of, read

__all__ = ["Unreadable", "handed_in", "notebook_hash", "take"]

MAX_DATE = 100


class Unreadable(RuntimeError):
    """This machine cannot read it: nobody's mistake but ours."""


def take(folder: Path, release: nbformat.NotebookNode) -> Intake:
    """What is taken from a submission: from psNN.ipynb, or from the only notebook that is there.

    Args:
        folder: of one student's submission, such as submitted/anna/ps02.
        release: what learners were given.

    Raises:
        Unreadable: the file system refuses; says why.
    """
    try:
        folder.parent.name.encode()
    except UnicodeEncodeError:
        raise Unreadable(
            "the folder's name is not UTF-8, so no gradebook can hold it; rename the folder"
        ) from None
    if folder.is_symlink() or folder.parent.is_symlink():
        return Intake(refused="The folder is a link; hand in the notebook itself.")
    try:
        path = _notebook(folder)
        if path is None:
            others = ", ".join(sorted(p.name for p in _notebooks(folder)))
            return Intake(
                refused=f"No notebook is called {folder.name}.ipynb, and there is more than one: {others}. "
                f"Hand in {folder.name}.ipynb alone."
            )
        if path.is_file() and not path.is_symlink():
            open(path, "rb").close()  # what this machine may not open costs nobody points
        return read(path, release)
    except OSError as error:
        raise Unreadable(f"{error.filename or folder} cannot be read: {error.strerror}") from error


def notebook_hash(folder: Path) -> str:
    """SHA-256 of the file that `take` reads; empty where there is none that it would look into."""
    try:
        path = _notebook(folder)
        return hash_of(path) if path else ""
    except OSError:
        return ""


def _notebook(folder: Path) -> Path | None:
    """None where there are several to choose from."""
    expected, others = folder / f"{folder.name}.ipynb", _notebooks(folder)
    if expected.exists() or expected.is_symlink() or not others:
        return expected
    return others[0] if len(others) == 1 else None


def _notebooks(folder: Path) -> list[Path]:
    return [p for p in folder.glob("*.ipynb") if not p.is_symlink()]


def handed_in(folder: Path) -> tuple[datetime.datetime | None, str]:
    """When a submission was handed in, in UTC, as nbgrader's collecting writes it into timestamp.txt.

    A file that holds no date is put aside: over it, formgrader's list fails for the whole class.

    Returns:
        The time, and a sentence where something was wrong; None where there is no time, so that it counts as
        in time.
    """
    path = folder / "timestamp.txt"
    if not path.exists() and not path.is_symlink():
        return None, ""
    text = ""
    if path.is_file() and not path.is_symlink():
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read(MAX_DATE + 1)
        except OSError as error:
            return None, f"timestamp.txt cannot be read ({error.strerror}): it counts as handed in in time."
        try:
            if len(text) <= MAX_DATE:
                when = parse_utc(text.strip())
                when.strftime("%c")
                return when, ""
        except Exception:  # dateutil raises whatever its parser meets
            pass
    said = f"timestamp.txt holds no date, but {text[:40]!r}: it counts as handed in in time."
    aside = folder / "timestamp.txt.unread"
    try:
        path.replace(aside)
    except OSError:
        return None, f"{said} Remove it: formgrader's list of submissions fails over it."
    return None, f"{said} The file is now called {aside.name}."
