import numpy as np
import pytest
import torch

from normcore.experiments import growth, stored

STORED = stored.load("growth")


def factor(results, activation, batch_size):
    return np.median(results.at(activation=activation, batch_size=batch_size))


@pytest.mark.parametrize("activation", growth.REFERENCE)
def test_stored_results_agree_with_an_earlier_run(activation):
    for size, expected in growth.REFERENCE[activation].items():
        assert factor(STORED, activation, size) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("activation", growth.REFERENCE)
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
