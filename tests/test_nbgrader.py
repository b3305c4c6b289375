"""Stock nbgrader, end to end, on this repository's configuration: generate, autograde, feedback, export."""

import csv
import shutil

import nbformat
import pytest
from nbgrader.api import Gradebook
from nbgrader.apps.api import NbGraderAPI
from nbgrader.coursedir import CourseDirectory

from normcore.checks.catalogue import names
from normcore.grading.course import Course
from scripts.problem_set_text import read
from tests.commands import ROOT, run

# Stock nbgrader has one way for all problem sets: PS02 shows it at many submissions, the newest at two. That
# solutions pass their hidden checks in a kernel is tested for every problem set, in test_notebooks.py.
NAMES = sorted({"ps02", names()[-1]})


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course with right, untouched and imperfect submissions to PS02, two to another problem set, graded."""
    course = tmp_path_factory.mktemp("course")
    shutil.copy(ROOT / "nbgrader_config.py", course)
    (course / "grading").mkdir()
    for name in NAMES:
        shutil.copytree(ROOT / "solutions" / name, course / "solutions" / name)
        run("nbgrader", "generate_assignment", name, "--create", cwd=course)
        submit(course, "solver", name, course / "solutions" / name / f"{name}.ipynb")
        submit(course, "idle", name, course / "exercises" / name / f"{name}.ipynb")
    for student, changes in IMPERFECT.items():
        submit(course, student, "ps02", course / "solutions/ps02/ps02.ipynb", changes)
    for name in NAMES:
        run("nbgrader", "autograde", name, "--create", cwd=course, NORMCORE_TRUST_SUBMISSIONS="1")
    page = course / "grading/feedback/solver/ps02/ps02.html"
    page.parent.mkdir(parents=True)
    page.write_text("of yesterday")
    run("nbgrader", "generate_feedback", "ps02", cwd=course)
    return course


@pytest.mark.parametrize("name", NAMES)
def test_the_release_is_what_nbgrader_generates(course, name):
    """And nothing else of the source's folder is released."""
    (generated,) = (course / "exercises" / name).iterdir()
    assert generated.read_bytes() == (ROOT / "exercises" / name / f"{name}.ipynb").read_bytes()


def submit(course, student, name, source, changes=None):
    notebook = nbformat.read(source, as_version=4)
    for cell in notebook.cells:
        if cell.id in (changes or {}):
            cell.source = changes[cell.id]
    target = course / "grading" / "submitted" / student / name / f"{name}.ipynb"
    target.parent.mkdir(parents=True)
    nbformat.write(notebook, target)


# Cells changed in an otherwise right submission to PS02, and the points of each task that they deserve.
IMPERFECT = {
    # wrong in what is stored; and one that raises
    "stores-deviations": {
        "batch_norm_train": """
def batch_norm_train(x, gamma, beta, running_mean, running_var, momentum, eps):
    y = batch_norm(x, gamma, beta, eps)
    running_mean = (1 - momentum) * running_mean + momentum * x.mean(0)
    running_var = (1 - momentum) * running_var + momentum * x.std(0)
    return y, running_mean, running_var
""",
        "identity_parameters": "def identity_parameters(x, eps):\n    return x.vra(0), x.mean(0)",
    },
    # the first task is wrong; the second is right, but by the built-in, and so is what is built upon it
    "calls-the-built-in": {
        "normalize": """
def normalize(x, dim, eps):
    return (x - x.mean(dim, keepdim=True)) / torch.sqrt(x.var(dim, keepdim=True) + eps)
""",
        "batch_norm": """
def batch_norm(x, gamma, beta, eps):
    return torch.nn.functional.batch_norm(x, None, None, gamma, beta, True, eps=eps)
""",
    },
}
DESERVED = {
    "solver": {
        "normalize": 2, "batch_norm": 3, "batch_norm_train": 3, "identity_parameters": 2, "hidden_layer": 2,
        "is_batch_norm": 3,
    },
    "idle": {
        "normalize": 0, "batch_norm": 0, "batch_norm_train": 0, "identity_parameters": 0, "hidden_layer": 0,
        "is_batch_norm": 0,
    },
    "stores-deviations": {
        "normalize": 2, "batch_norm": 3, "batch_norm_train": 0, "identity_parameters": 0, "hidden_layer": 2,
        "is_batch_norm": 3,
    },
    "calls-the-built-in": {
        "normalize": 0, "batch_norm": 0, "batch_norm_train": 0, "identity_parameters": 2, "hidden_layer": 0,
        "is_batch_norm": 3,
    },
}  # fmt: skip


