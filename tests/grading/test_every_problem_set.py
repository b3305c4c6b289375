"""Each problem set, from files to gradebook, autograded notebook and feedback, by the command itself."""

import html
import json

import nbformat
import pytest
from nbgrader.api import Gradebook

from normcore.__main__ import main
from normcore.checks.catalogue import find_problem_set, names
from tests.commands import ROOT, run
from tests.grading import sandboxed
from tests.grading.courses import hand_in, make_unreleased

pytestmark = [sandboxed, pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")]

# after a right solution: the same thing, and then half of it
HALF = """
def _half(value):
    if isinstance(value, (tuple, list)):
        return type(value)(map(_half, value))
    if isinstance(value, bool):
        return not value
    if isinstance(value, torch.Tensor):
        return value * 0.5 + 0.25 if value.is_floating_point() else value
    return value * 0.5 + 0.25 if isinstance(value, float) else value

def _spoilt(right):
    def wrong(*args, **kwargs):
        return _half(right(*args, **kwargs))
    return wrong

if isinstance({task}, type):
    for _name, _method in list(vars({task}).items()):
        if callable(_method) and not _name.startswith("_"):
            setattr({task}, _name, _spoilt(_method))
else:
    {task} = _spoilt({task})
"""


@pytest.fixture(scope="module", params=names())
def graded(request, tmp_path_factory):
    """The problem set's name, its course with three submissions, and what the command told of them."""
    name = request.param
    course = make_unreleased(tmp_path_factory.mktemp(name) / "course", name)
    solution = nbformat.read(ROOT / f"solutions/{name}/{name}.ipynb", as_version=4)
    release = nbformat.read(ROOT / f"exercises/{name}/{name}.ipynb", as_version=4)
    last = list(find_problem_set(name).checks)[-1]
    (source,) = [cell.source for cell in solution.cells if cell.id == last]
    hand_in(course, "solver", name)
    hand_in(course, "idle", name, changes={cell.id: cell.source for cell in release.cells})
    hand_in(course, "nearly", name, changes={last: source + HALF.format(task=last)})
    with pytest.MonkeyPatch.context() as patched:
        printed = []
        patched.setattr("tqdm.tqdm.write", lambda line, **_: printed.append(line))
        assert main(["grade", name, "--course", str(course.root), "--workers", "1", "--json"]) == 0
    run("nbgrader", "generate_feedback", name, cwd=course.root)
    told = {account["student"]: account for account in map(json.loads, printed)}
    return name, course, told


def deserved(name):
    """By student and task, whether it is right."""
    tasks = list(find_problem_set(name).checks)
    return {
        "solver": dict.fromkeys(tasks, True),
        "idle": dict.fromkeys(tasks, False),
        "nearly": {task: task != tasks[-1] for task in tasks},
    }


def test_everybody_gets_the_points_they_deserve(graded):
    name, course, told = graded
    with Gradebook(course.db_url, course.course_id) as gradebook:
        for student, right in deserved(name).items():
            submission = gradebook.find_submission(name, student)
            (notebook,) = submission.notebooks
            given = {g.name: g.auto_score for g in notebook.grades if g.name.endswith("-check")}
            worth = {g.name: g.max_score for g in notebook.grades}
            assert given == {f"{task}-check": worth[f"{task}-check"] * ok for task, ok in right.items()}
            # answers in words wait for a person; the untouched ones have none
            in_words = {g.name: g.auto_score for g in notebook.grades if g.name not in given}
            assert in_words and set(in_words.values()) == ({0} if student == "idle" else {None})
            assert submission.needs_manual_grade == (student != "idle")
            assert min(worth.values()) > 0
            assert told[student]["points"] == given
            assert {task: told[student]["tasks"][task]["outcome"] == "right" for task in right} == right


def test_notebook_and_feedback_say_so(graded):
    name, course, told = graded
    for student, right in deserved(name).items():
        notebook = nbformat.read(course.autograded(student, name), as_version=4)
        nbformat.validate(notebook)
        page = (course.feedback(student, name) / f"{name}.html").read_text("utf-8")
        assert "hidden_check" not in page and "About this submission" not in page
        for cell in notebook.cells:
            task = cell.id.removesuffix("-check")
            if cell.id == task or task not in right:
                continue
            (output,) = cell.outputs
            message = told[student]["tasks"][task]["message"]
            assert (output.output_type == "stream") == right[task]
            shown = output.text if right[task] else output.evalue
            assert message in shown and html.escape(message.splitlines()[0], quote=False) in page
            if student == "idle":
                assert "not written yet" in shown
