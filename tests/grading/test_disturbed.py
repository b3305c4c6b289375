"""A batch, disturbed in the middle: every mark is that of the undisturbed run."""

import contextlib
import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from functools import partial

import pytest
from nbgrader.api import Gradebook

from normcore.grading import batch, bubblewrap
from normcore.grading.batch import grade_all
from normcore.grading.cluster import ClusterMissing
from normcore.grading.course import Course
from normcore.grading.limits import Limits
from normcore.grading.retry import Stopped, patiently
from tests.grading import corpus, sandboxed
from tests.grading.courses import make
from tests.grading.test_course import POINTS, UNBIASED, WITHOUT_NORMALIZE, submit

pytestmark = sandboxed
COUNT = 20
HALF = 10
LOCKED = 60  # seconds: SQLite itself waits for five, so that a lock outlives several tries
LIMITS = Limits(seconds=60, task_seconds=10)
# every tenth is right, and these are not
KINDS = {
    1: {"normalize": UNBIASED},
    4: {"normalize": corpus.ESCAPES["kills-everybody"]},
    6: {"hidden_layer": "raise SystemExit(0)"},
    8: {"normalize": corpus.ESCAPES["floods-every-channel"]},
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder before anybody has graded, and the marks."""
    before = tmp_path_factory.mktemp("before")
    course = make(before)
    for number in range(COUNT):
        submit(before, f"s{number:03}", KINDS.get(number % 10, {}))
    course.secret()  # the same cases in every run
    after = Course(shutil.copytree(before, tmp_path_factory.mktemp("after") / "course"))
    assert grade_all(after, "ps02", workers=2, limits=LIMITS).graded == COUNT
    expected = marks(after)
    full, alone = sum(POINTS.values()), sum(WITHOUT_NORMALIZE.values())
    assert {sum(m.values()) for m in expected.values()} == {full, full - 2, alone, 0}
    return before, expected


@pytest.fixture
def course(undisturbed, tmp_path):
    shutil.copytree(undisturbed[0], tmp_path / "course")
    return Course(tmp_path / "course")


def marks(course):
    """Of every student and task, from the gradebook; no task of theirs waits for us."""
    with Gradebook(course.db_url) as gradebook:
        return {
            submission.student.id: {
                g.name: g.auto_score for n in submission.notebooks for g in n.grades if g.name != "bias"
            }
            for submission in gradebook.assignment_submissions("ps02")
        }


def once(number, act):
    """A report that acts after so many marks."""
    return lambda graded, done, total: act() if done == number else None


@contextlib.contextmanager
def cluster(folder, **environment):
    """A scheduler and two workers without a nanny, each a process."""
    started = []
    folder.mkdir()

    def start(*arguments):
        command = [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]]
        with open(folder / f"dask-{len(started)}.log", "w") as log:
            env = {**os.environ, **environment}
            started.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=env))

    file = folder / "scheduler.json"
    start("dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    for _ in range(2):
        start("dask_worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--no-dashboard")
    for _ in range(300):
        if file.exists() and file.read_text():
            break
        time.sleep(0.1)
    try:
        yield json.loads(file.read_text())["address"], started
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_worker_is_killed(undisturbed, course, tmp_path):
    with cluster(tmp_path / "dask") as (address, (_, worker, other)):
        kill = once(HALF, lambda: os.kill(worker.pid, signal.SIGKILL))
        summary = grade_all(course, "ps02", scheduler=address, limits=LIMITS, report=kill)
        assert worker.wait(10) == -signal.SIGKILL and other.poll() is None
    assert summary.graded == COUNT and not summary.failed
    assert marks(course) == undisturbed[1]


def test_the_scheduler_is_killed_and_the_command_is_given_again(undisturbed, course, tmp_path):
    with cluster(tmp_path / "first") as (address, (scheduler, *_)):
        started = time.monotonic()
        with pytest.raises(ClusterMissing, match="has ended. What is recorded stays"):
            grade_all(course, "ps02", scheduler=address, limits=LIMITS, report=once(HALF, scheduler.kill))
        assert time.monotonic() - started < 120
    with cluster(tmp_path / "second") as (address, _):
        summary = grade_all(course, "ps02", scheduler=address, limits=LIMITS)
    assert summary.skipped >= HALF and summary.graded == COUNT - summary.skipped
    assert marks(course) == undisturbed[1]


def test_the_gradebook_is_locked_for_a_while(undisturbed, course):
    told = []

    def lock():
        connection = sqlite3.connect(course.root / "grading/gradebook.db", check_same_thread=False)
        connection.execute("BEGIN EXCLUSIVE")
        threading.Timer(LOCKED, connection.close).start()

    started = time.monotonic()
    summary = grade_all(
        course, "ps02", workers=2, limits=LIMITS, report=once(HALF, lock), tell=told.append
    )  # fmt: skip
    assert time.monotonic() - started > LOCKED
    assert told == ["another program holds the gradebook locked. Waiting."]
    assert summary.graded == COUNT and not summary.failed
    assert marks(course) == undisturbed[1]


def test_workers_without_a_sandbox_are_told_before_anything_is_run(course, tmp_path):
    refused = pytest.raises(bubblewrap.SandboxMissing, match="apt install bubblewrap")
    with cluster(tmp_path / "dask", PATH="/nowhere") as (address, _), refused:
        grade_all(course, "ps02", scheduler=address, limits=LIMITS)
    assert not course.provenance("s000", "ps02").exists()


@pytest.fixture
def small_disk(undisturbed, tmp_path):
    """The course on a file system of its own, which is soon full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here: " + mounted.stderr.decode().strip())
    try:
        shutil.copytree(undisturbed[0], disk / "course")
        yield Course(disk / "course")
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def fill(course):
    """Take all room; returns what gives it back."""
    ballast = course.root.parent / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        for size in (2**20, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size):
                    pass
    return ballast.unlink


def test_the_disk_is_full_for_a_while(undisturbed, small_disk):
    told, empty = [], []

    def tell(sentence):
        told.append(sentence)
        threading.Timer(5, empty.pop()).start()

    report = once(HALF, lambda: empty.append(fill(small_disk)))
    summary = grade_all(small_disk, "ps02", workers=2, limits=LIMITS, report=report, tell=tell)
    assert len(told) == 1 and "no room" in told[0]
    assert summary.graded == COUNT and not summary.failed
    assert marks(small_disk) == undisturbed[1]


def test_the_disk_stays_full_and_the_command_is_given_again(undisturbed, small_disk, monkeypatch):
    empty = []
    report = once(HALF, lambda: empty.append(fill(small_disk)))
    monkeypatch.setattr(batch, "patiently", partial(patiently, minutes=0.02))
    with pytest.raises(Stopped, match=r"no room .* What is recorded stays; the same command goes on"):
        grade_all(small_disk, "ps02", workers=2, limits=LIMITS, report=report)
    empty.pop()()
    summary = grade_all(small_disk, "ps02", workers=2, limits=LIMITS)
    assert summary.skipped == HALF and summary.graded == COUNT - HALF
    assert marks(small_disk) == undisturbed[1]


def test_other_errors_are_not_waited_for():
    def act():
        tried.append(1)
        raise error

    for error in (PermissionError(errno.EACCES, "no"), ValueError("no")):
        tried = []
        with pytest.raises(type(error)):
            patiently(act, tell=tried.append)
        assert tried == [1]
