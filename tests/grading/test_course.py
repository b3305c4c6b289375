"""A folder of submissions, from files to marks, feedback and export."""

import copy
import csv
import json
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
import torch
from nbgrader.api import Gradebook

from normcore.__main__ import main
from normcore.grading import batch, bubblewrap, record
from normcore.grading import grade as grade_module
from normcore.grading.batch import grade_all
from normcore.grading.grade import OURS, TaskVerdict, seed_of
from normcore.grading.limits import Limits
from tests.commands import ROOT, run
from tests.grading import corpus, sandboxed
from tests.grading.courses import make

pytestmark = sandboxed

SOLUTION = nbformat.read(ROOT / "solutions/ps02/ps02.ipynb", as_version=4)
UNBIASED = """
def normalize(x, dim, eps):
    return (x - x.mean(dim, keepdim=True)) / torch.sqrt(x.var(dim, keepdim=True) + eps)
"""
POINTS = {
    "normalize": 2, "batch_norm": 3, "batch_norm_train": 3, "identity_parameters": 2, "hidden_layer": 2,
    "is_batch_norm": 3,
}  # fmt: skip
NONE = dict.fromkeys(POINTS, 0)
WITHOUT_NORMALIZE = NONE | {"identity_parameters": 2, "is_batch_norm": 3}
# student → changed cells, and the points of each task that they deserve
STUDENTS = {
    "honest": ({}, POINTS),
    "unbiased": ({"normalize": UNBIASED}, WITHOUT_NORMALIZE),
    "killer": ({"normalize": corpus.ESCAPES["kills-everybody"]}, WITHOUT_NORMALIZE),
    "flooder": ({"normalize": corpus.ESCAPES["floods-every-channel"]}, NONE),
    "sql": ({"normalize": corpus.FORGERIES["gradebook-by-sql"]}, WITHOUT_NORMALIZE),
}
LIMITS = Limits(seconds=10, task_seconds=3)


def submit(root, student, changes, name="ps02.ipynb"):
    notebook = copy.deepcopy(SOLUTION)
    for cell in notebook.cells:
        cell.source = changes.get(cell.id, cell.source)
    target = root / "grading" / "submitted" / student / "ps02" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)
    return target


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    root = tmp_path_factory.mktemp("course")
    course = make(root)
    for student, (changes, _) in STUDENTS.items():
        submit(root, student, changes)
    submit(root, "renamed", {}, "my homework (1).ipynb")
    broken = root / "grading/submitted/broken/ps02/ps02.ipynb"
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    (root / "grading/submitted/nothing/ps02").mkdir(parents=True)
    summary = grade_all(course, "ps02", limits=LIMITS)
    return course, summary


def marks(course, student):
    with Gradebook(course.db_url) as gradebook:
        (notebook,) = gradebook.find_submission("ps02", student).notebooks
        return {
            g.name.removesuffix("-check"): g.auto_score for g in notebook.grades if g.name.endswith("-check")
        }


@pytest.mark.parametrize("student", STUDENTS)
def test_each_gets_what_they_deserve_beside_the_hostile(course, student):
    assert marks(course[0], student) == STUDENTS[student][1]


def test_a_renamed_notebook_is_found_and_a_broken_one_is_told_so(course):
    assert marks(course[0], "renamed") == POINTS
    assert marks(course[0], "broken") == marks(course[0], "nothing") == NONE
    summary = course[1]
    assert summary.graded == len(STUDENTS) + 3 and summary.refused == 2 and summary.failed == 0


def test_the_answer_in_words_waits_for_a_person(course):
    with Gradebook(course[0].db_url) as gradebook:
        assert gradebook.find_submission("ps02", "honest").needs_manual_grade
        (notebook,) = gradebook.find_submission("ps02", "honest").notebooks
        assert {g.name for g in notebook.grades if g.needs_manual_grade} == {"bias"}


def test_what_a_person_has_graded_stays_when_it_is_graded_again(course):
    course, _ = course

    def written(act):
        with Gradebook(course.db_url) as gradebook:
            (notebook,) = gradebook.find_submission("ps02", "unbiased").notebooks
            (grade,) = [g for g in notebook.grades if g.name == "bias"]
            (comment,) = [c for c in notebook.comments if c.name == "bias"]
            result = act(grade, comment)
            gradebook.db.commit()
            return result

    def write(grade, comment):
        grade.manual_score, comment.manual_comment = 1.5, "Nearly."

    written(write)
    grade_all(course, "ps02", students=["unbiased"], again=True, limits=LIMITS)
    assert written(lambda grade, comment: (grade.manual_score, comment.manual_comment)) == (1.5, "Nearly.")


