"""A picture in an answer in words is shown to whoever grades it, or it is said why not; none runs anything."""

import base64
import copy
import io
import json
import re

import nbformat
import pytest
from nbconvert.exporters import HTMLExporter
from PIL import Image

from normcore.checks.catalogue import find_problem_set, names
from normcore.grading import pictures
from normcore.grading.feedback import FeedbackExporter
from normcore.grading.grade import RIGHT, Graded, TaskVerdict
from normcore.grading.intake import read
from normcore.grading.page import autograded
from tests.commands import ROOT
from tests.grading.test_feedback import Active, body, show

PAGES = ((HTMLExporter, "formgrade"), (FeedbackExporter, "feedback"))


def picture(kind="PNG", size=(3, 2)):
    data = io.BytesIO()
    Image.new("1" if kind == "PNG" else "RGB", size).save(data, kind)
    return base64.b64encode(data.getvalue()).decode()


PNG, JPEG = picture(), picture("JPEG")


def released(name):
    return nbformat.read(ROOT / f"exercises/{name}/{name}.ipynb", as_version=4)


def answers(release):
    """The cells for answers in words."""
    return [c for c in release.cells if c.cell_type == "markdown" and c.metadata.nbgrader.get("solution")]


WORDS = [(name, cell.id) for name in names() for cell in answers(released(name))]


def handed_in(tmp_path, name, answer, source, attachments=None):
    notebook = json.loads(nbformat.writes(released(name)))
    cell = next(c for c in notebook["cells"] if c["id"] == answer)
    cell["source"] = source
    if attachments is not None:
        cell["attachments"] = attachments
    path = tmp_path / f"{name}.ipynb"
    path.write_text(json.dumps(notebook), "utf-8")
    return read(path, released(name))


def graded(taken, name):
    tasks = {task: TaskVerdict(RIGHT, "x") for task in find_problem_set(name).checks}
    return autograded(
        Graded("s", tasks, taken.sources, "", taken.notes, pictures=taken.pictures), released(name)
    )


HONEST = {
    "a PNG": ("![x](attachment:a.png)", {"a.png": {"image/png": PNG}}, 1),
    "a JPEG": ("It is\n\n![photo](attachment:a.jpg)\n\nas above", {"a.jpg": {"image/jpeg": JPEG}}, 1),
    "two": (
        "![](attachment:a.png) and ![](attachment:b.jpg)",
        {"a.png": {"image/png": PNG}, "b.jpg": {"image/jpeg": JPEG}},
        2,
    ),
    "in lines": ("![](attachment:a.png)", {"a.png": {"image/png": [PNG[:40] + "\n", PNG[40:]]}}, 1),
    "a blank in its name": (
        "![IMG 1](attachment:IMG%20%281%29.png)",
        {"IMG (1).png": {"image/png": PNG}},
        1,
    ),
    "brackets in its name": ("![IMG](attachment:IMG(1).png)", {"IMG(1).png": {"image/png": PNG}}, 1),
    "as Colab has it": (f"See ![image.png](data:image/png;base64,{PNG})", None, 1),
    "shown by nothing": ("words", {"a.png": {"image/png": PNG}}, 1),
}


@pytest.mark.parametrize("way", HONEST)
def test_pictures_are_shown_to_whoever_grades_and_in_the_feedback(tmp_path, way):
    source, attachments, count = HONEST[way]
    for name, answer in WORDS:
        taken = handed_in(tmp_path, name, answer, source, attachments)
        assert not taken.notes and len(taken.pictures[answer]) == count
        for exporter, template in PAGES:
            page = body(show(exporter, template, graded(taken, name)))
            shown = re.findall(r'<img[^>]*src="data:image/(png|jpeg);base64,([^"]*)"', page)
            assert len(shown) == count and {data for _, data in shown} <= {PNG, JPEG}


def test_every_problem_set_with_an_answer_in_words_is_tried():
    assert len({name for name, _ in WORDS}) >= 3


