"""Every file gets a verdict in words, and none is run."""

import copy
import json
from pathlib import Path

import nbformat
import pytest

from normcore.grading.intake import MAX_BYTES, MAX_NOTES, MAX_OWN, MAX_OWN_CELLS, hash_of, read
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
    b'{"cells": []}': "no format that is known",
    b'{"nbformat": "' + b"<img src=x>" * 300_000 + b'", "cells": []}': "no format that is known",
    b'{"nbformat": 1e300, "cells": []}': "no format that is known",
    b'{"nbformat": 4, "cells": 5}': "no list of cells",
    b"x" * (MAX_BYTES + 1): "at most",
}


@pytest.mark.parametrize("content", REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_notebook_is_refused_in_words(tmp_path, content):
    result = read(written(tmp_path, content), RELEASE)
    assert REFUSED[content] in result.refused and not result.sources
    assert len(result.refused) < 200 and "<" not in result.refused


def test_links_folders_and_nothing_are_refused(tmp_path):
    target = written(tmp_path, SOLUTION)
    link = tmp_path / "link.ipynb"
    link.symlink_to(target)
    assert "is a link" in read(link, RELEASE).refused
    assert "missing" in read(tmp_path / "none.ipynb", RELEASE).refused
    (tmp_path / "folder.ipynb").mkdir()
    assert "missing" in read(tmp_path / "folder.ipynb", RELEASE).refused


def own(source, **changes):
    return {"cell_type": "code", "id": "mine", "source": source, "metadata": {}} | changes


def test_cells_of_the_learners_own_are_taken_in_their_place(tmp_path):
    notebook = copy.deepcopy(SOLUTION)
    place = next(i for i, c in enumerate(notebook["cells"]) if c["id"] == "normalize")
    notebook["cells"].insert(place, own(["import os\n", "import sys"]))
    notebook["cells"].insert(0, own("a text", cell_type="markdown"))
    notebook["cells"].insert(0, own("raw", cell_type="raw"))
    notebook["cells"].append(own("x = 1"))
    result = read(written(tmp_path, notebook), RELEASE)
    assert set(result.sources) == NAMES and not result.refused and not result.notes
    assert "x.var(dim, correction=0" in result.sources["normalize"]
    names = [name for name, _ in result.cells]
    assert names[names.index("normalize") - 1] == f"cell {place + 3}" and names[0] == "imports"
    assert dict(result.cells)[f"cell {place + 3}"] == "import os\nimport sys"
    assert result.cells[-1] == (f"cell {len(notebook['cells'])}", "x = 1")
    assert all(dict(result.cells)[name] == result.sources[name] for name in NAMES if name in names)


def test_cells_of_the_learners_own_are_bounded_and_it_is_said(tmp_path):
    many = changed(lambda n: n["cells"].extend(own("x") for _ in range(MAX_OWN_CELLS + 50)))
    large = changed(lambda n: n["cells"].extend(own("#" * (MAX_OWN // 3)) for _ in range(5)))
    for notebook in (many, large):
        result = read(written(tmp_path, notebook), RELEASE)
        others = [s for name, s in result.cells if name.startswith("cell ")]
        assert len(others) <= MAX_OWN_CELLS and sum(map(len, others)) <= MAX_OWN
        assert set(result.sources) == NAMES and "other cells" in result.notes[0]


def test_thousands_of_odd_cells_are_told_in_a_few_notes(tmp_path):
    def retype(notebook):
        odd = copy.deepcopy(cell(notebook, "normalize"))
        notebook["cells"] += [odd | {"cell_type": "markdown"} for _ in range(5000)]

    result = read(written(tmp_path, changed(retype)), RELEASE)
    assert set(result.sources) == NAMES and len(result.notes) <= MAX_NOTES + 1
    assert "more of this kind" in result.notes[-1]


def test_characters_that_cannot_be_written_down_are_replaced(tmp_path):
    def odd(notebook):
        cell(notebook, "normalize")["source"] = "x = '\ud800'"
        notebook["cells"].append(own("y = '\udfff'"))

    result = read(written(tmp_path, changed(odd)), RELEASE)
    assert result.sources["normalize"] == "x = '?'" and result.cells[-1][1] == "y = '?'"


def test_a_file_that_cannot_be_read_is_refused_in_words(tmp_path, monkeypatch):
    def denied(self):
        raise PermissionError(13, "Permission denied")

    path = written(tmp_path, SOLUTION)
    monkeypatch.setattr(Path, "read_bytes", denied)
    assert "cannot be read: Permission denied" in read(path, RELEASE).refused
    assert hash_of(path) == ""


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
