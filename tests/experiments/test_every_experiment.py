"""Every experiment measures a grid with seeds, and draws it with nothing else."""

import inspect
import pkgutil
from importlib import import_module

import pytest

from normcore import experiments
from normcore.experiments.grid import Grid
from normcore.plotting import PlainLogFormatter
from tests.test_plotting import named_ticks

SHARED = {"grid", "panels", "stored"}
OTHER = {"signals"}  # of its own class, by layer
# experiment → arguments of a small measurement
SMALL = {
    "ahead": {"learning_rates": (0.1, 0.3), "lengths": (0.0, 0.1, 1.0, 10.0), "at": (0, 2)},
    "bounded": {"learning_rates": (0.1, 1.0), "epochs": 1, "batch_size": 256},
    "conditioning": {"ratios": (1, 2), "tolerance": 0.1},
    "covariate_shift": {"steps": 8},
    "depth": {"learning_rates": (0.1, 1.0), "epochs": 2, "batch_sizes": (128, 256), "depths": (2, 3)},
    "detached": {"learning_rates": (0.1, 1.0), "epochs": 2, "batch_size": 64},
    "growth": {"width": 20, "depth": 10, "batch_sizes": (8, 16)},
    "initialisation": {
        "starts": ["ReLU, 1 × He's"],
        "learning_rates": (0.1, 1.0),
        "epochs": 1,
        "batch_size": 256,
    },
    "interventions": {"learning_rates": (0.1, 1.0), "epochs": 1, "batch_size": 256},
    "landscape": {"steps": 8},
    "noisy": {"learning_rates": (0.1, 1.0), "epochs": 1, "batch_size": 256},
    "placement": {"learning_rates": (0.1, 1.0), "epochs": 1, "batch_size": 256},
    "regularization": {"learning_rates": (0.1, 1.0), "passes": (1, 2)},
    "scaling": {"scalings": {"as given": lambda train, x: x}, "count": 20},
    "speed": {"learning_rates": (0.1, 1.0), "epochs": 1, "batch_size": 256},
    "train_eval": {"batch_sizes": (64, 128), "epochs": 1},
}


def test_every_experiment_is_here():
    modules = {module.name for module in pkgutil.iter_modules(experiments.__path__)}
    assert modules == set(SMALL) | SHARED | OTHER


@pytest.mark.parametrize("name", SMALL)
def test_what_is_measured_says_how_and_is_drawn_by_itself(name):
    experiment = import_module(f"normcore.experiments.{name}")
    results = experiment.measure(**SMALL[name], seeds=range(2))
    assert isinstance(results, Grid) and results.axes["seed"] == (0, 1)
    assert results.array.shape == tuple(map(len, results.axes.values()))
    assert results.settings and {"device", "versions", "date"} <= results.made.keys()
    required = [p for p in inspect.signature(experiment.draw).parameters.values() if p.default is p.empty]
    assert len(required) == 1
    drawn = experiment.draw(results)
    assert drawn.axes[-1].get_xlabel() and all(ax.lines or ax.collections for ax in drawn.axes)
    for axis in (axis for ax in drawn.axes for axis in (ax.xaxis, ax.yaxis)):
        if axis.get_scale() == "log":
            named, (low, high) = named_ticks(axis), sorted(axis.get_view_interval())
            assert not any("times" in text for text in named), named
            by_hand = not isinstance(axis.get_major_formatter(), PlainLogFormatter)
            assert by_hand or len(named) >= 2 or high < 4 * low, named
