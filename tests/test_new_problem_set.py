"""A new problem set is two files and one command: in a copy of the repository, and every suite runs over it."""

import json
import shutil

import pytest

from scripts import notebooks
from tests.commands import ROOT, run
from tests.test_problem_set_text import GOOD

CHECKS = '''
"""PS99, A trial."""

from normcore.checks.answers import answer
from normcore.checks.catalogue import ProblemSet
from normcore.checks.check import Check
from normcore.checks.notebook import HiddenCheck, VisibleCheck
from normcore.checks.slips import Slip, slips


@answer
def _twice(x):
    return 2 * x


TWICE = Check(
    name="twice",
    run="y = twice(x)",
    outputs=("y",),
    draw=lambda rng, number: {"x": rng.normal(size=5)},
    reference=lambda x: x + x,
    mistakes=slips(_twice, [Slip("thrice", "2 * x → 3 * x", "You took it three times.")]),
)
PROBLEM_SET = ProblemSet("ps99", [TWICE])
check, hidden_check = VisibleCheck(PROBLEM_SET), HiddenCheck(PROBLEM_SET)
'''
# `make exercises`, the audit, the grades of its solution and of a known mistake; in one process, which
# imports torch once
USE = """
import sys
from pathlib import Path
from normcore.__main__ import main
from scripts import notebooks

sys.argv = ["notebooks"]
assert notebooks.main() == 0
assert main(["audit", "ps99", "--seeds", "2"]) == 0
solution = Path("solutions/ps99/ps99.ipynb").read_text()
texts = {
    "solver": solution,
    "thrice": solution.replace("return 2 * x", "return 3 * x"),
}
for student, text in texts.items():
    folder = Path("grading/submitted", student, "ps99")
    folder.mkdir(parents=True)
    (folder / "ps99.ipynb").write_text(text)
sys.exit(main(["grade", "ps99", "--workers", "1", "--trust-submissions", "--json"]))
"""
SUITES = {
    "tests/test_notebooks.py",
    "tests/test_nbgrader.py",
    "tests/test_problem_set_text.py",
    "tests/test_problem_sets.py",
    "tests/checks/test_answers.py",
    "tests/checks/test_audit.py",
    "tests/checks/test_model_answers.py",
    "tests/checks/test_notebook.py",
    "tests/checks/test_wrong_answers.py",
    "tests/grading/test_every_problem_set.py",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A copy of the repository with two files more, and what was printed when they were used."""
    copy = tmp_path_factory.mktemp("new") / "course"
    for name in ("normcore", "scripts", "tests", "solutions", "exercises"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "book", copy / "book", ignore=shutil.ignore_patterns("*.ipynb", "_*"))
    for name in ("_config.yml", "_toc.yml", "nbgrader_config.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy)
    (copy / "solutions/ps99").mkdir()
    (copy / "solutions/ps99/ps99.md").write_text(GOOD, "utf-8")
    (copy / "normcore/checks/ps99.py").write_text(CHECKS.lstrip(), "utf-8")
    return copy, run("python", "-c", USE, cwd=copy, PYTHONPATH=str(copy))


def test_it_is_audited_and_graded_with_no_other_edit(made):
    _, printed = made
    written = {line.removesuffix(": written") for line in printed.splitlines()}
    new = {f"{folder}/ps99/ps99.ipynb" for folder in ("solutions", "exercises")}
    assert new | {"normcore/checks/model_answers.json"} <= written and "clean" in printed
    assert not any(name.startswith(("solutions", "exercises")) for name in written - new)
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith('{"student"')]
    points = {line["student"]: line["points"] for line in lines}
    assert points == {"solver": {"twice-check": 2}, "thrice": {"twice-check": 0}}
    (thrice,) = [line for line in lines if line["student"] == "thrice"]
    assert "You took it three times." in thrice["tasks"]["twice"]["message"]


def test_every_suite_runs_over_it_and_one_test_says_what_it_lacks(made):
    copy, _ = made
    code = (
        "import pytest, sys\n"
        f"rc = pytest.main(['-n0', '-q', '--collect-only', '-k', 'ps99', *{sorted(SUITES)!r}])\n"
        "from tests.test_problem_sets import lacking\n"
        "print('\\n'.join(f'LACKS {what}' for what in lacking('ps99')))\n"
        "sys.exit(rc)"
    )
    lines = run("python", "-c", code, cwd=copy, PYTHONPATH=str(copy)).splitlines()
    found = {line.partition("::")[0] for line in lines if line.startswith("tests/") and "::" in line}
    assert found == SUITES
    lacks = [line.removeprefix("LACKS ") for line in lines if line.startswith("LACKS ")]
    assert len(lacks) == 4
    for what in (
        "1 tasks, where there should be 4 or more",
        "tests/checks/styles/ps99.py: no answer to twice in another style",
        "tests/checks/wrong/ps99.py: 0 wrong answers to twice, of 12 or more",
        "book/transform.md: no card, :::{problem-set} ps99",
    ):
        assert any(what in line for line in lacks), what


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ([], "ps99.md:1: its checks are missing: normcore/checks/ps99.py"),
        (["ps99"], "ps99.md:1: it is missing, but there is normcore/checks/ps99.py"),
    ],
)
def test_a_text_without_checks_and_checks_without_a_text_are_said(sets, said, tmp_path, monkeypatch, capsys):
    (tmp_path / "solutions/ps99").mkdir(parents=True)
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(notebooks, "names", lambda: sets)
    monkeypatch.setattr(notebooks, "repository_url", lambda: "https://example.org/course")
    monkeypatch.setattr("sys.argv", ["notebooks", "--check"])
    assert notebooks.main() == 1
    assert said in capsys.readouterr().err
