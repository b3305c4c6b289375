"""Slices of the loss are those of a calculation by itself, in float64; where they rise is read off exactly."""

import numpy as np
import pytest
import torch

from normcore.data import digits
from normcore.experiments import ahead, stored
from normcore.experiments.grid import Grid


@pytest.mark.parametrize("network", ["without", "with"])
@pytest.mark.parametrize("seed", [0, 3])
def test_a_slice_is_the_loss_at_w_minus_t_g(network, seed):
    """Two steps and three slices again: every parameter by its name, batch norm by its formula, in float64."""
    lengths, lr, data = (0.0, 0.01, 0.3, 2.0), 0.05, digits(seed)
    found = ahead.measure((lr,), lengths, (seed,), at=(0, 1, 2)).at(lr=lr)[network][0]
    torch.manual_seed(seed)
    weights = {name: p.detach().double() for name, p in ahead.build(network).named_parameters() if p.numel()}
    layers = sorted({int(name.partition(".")[0]) for name in weights})

    def loss(weights, x, y):
        for layer in layers:
            w, b = weights[f"{layer}.weight"], weights.get(f"{layer}.bias", 0.0)
            if w.ndim == 1:
                mean = x.mean(0)
                x = w * (x - mean) / (x.square().mean(0) - mean.square() + 1e-5).sqrt() + b
            else:
                x = x @ w.T + b
            if layer != layers[-1] and (w.ndim == 1 or network == "without"):
                x = x.clamp(min=0)
        return (x.logsumexp(1) - x[torch.arange(len(y)), y]).mean()

    rng = torch.Generator().manual_seed(seed)
    for step in range(3):
        batch = torch.randint(len(data.x_train), (32,), generator=rng)
        x, y = data.x_train[batch].double(), data.y_train[batch]
        g = torch.func.grad(loss)(weights, x, y)
        there = [loss({n: weights[n] - t * g[n] for n in g}, x, y).item() for t in lengths]
        np.testing.assert_allclose(found[step], there, rtol=2e-4)
        weights = {n: weights[n] - lr * g[n] for n in g}


def test_nothing_is_left_of_a_slice_but_the_step():
    """Training goes on as if no slices were taken."""
    few, many = (ahead.measure((0.1,), (0.0, 5.0), (0,), at=at).array[..., -1, :] for at in ((6,), (0, 3, 6)))
    np.testing.assert_array_equal(few, many)


def losses(*rows, lengths=(0.0, 0.1, 1.0, 10.0)):
    return Grid(np.array(rows), {"seed": tuple(range(len(rows))), "length": lengths}, {}, {})


def test_where_it_rises():
    """A power of t between two lengths is met exactly; at the first length, and nowhere, by their names."""
    run = losses([2, 1, 4, 9], [2, 3, 1, 9], [2, 1, 1, 2], [2, 2, 2, 20], [2, 1, 1, 8])
    expected = [10**-0.5, 0.1, np.inf, 1.0, 10 ** (np.log(2) / np.log(8))]
    found = ahead.rises(run)
    np.testing.assert_allclose(found.array, expected)
    assert list(found.axes) == ["seed"]


def test_lengths_begin_with_zero():
    with pytest.raises(ValueError, match=r"lengths must begin with 0, but got \(0.1, 1.0\)"):
        ahead.measure(lengths=(0.1, 1.0))


def test_what_is_stored_is_small():
    """Of it the figure to play with is made."""
    run = stored.load("ahead")
    assert (stored.FOLDER / "ahead.json").stat().st_size < 40_000
    assert np.isfinite(ahead.rises(run).array).all()
