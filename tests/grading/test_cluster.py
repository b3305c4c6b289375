"""Grading on a Dask cluster: interrupted, with nobody there, and compared with one process."""

import os
import socket
import urllib.error
import urllib.request
import warnings

import nbformat
import psutil
import pytest
from nbgrader.api import Gradebook

from normcore.__main__ import main
from normcore.grading import cluster
from normcore.grading.batch import grade_all
from normcore.grading.grade import Graded
from normcore.grading.limits import Limits
from tests.grading import sandboxed
from tests.grading.courses import make
from tests.grading.test_course import POINTS, UNBIASED, WITHOUT_NORMALIZE, submit

pytestmark = sandboxed
LIMITS = Limits(seconds=60, task_seconds=10)
STUDENTS = 8


@pytest.fixture
def course(tmp_path):
    course = make(tmp_path)
    for number in range(STUDENTS):
        submit(tmp_path, f"s{number:02}", {"normalize": UNBIASED} if number % 3 == 0 else {})
    return course


def marks(course):
    found = {}
    with Gradebook(course.db_url) as gradebook:
        for number in range(STUDENTS):
            (notebook,) = gradebook.find_submission("ps02", f"s{number:02}").notebooks
            found[number] = {g.name.removesuffix("-check"): g.auto_score for g in notebook.grades}
    return found


def expected():
    unbiased = WITHOUT_NORMALIZE
    return {n: (unbiased if n % 3 == 0 else POINTS) | {"bias": None} for n in range(STUDENTS)}


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


def answer(student, number):
    return Graded(student, {}, {}, "", (), {"number": number})


def test_submissions_are_read_as_there_is_room_for_them():
    """Memory does not grow with their number: at most so many are read and not yet graded."""
    read, ahead = [], []

    def jobs():
        for number in range(200):
            read.append(number)
            yield f"s{number}", number

    for done, graded in enumerate(cluster.run(answer, jobs(), 2, None)):
        assert graded.student == f"s{graded.provenance['number']}"
        ahead.append(len(read) - done)
    assert len(ahead) == 200 and max(ahead) <= cluster.IN_HAND * 2


def dies(student):
    os._exit(1)


def test_a_submission_on_which_workers_die_is_our_failure():
    (graded,) = cluster.run(dies, [("s1",)], 1, None)
    assert graded.student == "s1" and graded.failed
    assert "the worker failed: KilledWorker" in graded.tasks[""].message


def pages():
    """Addresses at which this process's cluster listens, and what a browser gets there."""
    found = {}
    own = {psutil.Process(), *psutil.Process().children(recursive=True)}
    for process in own:
        for connection in process.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                for path in ("info/main/workers.html", "json/counts.json", "metrics", "status", "health"):
                    url = f"http://127.0.0.1:{connection.laddr.port}/{path}"
                    try:
                        found[url] = urllib.request.urlopen(url, timeout=5).status
                    except (urllib.error.HTTPError, OSError) as error:
                        found[url] = getattr(error, "code", None)
    return found


def test_nobody_can_look_at_its_pages_and_the_usual_port_may_be_taken():
    taken = socket.create_server(("", 8787)) if not _in_use(8787) else None
    found = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            for graded in cluster.run(answer, ((f"s{n}", n) for n in range(4)), 1, None):
                assert graded.student
                found = found or [pages()]
    finally:
        if taken:
            taken.close()
    assert len(found[0]) >= 10 and set(found[0].values()) <= {404, None}, found


def _in_use(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