def test_feedback_names_the_mistake_and_shows_no_hidden_test(course):
    root = course[0].root
    run("nbgrader", "generate_feedback", "ps02", cwd=root)

    def feedback(student):
        return (root / "grading/feedback" / student / "ps02/ps02.html").read_text("utf-8")

    assert "You divided by m − 1" in feedback("unbiased")
    assert "<math" in feedback("honest") and "<script" not in feedback("honest")
    assert not re.search(r"""(src=|<link[^>]*href=)["']?(https?:)?//""", feedback("honest"))
    assert "not valid JSON" in feedback("broken")
    assert {p.name for p in (root / "grading/feedback").rglob("*") if p.is_file()} == {"ps02.html"}
    for student in STUDENTS:
        assert "hidden_check" not in feedback(student) and "HIDDEN TESTS" not in feedback(student)


def test_marks_are_exported(course):
    run("nbgrader", "export", "--to=grades.csv", cwd=course[0].root)
    with open(course[0].root / "grades.csv", encoding="utf-8") as file:
        scores = {r["student_id"]: float(r["score"]) for r in csv.DictReader(file)}
    assert scores["honest"] == sum(POINTS.values()) and scores["flooder"] == 0


def test_nothing_is_done_twice_and_a_new_submission_is_graded_anew(course, monkeypatch):
    course, _ = course
    again = grade_all(course, "ps02", limits=LIMITS)
    # a missing file has no hash, so it is looked at each time
    assert again.graded == 1 and again.skipped == len(STUDENTS) + 2
    submit(course.root, "renamed", {"normalize": UNBIASED}, "my homework (1).ipynb")
    grade_all(course, "ps02", students=["renamed"], limits=LIMITS)
    assert marks(course, "renamed") == WITHOUT_NORMALIZE
    submit(course.root, "renamed", {}, "my homework (1).ipynb")
    grade_all(course, "ps02", students=["renamed"], limits=LIMITS)
    assert marks(course, "renamed") == POINTS


def test_our_own_failure_is_tried_again_and_leaves_no_old_mark(course, monkeypatch):
    course, _ = course
    tried = []

    def failing(student, *arguments):
        tried.append(student)
        verdicts = {name: TaskVerdict(OURS, "the sandbox did not start") for name in POINTS}
        return grade_module.Graded(student, verdicts, {}, "", (), {"submission": "x"})

    with monkeypatch.context() as patched:
        patched.setattr(batch, "grade", failing)
        summary = grade_all(course, "ps02", students=["honest"], again=True)
    assert summary.failed == 1 and summary.graded == 0 and len(tried) == 3
    assert set(marks(course, "honest").values()) == {None}
    with Gradebook(course.db_url) as gradebook:
        assert gradebook.find_submission("ps02", "honest").needs_manual_grade
    grade_all(course, "ps02", students=["honest"], limits=LIMITS)
    assert marks(course, "honest") == POINTS


def test_interrupted_while_it_is_recorded_it_does_not_count_as_graded(course, monkeypatch):
    course, _ = course
    with monkeypatch.context() as patched:
        patched.setattr(
            record.SaveAutoGrades, "preprocess", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            grade_all(course, "ps02", students=["honest"], again=True, limits=LIMITS)
    assert set(marks(course, "honest").values()) == {None}
    assert grade_all(course, "ps02", students=["honest"], limits=LIMITS).graded == 1
    assert marks(course, "honest") == POINTS


def test_provenance_is_kept_and_the_same_seed_comes_again(course):
    course, _ = course
    kept = json.loads(course.provenance("honest", "ps02").read_text())
    assert len(kept["submission"]) == len(kept["checks"]) == 64 and kept["seconds"] > 0
    assert kept["tasks"]["normalize"]["outcome"] == "right"
    assert kept["cpu_seconds"] > 0 and 2**26 < kept["memory"] < 2**31
    assert kept["environment"]["torch"] == torch.__version__ and len(kept["environment"]["packages"]) == 64
    assert kept["seeds"]["normalize"] == seed_of(course.secret(), "honest", "normalize", kept["submission"])
    released = nbformat.read(course.autograded("honest", "ps02"), as_version=4)
    assert str(kept["seeds"]["normalize"]) not in nbformat.writes(released)
    secret = course.secret()
    assert secret == course.secret() and len(secret) == 32
    assert (course.root / "grading/secret").stat().st_mode & 0o077 == 0
    assert seed_of(secret, "a", "normalize", "1") == seed_of(secret, "a", "normalize", "1")
    seeds = {seed_of(secret, s, t, h) for s in "abc" for t in ("normalize", "batch_norm") for h in ("1", "2")}
    assert len(seeds) == 12  # whoever hands in what they learned of their cases gets others


def test_without_a_sandbox_it_refuses_and_says_what_to_do(course, monkeypatch, capsys):
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda name: None)
    assert main(["grade", "ps02", "--course", str(course[0].root)]) == 2
    said = capsys.readouterr().err
    assert "apt install bubblewrap" in said and "--trust-submissions" in said


