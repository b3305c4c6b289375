"""What the chapter on why batch norm works undoes, and gives: each changes the one thing that it names."""

from itertools import islice

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from normcore.data import digits
from normcore.experiments import bounded, covariate_shift, depth, landscape, noisy, stored
from normcore.experiments.grid import grid
from normcore.training import steps


def test_two_batches_of_normal_numbers_differ_as_the_root_of_two_over_m():
    torch.manual_seed(0)
    first, second = torch.randn(2, 32, 20_000)
    found = covariate_shift.input_change(first, second, torch.ones(20_000))
    assert found == pytest.approx((2 / 32) ** 0.5, rel=0.02)


def test_a_median_that_wanders_by_a_known_share_of_its_spread():
    middle = {0: 0.0, 1: 3.0, 2: -1.0}
    axes = {"seed": range(2), "percentile": covariate_shift.PERCENTILES, "step": middle, "unit": range(3)}
    found = grid(lambda seed, percentile, step, unit: middle[step] + (percentile - 50) / 35 * 4, axes)
    np.testing.assert_allclose(covariate_shift.wandering(found), 4 / 8 * np.ones((2, 3)))


def test_halved_weights_leave_function_and_training_exactly_as_they_were():
    found, data = [], digits(0)
    for network in ("batch norm", landscape.SCALED):
        torch.manual_seed(0)
        model = bounded.build(network)
        how = {"network": network, "lr": 0.3, "epochs": 1, "batch_size": 32, "seed": 0}
        losses = [loss for loss, _ in bounded.descend(model, data, **how)]
        found.append((losses, model(data.x_test)))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("network", ["plain", "batch norm"])
def test_what_is_not_bounded_descends_as_everywhere(network):
    data, how = digits(1), {"lr": 0.1, "epochs": 1, "batch_size": 64, "seed": 1}
    models = []
    for _ in range(2):
        torch.manual_seed(1)
        models.append(bounded.build(network))
    here = [loss for loss, _ in bounded.descend(models[0], data, network=network, **how)]
    np.testing.assert_allclose(here, list(steps(models[1], data, **how)), rtol=1e-3)


def test_a_bounded_step_is_the_longest_of_the_halved_ones_along_which_the_gradient_holds():
    data = digits(0)
    torch.manual_seed(0)
    model = bounded.build(bounded.BOUNDED)
    start = [p.detach().clone() for p in model.parameters()]
    how = {"network": bounded.BOUNDED, "lr": 3.0, "epochs": 1, "batch_size": 32, "seed": 0}
    ((_, t),) = islice(bounded.descend(model, data, **how), 1)
    order = torch.randperm(len(data.x_train), generator=torch.Generator().manual_seed(0))[:32]
    x, y = data.x_train[order], data.y_train[order]

    def gradient(by, g):
        with torch.no_grad():
            for p, s, d in zip(model.parameters(), start, g, strict=True):
                p.copy_(s - by * d)
        return torch.autograd.grad(cross_entropy(model(x), y), list(model.parameters()))

    end = [p.detach().clone() for p in model.parameters()]
    g = gradient(0.0, start)
    for p, s, d in zip(end, start, g, strict=True):
        torch.testing.assert_close(p, s - t * d, atol=1e-5, rtol=1e-4)

    def change(by):
        ahead = gradient(by, g)
        return (
            torch.cat([(a - b).flatten() for a, b in zip(ahead, g, strict=True)]).norm()
            / torch.cat([b.flatten() for b in g]).norm()
        )

    assert change(t) < 1 <= change(2 * t) and t < 3.0


def test_rates_are_chosen_on_the_validation_data():
    shares = {"validation": {0.1: 0.5, 1.0: 0.9}, "test": {0.1: 0.8, 1.0: 0.7}}
    axes = {"on": shares, "seed": range(3), "lr": (0.1, 1.0)}
    assert noisy.best(grid(lambda on, seed, lr: shares[on][lr], axes)) == 1
    axes |= {"depth": (5,), "pass": (1, 2)}
    found = grid(lambda on, seed, lr, depth, **where: shares[on][lr] + (where["pass"] == 2) * 0.01, axes)
    rate, at, accuracies = depth.best(found, depth=5)
    assert (rate, at) == (1.0, 2)
    np.testing.assert_allclose(accuracies, 0.71)


def test_one_seed_of_the_stored_shift_is_measured_again():
    kept, again = stored.load("covariate_shift"), covariate_shift.measure(seeds=[4], steps=14)
    for name, found in again.items():
        np.testing.assert_allclose(found["inputs"][0], kept[name]["inputs"][4, :2], rtol=0.1)


def test_one_seed_of_the_stored_steps_is_measured_again():
    kept, again = stored.load("bounded"), bounded.measure((0.3,), seeds=[5])
    for name, found in again.at(on="test").items():
        there = kept[name]["test"][5, kept.axes["lr"].index(0.3)]
        if np.isfinite(there):
            assert 0.5 < found[0, 0] / there < 2
