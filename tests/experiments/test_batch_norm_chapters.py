"""The experiments of the chapters on batch norm, at a small size: they measure what they say they do."""

import copy
from itertools import islice

import numpy as np
import pytest
import torch

from normcore.data import digits
from normcore.experiments import (
    covariate_shift,
    detached,
    initialisation,
    landscape,
    noisy,
    regularization,
    speed,
    stored,
    train_eval,
)
from normcore.experiments.grid import grid
from normcore.models import SIZES, initialise, mlp
from normcore.training import accuracy, steps, train

KINDS = {
    "right": lambda x: torch.nn.functional.batch_norm(x, None, None, training=True),
    "both": lambda x: (x - x.mean(0).detach()) / torch.sqrt(x.var(0, correction=0).detach() + 1e-5),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_detached_layer_is_wrong_in_its_gradient_alone(name):
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    r = torch.randn(6, 3, dtype=torch.float64)
    layer = detached.DetachedBatchNorm(3, detached.VARIANTS[name]).double()
    expected = KINDS[name](x)
    torch.testing.assert_close(layer(x), expected)
    ours, theirs = (torch.autograd.grad((y * r).sum(), x)[0] for y in (layer(x), expected))
    torch.testing.assert_close(ours, theirs)


def test_a_detached_layer_moves_its_averages_once_a_step():
    layer, x = detached.DetachedBatchNorm(3, ("mean",)), torch.randn(6, 3)
    layer(x)
    torch.testing.assert_close(layer.running_mean, 0.1 * x.mean(0))


def test_detached_networks_learn_less():
    results = detached.measure([0.1], seeds=[0], epochs=2)
    assert set(results) == set(detached.VARIANTS)
    assert results["right"]["loss"].shape == (1, 1, 2) and np.isfinite(results).all()
    assert results["right"]["loss"][0, 0, 1] < results["both"]["loss"][0, 0, 1]


def test_an_epoch_of_a_detached_network_is_all_its_steps():
    """Its loss their mean, its accuracy what is left after them."""
    results, data = detached.measure([0.1], seeds=[3], epochs=2, batch_size=64), digits(3)
    torch.manual_seed(3)
    model = detached.build("mean")
    losses = train(model, data, lr=0.1, epochs=2, batch_size=64, seed=3)
    found = results["mean"]
    np.testing.assert_allclose(found["loss"][0, 0], np.reshape(losses, (2, -1)).mean(1), rtol=1e-4)
    assert found["accuracy"][0, 0, 1] == pytest.approx(accuracy(model, data), abs=0.01)


def test_the_stored_detached_networks_are_measured_again():
    kept, again = stored.load("detached"), detached.measure([0.1], seeds=[7])
    for quantity, tolerance in (("weight", 0.02), ("loss", 0.2)):
        old = kept.at(quantity=quantity, learning_rate=0.1, seed=7).array
        np.testing.assert_allclose(
            again.at(quantity=quantity, learning_rate=0.1, seed=7).array, old, rtol=tolerance
        )


def test_the_three_modes_of_testing():
    results = train_eval.measure((8,), seeds=[0], epochs=1)
    assert list(results) == list(train_eval.MODES)
    assert all((r["accuracy"] >= 0).all() and (r["accuracy"] <= 1).all() for r in results.values())
    data, model = digits(0), mlp((64, 16, 10), torch.nn.BatchNorm1d).eval()
    logits = model(data.x_test[:224])
    accuracy, loss = train_eval.test(model, data, 8)
    assert accuracy == (logits.argmax(1) == data.y_test[:224]).float().mean().item()
    assert loss == pytest.approx(
        torch.nn.functional.cross_entropy(logits, data.y_test[:224]).item(), rel=1e-5
    )


def test_other_running_averages_are_those_of_a_layer_with_that_momentum():
    found = train_eval.measure((64,), seeds=[1], momenta=(0.3, 0.9), epochs=1)
    data = digits(1)
    for momentum in (0.3, 0.9):
        torch.manual_seed(1)
        model = mlp(train_eval.SIZES, lambda width, m=momentum: torch.nn.BatchNorm1d(width, momentum=m))
        train(model, data, lr=0.2, epochs=1, batch_size=64, seed=1)
        here = found.at(mode="running averages", batch_size=64, momentum=momentum).array[:, 0]
        assert here == pytest.approx(train_eval.test(model.eval(), data, 64), rel=1e-4)


def test_the_stored_modes_of_testing_are_measured_again():
    kept, again = stored.load("train_eval"), train_eval.measure((32,), seeds=[7])
    for quantity, tolerance in (("accuracy", 0.05), ("loss", 0.2)):
        old = kept.at(quantity=quantity, batch_size=32, seed=7).array
        np.testing.assert_allclose(
            again.at(quantity=quantity, batch_size=32, seed=7).array, old, rtol=tolerance
        )


def test_steps_to_a_target():
    how = {"seeds": [0], "optimizers": ["momentum"], "every": 7}
    runs = speed.measure((0.3,), target=0.5, epochs=4, **how)
    assert set(runs["momentum"]) == set(speed.NETWORKS)
    for part in ("validation", "test"):
        found = runs.at(on=part, optimizer="momentum")["before"][0, 0]
        assert found % 7 == 0 and found < 168
        # trained that far, the network is there, and seven steps before it was not
        for steps_taken, there in ((found, True), (found - 7, False)):
            torch.manual_seed(0)
            data, model = digits(0), speed.build("before")
            how_trained = {"lr": 0.03, "epochs": 4, "batch_size": 32, "seed": 0}
            training = steps(model, data, optimizer=speed.OPTIMIZERS["momentum"][0], **how_trained)
            for _ in islice(training, int(steps_taken)):
                pass
            assert (accuracy(model, data, on=part) >= 0.5) == there
    never = speed.measure((0.3, 1e9), target=1.01, epochs=1, **how)
    assert np.isinf(never.array).all()


def test_the_rate_is_chosen_on_the_validation_data():
    steps_by = {"validation": {0.1: 50, 1.0: 20, 10.0: np.inf}, "test": {0.1: 10, 1.0: 40, 10.0: 5}}
    axes = {"on": steps_by, "seed": range(3), "lr": (0.1, 1.0, 10.0)}
    assert speed.best(grid(lambda on, seed, lr: steps_by[on][lr], axes, limit=100)) == 1
    shares = {
        "validation accuracy": (0.5, 0.9),
        "test accuracy": (0.8, 0.7),
        "validation loss": (0.2, np.inf),
        "test loss": (0.3, 0.1),
    }
    found = grid(
        lambda seed, lr, quantity: shares[quantity][lr], {"quantity": shares, "seed": range(3), "lr": (0, 1)}
    )
    assert regularization.best(found) == 1 and regularization.best(found, "loss") == 0


@pytest.mark.parametrize(
    ("experiment", "how", "where", "within"),
    [
        (speed, {"learning_rates": (0.3,), "optimizers": ["Adam"]}, {"on": "test"}, 1.33),
        (regularization, {"learning_rates": (0.1,), "passes": (40,)}, {"quantity": "test accuracy"}, 1.05),
        (initialisation, {"learning_rates": (0.3,), "starts": ["ReLU, 1 × He's"]}, {"on": "test"}, 1.33),
    ],
)
def test_a_small_run_agrees_with_the_stored_one(experiment, how, where, within):
    kept, seeds = stored.load(experiment.__name__.rpartition(".")[2]), range(2)
    small = experiment.measure(seeds=seeds, **how).at(**where)
    axes = {"learning_rates": "lr", "optimizers": "optimizer", "passes": "passes", "starts": "start"}
    part = {axes[name]: values[0] for name, values in how.items()}
    there = kept.at(**where, **part)
    here = small.at(**part)
    assert list(there.axes) == list(here.axes)
    seed = list(there.axes).index("seed")
    there = there.array.take(range(len(seeds)), seed)
    both = np.isfinite(here.array) & np.isfinite(there)
    assert both.any() and 1 / within < np.median(here.array[both] / there[both]) < within


def test_a_drawing_of_steps_says_whose_rates_it_has_and_begins_where_the_runs_do():
    kept = stored.load("speed")
    panels = speed.draw(kept).axes
    assert [ax.get_xlabel() for ax in panels] == ["learning rate", *["10 × learning rate"] * 2]
    for ax, found in zip(panels, kept.values(), strict=True):
        fewest = found.at(on="test").array.min()
        assert fewest / 1.5 < ax.get_ylim()[0] < fewest


def test_milliseconds_a_step():
    taken = speed.measure_time(seeds=range(2), optimizers=["SGD"], count=3)
    assert taken["SGD"].array.shape == (3, 2) and (taken.array > 0).all() and (taken.array < 1000).all()


def test_every_start_is_what_it_says():
    for start, (activation, scale, centred) in initialisation.STARTS.items():
        torch.manual_seed(0)
        model = initialisation.build("before", start)
        deviation = (
            torch.cat([m.weight.flatten() for m in model if isinstance(m, torch.nn.Linear)]).std().item()
        )
        assert any(isinstance(m, activation) for m in model)
        assert deviation == pytest.approx(scale * (2 / 64) ** 0.5, rel=0.03)
        assert model[-1].bias.any() == centred
    assert initialisation.STARTS["sigmoid, variance 16/n, centred"][1] ** 2 * 2 == pytest.approx(16)


def test_noise_adds_up_to_what_is_drawn():
    torch.manual_seed(0)
    layer = noisy.NoisyBatchNorm(2000, amount=2.0)
    x = torch.randn(50, 2000)
    noise = layer(x) - torch.nn.functional.batch_norm(x, None, None, training=True)
    # a uniform mean in [−a, a] has variance a²/3, and the uniform deviation in [0, a] a mean square of a²/3
    assert noise.mean(0).square().mean().item() == pytest.approx(4 / 3 + 4 / 3 / 50, rel=0.1)
    assert noise.var(0).mean().item() == pytest.approx(4 / 3, rel=0.1)
    layer.eval()
    torch.testing.assert_close(layer(x), layer(x))


def test_a_known_shift_of_inputs():
    before = torch.randn(1000, 3) * torch.tensor([1.0, 2.0, 5.0])
    assert covariate_shift.input_change(before, before + 2 * before.std(0)) == pytest.approx(2, rel=1e-4)
    constant = torch.cat([before, torch.ones(1000, 1)], 1)
    assert covariate_shift.input_change(constant, constant) == 0


@pytest.mark.parametrize("norm", [None, torch.nn.BatchNorm1d, noisy.NoisyBatchNorm])
def test_measuring_the_gradients_shift_leaves_the_model_as_it_was(norm):
    torch.manual_seed(0)
    data = digits(0)
    model = initialise(mlp(SIZES, norm)).train()
    before = copy.deepcopy(model.state_dict())
    x, y = data.x_train[:32], data.y_train[:32]
    change, cosine = covariate_shift.gradient_change(model, x, y, 0.1)
    covariate_shift.inputs_of(model, x)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name])
    assert change > 0.01 and -1 <= cosine < 1
    still, same = covariate_shift.gradient_change(model, x, y, 0.0)
    assert still == 0 and same == pytest.approx(1)