def test_on_windows_it_refuses_in_words(course):
    """As far as this system can show it: without the modules and functions that Windows has not."""
    source = """
import os, sys
import distributed, nbgrader.api, torch  # which have their own ways there
sys.modules["fcntl"] = sys.modules["resource"] = None
del os.fork, os.geteuid
from normcore.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
    for more in ([], ["--trust-submissions"]):
        command = [sys.executable, "-c", source, "grade", "ps02", "--course", str(course[0].root), *more]
        found = subprocess.run(command, capture_output=True, text=True)
        assert found.returncode == 2 and "on Windows, in WSL" in found.stderr, found.stderr
        assert "Traceback" not in found.stderr


def test_the_command_grades_and_reports(course, capsys):
    root = str(course[0].root)
    assert main(["grade", "ps02", "--course", root, "--student", "honest", "--again"]) == 0
    printed = capsys.readouterr().out
    assert f"1/1 honest: {len(POINTS)} right\n" in printed and "1 graded, of which 0 refused" in printed
    assert main(["grade", "ps02", "--course", root, "--student", "unbiased", "--again", "--json"]) == 0
    told, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert summary == {
        "summary": {"graded": 1} | dict.fromkeys(("refused", "failed", "skipped", "outdated", "dated"), 0)
    }
    assert told["points"] == {f"{task}-check": float(n) for task, n in STUDENTS["unbiased"][1].items()}
    assert "You divided by m − 1" in told["tasks"]["normalize"]["message"]
    assert told["student"] == "unbiased" and told["tasks"]["normalize"]["mistakes"] == ["unbiased variance"]
    assert main(["grade", "ps02", "--course", root, "--student", "sql", "--again"]) == 0
    assert main(["grade", "ps02", "--course", root, "--student", "nobody"]) == 2
    assert "no submission to ps02 by: nobody" in capsys.readouterr().err
    assert main(["grade", "ps77", "--course", root]) == 2


def test_a_reader_is_told_where_to_look_and_the_learner_is_not(course, capsys):
    course, _ = course
    source = "import gc\n" + UNBIASED
    submit(course.root, "sneaky", {"normalize": source})
    assert main(["grade", "ps02", "--course", str(course.root), "--student", "sneaky"]) == 0
    assert "look at it: normalize names gc (line 1)" in capsys.readouterr().out
    kept = json.loads(course.provenance("sneaky", "ps02").read_text())
    assert kept["attention"] == {"normalize": ["gc (line 1)"]}
    assert "line 1" not in course.autograded("sneaky", "ps02").read_text()
    shutil.rmtree(course.root / "grading/submitted/sneaky")


def test_regrading_gives_the_same_verdict_and_records_nothing(course, capsys):
    course, _ = course
    command = ["regrade", "ps02", "--course", str(course.root), "--student"]
    path = course.provenance("unbiased", "ps02")
    kept = path.read_bytes()
    assert main([*command, "unbiased", "--student", "sql"]) == 0
    same = f"the same on all {len(POINTS)} tasks\n"
    assert capsys.readouterr().out == f"unbiased: {same}sql: {same}"
    again = submit(course.root, "unbiased", {})
    assert main([*command, "unbiased"]) == 1
    said = capsys.readouterr().out
    assert "unbiased: normalize was wrong, is right   since then: the submitted file is another\n" in said
    assert path.read_bytes() == kept and marks(course, "unbiased") == STUDENTS["unbiased"][1]
    submit(course.root, "unbiased", STUDENTS["unbiased"][0])
    assert again.is_file() and main([*command, "nobody"]) == 2
    submit(course.root, "new", {})
    assert main([*command, "new"]) == 2
    assert "new has no mark from `normcore grade ps02`" in capsys.readouterr().err
    shutil.rmtree(course.root / "grading/submitted/new")


def test_marks_by_other_checks_are_told(course, capsys):
    course, _ = course
    path = course.provenance("honest", "ps02")
    kept = path.read_text()
    path.write_text(json.dumps(json.loads(kept) | {"checks": "0" * 64}))
    assert main(["grade", "ps02", "--course", str(course.root), "--student", "honest"]) == 0
    assert (
        "1 of the unchanged were graded by other checks; --again grades them anew" in capsys.readouterr().out
    )
    path.write_text(kept[:100])  # half a file is none
    assert grade_all(course, "ps02", students=["honest"], limits=LIMITS).graded == 1
    assert json.loads(path.read_text())["checks"] == json.loads(kept)["checks"]


def test_trusted_submissions_need_no_sandbox(course, monkeypatch):
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda name: None)
    summary = grade_all(course[0], "ps02", students=["honest"], trusted=True, again=True, limits=LIMITS)
    assert summary.graded == 1 and marks(course[0], "honest") == POINTS


def test_stock_nbgrader_grades_the_same_folder_and_what_it_leaves_is_graded_anew(course):
    course, _ = course
    told = {"NORMCORE_TRUST_SUBMISSIONS": "1"}
    run("nbgrader", "autograde", "ps02", "--student=honest", "--force", cwd=course.root, **told)
    assert marks(course, "honest") == POINTS
    path = course.autograded("honest", "ps02")
    assert path.stat().st_mode & 0o222 == 0 and "hidden_check" in path.read_text("utf-8")
    assert grade_all(course, "ps02", students=["honest"], limits=LIMITS).graded == 1
    assert "hidden_check" not in path.read_text("utf-8") and marks(course, "honest") == POINTS
