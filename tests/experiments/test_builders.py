"""What experiments compare starts from the same weights, whatever is normalized, and where."""

import inspect
import pkgutil
from importlib import import_module

import pytest
import torch

from normcore import experiments, nn
from normcore.models import SIZES, initialise, mlp

MODULES = [
    import_module(f"normcore.experiments.{module.name}")
    for module in pkgutil.iter_modules(experiments.__path__)
]
BUILDERS = {m.__name__.rpartition(".")[2]: m for m in MODULES if hasattr(m, "build")}


def weights(make):
    torch.manual_seed(11)
    model = make()
    after = torch.rand(3)  # what is drawn next is the same, too
    return [m.weight for m in model.modules() if isinstance(m, torch.nn.Linear)] + [after]


def names(module):
    (first, *_) = inspect.signature(module.build).parameters
    return list(getattr(module, f"{first.upper()}S"))


@pytest.mark.parametrize("name", BUILDERS)
def test_one_seed_draws_the_same_weights_for_all_networks_of_an_experiment(name):
    module = BUILDERS[name]
    families = {}  # of one shape: a chain is not compared with a residual network
    for network in names(module):
        found = weights(lambda n=network: module.build(n))
        families.setdefault(tuple(w.shape for w in found), []).append(found)
    assert any(len(family) > 1 for family in families.values())
    for first, *others in families.values():
        for found in others:
            assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(first, found, strict=True))


def test_every_experiment_that_compares_networks_has_a_builder():
    comparing = {
        m.__name__.rpartition(".")[2]
        for m in MODULES
        if {"NETWORKS", "POSITIONS", "VARIANTS"} & set(vars(m)) and "signals" not in m.__name__
    }
    assert comparing == set(BUILDERS) and len(comparing) >= 7


@pytest.mark.parametrize("start", [lambda model: model, initialise])
def test_a_bias_that_is_left_out_changes_no_weight(start):
    with_bias = weights(lambda: start(mlp(SIZES)))
    for position in ("before", "after"):
        found = weights(lambda p=position: start(mlp(SIZES, nn.BatchNorm1d, p)))
        assert all(torch.equal(a, b) for a, b in zip(with_bias, found, strict=True))
    model = mlp(SIZES, nn.BatchNorm1d)
    assert model[0].bias is None and "0.bias" not in model.state_dict() and "bias=False" in repr(model[0])
