"""Model answers to questions in words: shown beside a learner's own answer, never before, and nowhere in plain text."""

import json
import re
import sys
import types

import pytest

from normcore.checks import model_answers
from normcore.checks.catalogue import names
from normcore.checks.model_answers import FILE, LEAST_WORDS, RELEASED, compare
from scripts.problem_set_text import read
from tests.commands import ROOT

QUESTIONS = [
    (name, question)
    for name in names()
    for question in read(ROOT / "solutions" / name / f"{name}.md").questions
]
IDS = [f"{name}-{question.name}" for name, question in QUESTIONS]
OWN = "word " * LEAST_WORDS


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)


def saved(path, name, answer):
    """A notebook as Jupyter saves it, with an answer in words; `name` is its nbgrader id, or the cell's own."""
    cells = [{"id": "title", "source": ["# Title"]}, {"source": answer.splitlines(keepends=True)} | name]
    path.write_text(json.dumps({"cells": cells}), "utf-8")


@pytest.mark.parametrize(("name", "question"), QUESTIONS, ids=IDS)
def test_every_question_has_one_and_shows_it_after_an_answer_only(name, question, tmp_path):
    for own in ("", RELEASED, RELEASED + OWN.strip().removesuffix("word"), "too short"):
        shown = compare(name, question.name, own, {})
        assert shown.startswith("Write your own answer first") and "\n" not in shown
    shown = compare(name, question.name, OWN, {})
    assert question.solution in shown and question.graded_by in shown
    # from the notebook, where Jupyter was started beside it
    assert "was not found" in compare(name, question.name, None, {})
    for cell in ({"id": question.name}, {"id": "x", "metadata": {"nbgrader": {"grade_id": question.name}}}):
        saved(tmp_path / f"{name}.ipynb", cell, RELEASED)
        assert f"saved in {name}.ipynb has 0." in compare(name, question.name, None, {})
        saved(tmp_path / f"{name}.ipynb", cell, OWN)
        assert question.solution in compare(name, question.name, None, {})


@pytest.mark.parametrize(("name", "question"), QUESTIONS, ids=IDS)
def test_none_is_to_be_read_in_what_learners_get(name, question):
    pieces = [piece for line in question.solution.splitlines() for piece in re.split('[$"]', line)]
    pieces = [piece for piece in pieces if len(piece) > 40]
    released = (ROOT / "exercises" / name / f"{name}.ipynb").read_text("utf-8")
    texts = (released, FILE.read_text("utf-8"))
    assert pieces and not any(piece in text for piece in pieces for text in texts)


def test_the_notebook_is_found_where_jupyter_vs_code_and_colab_have_it(tmp_path, monkeypatch):
    name, question = QUESTIONS[0]
    cell = {"id": question.name}
    saved(tmp_path / "renamed.ipynb", cell, OWN)
    told = {"__vsc_ipynb_file__": str(tmp_path / "renamed.ipynb")}
    assert question.solution in compare(name, question.name, None, told)
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "renamed.ipynb"))
    assert question.solution in compare(name, question.name, None, {})
    (tmp_path / "renamed.ipynb").write_text("{}")
    assert "was not found" in compare(name, question.name, None, {})
    colab, message = types.ModuleType("google.colab"), types.ModuleType("google.colab._message")
    answers = iter([{"ipynb": {"cells": [cell | {"source": OWN}]}}, {"ipynb": {"cells": []}}])
    message.blocking_request = lambda request, timeout_sec: next(answers)
    colab._message = message
    for module in (colab, message, types.ModuleType("google")):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    assert question.solution in compare(name, question.name, None, {})
    assert "was not found" in compare(name, question.name, None, {})
    assert "was not found" in compare(name, question.name, None, {})  # and where Colab answers nothing


def test_none_is_shown_while_grading_or_where_the_course_has_none(monkeypatch, tmp_path):
    name, question = QUESTIONS[0]
    monkeypatch.setattr(model_answers, "FILE", tmp_path / "gone.json")
    assert "a person grades yours" in compare(name, question.name, OWN, {})
    monkeypatch.undo()
    with pytest.raises(ValueError, match=f"no question in words named 'whose'; there are: {question.name!r}"):
        compare(name, "whose", OWN, {})
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert question.solution not in compare(name, question.name, OWN, {})
