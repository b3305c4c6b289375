"""What experiments share: data, models, training."""

import copy

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn as torch_nn

from normcore import nn
from normcore.data import car_rentals, digits, motorbike_rentals
from normcore.models import SIZES, initialise, mlp
from normcore.training import accuracy, batches, random_batches, steps, train


def test_digits_are_split_without_overlap_and_reproducibly():
    a, again, other = digits(0), digits(0), digits(1)
    assert torch.equal(a.x_train, again.x_train) and not torch.equal(a.x_train, other.x_train)
    assert (len(a.x_train), len(a.x_validation), len(a.x_test)) == (1348, 224, 225)
    assert a.x_train.dtype == torch.float32 and a.x_train.min() >= 0 and a.x_train.max() == 1
    parts = torch.cat([a.x_train, a.x_validation, a.x_test])
    assert len(parts.unique(dim=0)) == len(torch.from_numpy(load_digits().data).unique(dim=0))
    assert len(torch.cat([a.y_train, a.y_validation, a.y_test]).bincount()) == 10


def test_rentals_follow_the_rule_that_they_state():
    x, price = car_rentals(20_000, 3)
    design = torch.cat([torch.ones(len(x), 1).double(), x], 1)
    weights = torch.linalg.lstsq(design, price[:, None]).solution[:, 0]
    torch.testing.assert_close(weights, torch.tensor([90.0, -1.6, -12e-5]).double(), rtol=0.02, atol=0)
    assert abs((price - design @ weights).std() - 3) < 0.05
    assert x[:, 0].min() >= 0 and x[:, 0].max() <= 30 and 2e5 < x[:, 1].max() < 3e6
    bikes, bike_price = motorbike_rentals(20_000, 3)
    assert bikes[:, 1].mean() / x[:, 1].mean() == pytest.approx(0.25, rel=0.05)
    assert (price.mean() - bike_price.mean()).item() > 10


@pytest.mark.parametrize(
    ("position", "expected"),
    [("before", ["Linear", "BatchNorm1d", "ReLU"]), ("after", ["Linear", "ReLU", "BatchNorm1d"])],
)
def test_mlp_puts_the_normalization_where_it_is_asked_to(position, expected):
    model = mlp((8, 6, 5, 3), nn.BatchNorm1d, position)
    assert [type(m).__name__ for m in model] == [*expected, *expected, "Linear"]
    assert [m.num_features for m in model if isinstance(m, nn.BatchNorm1d)] == [6, 5]
    assert (model[0].bias is None) == (position == "before")
    assert model[-1].bias is not None and model(torch.randn(4, 8)).shape == (4, 3)


def test_mlp_without_normalization_and_with_bad_arguments():
    assert [type(m).__name__ for m in mlp((8, 6, 3))] == ["Linear", "ReLU", "Linear"]
    assert [type(m).__name__ for m in mlp((8, 3))] == ["Linear"]
    with pytest.raises(
        ValueError, match=r"position must be 'before' or 'after' the activation, but got 'beside'"
    ):
        mlp((8, 6, 3), nn.BatchNorm1d, "beside")
    with pytest.raises(ValueError, match=r"input and an output width, but got \(8,\)"):
        mlp((8,))


