"""A folder of submissions, graded in parallel: `normcore grade psNN`."""

import contextlib
import secrets
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import nbformat

from normcore.checks.catalogue import find_problem_set
from normcore.grading import bubblewrap, cluster
from normcore.grading.course import Course
from normcore.grading.grade import OURS, Graded, TaskVerdict, grade, hash_of_checks
from normcore.grading.limits import Limits, cores
from normcore.grading.record import account, kept, penalize, points, record
from normcore.grading.retry import Stopped, patiently
from normcore.grading.standing import Standing, standings, stands
from normcore.grading.submission import Unreadable, handed_in, notebook_hash, take

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
        outdated: those graded by other checks than today's, and
        dated: those whose time or penalty for lateness was looked at again.
    """

    graded: int = 0
    refused: int = 0
    failed: int = 0
    skipped: int = 0
    outdated: int = 0
    dated: int = 0


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
        Stopped: the gradebook stayed locked, or the disk full; or the gradebook cannot be used.
        ValueError: no such problem set, no submission, or a student without one; fewer than one worker; a
            secret that is damaged or gone.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, but it is {workers}")
    if scheduler is None:
        bubblewrap.check(trusted, course.root)
    folders = _folders(course, assignment, students)
    release = patiently(lambda: course.release(assignment), tell)
    _same_tasks(assignment, release)
    secret = patiently(course.secret, tell)
    run, goes_on = patiently(lambda: _run(course, assignment, again and not students), tell)
    summary, done = Summary(), set()
    if not again or goes_on:
        same = patiently(lambda: _unchanged(course, assignment, folders, run if goes_on else None), tell)
        for standing, outdated in same:
            done.add(standing.student)
            summary.outdated += outdated
            summary.dated += _dated(course, assignment, standing, folders[standing.student], tell)
    summary.skipped = len(done)
    todo = [student for student in folders if student not in done]
    if goes_on:
        tell(
            f"--again was interrupted before and goes on: {len(done)} are graded anew, {len(todo)} are left. "
            f"To begin with the first, remove {course.again(assignment)}."
        )
    unread: list[Graded] = []

    def jobs(students: Sequence[str]) -> Iterator[tuple]:
        """Read as there is room for them: memory does not grow with the number of submissions."""
        for student in students:
            try:
                taken = take(folders[student], release)
            except Unreadable as error:
                unread.append(_failure(student, str(error)))
            else:
                yield student, taken, release, assignment, secret, limits, trusted

    def run_all(students: Sequence[str], workers: int | None) -> Generator[Graded, None, None]:
        if scheduler is None and (len(students) < 2 or workers == 1):
            return (_grade(*job) for job in jobs(students))
        return cluster.run(_grade, jobs(students), workers or cores(), scheduler, trusted)

    with contextlib.closing(_starved_again(run_all, todo, workers)) as results:
        for graded in chain(results, unread):
            more = {"run": run, "points": points(graded, release)}
            graded = replace(graded, provenance=graded.provenance | more)
            graded = _recorded(graded, folders[graded.student], release, assignment, course, tell)
            summary.graded += not graded.failed
            summary.failed += graded.failed
            summary.refused += bool(graded.refused)
            report(graded, summary.graded + summary.failed, len(todo))
    if again and not students:
        course.again(assignment).unlink(missing_ok=True)
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
    folder = _folders(course, assignment, [student])[student]
    before = kept(course, student, assignment)
    if before is None:
        raise ValueError(f"{student} has no mark from `normcore grade {assignment}`")
    release = course.release(assignment)
    try:
        taken = take(folder, release)
    except Unreadable as error:
        raise ValueError(f"{student}: {error}") from error
    graded = _grade(student, taken, release, assignment, course.secret(), limits, trusted)
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
    then, today = (
        {name: task["outcome"] for name, task in found["tasks"].items()} for found in (before, now)
    )
    return Regraded(then, today, changed)


def _folders(course: Course, assignment: str, students: list[str] | None) -> dict[str, Path]:
    find_problem_set(assignment)  # a name that is none is said before anything is made
    folders = course.submissions(assignment)
    if students:
        if missing := sorted(set(students) - folders.keys()):
            raise ValueError(f"no submission to {assignment} by: {', '.join(missing)}")
        folders = {s: folders[s] for s in students}
    if not folders:
        place = course.submitted("STUDENT", assignment)
        raise ValueError(f"no submissions to {assignment}: they belong in {place}")
    return folders


def _same_tasks(assignment: str, release: nbformat.NotebookNode) -> None:
    asked = {
        cell.id.removesuffix("-check")
        for cell in release.cells
        if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade")
    }
    if unknown := sorted(asked - find_problem_set(assignment).checks.keys()):
        raise ValueError(
            f"the release of {assignment} asks for {', '.join(unknown)}, but no check of that name is here: "
            "package and notebook are of different versions"
        )


def _run(course: Course, assignment: str, everybody: bool) -> tuple[str, bool]:
    """A name for this run, and whether it is an --again that was interrupted."""
    run, marker = secrets.token_hex(8), course.again(assignment)
    if everybody:
        if marker.exists() and (begun := marker.read_text("utf-8").strip()):
            return begun, True
        marker.write_text(run, "utf-8")
    return run, False


def _unchanged(
    course: Course, assignment: str, folders: dict[str, Path], run: str | None
) -> list[tuple[Standing, bool]]:
    """Submissions that need no grading, and whether other checks than today's gave their marks.

    Where a run is given, only those that it has graded.
    """
    checks, found = hash_of_checks(assignment), []
    for standing in standings(course, assignment, folders):
        student = standing.student
        before = kept(course, student, assignment)
        if (
            before
            and before.get("submission")
            and (run is None or (before.get("run"), before.get("checks")) == (run, checks))
            and stands(standing, before, course.autograded(student, assignment))
            and before["submission"] == notebook_hash(folders[student])
        ):
            found.append((standing, before.get("checks") != checks))
    return found


def _dated(
    course: Course, assignment: str, standing: Standing, folder: Path, tell: Callable[[str], None]
) -> bool:
    """An unchanged submission: whether its time or penalty was to be looked at again."""
    when, note = handed_in(folder)
    if note:
        tell(f"{standing.student}: {note}")
    if when == standing.timestamp and not standing.late:
        return False
    try:
        patiently(partial(penalize, course, standing.student, assignment, when), tell)
    except Stopped:
        raise
    except Exception as error:  # a course's own plugin; the others' marks do not wait for it
        tell(f"{standing.student}: the penalty could not be looked at again: {type(error).__name__}: {error}")
        return False
    return True


def _recorded(
    graded: Graded,
    folder: Path,
    release: nbformat.NotebookNode,
    assignment: str,
    course: Course,
    tell: Callable[[str], None],
) -> Graded:
    """As it stands in the gradebook now: what goes wrong with one submission is not the others' trouble."""
    try:
        when, note = handed_in(folder)
        if note:
            graded = replace(graded, notes=(*graded.notes, note))
        patiently(partial(record, graded, release, assignment, course, when), tell)
    except Stopped:
        raise
    except Exception as error:
        if not graded.failed:
            return _failure(graded.student, f"it could not be recorded: {type(error).__name__}: {error}")
    return graded


def _starved_again(
    run_all: Callable[[Sequence[str], int | None], Generator[Graded, None, None]],
    students: Sequence[str],
    workers: int | None,
) -> Generator[Graded, None, None]:
    """All of them graded; those that waited for the processor once more at the end, one after the other.

    What sleeps looks the same: the second time ends when it has taken as long as the first.
    """
    start, starved = time.monotonic(), {}
    with contextlib.closing(run_all(students, workers)) as results:
        for graded in results:
            if graded.starved:
                starved[graded.student] = graded
            else:
                yield graded
    end = 2 * time.monotonic() - start
    for student, first in starved.items():
        graded = first
        if time.monotonic() < end:
            with contextlib.closing(run_all([student], 1)) as results:
                graded = next(results, first)
        yield first if graded.failed else graded


def _grade(student: str, *arguments) -> Graded:
    """Graded; where the failure is ours, tried again, and in the end said so."""
    for _ in range(TRIES):
        graded = grade(student, *arguments)
        if not graded.failed:
            break
    return graded


def _failure(student: str, why: str) -> Graded:
    return Graded(student, {"": TaskVerdict(OURS, why)}, {}, "", ())
