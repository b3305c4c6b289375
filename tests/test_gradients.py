import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from normcore.gradients import batch_norm_backward
from tests.layers import random_input


@given(st.integers(2, 9), st.integers(1, 5), st.lists(st.integers(1, 4), max_size=3), st.integers(0, 10**6))
def test_batch_norm_backward_equals_autograd(batch, channels, spatial, seed):
    shape = (batch, channels, *spatial)
    x = random_input(shape, seed=seed).requires_grad_()
    weight = random_input((channels,), seed=seed + 1).requires_grad_()
    bias = random_input((channels,), seed=seed + 2).requires_grad_()
    dy = random_input(shape, seed=seed + 3, offset=0.3)
    y = torch.nn.functional.batch_norm(x, None, None, weight, bias, True, eps=0.01)
    expected = torch.autograd.grad(y, (x, weight, bias), dy)
    actual = batch_norm_backward(dy, x.detach(), weight.detach(), eps=0.01)
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@given(st.integers(3, 40), st.integers(0, 10**6))
def test_identities_of_the_gradient(m, seed):
    """Σdx = 0, <x̂, dx> = 0 and the norm of dx, for ε = 0."""
    x, dy = random_input((m, 4), seed=seed), random_input((m, 4), seed=seed + 1, offset=0.7)
    gamma = random_input((4,), seed=seed + 2)
    dx, _, _ = batch_norm_backward(dy, x, gamma, eps=0.0)
    sigma2 = x.var(0, correction=0)
    x_hat = (x - x.mean(0)) / sigma2.sqrt()
    scale = dx.abs().sum(0) + 1e-300
    assert (dx.sum(0) / scale).abs().max() < 1e-12
    assert ((x_hat * dx).sum(0) / scale).abs().max() < 1e-12
    norm2 = gamma**2 / sigma2 * ((dy**2).sum(0) - dy.sum(0) ** 2 / m - (dy * x_hat).sum(0) ** 2 / m)
    torch.testing.assert_close((dx**2).sum(0), norm2, rtol=1e-8, atol=1e-12)


def test_without_weight_and_in_half_precision():
    x, dy = random_input((6, 3), torch.bfloat16), random_input((6, 3), torch.bfloat16, seed=1)
    dx, dgamma, dbeta = batch_norm_backward(dy, x)
    assert dx.dtype == torch.bfloat16 and dgamma.dtype == dbeta.dtype == torch.float32
    exact, _, _ = batch_norm_backward(dy.double(), x.double())
    torch.testing.assert_close(dx.double(), exact, rtol=1e-2, atol=1e-3)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"grad_output must have the shape of input, \(4, 3\)"):
        batch_norm_backward(torch.ones(4, 2), torch.ones(4, 3))
