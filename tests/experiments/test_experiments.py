"""Small versions of the experiments, against what theory or another library says of them."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsRegressor

from normcore.data import car_rentals, digits
from normcore.experiments import conditioning, placement, scaling
from normcore.experiments.grid import grid
from normcore.models import SIZES, mlp
from normcore.training import accuracy, train


def test_descent_never_takes_more_steps_than_the_bound():
    measured = conditioning.measure(ratios=(1, 3, 9), seeds=range(20), tolerance=1e-4)
    kappa, steps = measured["kappa"], measured["steps"]
    assert steps.shape == kappa.shape == (20, 3)
    bound = conditioning.bound(kappa, 1e-4)
    assert (steps <= np.ceil(bound)).all()
    assert (steps[:, 2] > 0.5 * bound[:, 2]).all()
    assert np.median(kappa[:, 2]) == pytest.approx(81, rel=0.15)


def test_nearest_neighbours_equal_scikit_learns():
    x, price = car_rentals(200, 5)
    ours = scaling.nearest_neighbour_error(x[:150], price[:150], x[150:], price[150:], k=3)
    model = KNeighborsRegressor(3).fit(x[:150].numpy(), price[:150].numpy())
    theirs = np.abs(model.predict(x[150:].numpy()) - price[150:].numpy()).mean()
    assert ours == pytest.approx(theirs, rel=1e-9)


def test_scalings_are_fitted_to_the_training_cars():
    seen = []

    def spy(train, x):
        seen.append((train.shape, x.shape, torch.equal(train, x)))
        return x

    errors = scaling.measure({"spy": spy}, seeds=range(2), count=50)
    assert errors["spy"].shape == (2,)
    assert seen == [((50, 2), (50, 2), True), ((50, 2), (50, 2), False)] * 2


def test_placement_reports_each_seed_and_rate():
    results = placement.measure(learning_rates=(0.03, 0.3), seeds=range(2), epochs=1)
    assert results.array.shape == (2, 2, 3, 2, 2, 2, 2)
    assert results.array.min() >= 0 and results.array.max() <= 1
    results = results.at(activation="ReLU", start="PyTorch's")
    assert set(results) == {"none", "before", "after"}
    test = results.at(on="test")
    assert (
        np.median(test["before"]["running averages"])
        > 0.7
        > 0.5
        > np.median(test["none"]["running averages"])
    )
    none, before = (test[name] for name in ("none", "before"))
    np.testing.assert_array_equal(none["running averages"], none["precise statistics"])
    assert (before["running averages"] != before["precise statistics"]).any()
    assert not np.array_equal(test.array, results.at(on="validation").array)


def test_gaps_are_measured_after_each_step_and_training_goes_on_as_without():
    gaps = placement.measure_gaps(seeds=range(2), epochs=1)
    assert set(gaps) == {"before", "after"}
    assert all(runs.shape == (2, 1348 // 32) and (abs(runs) <= 1).all() for runs in gaps.values())
    torch.manual_seed(0)
    model, data = mlp(SIZES, torch.nn.BatchNorm1d, "after"), digits(0)
    train(model, data, lr=0.1, epochs=1, batch_size=32, seed=0)
    expected = accuracy(model, data, batch_statistics=True) - accuracy(model, data)
    assert gaps["after"][0, -1] == pytest.approx(expected, abs=1e-6)
    top, bottom = placement.draw_gaps(gaps, first=10).axes
    assert len(top.lines) == len(bottom.lines) == 2 and len(top.lines[0].get_ydata()) == 32


def test_drawings_show_what_was_measured():
    measured = conditioning.measure(ratios=(1, 4), seeds=range(3))
    (ax,) = conditioning.draw(measured).axes
    assert len(ax.collections[0].get_offsets()) == 6
    (ax,) = scaling.draw({"a": np.array([1.0, 2.0]), "b": np.array([3.0])}).axes
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    accuracies = {"none": 1.0, "before": 0.5}
    axes = {"activation": ("ReLU",), "start": ("suited",), "position": accuracies}
    axes |= {"on": ("test",), "by": ("running averages",), "seed": range(2)}
    axes["lr"] = (0.1, 1.0)
    drawn = placement.draw(grid(lambda position, **_: accuracies[position], axes))
    (legend,), (ax,) = drawn.legends, drawn.axes
    assert [t.get_text() for t in legend.get_texts()] == ["no batch norm", "before the activation"]
    assert [list(line.get_ydata()) for line in ax.lines] == [[1.0, 1.0], [0.5, 0.5]]
    assert [list(line.get_xdata()) for line in ax.lines] == [[0.1, 1.0]] * 2


def test_adam_takes_each_seed_by_itself_and_a_turn_correlates_inputs_of_one_range():
    lr, ratio, tolerance = 0.3, 8.0, 0.01
    measured = conditioning.measure_adam((lr,), seeds=range(3), ratio=ratio, tolerance=tolerance)
    for ravine, turn in conditioning.RAVINES.items():
        rng = np.random.default_rng(2)
        x = torch.tensor(rng.uniform(-1, 1, (200, 2)) * [1.0, ratio] @ turn)
        target, start = (torch.tensor(rng.normal(size=2) @ turn) for _ in range(2))
        w = start.clone().requires_grad_()
        adam, count = torch.optim.Adam([w], lr=lr), 0
        while (w - target).norm() > tolerance * (start - target).norm():
            adam.zero_grad()
            ((x @ (w - target)).square().mean() / 2).backward()
            adam.step()
            count += 1
        assert measured[ravine][2, 0] == count
        deviations = x.square().mean(0).sqrt()
        assert max(deviations / deviations.flip(0)) == pytest.approx(
            ratio if "axes" in ravine else 1, rel=0.1
        )
    never = conditioning.measure_adam((1e-9,), seeds=[0], limit=5)
    assert np.isinf(never.array).all()


def test_the_floor_is_drawn_where_it_is():
    (ax,) = scaling.draw({"a": np.array([1.0, 2.0])}, floor=0.5).axes
    assert list(ax.lines[-1].get_xdata()) == [0.5, 0.5]