SCRIPT = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>").decode()
LARGE = base64.b64encode(base64.b64decode(PNG) + b"\0" * pictures.MAX_BYTES).decode()
WIDE = picture(size=(12_000, 9_000))
REFUSED = {
    "svg": ("![](attachment:a.svg)", {"a.svg": {"image/svg+xml": SCRIPT}}, "must be PNG or JPEG"),
    "svg that is called png": ("![](attachment:a.png)", {"a.png": {"image/png": SCRIPT}}, "is no PNG"),
    "page": ("![](attachment:a)", {"a": {"text/html": SCRIPT}}, "must be PNG or JPEG"),
    "jpeg that is called png": ("![](attachment:a.png)", {"a.png": {"image/png": JPEG}}, "is no PNG"),
    "no base64": ("![](attachment:a.png)", {"a.png": {"image/png": '"><script>'}}, "cannot be read"),
    "no text": ("![](attachment:a.png)", {"a.png": {"image/png": 5}}, "cannot be read"),
    "many bytes": ("![](attachment:a.png)", {"a.png": {"image/png": LARGE}}, "more than 4 MiB"),
    "many pixels": ("![](attachment:a.png)", {"a.png": {"image/png": WIDE}}, "12000 × 9000 pixels"),
    "a text that is a page": (f"![x](data:text/html;base64,{SCRIPT})", None, "from a file or an address"),
    "svg in the text": (f"![x](data:image/svg+xml;base64,{SCRIPT})", None, "must be PNG or JPEG"),
    "another host's": ("![x](https://evil/a.png)", None, "from a file or an address"),
    "a file's": ("![x](derivation.png)", None, "from a file or an address"),
    "by HTML": ("<img src='derivation.png'>", None, "from a file or an address"),
}


@pytest.mark.parametrize("way", REFUSED)
def test_what_is_not_taken_is_said_and_shown_nowhere(tmp_path, way):
    source, attachments, why = REFUSED[way]
    name, answer = WORDS[0]
    taken = handed_in(tmp_path, name, answer, source, attachments)
    assert len(taken.notes) == 1 and why in taken.notes[0] and answer in taken.notes[0]
    assert not taken.pictures
    plain = graded(handed_in(tmp_path, name, answer, "words"), name)
    for exporter, template in PAGES:
        found, usual = (
            Active(body(show(exporter, template, copy.deepcopy(n)))).found
            for n in (graded(taken, name), plain)
        )
        assert found == usual


HOSTILE = {
    "its name": ("![](attachment:a)", {'"><script>alert(1)</script>': {"image/png": PNG}}),
    "its text": ('!["><script>alert(1)</script>](attachment:a.png)', {"a.png": {"image/png": PNG}}),
    "a link around it": ("[![x](attachment:a.png)](javascript:alert(1))", {"a.png": {"image/png": PNG}}),
    "a link in it": ("![[x](javascript:alert(1))](attachment:a.png)", {"a.png": {"image/png": PNG}}),
    "half a tag before": ("<![x](attachment:a.png)script>alert(1)</script>", {"a.png": {"image/png": PNG}}),
    "in Colab's text": (f"![<img src=x onerror=alert(1)>](data:image/png;base64,{PNG})", None),
    "other kinds beside": (
        "![](attachment:a)",
        {"a": {"image/png": PNG, "text/html": "<script>alert(1)</script>"}},
    ),
}


@pytest.mark.parametrize("way", HOSTILE)
def test_a_picture_brings_nothing_with_it(tmp_path, way):
    name, answer = WORDS[0]
    taken = handed_in(tmp_path, name, answer, *HOSTILE[way])
    plain = graded(handed_in(tmp_path, name, answer, "![](attachment:a)", {"a": {"image/png": PNG}}), name)
    for exporter, template in PAGES:
        found, usual = (Active(body(show(exporter, template, n))).found for n in (graded(taken, name), plain))
        assert ("img", "src", f"data:image/png;base64,{PNG}") in usual
        assert [f for f in found if f not in usual] == []


def test_so_many_are_taken_and_the_rest_is_told_once(tmp_path):
    name, answer = WORDS[0]
    many = {f"{n}.png": {"image/png": PNG} for n in range(1000)}
    taken = handed_in(tmp_path, name, answer, "x", many)
    assert len(taken.pictures[answer]) == pictures.MAX_PICTURES
    assert taken.notes == (f"The cell {answer!r}: A picture was not taken: there are more than 8.",)


@pytest.mark.parametrize("odd", [5, [], "x", {"a": 5}, {"a": {}}, {"a": {"image/png": None}}, {"": {"": ""}}])
def test_attachments_of_any_shape_are_no_obstacle(tmp_path, odd):
    taken = handed_in(tmp_path, *WORDS[0], "words", odd)
    assert taken.sources[WORDS[0][1]] == "words" and not taken.refused and not taken.pictures


def test_text_in_a_cell_of_ones_own_beside_an_answer_not_given_is_told(tmp_path):
    name, answer = WORDS[0]
    stub = next(c.source for c in released(name).cells if c.id == answer)
    for source, told in ((stub, True), ("words", False)):
        notebook = json.loads(nbformat.writes(released(name)))
        next(c for c in notebook["cells"] if c["id"] == answer)["source"] = source
        notebook["cells"].append({"cell_type": "markdown", "id": "own", "source": "answer", "metadata": {}})
        path = tmp_path / f"{name}.ipynb"
        path.write_text(json.dumps(notebook), "utf-8")
        said = [n for n in read(path, released(name)).notes if "cells of your own is not graded" in n]
        assert [answer in n for n in said] == [True] * told
