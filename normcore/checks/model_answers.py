"""Model answers to questions in words: a learner sees one beside an answer of their own, and not before.

`python -m scripts.notebooks` seals them in model_answers.json, so that nobody reads one by accident. It is
no lock: who wants to can open them. The course is published without it where a person grades the answers.
"""

import base64
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["FILE", "compare", "seal"]

FILE = Path(__file__).with_suffix(".json")
RELEASED = "YOUR ANSWER HERE"  # nbgrader's text in place of an answer
LEAST_WORDS = 20


def seal(text: str) -> str:
    """Text that nobody reads in passing."""
    return base64.b64encode(text.encode()).decode()


def compare(problem_set: str, question: str, answer: str | None, variables: Mapping[str, object]) -> str:
    """The model answer and what a person looks for, in Markdown; or why not yet.

    Args:
        problem_set: such as "ps02".
        question: its name.
        answer: the learner's own; by default it is read in their notebook, as it was saved.
        variables: of the notebook.

    Raises:
        ValueError: no such question.
    """
    if os.environ.get("NBGRADER_EXECUTION"):
        return "Model answers are not shown while a notebook is graded."
    if not FILE.exists():
        return "This copy of the course has no model answers: a person grades yours."
    answers = json.loads(FILE.read_text("utf-8")).get(problem_set, {})
    if question not in answers:
        there = ", ".join(map(repr, answers)) or "none"
        raise ValueError(f"{problem_set} has no question in words named {question!r}; there are: {there}")
    where = "What you gave"
    if answer is None:
        where, answer = _in_the_notebook(problem_set, question, variables)
    if answer is None:
        return (
            f"Your notebook was not found, or has no cell {question!r} any more. Give your answer by hand: "
            f'`check.model_answer("{question}", answer="…")`.'
        )
    count = len(answer.replace(RELEASED, "").split())
    if count < LEAST_WORDS:
        return (
            f"Write your own answer first, in {LEAST_WORDS} words or more, save the notebook, and run this "
            f"cell again. {where} has {count}."
        )
    return base64.b64decode(answers[question]).decode()


def _in_the_notebook(
    problem_set: str, question: str, variables: Mapping[str, object]
) -> tuple[str, str | None]:
    """Where the learner's notebook was found, and their answer in it."""
    if "google.colab" in sys.modules:
        found = [("Your notebook's answer", _from_colab())]
    else:
        # VS Code tells a notebook its file, Jupyter tells the kernel; else it is where the kernel was started
        told = [
            variables.get("__vsc_ipynb_file__"),
            os.environ.get("JPY_SESSION_NAME"),
            f"{problem_set}.ipynb",
        ]
        paths = [Path(str(path)) for path in told if path]
        found = [
            (f"The answer that is saved in {path.name}", _from_file(path)) for path in paths if path.is_file()
        ]
    for where, cells in found:
        for cell in cells:
            name = cell.get("metadata", {}).get("nbgrader", {}).get("grade_id") or cell.get("id")
            if name == question:
                return where, "".join(cell.get("source", ""))
    return "", None


def _from_file(path: Path) -> list[dict]:
    try:
        return json.loads(path.read_text("utf-8"))["cells"]
    except (OSError, ValueError, KeyError):
        return []


def _from_colab() -> list[dict]:
    try:
        from google.colab import _message

        return _message.blocking_request("get_ipynb", timeout_sec=20)["ipynb"]["cells"]
    except Exception:  # Colab promises nothing about it
        return []
