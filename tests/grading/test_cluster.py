"""Grading on a Dask cluster of other processes, undisturbed and disturbed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from nbgrader.api import Gradebook

from normcore.__main__ import main
from normcore.grading import sandbox
from normcore.grading.course import Course, grade_all
from tests.commands import ROOT
from tests.grading import sandboxed
from tests.grading.test_course import POINTS, UNBIASED, submit

pytestmark = sandboxed
LIMITS = sandbox.Limits(seconds=60, task_seconds=10)
STUDENTS = 8


@pytest.fixture
def course(tmp_path):
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path)
    shutil.copytree(ROOT / "solutions/ps02", tmp_path / "solutions/ps02")
    for number in range(STUDENTS):
        submit(tmp_path, f"s{number:02}", {"normalize": UNBIASED} if number % 3 == 0 else {})
    return Course(tmp_path)


def marks(course):
    found = {}
    with Gradebook(course.db_url) as gradebook:
        for number in range(STUDENTS):
            (notebook,) = gradebook.find_submission("ps02", f"s{number:02}").notebooks
            found[number] = {g.name.removesuffix("-check"): g.auto_score for g in notebook.grades}
    return found


def expected():
    unbiased = dict.fromkeys(POINTS, 0) | {"identity_parameters": 2}
    return {n: (unbiased if n % 3 == 0 else POINTS) | {"bias": None} for n in range(STUDENTS)}


@pytest.fixture
def cluster(tmp_path):
    """A scheduler, and two workers without a nanny, each a process."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]]
        with open(tmp_path / f"dask-{len(started)}.log", "w") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path))
        return started[-1]

    file = tmp_path / "scheduler.json"
    start("dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    workers = [
        start("dask_worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--no-dashboard")
        for _ in range(2)
    ]
    for _ in range(300):
        if file.exists() and file.read_text():
            break
        time.sleep(0.1)
    yield json.loads(file.read_text())["address"], workers
    for process in started:
        process.kill()
        process.wait()


def test_a_running_scheduler_is_used_and_a_killed_worker_changes_no_mark(course, cluster):
    address, workers = cluster
    seen = []

    def report(graded, done, total):
        seen.append(graded.student)
        if done == 3:
            os.kill(workers[0].pid, signal.SIGKILL)

    summary = grade_all(course, "ps02", scheduler=address, limits=LIMITS, report=report)
    assert summary.graded == STUDENTS and not summary.failed
    assert workers[0].wait(10) == -signal.SIGKILL and workers[1].poll() is None
    assert len(seen) == len(set(seen)) == STUDENTS
    assert marks(course) == expected()


def test_interrupted_it_goes_on_where_it_was(course):
    def stop(graded, done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grade_all(course, "ps02", workers=2, limits=LIMITS, report=stop)
    summary = grade_all(course, "ps02", workers=2, limits=LIMITS)
    assert summary.skipped == 4 and summary.graded == STUDENTS - 4
    assert marks(course) == expected()


def test_nobody_at_the_address_is_said(course, capsys):
    arguments = ["grade", "ps02", "--course", str(course.root), "--scheduler", "tcp://127.0.0.1:9"]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:9'" in said and "dask scheduler" in said


def test_the_notebooks_of_a_cluster_are_those_of_one_process(course):
    grade_all(course, "ps02", workers=2, limits=LIMITS)
    folder = course.root / "grading/autograded"
    together = {p: nbformat.read(p, as_version=4).cells for p in sorted(folder.glob("*/ps02/ps02.ipynb"))}
    grade_all(course, "ps02", workers=1, limits=LIMITS, again=True)
    assert len(together) == STUDENTS
    for path, cells in together.items():
        assert [c.get("outputs") for c in nbformat.read(path, as_version=4).cells] == [
            c.get("outputs") for c in cells
        ]
