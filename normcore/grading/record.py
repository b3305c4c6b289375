"""Marks into nbgrader's gradebook, through nbgrader: one writer, and no old mark survives."""

import copy
import datetime
import json
import re
import textwrap

import nbformat
from nbgrader.api import Gradebook
from nbgrader.preprocessors import AssignLatePenalties, SaveAutoGrades
from traitlets.config import Config

from normcore.grading.course import Course
from normcore.grading.grade import RIGHT, Graded

__all__ = ["account", "autograded", "harmless", "record"]


def autograded(graded: Graded, release: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The released notebook with the learner's cells, and each verdict as the output of its check.

    The hidden tests are not in it, so neither are they in the feedback.
    """
    notebook = copy.deepcopy(release)
    if graded.refused or graded.notes:
        lines = [graded.refused, *graded.notes] if graded.refused else graded.notes
        text = "**About this submission**\n\n" + "\n".join(f"* {line}" for line in lines)
        notebook.cells.insert(0, nbformat.v4.new_markdown_cell(text))
    for cell in notebook.cells:
        marks = cell.metadata.get("nbgrader", {})
        if marks.get("solution"):
            cell.source = graded.sources.get(cell.id, cell.source)
            if cell.cell_type == "markdown":
                cell.source = harmless(cell.source)
        elif marks.get("grade"):
            verdict = graded.tasks[cell.id.removesuffix("-check")]
            # feedback does not break lines, and the hint is what should be read
            lines = [
                part
                for line in verdict.message.splitlines()
                for part in textwrap.wrap(line, 96, subsequent_indent="  ") or [""]
            ]
            if verdict.outcome == RIGHT:
                cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="✓ " + verdict.message)]
            else:
                cell.outputs = [
                    nbformat.v4.new_output(
                        "error", ename="CheckFailed", evalue=verdict.message, traceback=lines
                    )
                ]
    return notebook


def harmless(text: str) -> str:
    """A learner's Markdown without HTML and links: formgrader would run them, with the instructor's rights.

    HTML is shown as it was typed, and a link as its text and address. The submitted file has the original.
    """
    shown = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)
    return re.sub(r"\](?=[(\[:])", "] ", shown)


def account(graded: Graded) -> dict:
    """What is kept with the marks, and told by --json."""
    tasks = {name: {"outcome": t.outcome, "mistakes": list(t.mistakes)} for name, t in graded.tasks.items()}
    return {
        "student": graded.student,
        "tasks": tasks,
        "refused": graded.refused,
        "notes": list(graded.notes),
        "attention": graded.attention,
        **graded.provenance,
    }


def record(
    graded: Graded,
    release: nbformat.NotebookNode,
    assignment: str,
    course: Course,
    timestamp: datetime.datetime | None = None,
    config: Config | None = None,
) -> None:
    """Write a submission's marks, its autograded notebook and its provenance.

    Where the failure is ours, old marks are taken away, and every task waits for a person. Interrupted at any
    point, it can be done again: while there is no provenance, a submission does not count as graded.

    Args:
        graded: the submission.
        release: what learners were given.
        assignment: such as "ps02".
        course: whose gradebook has the assignment.
        timestamp: when it was handed in, UTC.
        config: of nbgrader, whose plugin for late penalties is asked.
    """
    student = graded.student
    provenance = course.provenance(student, assignment)
    provenance.unlink(missing_ok=True)
    with Gradebook(course.db_url, course.course_id) as gradebook:
        gradebook.update_or_create_student(student)
        when = {"timestamp": timestamp} if timestamp else {}
        submission = gradebook.update_or_create_submission(assignment, student, **when)
        for notebook in submission.notebooks:
            for grade in notebook.grades:
                grade.auto_score = None
                grade.needs_manual_grade = True
        gradebook.db.commit()
    if graded.failed:
        return
    target = course.autograded(student, assignment)
    target.parent.mkdir(parents=True, exist_ok=True)
    notebook = autograded(graded, release)
    nbformat.write(notebook, target)
    resources = {
        "nbgrader": {
            "notebook": assignment,
            "assignment": assignment,
            "student": student,
            "db_url": course.db_url,
        }
    }
    SaveAutoGrades(config=config).preprocess(notebook, resources)
    AssignLatePenalties(config=config).preprocess(notebook, resources)
    provenance.parent.mkdir(parents=True, exist_ok=True)
    whole = provenance.with_suffix(".tmp")
    whole.write_text(json.dumps(account(graded), indent=1) + "\n", "utf-8")
    whole.replace(provenance)  # it is there in full, or not at all
