"""Whatever lies in one student's folder, the others are graded, and the odd one gets a sentence."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from nbgrader.apps.api import NbGraderAPI
from nbgrader.coursedir import CourseDirectory

from normcore.__main__ import main
from normcore.checks.catalogue import find_problem_set
from normcore.grading import batch, submission
from normcore.grading.course import Course
from tests.grading.courses import everybody_is_right, hand_in, make, marks, points

TASKS = len(find_problem_set("ps02").checks)

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    course = make(tmp_path_factory.mktemp("empty") / "course")
    course.release("ps02")
    return course.root


@pytest.fixture
def course(empty, tmp_path, monkeypatch):
    shutil.copytree(empty, tmp_path / "course")
    everybody_is_right(monkeypatch)
    return Course(tmp_path / "course")


def with_source(edit):
    def act(course):
        path = hand_in(course, "odd")
        content = json.loads(path.read_text("utf-8"))
        edit(content, {cell["id"]: cell for cell in content["cells"]})
        path.write_text(json.dumps(content))  # in ASCII, as "\ud800"

    return act


def several(course):
    hand_in(course, "odd", name="one.ipynb")
    hand_in(course, "odd", name="two.ipynb")


def linked_folder(course):
    honest = hand_in(course, "anna").parent
    folder = course.submitted("odd", "ps02")
    folder.parent.mkdir()
    folder.symlink_to(honest)


def linked_student(course):
    honest = hand_in(course, "anna").parent.parent
    course.submitted("odd", "ps02").parent.symlink_to(honest)


def dated(content):
    def act(course):
        (hand_in(course, "odd").parent / "timestamp.txt").write_bytes(content)

    return act


def dated_by_a_link(course):
    (hand_in(course, "odd").parent / "timestamp.txt").symlink_to(course.root / "grading/secret")


def dated_by_a_folder(course):
    (hand_in(course, "odd").parent / "timestamp.txt").mkdir()


def dated_by_a_pipe(course):
    os.mkfifo(hand_in(course, "odd").parent / "timestamp.txt")


GRADED = {
    "surrogate in code": with_source(lambda _, cells: cells["normalize"].update(source='x = "\ud800"')),
    "surrogate in words": with_source(lambda _, cells: cells["bias"].update(source="\ud800 because")),
    "control characters": with_source(lambda _, cells: cells["bias"].update(source="\0\x1b[31m\x9b2J")),
    "surrogate in the kernel": with_source(
        lambda content, _: content["metadata"].update(kernelspec={"language": "\ud800"})
    ),
    "date in no words": dated(b"yesterday"),
    "date in no encoding": dated(b"\xff\xfe\xff"),
    "no date": dated(b""),
    "date without end": dated(b"2026-01-10 12:00:00 UTC" + b" " * 10**6 + b"x"),
    "date that overflows": dated(b"0001-01-01 00:00:00 +1400"),
    "date of numbers": dated(b"9" * 90),
    "date by a link": dated_by_a_link,
    "date by a folder": dated_by_a_folder,
    "date by a pipe": dated_by_a_pipe,
}
REFUSED = {
    "surrogate as the format": with_source(lambda content, _: content.update(nbformat="\ud800")),
    "several notebooks": several,
    "folder that is a link": linked_folder,
    "student that is a link": linked_student,
}


@pytest.mark.parametrize("kind", [*GRADED, *REFUSED])
def test_one_odd_submission_is_told_and_the_others_are_graded(course, kind, capsys, monkeypatch):
    hand_in(course, "anna")
    hand_in(course, "zoe")
    {**GRADED, **REFUSED}[kind](course)
    arguments = ["grade", "ps02", "--course", str(course.root), "--workers", "1"]
    assert main(arguments) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert said.splitlines()[-1].startswith(f"3 graded, of which {int(kind in REFUSED)} refused")
    assert (f"odd: {TASKS} right" in said) == (kind in GRADED)
    assert sum(marks(course, "anna").values()) == sum(marks(course, "zoe").values()) == points()
    assert sum(marks(course, "odd").values()) == (points() if kind in GRADED else 0)
    course.autograded("odd", "ps02").read_bytes().decode()
    assert main(arguments) == 0
    # what could not be hashed is looked at each time
    read = kind in GRADED or kind == "surrogate as the format"
    assert f"{2 + read} unchanged" in capsys.readouterr().out
    # formgrader's list, over which a text that is no date would fail for everybody
    monkeypatch.chdir(course.root)
    directory = CourseDirectory(config=course.config)
    listed = {s["student"] for s in NbGraderAPI(directory).get_submissions("ps02")}
    assert listed == {"anna", "odd", "zoe"}


def test_a_link_as_the_date_tells_nothing_of_its_target(course):
    dated_by_a_link(course)
    secret = course.secret().hex()
    assert main(["grade", "ps02", "--course", str(course.root)]) == 0
    shown = course.autograded("odd", "ps02").read_text("utf-8")
    assert "timestamp.txt holds no date" in shown and secret[:8] not in shown


def test_a_date_that_cannot_be_read_ends_nothing(course, monkeypatch, capsys):
    """Neither of a new submission nor of one that is unchanged."""
    hand_in(course, "anna")
    stamp = hand_in(course, "odd").parent / "timestamp.txt"
    stamp.write_text("2026-01-10 12:00:00 UTC")

    def denied(path, *arguments, **more):
        if path == stamp:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return open(path, *arguments, **more)

    monkeypatch.setattr(submission, "open", denied, raising=False)  # root may read everything
    for graded in (2, 0):
        assert main(["grade", "ps02", "--course", str(course.root), "--workers", "1"]) == 0
        said = "".join(capsys.readouterr())
        assert f"{graded} graded" in said
        where = course.autograded("odd", "ps02").read_text("utf-8") if graded else said
        assert "timestamp.txt cannot be read (Permission denied): it counts as handed in in time" in where
        assert sum(marks(course, "anna").values()) == sum(marks(course, "odd").values()) == points()


def test_a_penalty_that_fails_ends_nothing(course, monkeypatch, capsys):
    stamp = hand_in(course, "odd").parent / "timestamp.txt"
    hand_in(course, "zoe")
    arguments = ["grade", "ps02", "--course", str(course.root), "--workers", "1"]
    assert main(arguments) == 0
    stamp.write_text("2026-01-11 13:00:00 UTC")

    def fails(*_):
        raise ArithmeticError("no such hour")

    monkeypatch.setattr(batch, "penalize", fails)
    assert main(arguments) == 0
    said = "".join(capsys.readouterr())
    assert "odd: the penalty could not be looked at again: ArithmeticError: no such hour" in said
    assert "2 unchanged" in said


def test_a_file_that_this_machine_cannot_read_is_our_failure(course, monkeypatch, capsys):
    hand_in(course, "anna")
    hidden = hand_in(course, "odd")

    def denied(path, *arguments, **more):
        if path == hidden:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return open(path, *arguments, **more)

    with monkeypatch.context() as patched:
        hidden.chmod(0)
        patched.setattr(submission, "open", denied, raising=False)  # root may read everything
        assert main(["grade", "ps02", "--course", str(course.root), "--workers", "1"]) == 1
    said = capsys.readouterr().out
    assert f"odd: our failure: {hidden} cannot be read: Permission denied" in said
    assert "1 graded" in said and "1 not graded" in said
    assert set(marks(course, "odd").values()) == {None}
    hidden.chmod(0o600)
    assert main(["grade", "ps02", "--course", str(course.root)]) == 0
    assert sum(marks(course, "odd").values()) == points()


def test_a_folder_whose_name_is_not_utf8_is_our_failure(course, capsys):
    hand_in(course, "anna")
    honest = course.submitted("anna", "ps02")
    odd = Path(os.fsdecode(os.fsencode(honest.parent.parent) + b"/M\xfcller"))
    try:
        shutil.copytree(honest, odd / "ps02")
    except OSError:
        pytest.skip("this file system holds UTF-8 names only")
    assert main(["grade", "ps02", "--course", str(course.root)]) == 1
    said = capsys.readouterr().out
    assert f"anna: {TASKS} right" in said and "M?ller: our failure: the folder's name is not UTF-8" in said
    assert main(["grade", "ps02", "--course", str(course.root), "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "not UTF-8" in lines[0]["tasks"][""]["message"] and lines[-1]["summary"]["failed"] == 1


def test_what_goes_wrong_with_one_record_is_not_the_others_trouble(course, monkeypatch, capsys):
    for student in ("anna", "odd", "zoe"):
        hand_in(course, student)
    record = batch.record

    def fails(graded, *arguments):
        if graded.student == "odd" and not graded.failed:
            raise KeyError("no such thing")
        return record(graded, *arguments)

    monkeypatch.setattr(batch, "record", fails)
    assert main(["grade", "ps02", "--course", str(course.root), "--workers", "1"]) == 1
    said = capsys.readouterr().out
    assert "odd: our failure: it could not be recorded: KeyError: 'no such thing'" in said
    assert "2 graded" in said and sum(marks(course, "zoe").values()) == points()
