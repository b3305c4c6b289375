"""Courses for tests of what happens around the sandbox: everybody is right, and nothing is run."""

import hashlib
import shutil
from functools import cache
from importlib.metadata import version

import nbformat
from filelock import FileLock
from nbgrader.api import Gradebook

from normcore.checks.catalogue import find_problem_set
from normcore.grading import batch
from normcore.grading.course import Course
from normcore.grading.grade import RIGHT, WRONG, Graded, TaskVerdict, hash_of_checks
from tests.commands import ROOT


def points(assignment="ps02"):
    """Of all tasks that are checked."""
    cells = nbformat.read(ROOT / f"exercises/{assignment}/{assignment}.ipynb", as_version=4).cells
    marks = [cell.metadata["nbgrader"] for cell in cells]
    return sum(m["points"] for m in marks if m["grade"] and not m["solution"])


def make(root, assignment="ps02"):
    """A course with one problem set, released, and nobody in it."""
    shutil.copytree(_released(assignment), root, dirs_exist_ok=True)
    return Course(root)


def make_unreleased(root, assignment="ps02"):
    """The same before anybody has released or graded anything."""
    root.mkdir(exist_ok=True)
    shutil.copy(ROOT / "nbgrader_config.py", root)
    shutil.copytree(ROOT / f"solutions/{assignment}", root / f"solutions/{assignment}")
    return Course(root)


@cache
def _released(assignment):
    """Made once for all tests and processes: nbgrader takes seconds for it."""
    own = [ROOT / "nbgrader_config.py", *(ROOT / "normcore/grading").glob("*.py")]
    files = sorted([*own, *(ROOT / f"solutions/{assignment}").rglob("*")])
    made_of = version("nbgrader").encode() + b"".join(f.read_bytes() for f in files if f.is_file())
    folder = ROOT / "_build/released" / f"{assignment}-{hashlib.sha256(made_of).hexdigest()[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            make_unreleased(unfinished, assignment).release(assignment)
            unfinished.rename(folder)
    return folder


def hand_in(course, student, assignment="ps02", name=None, changes=None):
    """The official solution with changed cells; returns the file."""
    notebook = nbformat.read(ROOT / f"solutions/{assignment}/{assignment}.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.source = (changes or {}).get(cell.id, cell.source)
    path = course.submitted(student, assignment) / (name or f"{assignment}.ipynb")
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def everybody_is_right(monkeypatch, calls=None):
    """In place of the sandbox: whatever can be read is right."""

    def grade(student, taken, release, name, *_):
        if calls is not None:
            calls.append(student)
        outcome = WRONG if taken.refused else RIGHT
        verdicts = {
            task: TaskVerdict(outcome, taken.refused or "right") for task in find_problem_set(name).checks
        }
        provenance = {"submission": taken.hash, "checks": hash_of_checks(name)}
        return Graded(student, verdicts, taken.sources, taken.refused, taken.notes, provenance)

    monkeypatch.setattr(batch, "grade", grade)
    monkeypatch.setattr(batch.bubblewrap, "check", lambda *_: None)


def marks(course, student, assignment="ps02"):
    """By task; None where the gradebook knows no such submission."""
    with Gradebook(course.db_url, course.course_id) as gradebook:
        found = [s for s in gradebook.assignment_submissions(assignment) if s.student.id == student]
        return {
            g.name: g.auto_score for s in found for n in s.notebooks for g in n.grades if g.name != "bias"
        }
