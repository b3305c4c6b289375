"""What readers see of a graded submission. What a learner wrote comes through here, and goes out as text."""

import copy
import re
import textwrap
from collections.abc import Iterable

import nbformat

from normcore.grading.grade import RIGHT, Graded, TaskVerdict
from normcore.grading.pictures import shown

__all__ = ["autograded", "harmless", "listed", "plain"]

WIDTH = 96  # feedback does not break lines, and the hint is what should be read
MAX_NOTES, MAX_NOTE = 40, 2000


def autograded(graded: Graded, release: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The released notebook with the learner's cells, and each verdict as the output of its check.

    The hidden tests are not in it, so neither are they in the feedback.
    """
    notebook = copy.deepcopy(release)
    lines = [graded.refused, *graded.notes] if graded.refused else graded.notes
    if lines:
        text = f"**About this submission**\n\n{listed(lines)}"
        notebook.cells.insert(0, nbformat.v4.new_markdown_cell(text, id="about"))
    for cell in notebook.cells:
        marks = cell.metadata.get("nbgrader", {})
        if marks.get("solution"):
            source = plain(graded.sources.get(cell.id, cell.source))
            cell.source = source
            if cell.cell_type == "markdown":
                pictures = graded.pictures.get(cell.id, {})
                cell.source = shown(harmless(source), pictures)
                if pictures:
                    cell.attachments = pictures
        elif marks.get("grade"):
            cell.outputs = [_output(graded.tasks[cell.id.removesuffix("-check")])]
    return notebook


def plain(text: str) -> str:
    """Text that every file can hold: control characters and halves of characters are spelled out."""
    return re.sub(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", lambda m: ascii(m[0])[1:-1], text.replace("\r\n", "\n")
    )


def harmless(text: str) -> str:
    """A learner's Markdown without HTML and links: formgrader would run them, with the instructor's rights.

    HTML is shown as it was typed, and a link as its text and address. The submitted file has the original.
    """
    shown = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)
    return re.sub(r"\](?=[(\[:])", "] ", shown)


def listed(lines: Iterable[str]) -> str:
    """Sentences in which nothing is Markdown: a block of code, with a longer fence than any in them."""
    text = "\n".join(
        part
        for line in list(lines)[:MAX_NOTES]
        for part in textwrap.wrap(f"* {plain(line)[:MAX_NOTE]}", WIDTH, subsequent_indent="  ")
    )
    fence = "`" * (1 + max(2, *map(len, re.findall("`+", text)), 2))
    return f"{fence}\n{text}\n{fence}"


def _output(verdict: TaskVerdict) -> nbformat.NotebookNode:
    message = plain(verdict.message)
    if verdict.outcome == RIGHT:
        return nbformat.v4.new_output("stream", name="stdout", text="✓ " + message)
    lines = [
        part
        for line in message.splitlines()
        for part in textwrap.wrap(line, WIDTH, subsequent_indent="  ") or [""]
    ]
    return nbformat.v4.new_output("error", ename="CheckFailed", evalue=message, traceback=lines)