def scores(course, name, student):
    with Gradebook(f"sqlite:///{course}/grading/gradebook.db") as gradebook:
        submission = gradebook.find_submission(name, student)
        (notebook,) = submission.notebooks
        return {
            g.name.removesuffix("-check"): g.auto_score for g in notebook.grades if g.name.endswith("-check")
        }


@pytest.mark.parametrize("student", DESERVED)
def test_each_submission_gets_exactly_what_it_deserves(course, student):
    assert scores(course, "ps02", student) == DESERVED[student]


@pytest.mark.parametrize("name", NAMES)
def test_the_source_gets_full_marks_and_the_untouched_release_none(course, name):
    with Gradebook(f"sqlite:///{course}/grading/gradebook.db") as gradebook:
        assignment = gradebook.find_assignment(name)
        best = gradebook.find_submission(name, "solver")
        worst = gradebook.find_submission(name, "idle")
        in_words = sum(
            c.max_score for n in assignment.notebooks for c in n.grade_cells if not c.name.endswith("-check")
        )
        assert best.score == assignment.max_score - in_words > 0 and best.needs_manual_grade
        assert worst.score == 0


def test_feedback_names_the_mistake_and_the_learners_own_line(course):
    def feedback(student):
        return (course / "grading/feedback" / student / "ps02/ps02.html").read_text("utf-8")

    assert "You divided by m − 1" in feedback("calls-the-built-in")
    assert "You averaged the standard deviation into running_var" in feedback("stores-deviations")
    assert "Write out the formula instead" in feedback("calls-the-built-in")
    assert "line 2 of identity_parameters" in feedback("stores-deviations")
    assert "not written yet" in feedback("idle")
    points = sum(task.points for task in read(course / "solutions/ps02/ps02.md").tasks)
    assert f"PS02: {points} of {points} points so far" in feedback("solver")


def test_no_model_answer_is_shown_while_grading(course):
    page = (course / "grading/feedback/solver/ps02/ps02.html").read_text("utf-8")
    (question,) = read(course / "solutions/ps02/ps02.md").questions
    assert "not shown while a notebook is graded" in page
    assert question.graded_by.splitlines()[1].removeprefix("* ½ point: ") not in page


def test_marks_are_exported(course):
    run("nbgrader", "export", "--to=grades.csv", cwd=course)
    with open(course / "grades.csv", encoding="utf-8") as file:
        rows = {(r["assignment"], r["student_id"]): float(r["score"]) for r in csv.DictReader(file)}
    for student, tasks in DESERVED.items():
        assert rows["ps02", student] == sum(tasks.values())
    assert rows[NAMES[-1], "idle"] == 0 < rows[NAMES[-1], "solver"]


def test_nobody_is_run_with_the_instructors_rights_unless_told(course, monkeypatch):
    """Neither by the command nor by formgrader's button; and no mark or notebook is touched."""
    source = f"open({str(course / 'ran')!r}, 'w')"
    submit(course, "hostile", "ps02", course / "solutions/ps02/ps02.ipynb", {"normalize": source})
    autograded = course / "grading/autograded/solver/ps02/ps02.ipynb"
    before = autograded.read_bytes(), scores(course, "ps02", "solver")
    with pytest.raises(AssertionError, match="NORMCORE_TRUST_SUBMISSIONS=1"):
        run("nbgrader", "autograde", "ps02", "--force", cwd=course)
    monkeypatch.chdir(course)
    app = NbGraderAPI(CourseDirectory(config=Course(course).config), config=Course(course).config)
    for student in ("solver", "hostile"):
        answer = app.autograde("ps02", student)
        assert not answer["success"] and "`normcore grade` runs them in a sandbox" in answer["log"]
    assert not (course / "ran").exists()
    assert before == (autograded.read_bytes(), scores(course, "ps02", "solver"))


def test_feedback_is_made_anew_each_time(course):
    page = course / "grading/feedback/solver/ps02/ps02.html"
    assert "of yesterday" not in page.read_text("utf-8")
