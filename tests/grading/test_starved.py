"""Whoever was stopped without having had the processor is graded once more, alone, and loses nothing."""

import time
from dataclasses import replace

import pytest

from normcore.grading import batch
from normcore.grading.batch import grade_all
from normcore.grading.grade import MISBEHAVED, TaskVerdict
from tests.grading.courses import everybody_is_right, hand_in, make, marks, points

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
STUDENTS = ["anna", "bo", "zoe"]


@pytest.fixture
def course(tmp_path, monkeypatch):
    everybody_is_right(monkeypatch)
    course = make(tmp_path / "course")
    for student in STUDENTS:
        hand_in(course, student)
    return course


def starve(monkeypatch, whom, times, seconds=0.0):
    """So many times each of them waits for its neighbours, until it is stopped; who was graded, in order."""
    calls, real = [], batch.grade

    def grade(student, *arguments):
        calls.append(student)
        time.sleep(seconds)
        graded = real(student, *arguments)
        if student not in whom or calls.count(student) > times:
            return graded
        stopped = {task: TaskVerdict(MISBEHAVED, f"{task}: stopped") for task in graded.tasks}
        return replace(graded, tasks=stopped, starved=True)

    monkeypatch.setattr(batch, "grade", grade)
    return calls


def test_it_is_graded_again_after_all_others(course, monkeypatch):
    calls = starve(monkeypatch, ["anna"], times=1, seconds=0.3)
    reported = []
    summary = grade_all(course, "ps02", workers=1, report=lambda g, *_: reported.append(g.student))
    assert calls == [*STUDENTS, "anna"] and reported == ["bo", "zoe", "anna"] and summary.graded == 3
    assert [sum(marks(course, student).values()) for student in STUDENTS] == 3 * [points()]


def test_what_only_sleeps_costs_its_own_points_and_twice_the_time_at_most(course, monkeypatch):
    calls = starve(monkeypatch, STUDENTS, times=9, seconds=0.3)
    start = time.monotonic()
    grade_all(course, "ps02", workers=1)
    assert calls[:3] == STUDENTS and 4 <= len(calls) <= 6 and time.monotonic() - start < 60
    assert [sum(marks(course, student).values()) for student in STUDENTS] == 3 * [0]
    assert grade_all(course, "ps02", workers=1).skipped == 3