def test_training_learns_is_reproducible_and_ends_in_evaluation():
    data = digits(0)

    def run(seed):
        torch.manual_seed(0)
        model = mlp((64, 32, 10), nn.BatchNorm1d)
        return model, train(model, data, lr=0.1, epochs=2, batch_size=32, seed=seed)

    (model, losses), (_, again), (_, other) = run(0), run(0), run(1)
    assert losses == again != other
    assert len(losses) == 2 * (1348 // 32)
    assert not model.training
    assert accuracy(model, data) > 0.85


def test_steps_are_those_of_torchs_loader_and_optimizer():
    """The losses of a loop in torch's own words, over the same order of examples; a looker-on changes nothing."""
    data = digits(1)
    torch.manual_seed(0)
    ours = mlp((64, 16, 10), nn.BatchNorm1d)
    theirs = copy.deepcopy(ours)
    found = []
    for step, loss in enumerate(steps(ours, data, lr=0.2, epochs=2, batch_size=100, seed=3), 1):
        found.append(loss)
        accuracy(ours, data)  # leaves it in evaluation
        if step == 20:
            break
    assert step == 20  # of 26: whoever has seen enough stops
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.2)
    generator, expected = torch.Generator().manual_seed(3), []
    for _ in range(2):
        order = torch.randperm(len(data.x_train), generator=generator)
        whole = torch.utils.data.TensorDataset(data.x_train[order], data.y_train[order])
        for x, y in torch.utils.data.DataLoader(whole, 100, drop_last=True):
            loss = torch.nn.functional.cross_entropy(theirs.train()(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            expected.append(loss.item())
    assert found == expected[:20]


def test_an_optimizer_of_ones_own():
    data = digits(0)
    torch.manual_seed(0)
    ours = mlp((64, 16, 10))
    theirs = copy.deepcopy(ours)
    losses = train(ours, data, lr=0.01, epochs=1, batch_size=300, seed=3, optimizer=torch.optim.Adam)
    optimizer, expected = torch.optim.Adam(theirs.parameters(), lr=0.01), []
    order = torch.randperm(len(data.x_train), generator=torch.Generator().manual_seed(3))
    for batch in order[:1200].split(300):
        loss = torch.nn.functional.cross_entropy(theirs(data.x_train[batch]), data.y_train[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    assert losses == expected


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match="batch_size must be at most 1348 examples, but got 1349"):
        train(mlp((64, 10)), digits(0), lr=0.1, epochs=1, batch_size=1349, seed=0)


def test_a_pass_takes_each_example_once_in_an_order_of_its_own():
    data = digits(0)
    found = list(batches(data, epochs=2, batch_size=674, seed=4))
    passes = [torch.cat([x for x, _ in part]) for part in (found[:2], found[2:])]
    for taken in passes:
        torch.testing.assert_close(taken.sort(0).values, data.x_train.sort(0).values)
    assert not torch.equal(*passes)


def test_random_batches_are_examples_with_their_targets():
    data = digits(2)
    found = list(random_batches(data, count=3, batch_size=5, seed=4))
    assert [(x.shape, y.shape) for x, y in found] == [((5, 64), (5,))] * 3
    for x, y in found:
        places = [(data.x_train == example).all(1).nonzero()[0, 0] for example in x]
        assert torch.equal(data.y_train[torch.stack(places)], y)
    again = random_batches(data, count=3, batch_size=5, seed=4)
    assert all(torch.equal(x, other) for (x, _), (other, _) in zip(found, again, strict=True))


def test_a_diverged_run_goes_on():
    losses = train(mlp((64, 32, 10)), digits(0), lr=1e6, epochs=1, batch_size=64, seed=0)
    assert len(losses) == 1348 // 64
    assert not losses[-1] < 1  # large, infinite or not a number


def test_he_initialisation_and_its_scale():
    torch.manual_seed(0)
    model = initialise(mlp((500, 400, 10)), scale=3.0)
    assert model[0].weight.std().item() == pytest.approx(3 * (2 / 500) ** 0.5, rel=0.02)
    assert not model[0].bias.any()
    assert [m.in_features for m in initialise(mlp(SIZES)) if isinstance(m, torch_nn.Linear)] == [64] * 6


def test_accuracy_by_batch_statistics_leaves_the_model_as_it_is():
    model, data = mlp((64, 32, 10), nn.BatchNorm1d), digits(0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    by_batch = accuracy(model, data, batch_statistics=True)
    assert not model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    model[1].running_mean.fill_(100)  # running averages that fit nothing
    assert accuracy(model, data, batch_statistics=True) == by_batch != accuracy(model, data)


def test_centred_sigmoids_are_half_a_tanh_of_half():
    model = initialise(mlp((6, 5, 4, 3), activation=torch_nn.Sigmoid), 8**0.5, centred=True).double()
    x = torch.randn(7, 6, dtype=torch.float64)
    h = x
    for linear in (m for m in model if isinstance(m, torch_nn.Linear)):
        a = h @ linear.weight.T
        h = torch.tanh(a / 2) / 2
    assert torch.allclose(model(x), a, atol=1e-12)
    normed = initialise(mlp((6, 5, 4), torch_nn.BatchNorm1d, "after", torch_nn.Sigmoid), centred=True)
    assert not normed[-1].bias.any()  # batch norm has centred already


def test_accuracy_counts():
    class Constant(torch_nn.Module):
        def forward(self, x):
            return torch.nn.functional.one_hot(torch.full((len(x),), 3), 10).float()

    data = digits(0)
    found = {}
    for part, y in (("train", data.y_train), ("validation", data.y_validation), ("test", data.y_test)):
        found[part] = accuracy(Constant(), data, on=part)
        assert found[part] == pytest.approx((y == 3).double().mean().item(), abs=1e-6)
    assert accuracy(Constant(), data) == found["test"] != found["validation"]
    with pytest.raises(ValueError, match="on must be 'train', 'validation' or 'test', but got 'tests'"):
        accuracy(Constant(), data, on="tests")
