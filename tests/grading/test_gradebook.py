"""A gradebook that cannot be used is said in a sentence; one that is locked or has no room, once."""

import errno
import shutil
import sqlite3
import threading

import pytest
from sqlalchemy.exc import OperationalError

from normcore.__main__ import main
from normcore.grading import batch
from normcore.grading.course import Course
from normcore.grading.retry import Stopped, patiently
from tests.grading.courses import everybody_is_right, hand_in, make, marks, points

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    course = make(tmp_path_factory.mktemp("before") / "course")
    hand_in(course, "anna")
    hand_in(course, "zoe")
    course.release("ps02")
    return course.root


@pytest.fixture
def course(before, tmp_path, monkeypatch):
    everybody_is_right(monkeypatch)
    return Course(shutil.copytree(before, tmp_path / "course"))


def overwritten(path):
    path.write_bytes(b"this is no database, but long enough to look like one" * 100)


def damaged(path):
    data = bytearray(path.read_bytes())
    data[2048:] = b"\xff" * (len(data) - 2048)
    path.write_bytes(data)


def a_folder(path):
    path.unlink()
    path.mkdir()


def of_an_older_nbgrader(path):
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE submitted_assignment DROP COLUMN extension")


USELESS = {
    overwritten: "Put it back from your backup",
    damaged: "Put it back from your backup",
    a_folder: "See that its folder is there",
    of_an_older_nbgrader: "nbgrader db upgrade",
}


@pytest.mark.parametrize("harm", USELESS, ids=lambda harm: harm.__name__)
def test_one_that_cannot_be_used_is_said_in_a_sentence(course, harm, capfd):
    harm(course.root / "grading/gradebook.db")
    assert main(["grade", "ps02", "--course", str(course.root), "--workers", "1"]) == 2
    said = capfd.readouterr().err
    assert "normcore: the gradebook cannot be used: " in said and USELESS[harm] in said
    assert "Traceback" not in said and "the same command goes on" in said


def test_a_read_only_one_is_said_in_a_sentence():
    """As SQLite says it; root may write everything."""

    def write():
        connection = sqlite3.connect("file::memory:?mode=memory", uri=True)
        connection.execute("PRAGMA query_only = 1")
        try:
            connection.execute("CREATE TABLE x (y)")
        except sqlite3.OperationalError as error:
            raise OperationalError("CREATE TABLE x (y)", None, error) from error

    with pytest.raises(Stopped, match="readonly database.* Make the file and its folder writable"):
        patiently(write, tell=print)


def test_a_locked_one_is_waited_for_without_a_traceback(course, capfd, monkeypatch):
    monkeypatch.setattr("normcore.grading.retry.SECONDS_BETWEEN", 0.1)
    connection = sqlite3.connect(course.root / "grading/gradebook.db", check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    threading.Timer(8, connection.close).start()
    assert main(["grade", "ps02", "--course", str(course.root), "--workers", "1"]) == 0
    said = capfd.readouterr()
    assert said.err == "normcore: another program holds the gradebook locked. Waiting.\n"
    assert sum(marks(course, "zoe").values()) == points()


def test_a_full_disk_is_told_once_however_often_it_is_tried(course, capfd, monkeypatch):
    monkeypatch.setattr("normcore.grading.retry.SECONDS_BETWEEN", 0.01)
    left, record = [30], batch.record

    def fails(*arguments):
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, "No space left on device", "grading/gradebook.db")
        return record(*arguments)

    monkeypatch.setattr(batch, "record", fails)
    assert main(["grade", "ps02", "--course", str(course.root), "--workers", "1"]) == 0
    assert capfd.readouterr().err == "normcore: the disk has no room for grading/gradebook.db. Waiting.\n"


def test_without_solutions_it_is_said_that_no_release_can_be_made(course, capsys):
    """As in the copy for students."""
    for name in ("release/ps02/ps02.ipynb", "gradebook.db"):
        (course.root / "grading" / name).unlink()
    (course.root / "solutions/ps02/ps02.ipynb").unlink()
    assert main(["grade", "ps02", "--course", str(course.root)]) == 2
    said = capsys.readouterr().err
    assert "nbgrader cannot make the release of ps02" in said and "Traceback" not in said
