"""A folder of submissions, graded in parallel: `normcore grade psNN`."""

import contextlib
import datetime
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from nbgrader.utils import parse_utc

from normcore.checks.catalogue import find_problem_set
from normcore.grading import bubblewrap, cluster
from normcore.grading.course import Course
from normcore.grading.grade import Graded, grade, hash_of_checks
from normcore.grading.intake import hash_of, read
from normcore.grading.limits import Limits
from normcore.grading.patience import patiently
from normcore.grading.record import account, record

__all__ = ["Regraded", "Summary", "grade_all", "regrade"]

TRIES = 3


@dataclass
class Summary:
    """What came of a run.

    Attributes:
        graded: submissions with marks; of these
        refused: those whose file could not be read.
        failed: those that we failed to grade, after every try; they have no marks.
        skipped: those graded before, unchanged since; of these
        outdated: those graded by other checks than today's.
    """

    graded: int = 0
    refused: int = 0
    failed: int = 0
    skipped: int = 0
    outdated: int = 0


def grade_all(
    course: Course,
    assignment: str,
    students: list[str] | None = None,
    workers: int | None = None,
    trusted: bool = False,
    again: bool = False,
    scheduler: str | None = None,
    limits: Limits | None = None,
    report: Callable[[Graded, int, int], None] = lambda graded, done, total: None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Summary:
    """Grade every submission to an assignment, and record the marks.

    Args:
        course: the course.
        assignment: such as "ps02".
        students: only these.
        workers: at the same time, where no scheduler is given; one a core by default.
        trusted: run submissions without a sandbox.
        again: grade those, too, that were graded before and have not changed.
        scheduler: address of a Dask scheduler; by default a cluster of this machine's cores is started.
        limits: of each submission.
        report: called with each submission once its marks are recorded, how many are, and how many will be.
        tell: called with a sentence while it waits for a locked gradebook or a full disk.

    Raises:
        SandboxMissing: no sandbox, and submissions are not trusted.
        ClusterMissing: no scheduler, or no longer.
        Stopped: the gradebook stayed locked, or the disk full.
        ValueError: no such problem set, no submission, or a student without one; fewer than one worker.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, but it is {workers}")
    if scheduler is None:
        bubblewrap.check(trusted, course.root)
    submissions = _submissions(course, assignment, students)
    (course.root / "grading").mkdir(exist_ok=True)
    release = patiently(lambda: course.release(assignment), tell)
    secret, config = course.secret(), course.config()
    summary = Summary()
    todo = {}
    for student, path in submissions.items():
        before = _account(course.provenance(student, assignment))
        if not again and before and before["submission"] and before["submission"] == hash_of(path):
            summary.skipped += 1
            summary.outdated += before.get("checks") != hash_of_checks(assignment)
        else:
            todo[student] = path
    # read as there is room for them: memory does not grow with the number of submissions
    jobs = (
        (student, read(path, release), release, assignment, secret, limits, trusted)
        for student, path in todo.items()
    )
    if scheduler is None and (len(todo) < 2 or workers == 1):
        results = (_grade(*job) for job in jobs)
    else:
        results = cluster.run(_grade, jobs, workers or os.cpu_count() or 1, scheduler, trusted)
    with contextlib.closing(results):
        for graded in results:
            timestamp, graded = _handed_in(submissions[graded.student].with_name("timestamp.txt"), graded)
            patiently(partial(record, graded, release, assignment, course, timestamp, config), tell)
            summary.graded += not graded.failed
            summary.failed += graded.failed
            summary.refused += bool(graded.refused)
            report(graded, summary.graded + summary.failed, len(todo))
    return summary


@dataclass(frozen=True)
class Regraded:
    """A submission graded once more, beside the record.

    Attributes:
        before, now: outcomes by task.
        changed: what differs from then, in words; where it is empty, so is the difference of the outcomes.
    """

    before: dict[str, str]
    now: dict[str, str]
    changed: tuple[str, ...]


def regrade(
    course: Course,
    assignment: str,
    student: str,
    trusted: bool = False,
    limits: Limits | None = None,
) -> Regraded:
    """Grade a recorded submission once more, on the same cases, and record nothing.

    Raises:
        SandboxMissing: no sandbox, and submissions are not trusted.
        ValueError: no such problem set, no submission, or one that was never graded.
    """
    bubblewrap.check(trusted, course.root)
    path = _submissions(course, assignment, [student])[student]
    before = _account(course.provenance(student, assignment))
    if before is None:
        raise ValueError(f"{student} has no mark from `normcore grade {assignment}`")
    release = course.release(assignment)
    graded = _grade(student, read(path, release), release, assignment, course.secret(), limits, trusted)
    now = account(graded)
    words = {
        "submission": "the submitted file is another",
        "checks": "the checks are others",
        "environment": "Python, torch or another package has changed",
        "seeds": "the course's secret is another, so the cases are",
    }
    if before.get("submission") != now["submission"]:
        del words["seeds"]  # the cases are another file's
    changed = tuple(sentence for key, sentence in words.items() if before.get(key) != now[key])
    outcomes = [{name: task["outcome"] for name, task in kept["tasks"].items()} for kept in (before, now)]
    return Regraded(*outcomes, changed)


def _submissions(course: Course, assignment: str, students: list[str] | None) -> dict[str, Path]:
    find_problem_set(assignment)  # a name that is none is said before anything is made
    submissions = course.submissions(assignment)
    if students:
        if missing := sorted(set(students) - submissions.keys()):
            raise ValueError(f"no submission to {assignment} by: {', '.join(missing)}")
        submissions = {s: submissions[s] for s in students}
    if not submissions:
        raise ValueError(
            f"no submissions to {assignment}: they belong in grading/submitted/STUDENT/{assignment}/"
        )
    return submissions


def _handed_in(path: Path, graded: Graded) -> tuple[datetime.datetime | None, Graded]:
    """When, as nbgrader's collecting writes it; a text that is no date is told, and counts as none."""
    if not path.is_file():
        return None, graded
    text = path.read_text("utf-8", errors="replace").strip()
    try:
        return parse_utc(text), graded
    except (ValueError, OverflowError):
        note = f"timestamp.txt holds no date, but {text[:40]!r}: it counts as handed in in time."
        return None, replace(graded, notes=(*graded.notes, note))


def _grade(student: str, *arguments) -> Graded:
    """Graded; where the failure is ours, tried again, and in the end said so."""
    for _ in range(TRIES):
        graded = grade(student, *arguments)
        if not graded.failed:
            break
    return graded


def _account(provenance: Path) -> dict | None:
    """What was kept with the marks; None where nothing was, or nothing that can be read."""
    try:
        return json.loads(provenance.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