def test_both_networks_are_followed():
    shift = covariate_shift.measure(seeds=[0], steps=14)
    ahead = landscape.measure(seeds=[0], steps=14, every=7)
    assert list(shift) == list(noisy.NETWORKS)[:3] and list(ahead) == [
        *list(noisy.NETWORKS)[:2],
        landscape.SCALED,
    ]
    for results, quantities in ((shift, covariate_shift.QUANTITIES), (ahead, landscape.QUANTITIES)):
        for found in results.values():
            assert all(found[q].shape == (1, 2) and np.isfinite(found[q]).all() for q in quantities)


def test_looking_ahead_does_not_disturb_the_training():
    """The losses of the first measurement are those of the definition."""
    ahead = landscape.measure(seeds=[0], steps=1, lengths=(0.1, 0.2))["no batch norm"]
    data = digits(0)
    torch.manual_seed(0)
    model = initialise(mlp(SIZES)).train()
    batch = torch.randint(len(data.x_train), (32,), generator=torch.Generator().manual_seed(0))
    x, y = data.x_train[batch], data.y_train[batch]

    def at(t, g):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for p, d in zip(moved.parameters(), g, strict=True):
                p -= t * d
        loss = torch.nn.functional.cross_entropy(moved(x), y)
        return loss.item(), torch.autograd.grad(loss, list(moved.parameters()))

    _, g = at(0.0, [torch.zeros_like(p) for p in model.parameters()])
    (one, g1), (two, g2) = at(0.1, g), at(0.2, g)

    def norm(gradients):
        return torch.cat([v.flatten() for v in gradients]).norm().item()

    changes = [norm([a - b for a, b in zip(h, g, strict=True)]) for h in (g1, g2)]
    assert ahead["loss"][0, 0] == pytest.approx(abs(one - two), rel=1e-3)
    assert ahead["gradient"][0, 0] == pytest.approx(max(changes) / norm(g), rel=1e-3)
    ratios = [c / (t * norm(g)) for c, t in zip(changes, (0.1, 0.2), strict=True)]
    assert ahead["smoothness"][0, 0] == pytest.approx(max(ratios), rel=1e-3)


def test_regularization_compares_four_networks_and_finds_the_variance_shift():
    results = regularization.measure((0.1, 1e9), seeds=[0], examples=100, passes=(5, 10))
    assert set(results) == set(regularization.NETWORKS)
    neither = results["neither"]
    assert neither["train loss"][0, 0, 1] < neither["train loss"][0, 0, 0]
    assert np.isinf(neither["train loss"][0, 1]).all() and neither["test accuracy"][0, 1, 1] < 0.3
    shorter = regularization.measure((0.1,), seeds=[0], examples=100, passes=(5,))
    np.testing.assert_array_equal(shorter.array[..., 0, 0], results.array[..., 0, 0])
    (ratios,) = regularization.measure_variance_shift(seeds=[0], examples=100, epochs=10).array
    first, *later = ratios
    assert len(later) == 2 and abs(first - 1) < 0.2 and min(later) > 1.05


def test_the_noise_of_statistics_falls_with_the_root_of_the_batch():
    noise = regularization.measure_noise((8, 32), seeds=[0], draws=100).array[0]
    assert noise[0] / noise[1] == pytest.approx(2, rel=0.15)
