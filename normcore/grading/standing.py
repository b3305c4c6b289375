"""Which marks stand: the gradebook and the autograded notebook are still what was recorded."""

import datetime
import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from nbgrader.api import (
    Assignment,
    BaseCell,
    Grade,
    Gradebook,
    Student,
    SubmittedAssignment,
    SubmittedNotebook,
)
from sqlalchemy import select

from normcore.grading.course import Course

__all__ = ["Standing", "standings", "stands"]

FEW = 100


@dataclass(frozen=True)
class Standing:
    """What the gradebook has of one submission.

    Attributes:
        student: whose.
        timestamp: when it was handed in, UTC.
        late: after the due date of now, or penalized.
        points: by cell, what was given automatically.
    """

    student: str
    timestamp: datetime.datetime | None
    late: bool
    points: dict[str, float | None]


def standings(course: Course, assignment: str, students: Collection[str]) -> Iterator[Standing]:
    """Of these students' submissions that are in the gradebook, one after the other."""
    columns = (
        Student.id,
        SubmittedAssignment.timestamp,
        SubmittedAssignment.extension,
        Assignment.duedate,
        SubmittedNotebook.late_submission_penalty,
        BaseCell.name,
        Grade.auto_score,
    )
    query = (
        select(*columns)
        .join(SubmittedAssignment, SubmittedAssignment.student_id == Student.id)
        .join(Assignment, Assignment.id == SubmittedAssignment.assignment_id)
        .join(SubmittedNotebook, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
        .join(Grade, Grade.notebook_id == SubmittedNotebook.id)
        .join(BaseCell, BaseCell.id == Grade.cell_id)
        .where(Assignment.name == assignment, Assignment.course_id == course.course_id)
        .order_by(Student.id)
    )
    if len(students) <= FEW:
        # a folder's name that is not UTF-8 is none that SQLite could hold
        query = query.where(Student.id.in_([s for s in students if s.encode(errors="ignore").decode() == s]))
    with Gradebook(course.db_url, course.course_id) as gradebook:
        rows = gradebook.db.execute(query.execution_options(yield_per=1000))
        for student, cells in groupby(rows, itemgetter(0)):
            if student not in students:
                continue
            cells = list(cells)
            _, timestamp, extension, due, penalty, _, _ = cells[0]
            if due is not None and extension is not None:
                due += extension
            late = bool(penalty) or (None not in (timestamp, due) and timestamp > due)
            yield Standing(student, timestamp, late, {cell[-2]: cell[-1] for cell in cells})


def stands(standing: Standing, kept: dict, autograded: Path) -> bool:
    """Whether another program has changed marks or notebook since they were recorded.

    Args:
        standing: of the gradebook.
        kept: with the marks.
        autograded: the notebook that formgrader shows.
    """
    given = kept.get("points")
    if not given or any(standing.points.get(cell) != points for cell, points in given.items()):
        return False
    try:
        return hashlib.sha256(autograded.read_bytes()).hexdigest() == kept.get("notebook")
    except OSError:
        return False
