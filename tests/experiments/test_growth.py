import numpy as np
import pytest
import torch

from normcore.experiments import growth, stored

STORED = stored.load("growth")


def factor(results, activation, batch_size):
    return np.median(results.at(activation=activation, batch_size=batch_size))


def test_stored_results_agree_with_the_theory():
    """Of Yang et al. (2019), for infinite width."""
    for size in STORED.axes["batch_size"]:
        assert factor(STORED, "linear", size) == pytest.approx((size - 2) / (size - 3), rel=0.01)
    assert factor(STORED, "ReLU", 256) == pytest.approx(np.pi / (np.pi - 1), rel=0.005)


@pytest.mark.parametrize("activation", ["linear", "ReLU"])
def test_a_small_run_agrees_with_the_stored_one(activation):
    small = growth.measure((16, 64), [activation], seeds=range(3), width=300, depth=20)
    for size in (16, 64):
        kept = factor(STORED, activation, size)
        assert factor(small, activation, size) == pytest.approx(kept, rel=0.04)


def test_the_backward_pass_by_hand_is_autograds():
    rng = torch.Generator().manual_seed(5)

    def normal(*shape):
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    h = normal(6, 10).requires_grad_()
    x, inputs = h, []
    for _ in range(3):
        w = normal(10, 10) / 10**0.5
        inputs.append(x)
        a = x @ w.T
        x = x + torch.relu((a - a.mean(0)) / a.std(0, correction=0))
    gradients = torch.autograd.grad((x * normal(6, 10)).sum(), inputs)
    expected = [g.square().mean().item() for g in gradients]
    np.testing.assert_allclose(growth.profile(6, "ReLU", 10, 3, 5, skip=True), expected)


def test_what_a_normalized_block_adds_is_a_relu_of_normal_numbers():
    found = growth.moments(2000, 200, 4, 0)
    np.testing.assert_allclose(found["branch"], 0.5 - 0.5 / np.pi, rtol=0.02)
    assert found["stream"][0] == pytest.approx(1, rel=0.02) == found["square"][0]


def test_without_batch_norm_the_mean_square_grows_as_the_weights_say():
    for scale, expected in ((2.0, 1.0), (3.0, 1.5)):
        how = {"norm": False, "skip": False, "scale": scale}
        squares = [growth.moments(20, 500, 8, seed, **how)["square"] for seed in range(9)]
        factors = [(square[-1] / square[0]) ** (1 / 7) for square in squares]
        assert np.median(factors) == pytest.approx(expected, rel=0.06)
