"""What counts as unchanged: the gradebook, not our memory of it. And what is only dated again."""

import json
import os
import shutil

import pytest
from nbgrader.api import Gradebook

from normcore.__main__ import main
from normcore.grading.batch import grade_all
from normcore.grading.course import Course
from tests.commands import run
from tests.grading.courses import everybody_is_right, hand_in, make, marks, points

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
STUDENTS = ["anna", "bo", "zoe"]


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        everybody_is_right(patched)
        course = make(tmp_path_factory.mktemp("before") / "course")
        for student in STUDENTS:
            hand_in(course, student)
        grade_all(course, "ps02", workers=1)
        return course.root


@pytest.fixture
def graded(monkeypatch):
    """The students that are graded from now on."""
    calls = []
    everybody_is_right(monkeypatch, calls)
    return calls


@pytest.fixture
def course(before, tmp_path, graded):
    shutil.copytree(before, tmp_path / "course")
    return Course(tmp_path / "course")


def again(course, **more):
    return grade_all(course, "ps02", workers=1, **more)


def gradebook_is_gone(course):
    (course.root / "grading/gradebook.db").unlink()
    return STUDENTS


def marks_are_other(course):
    with Gradebook(course.db_url, course.course_id) as gradebook:
        grade = gradebook.find_grade("normalize-check", "ps02", "ps02", "bo")
        grade.auto_score = 1.0
        gradebook.db.commit()
    return ["bo"]


def marks_are_taken_away(course):
    with Gradebook(course.db_url, course.course_id) as gradebook:
        gradebook.find_grade("normalize-check", "ps02", "ps02", "bo").auto_score = None
        gradebook.db.commit()
    return ["bo"]


def autograded_by_another(course):
    """As nbgrader leaves it: write-protected, and beside it what the learner sent."""
    path = course.autograded("bo", "ps02")
    path.write_text(path.read_text("utf-8").replace("right", "RIGHT"), "utf-8")
    (path.parent / "page.html").write_text("<script>alert(1)</script>")
    path.chmod(0o444)
    return ["bo"]


def autograded_is_gone(course):
    shutil.rmtree(course.autograded("bo", "ps02").parent)
    return ["bo"]


def provenance_is_half(course):
    path = course.provenance("bo", "ps02")
    path.write_text(path.read_text()[:100])
    return ["bo"]


def provenance_is_of_before(course):
    """By a version that did not keep points."""
    path = course.provenance("bo", "ps02")
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "points"}))
    return ["bo"]


def handed_in_again(course):
    hand_in(course, "bo", changes={"normalize": "pass"})
    return ["bo"]


def feedback_is_made(course):
    path = course.feedback("bo", "ps02") / "ps02.html"
    path.parent.mkdir(parents=True)
    path.write_text("of now")
    return []


CHANGES = [
    gradebook_is_gone, marks_are_other, marks_are_taken_away, autograded_by_another, autograded_is_gone,
    provenance_is_half, provenance_is_of_before, handed_in_again, feedback_is_made,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_who_is_graded_anew(course, graded, change):
    expected = change(course)
    feedback = course.feedback("bo", "ps02")
    summary = again(course)
    assert graded == expected and summary.skipped == len(STUDENTS) - len(expected)
    assert all(sum(marks(course, student).values()) == points() for student in STUDENTS)
    assert os.listdir(course.autograded("bo", "ps02").parent) == ["ps02.ipynb"]
    assert feedback.exists() == (change is feedback_is_made)
    graded.clear()
    assert again(course).skipped == len(STUDENTS) and not graded


def test_a_regrade_takes_the_old_feedback_away(course):
    feedback_is_made(course)
    again(course, students=["bo"], again=True)
    assert not course.feedback("bo", "ps02").exists()


def penalties(course):
    with Gradebook(course.db_url, course.course_id) as gradebook:
        return {s.student.id: s.late_submission_penalty for s in gradebook.assignment_submissions("ps02")}


def test_due_date_time_and_penalty_count_at_once_and_nobody_is_graded_again(course, graded):
    """By the plugin that nbgrader_config.py names, from the time that collecting has written down."""

    def due(hour):
        date = f"--duedate=2026-01-10 {hour}:00:00 UTC"
        run("nbgrader", "db", "assignment", "add", "ps02", date, cwd=course.root)

    config = course.root / "nbgrader_config.py"
    config.write_text(config.read_text() + "c.LateSubmissionPlugin.penalty_method = 'zero'\n")
    course = Course(course.root)
    stamp = course.submitted("bo", "ps02") / "timestamp.txt"
    stamp.write_text("2026-01-10 13:30:00 UTC")
    assert again(course).dated == 1 and penalties(course) == {"anna": 0, "bo": 0, "zoe": 0}
    due(12)
    assert again(course).dated == 1 and penalties(course) == {"anna": 0, "bo": points(), "zoe": 0}
    due(14)
    assert again(course).dated == 1 and penalties(course)["bo"] == 0
    assert again(course).dated == 0
    stamp.write_text("2026-01-10 14:30:00 UTC")
    assert again(course).dated == 1 and penalties(course)["bo"] == points()
    stamp.unlink()
    assert again(course).dated == 1 and penalties(course)["bo"] == 0
    stamp.write_text("yesterday")
    told = []
    assert again(course, tell=told.append).dated == 0 and "holds no date, but 'yesterday'" in told[0]
    assert not graded and all(sum(marks(course, student).values()) == points() for student in STUDENTS)


def test_interrupted_again_goes_on(course, graded, capsys):
    def stop(graded, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        again(course, again=True, report=stop)
    assert graded == ["anna", "bo"]
    assert main(["grade", "ps02", "--course", str(course.root), "--workers", "1", "--again"]) == 0
    said = capsys.readouterr()
    assert graded == ["anna", "bo", "zoe"] and "1 graded" in said.out and "2 unchanged" in said.out
    assert "--again was interrupted before and goes on: 2 are graded anew, 1 are left" in said.err
    assert main(["grade", "ps02", "--course", str(course.root), "--workers", "1", "--again"]) == 0
    assert graded == ["anna", "bo", "zoe", *STUDENTS]


def test_nbgraders_own_configuration_says_where_everything_is(tmp_path, graded):
    course = make(tmp_path / "course")
    config = course.root / "nbgrader_config.py"
    text = config.read_text().replace('"grading/', '"work/').replace("sqlite:///grading/", "sqlite:///books/")
    text += "import os\nc.CourseDirectory.course_id = 'dl2027'\n"
    text += "c.CourseDirectory.directory_structure = os.path.join('{nbgrader_step}', '{assignment_id}', '{student_id}')\n"
    config.write_text(text)
    course = Course(course.root)
    for student in STUDENTS:
        assert hand_in(course, student) == course.root / f"work/submitted/ps02/{student}/ps02.ipynb"
    assert main(["grade", "ps02", "--course", str(course.root), "--workers", "1"]) == 0
    assert (course.root / "work/autograded/ps02/bo/ps02.ipynb").is_file()
    with Gradebook(f"sqlite:///{course.root}/books/gradebook.db", "dl2027") as gradebook:
        assert {s.id for s in gradebook.students} == set(STUDENTS)
        assert "normcore" not in {assignment.course_id for assignment in gradebook.assignments}
    run("nbgrader", "generate_feedback", "ps02", cwd=course.root)
    assert (course.root / "work/feedback/ps02/bo/ps02.html").is_file()
