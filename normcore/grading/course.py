"""A folder of submissions, graded in parallel: `normcore grade psNN`."""

import contextlib
import datetime
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.utils import parse_utc
from traitlets.config import Config, PyFileConfigLoader

from normcore.checks.audit import find_problem_set
from normcore.grading import cluster, sandbox
from normcore.grading.grade import Graded, grade, hash_of_checks
from normcore.grading.intake import hash_of, read
from normcore.grading.patience import patiently
from normcore.grading.record import account, record

__all__ = ["Course", "Regraded", "Summary", "grade_all", "regrade"]

TRIES = 3


@dataclass(frozen=True)
class Course:
    """Where a course keeps its things, as nbgrader_config.py has them.

    Attributes:
        root: the folder of nbgrader_config.py.
        course_id: in the gradebook.
    """

    root: Path
    course_id: str = "normcore"

    @property
    def db_url(self) -> str:
        return f"sqlite:///{self.root}/grading/gradebook.db"

    @property
    def autograded(self) -> Path:
        """Folder of the autograded notebooks: student/assignment."""
        return self.root / "grading" / "autograded"

    def submissions(self, assignment: str) -> dict[str, Path]:
        """By student, the file to grade: psNN.ipynb, or the only notebook that is there."""
        found = {}
        for folder in sorted((self.root / "grading" / "submitted").glob(f"*/{assignment}")):
            expected = folder / f"{assignment}.ipynb"
            others = sorted(p for p in folder.glob("*.ipynb") if not p.is_symlink())
            found[folder.parent.name] = (
                expected if expected.exists() or expected.is_symlink() or len(others) != 1 else others[0]
            )
        return found

    def release(self, assignment: str) -> nbformat.NotebookNode:
        """What learners were given; made, and put into the gradebook, where it is missing there."""
        released = self.root / "grading" / "release" / assignment / f"{assignment}.ipynb"
        with Gradebook(self.db_url, self.course_id) as gradebook:
            try:
                gradebook.find_assignment(assignment)
                known = True
            except MissingEntry:
                known = False
        if not known or not released.is_file():
            # nbgrader runs `alembic` by name, which lies beside this Python
            beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
            subprocess.run(
                [sys.executable, "-m", "nbgrader", "generate_assignment", assignment, "--create", "--force",
                 "--CourseDirectory.release_directory=grading/release"],
                cwd=self.root, env={**os.environ, "PATH": beside}, check=True, capture_output=True,
            )  # fmt: skip
        return nbformat.read(released, as_version=4)

    def config(self) -> Config:
        """nbgrader's, of this course: penalties for late submissions are set there."""
        path = self.root / "nbgrader_config.py"
        return PyFileConfigLoader(path.name, str(self.root)).load_config() if path.is_file() else Config()

    def secret(self) -> bytes:
        """The seed of all hidden cases, made once; whoever has it knows them."""
        path = self.root / "grading" / "secret"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(32), "ascii")
        return bytes.fromhex(path.read_text("ascii"))


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
    limits: sandbox.Limits | None = None,
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
        ValueError: no such problem set, no submission, or a student without one.
    """
    if scheduler is None:
        sandbox.check(trusted)
    submissions = _submissions(course, assignment, students)
    (course.root / "grading").mkdir(exist_ok=True)
    release = patiently(lambda: course.release(assignment), tell)
    secret, folder, config = course.secret(), course.autograded, course.config()
    summary = Summary()
    todo = {}
    for student, path in submissions.items():
        before = _account(folder / student / assignment)
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
            gradebook = (folder, course.db_url, course.course_id)
            patiently(partial(record, graded, release, assignment, *gradebook, timestamp, config), tell)
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
    limits: sandbox.Limits | None = None,
) -> Regraded:
    """Grade a recorded submission once more, on the same cases, and record nothing.

    Raises:
        SandboxMissing: no sandbox, and submissions are not trusted.
        ValueError: no such problem set, no submission, or one that was never graded.
    """
    sandbox.check(trusted)
    path = _submissions(course, assignment, [student])[student]
    before = _account(course.autograded / student / assignment)
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


def _account(folder: Path) -> dict | None:
    """What was kept with the marks; None where nothing was, or nothing that can be read."""
    try:
        return json.loads((folder / "provenance.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
