"""The secret is whole or none, and never made anew beside marks that came from another."""

import errno
import os
import re
from multiprocessing.pool import ThreadPool

import pytest

from normcore.__main__ import main
from normcore.grading import course as course_module
from normcore.grading.course import Course
from tests.grading.courses import everybody_is_right, hand_in, make

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")


@pytest.fixture
def course(tmp_path):
    return Course(tmp_path)


def test_it_is_made_once_and_for_its_owner_alone(course):
    secret = course.secret()
    path = course.root / "grading/secret"
    assert len(secret) == 32 and secret == course.secret() == Course(course.root).secret()
    assert path.stat().st_mode & 0o077 == 0 and [p.name for p in path.parent.iterdir()] == ["secret"]


@pytest.mark.parametrize("number", range(20))
def test_two_first_runs_agree(course, number):
    with ThreadPool(8) as pool:
        found = pool.map(lambda _: Course(course.root).secret(), range(8))
    assert len(set(found)) == 1 and len(found[0]) == 32


@pytest.mark.parametrize("content", ["", "x" * 64, "ab" * 31, "AB" * 33, "\xff" * 64, "ab" * 32 + "\nab"])
def test_a_damaged_one_is_refused_by_name(course, content):
    course.secret()
    path = course.root / "grading/secret"
    path.write_text(content, "utf-8")
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} must hold 64 hexadecimal digits"):
        course.secret()


def test_a_full_disk_leaves_none(course, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(course_module.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            course.secret()
    assert list((course.root / "grading").iterdir()) == []
    assert len(course.secret()) == 32


def test_a_lost_one_is_not_made_anew_beside_marks(tmp_path, monkeypatch, capsys):
    everybody_is_right(monkeypatch)
    course = make(tmp_path / "course")
    hand_in(course, "anna")
    command = ["grade", "ps02", "--course", str(course.root)]
    assert main(command) == 0
    path = course.root / "grading/secret"
    kept = path.read_text()
    path.unlink()
    assert main(command) == 2 and not path.exists()
    assert f"{path} is missing, but there are marks whose cases came from it" in capsys.readouterr().err
    path.write_text(kept)
    assert main(command) == 0
