"""Σ^(−1/2) where it is delicate: features that repeat, channels that are dead, eigenvalues that agree."""

import pytest
import torch

from normcore import functional as F
from normcore.functional.whitening import inverse_root
from normcore.scaling import Whitener
from tests.layers import random_input


def by_autograd(covariance):
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    return vectors * eigenvalues.rsqrt().unsqueeze(-2) @ vectors.mT


def test_the_gradient_is_autograds_where_eigenvalues_differ():
    root = random_input((2, 5, 5), offset=0)
    covariance = (root @ root.mT + torch.eye(5)).requires_grad_()
    upstream = random_input((2, 5, 5), seed=1)
    ours, expected = inverse_root(covariance), by_autograd(covariance)
    torch.testing.assert_close(ours, expected)
    gradients = [torch.autograd.grad(y, covariance, upstream)[0] for y in (ours, expected)]
    symmetric = [g + g.mT for g in gradients]  # a covariance is
    torch.testing.assert_close(*symmetric, rtol=1e-10, atol=1e-12)
    assert torch.autograd.gradcheck(
        lambda a: inverse_root(a @ a.mT + torch.eye(3)), root[0, :3].clone().requires_grad_()
    )
    assert torch.autograd.gradgradcheck(
        lambda a: inverse_root(a @ a.mT + torch.eye(3)), root[0, :3].clone().requires_grad_()
    )


@pytest.mark.parametrize("c", [0.25, 1.0, 9.0])
def test_the_gradient_is_right_where_all_eigenvalues_agree(c):
    """At Σ = c I, d Σ^(−1/2) = −½ c^(−3/2) dΣ exactly."""
    covariance = (c * torch.eye(4).double()).requires_grad_()
    upstream = random_input((4, 4))
    (gradient,) = torch.autograd.grad(inverse_root(covariance), covariance, upstream)
    torch.testing.assert_close(gradient, -0.5 * c**-1.5 * upstream, rtol=1e-12, atol=1e-12)
    _, tangent = torch.func.jvp(inverse_root, (covariance.detach(),), (upstream,))
    torch.testing.assert_close(tangent, -0.5 * c**-1.5 * upstream, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "channels, examples, scale", [(64, 8, 3.0), (64, 32, 10.0), (16, 4, 1e3), (8, 2, 1.0)]
)
def test_fewer_examples_than_channels_stay_finite(channels, examples, scale, dtype):
    x = (
        (torch.randn(examples, channels, generator=torch.Generator().manual_seed(0)) * scale)
        .to(dtype)
        .requires_grad_()
    )
    y = F.decorrelated_batch_norm(x, None, None, training=True)
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    assert torch.isfinite(y).all() and torch.isfinite(gradient).all()
    assert y.detach().square().mean(0).max() < 1.1  # whitened: no direction has more than variance 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("steps", [None, 5])
def test_dead_channels_have_a_gradient(dtype, steps):
    """As after a ReLU: two channels of zeros are one eigenvalue ε, twice."""
    x = random_input((20, 6), dtype)
    x[:, 1:3] = 0
    x.requires_grad_()
    y = F.decorrelated_batch_norm(x, None, None, training=True, newton_steps=steps)
    (gradient,) = torch.autograd.grad(y.pow(3).sum(), x)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["pca", "zca"])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_a_feature_that_repeats_does_not_break_the_whitener(method, dtype, scale):
    x = random_input((50, 3), dtype, scale=scale)
    x = torch.cat([x, x[:, :1]], 1)
    z = Whitener(method).fit_transform(x)
    assert torch.isfinite(z).all() and z.square().mean(0).max() < 1.5
