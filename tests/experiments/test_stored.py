"""Stored results: each says how it was made, can be made again by its command, and comes back as it was."""

from importlib import import_module

import numpy as np
import pytest

from normcore.__main__ import main
from normcore.experiments import find_stored, stored
from normcore.experiments.grid import grid

KEPT = sorted(path.stem for path in stored.FOLDER.glob("*.json"))


def test_every_stored_result_has_its_experiment_and_the_other_way_round():
    assert list(find_stored()) == KEPT and KEPT


@pytest.mark.parametrize("name", KEPT)
def test_a_stored_result_says_how_it_was_made(name):
    results = stored.load(name)
    assert results.made["command"] == f"normcore experiment {name}"
    assert {"device", "versions", "date", "seconds"} <= results.made.keys()
    assert results.array.shape == tuple(map(len, results.axes.values()))
    assert len(results.axes["seed"]) >= 5 and not np.isnan(results.array).any()


@pytest.mark.parametrize("name", KEPT)
def test_a_stored_result_is_drawn_by_itself(name):
    drawn = import_module(f"normcore.experiments.{name}").draw(stored.load(name))
    assert all(ax.get_xlabel() and ax.get_ylabel() for ax in drawn.axes)


def test_results_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "FOLDER", tmp_path / "results")
    axes = {"network": ("a", "b"), "seed": range(3), "lr": (0.1, 1.0)}
    saved = grid(lambda network, seed, lr: (ord(network) + seed) / lr / 3, axes, width=7)
    stored.save("try", saved)
    kept = stored.load("try")
    assert kept.axes == saved.axes and kept.settings == {"width": 7}
    np.testing.assert_allclose(kept.array, saved.array, rtol=1e-5)
    assert kept.made == {"command": "normcore experiment try", **saved.made}
    told = stored.made(kept)
    assert told.startswith("stored results of `normcore experiment try`, CPU") and kept.made["date"] in told


def test_a_name_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match="no stored results of 'nothing'; there are: .*growth"):
        stored.load("nothing")


@pytest.mark.parametrize("name", KEPT)
def test_the_command_runs_the_experiment_and_names_its_file(name, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(f"normcore.experiments.{name}.main", lambda: tmp_path / "there.json")
    assert main(["experiment", name]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'there.json'}\n"


def test_the_command_lists_the_experiments_with_a_line_each(capsys):
    with pytest.raises(SystemExit):
        main(["experiment", "--help"])
    printed = capsys.readouterr().out
    for name, line in find_stored().items():
        assert f"  {name}: {line}\n" in printed and len(line) > 20
