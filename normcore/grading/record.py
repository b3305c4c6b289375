"""Marks into nbgrader's gradebook, through nbgrader: one writer, and no old mark survives."""

import datetime
import hashlib
import json
import shutil
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook
from nbgrader.preprocessors import AssignLatePenalties, SaveAutoGrades

from normcore.grading.course import Course
from normcore.grading.grade import RIGHT, Graded
from normcore.grading.page import autograded

__all__ = ["account", "kept", "penalize", "points", "record"]


def account(graded: Graded) -> dict:
    """What is kept with the marks."""
    tasks = {name: {"outcome": t.outcome, "mistakes": list(t.mistakes)} for name, t in graded.tasks.items()}
    return {
        "student": graded.student,
        "tasks": tasks,
        "refused": graded.refused,
        "notes": list(graded.notes),
        "attention": graded.attention,
        **graded.provenance,
    }


def kept(course: Course, student: str, assignment: str) -> dict | None:
    """What was kept with the marks; None where nothing was, or nothing that can be read."""
    try:
        return json.loads(course.provenance(student, assignment).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def points(graded: Graded, release: nbformat.NotebookNode) -> dict[str, float]:
    """By the check's cell, what its verdict is worth."""
    return {
        cell.id: float(cell.metadata.nbgrader.points) * (graded.tasks[task].outcome == RIGHT)
        for cell in release.cells
        if (task := cell.id.removesuffix("-check")) in graded.tasks
        and cell.metadata.get("nbgrader", {}).get("grade")
    }


def record(
    graded: Graded,
    release: nbformat.NotebookNode,
    assignment: str,
    course: Course,
    timestamp: datetime.datetime | None = None,
) -> None:
    """Write a submission's marks, its autograded notebook and its provenance.

    Where the failure is ours, old marks are taken away, and every task waits for a person. Interrupted at any
    point, it can be done again: while there is no provenance, a submission does not count as graded.

    Args:
        graded: the submission.
        release: what learners were given.
        assignment: such as "ps02".
        course: whose gradebook has the assignment.
        timestamp: when it was handed in, UTC.
    """
    student = graded.student
    provenance = course.provenance(student, assignment)
    provenance.unlink(missing_ok=True)
    target = course.autograded(student, assignment)
    for old in (course.feedback(student, assignment), target.parent):
        if old.is_dir():  # by nbgrader it may be write-protected, and have files that the learner sent
            shutil.rmtree(old)
    with Gradebook(course.db_url, course.course_id) as gradebook:
        gradebook.update_or_create_student(student)
        submission = gradebook.update_or_create_submission(assignment, student, timestamp=timestamp)
        for notebook in submission.notebooks:
            for grade in notebook.grades:
                grade.auto_score = None
                grade.needs_manual_grade = True
        gradebook.db.commit()
    if graded.failed:
        return
    notebook = autograded(graded, release)
    text = nbformat.writes(notebook) + "\n"
    _write_whole(target, text)
    SaveAutoGrades(config=course.config).preprocess(notebook, _resources(course, student, assignment))
    _penalize(course, student, assignment)
    shown = {"notebook": hashlib.sha256(text.encode()).hexdigest()}
    _write_whole(provenance, json.dumps(account(graded) | shown, indent=1) + "\n")


def penalize(course: Course, student: str, assignment: str, timestamp: datetime.datetime | None) -> None:
    """Late or not, by nbgrader's plugin and the due date of now; the marks stay as they are."""
    with Gradebook(course.db_url, course.course_id) as gradebook:
        gradebook.update_or_create_submission(assignment, student, timestamp=timestamp)
    _penalize(course, student, assignment)


def _penalize(course: Course, student: str, assignment: str) -> None:
    nothing = nbformat.v4.new_notebook()
    AssignLatePenalties(config=course.config).preprocess(nothing, _resources(course, student, assignment))


def _resources(course: Course, student: str, assignment: str) -> dict:
    """What nbgrader's preprocessors want to know."""
    return {
        "nbgrader": {
            "notebook": assignment,
            "assignment": assignment,
            "student": student,
            "db_url": course.db_url,
        }
    }


def _write_whole(path: Path, text: str) -> None:
    """It is there in full, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_suffix(".tmp")
    whole.write_text(text, "utf-8")
    whole.replace(path)
