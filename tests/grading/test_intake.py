"""Every file gets a verdict in words, and none is run."""

import copy
import json

import nbformat
import pytest

from normcore.grading.intake import MAX_BYTES, read
from tests.commands import ROOT

RELEASE = nbformat.read(ROOT / "exercises/ps02/ps02.ipynb", as_version=4)
SOLUTION = json.loads((ROOT / "solutions/ps02/ps02.ipynb").read_text("utf-8"))
NAMES = {c.id for c in RELEASE.cells if c.metadata.get("nbgrader", {}).get("solution")}


def written(tmp_path, content):
    path = tmp_path / "ps02.ipynb"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


REFUSED = {
    b"": "not valid JSON",
    b"{": "not valid JSON",
    b"[" * 100_000: "not valid JSON",
    b"\xff\xfe\x00": "not valid JSON",
    b"PK\x03\x04 a zip": "not valid JSON",
    b"[1, 2]": "no object",
    b'{"nbformat": 3, "worksheets": []}': "format 3",
    b'{"cells": []}': "format None",
    b'{"nbformat": 4, "cells": 5}': "no list of cells",
    b"x" * (MAX_BYTES + 1): "at most",
}


@pytest.mark.parametrize("content", REFUSED, ids=[v for v in REFUSED.values()])
def test_what_is_no_notebook_is_refused_in_words(tmp_path, content):
    result = read(written(tmp_path, content), RELEASE)
    assert REFUSED[content] in result.refused and not result.sources


def test_links_folders_and_nothing_are_refused(tmp_path):
    target = written(tmp_path, SOLUTION)
    link = tmp_path / "link.ipynb"
    link.symlink_to(target)
    assert "is a link" in read(link, RELEASE).refused
    assert "missing" in read(tmp_path / "none.ipynb", RELEASE).refused
    (tmp_path / "folder.ipynb").mkdir()
    assert "missing" in read(tmp_path / "folder.ipynb", RELEASE).refused


def test_the_solution_cells_are_taken_and_nothing_else(tmp_path):
    notebook = copy.deepcopy(SOLUTION)
    notebook["cells"].insert(0, {"cell_type": "code", "id": "mine", "source": "import os", "metadata": {}})
    result = read(written(tmp_path, notebook), RELEASE)
    assert set(result.sources) == NAMES and not result.refused and not result.notes
    assert "x.var(dim, correction=0" in result.sources["normalize"]


def cell(notebook, name):
    return next(c for c in notebook["cells"] if c["id"] == name)


def changed(change):
    notebook = copy.deepcopy(SOLUTION)
    change(notebook)
    return notebook


ODD = {
    "deleted": (lambda n: n["cells"].remove(cell(n, "normalize")), "'normalize' is missing"),
    "retyped": (lambda n: cell(n, "normalize").update(cell_type="markdown"), "turned into another type"),
    "no text": (lambda n: cell(n, "normalize").update(source={"a": 1}), "has no text"),
    "numbers": (lambda n: cell(n, "normalize").update(source=[1, 2]), "has no text"),
    "endless": (lambda n: cell(n, "normalize").update(source="#" * 300_000), "at most"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_cell_that_cannot_be_read_is_left_out_and_named(tmp_path, name):
    change, note = ODD[name]
    result = read(written(tmp_path, changed(change)), RELEASE)
    assert set(result.sources) == NAMES - {"normalize"}
    assert len(result.notes) == 1 and note in result.notes[0]


def test_a_doubled_cell_stops_nothing(tmp_path):
    def double(notebook):
        stub = copy.deepcopy(next(c for c in RELEASE.cells if c.id == "normalize"))
        notebook["cells"].insert(1, dict(stub))
        notebook["cells"].append(copy.deepcopy(cell(notebook, "normalize-check")))

    result = read(written(tmp_path, changed(double)), RELEASE)
    assert "correction=0" in result.sources["normalize"], "the one that was written is taken, not the stub"
    assert not result.notes


def test_of_two_versions_the_first_is_taken_and_it_is_said(tmp_path):
    def double(notebook):
        other = copy.deepcopy(cell(notebook, "normalize"))
        other["source"] = "def normalize(): pass"
        notebook["cells"].append(other)

    result = read(written(tmp_path, changed(double)), RELEASE)
    assert "correction=0" in result.sources["normalize"]
    assert "2 versions of the cell 'normalize'" in result.notes[0]


def test_cells_are_found_by_their_ids_where_the_metadata_is_lost(tmp_path):
    def strip(notebook):
        for c in notebook["cells"]:
            c["metadata"] = {}

    assert set(read(written(tmp_path, changed(strip)), RELEASE).sources) == NAMES


@pytest.mark.parametrize("odd", [None, 5, [], {"kernelspec": None}, {"kernelspec": {"language": "R"}}])
def test_odd_metadata_and_kernels_are_no_obstacle(tmp_path, odd):
    result = read(written(tmp_path, changed(lambda n: n.update(metadata=odd))), RELEASE)
    assert set(result.sources) == NAMES
    assert bool(result.notes) == (odd == {"kernelspec": {"language": "R"}})


def test_cells_of_any_shape_are_no_obstacle(tmp_path):
    def odd(notebook):
        notebook["cells"] += [None, 5, "x", [], {}, {"id": 7}, {"id": "normalize-check", "source": "forged"}]
        notebook["cells"].append({"metadata": {"nbgrader": 3}, "id": ["normalize"], "cell_type": "code"})

    assert set(read(written(tmp_path, changed(odd)), RELEASE).sources) == NAMES
