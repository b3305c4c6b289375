"""The tree for students has everything but answers, and can be made again into a clone."""

import shutil
import textwrap

import nbformat
import pytest

from normcore.checks.catalogue import names
from normcore.checks.model_answers import FILE
from scripts import public
from scripts.problem_set_text import read
from tests.commands import ROOT


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("public") / "course"
    count = public.write(folder)
    return folder, count


def test_students_get_book_package_and_exercises(tree):
    folder, count = tree
    assert sum(p.is_file() for p in folder.rglob("*")) == count > 100
    for name in (
        "exercises/ps02/ps02.ipynb",
        "book/transform.md",
        "normcore/checks/judge.py",
        "Makefile",
        "README.md",
    ):
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes()
    assert not (folder / "solutions").exists() and not (folder / "tests").exists()
    texts = {path.name for path in (ROOT / "solutions").glob("*/*") if path.is_file()}
    left = [p for p in folder.rglob("*") if p.name in texts and p.parent.parent.name != "exercises"]
    assert {f"{name}.{kind}" for name in names() for kind in ("md", "ipynb")} <= texts and not left


def test_where_a_person_grades_there_are_no_model_answers(tree, tmp_path):
    """Else they are there, sealed: nobody reads one by accident."""
    folder, count = tree
    assert (
        FILE.relative_to(ROOT).as_posix() == public.MODEL_ANSWERS
        and (folder / public.MODEL_ANSWERS).is_file()
    )
    assert public.write(tmp_path / "graded", graded=True) == count - 1
    assert not (tmp_path / "graded" / public.MODEL_ANSWERS).exists()


def test_no_answer_is_in_it_and_one_would_be_found(tree):
    folder, _ = tree
    assert public.answers_in(folder) == []
    source = ROOT / "solutions/ps04/ps04.ipynb"
    shutil.copy(source, folder / "leak.ipynb")
    (cell,) = [c for c in nbformat.read(source, as_version=4).cells if c.id == "precise_statistics"]
    (folder / "leak.py").write_text("if True:\n" + textwrap.indent(cell.source, "    "))
    question = read(ROOT / "solutions/ps04/ps04.md").questions[0]
    (folder / "leak.html").write_text(f"<p>{question.solution}</p>")
    found = {(path.name, task) for path, task in public.answers_in(folder)}
    assert ("leak.html", f"ps04, {question.name}") in found and (
        "leak.ipynb",
        f"ps04, {question.name}",
    ) in found
    assert ("leak.py", "ps04, precise_statistics") in found
    assert len({task for name, task in found if name == "leak.ipynb"}) >= 3
    (folder / "leak.ipynb").unlink()
    (folder / "leak.py").unlink()
    (folder / "leak.html").unlink()


def test_made_again_the_clone_stays_and_old_files_go(tree):
    folder, count = tree
    (folder / ".git").mkdir()
    (folder / ".git/config").write_text("kept")
    (folder / "old.py").write_text("gone")
    assert public.write(folder) == count
    assert (folder / ".git/config").read_text() == "kept" and not (folder / "old.py").exists()
    shutil.rmtree(folder / ".git")


@pytest.mark.parametrize("folder", [ROOT, ROOT.parent, ROOT / "book"])
def test_the_repository_is_not_overwritten(folder, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["public", str(folder)])
    with pytest.raises(SystemExit):
        public.main()
    assert "name a folder outside it" in capsys.readouterr().err


COURSE = ("book/x", "exercises/x", "normcore/x", "_toc.yml")


@pytest.mark.parametrize(
    "files",
    [("thesis.tex",), ("exercises/thesis.tex",), (*COURSE, "grading/gradebook.db"), (*COURSE, "solutions/x")],
    ids=["other", "another course", "a clone with marks", "a clone with answers"],
)
def test_a_folder_of_somebody_elses_is_not_emptied(files, tmp_path, monkeypatch, capsys):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("years of work")
    monkeypatch.setattr("sys.argv", ["public", str(tmp_path)])
    with pytest.raises(SystemExit):
        public.main()
    assert all((tmp_path / name).exists() for name in files)
    assert "has other files in it" in capsys.readouterr().err
