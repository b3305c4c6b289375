"""Hand-derived gradients equal autograd's, under random upstream gradients, in float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from normcore import functional as F
from normcore import gradients
from tests.layers import random_input

seeds = st.integers(0, 10**6)
images = st.tuples(st.integers(2, 4), st.sampled_from([2, 4, 6]), st.integers(1, 4), st.integers(2, 4))


def close(actual, expected):
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def draw(shape, seed, *vectors):
    """x, dy and vectors with a gradient."""
    x = random_input(shape, seed=seed).requires_grad_()
    dy = random_input(shape, seed=seed + 1, offset=0.3)
    made = [random_input(v, seed=seed + 2 + i).requires_grad_() for i, v in enumerate(vectors)]
    return x, dy, *made


@given(st.integers(2, 9), st.integers(1, 5), st.lists(st.integers(1, 4), max_size=3), seeds)
def test_batch_norm(batch, channels, spatial, seed):
    x, dy, weight, bias = draw((batch, channels, *spatial), seed, (channels,), (channels,))
    y = torch.nn.functional.batch_norm(x, None, None, weight, bias, True, eps=0.01)
    expected = torch.autograd.grad(y, (x, weight, bias), dy)
    close(gradients.batch_norm_backward(dy, x.detach(), weight.detach(), eps=0.01), expected)


@given(images, seeds)
def test_batch_norm_in_evaluation(shape, seed):
    x, dy, weight, bias = draw(shape, seed, shape[1:2], shape[1:2])
    mean, var = random_input(shape[1:2], seed=seed + 7), random_input(shape[1:2], seed=seed + 8).abs() + 0.1
    y = torch.nn.functional.batch_norm(x, mean, var, weight, bias, False, eps=0.01)
    expected = torch.autograd.grad(y, (x, weight, bias), dy)
    close(gradients.batch_norm_eval_backward(dy, x.detach(), mean, var, weight.detach(), 0.01), expected)


@given(images, st.integers(1, 3), seeds)
def test_layer_norm(shape, trailing, seed):
    x, dy, weight, bias = draw(shape, seed, shape[-trailing:], shape[-trailing:])
    y = torch.nn.functional.layer_norm(x, shape[-trailing:], weight, bias, eps=0.01)
    expected = torch.autograd.grad(y, (x, weight, bias), dy)
    close(gradients.layer_norm_backward(dy, x.detach(), shape[-trailing:], weight.detach(), 0.01), expected)


@given(images, st.integers(1, 3), seeds)
def test_rms_norm(shape, trailing, seed):
    x, dy, weight = draw(shape, seed, shape[-trailing:])
    y = torch.nn.functional.rms_norm(x, shape[-trailing:], weight, eps=0.01)
    expected = torch.autograd.grad(y, (x, weight), dy)
    close(gradients.rms_norm_backward(dy, x.detach(), shape[-trailing:], weight.detach(), 0.01), expected)


@given(images, st.sampled_from([1, 2]), seeds)
def test_group_and_instance_norm(shape, groups, seed):
    x, dy, weight, bias = draw(shape, seed, shape[1:2], shape[1:2])
    y = torch.nn.functional.group_norm(x, groups, weight, bias, eps=0.01)
    expected = torch.autograd.grad(y, (x, weight, bias), dy)
    close(gradients.group_norm_backward(dy, x.detach(), groups, weight.detach(), 0.01), expected)
    y = torch.nn.functional.instance_norm(x, weight=weight, bias=bias, eps=0.01)
    expected = torch.autograd.grad(y, (x, weight, bias), dy)
    close(gradients.instance_norm_backward(dy, x.detach(), weight.detach(), 0.01), expected)


@given(images, seeds)
def test_batch_renorm(shape, seed):
    x, dy, weight, bias, r, d = draw(shape, seed, *[shape[1:2]] * 4)
    r, d = r.detach(), d.detach()
    x_hat = torch.nn.functional.batch_norm(x, None, None, r, d, True, eps=0.01)  # x̂ r + d
    y = x_hat * weight.view(-1, 1, 1) + bias.view(-1, 1, 1)
    expected = torch.autograd.grad(y, (x, weight, bias), dy)
    close(gradients.batch_renorm_backward(dy, x.detach(), r, d, weight.detach(), 0.01), expected)


@given(images, seeds)
def test_batch_instance_norm(shape, seed):
    x, dy, gate, weight, bias = draw(shape, seed, *[shape[1:2]] * 3)
    y = F.batch_instance_norm(x, None, None, gate, weight, bias, training=True, eps=0.01)
    expected = torch.autograd.grad(y, (x, gate, weight, bias), dy)
    actual = gradients.batch_instance_norm_backward(dy, x.detach(), gate.detach(), weight.detach(), 0.01)
    close(actual, expected)


@given(images, seeds)
def test_switchable_norm(shape, seed):
    x, dy, w, v, weight, bias = draw(shape, seed, (3,), (3,), shape[1:2], shape[1:2])
    y = F.switchable_norm(x, None, None, w, v, weight, bias, training=True, eps=0.01)
    expected = torch.autograd.grad(y, (x, w, v, weight, bias), dy)
    given = (t.detach() for t in (x, w, v, weight))
    close(gradients.switchable_norm_backward(dy, *given, eps=0.01), expected)


@given(st.lists(st.integers(1, 5), min_size=2, max_size=4), seeds)
def test_weight_norm(shape, seed):
    v, dw, g = draw(tuple(shape), seed, (shape[0], *[1] * (len(shape) - 1)))
    weight = torch._weight_norm(v, g, 0)
    expected = torch.autograd.grad(weight, (v, g), dw)
    actual = gradients.weight_norm_backward(dw, v.detach(), g.detach())
    close(actual, expected)
    assert (actual[0] * v.detach()).sum().abs() < 1e-8  # dv is orthogonal to v


@given(st.lists(st.integers(1, 5), min_size=2, max_size=4), seeds)
def test_spectral_norm(shape, seed):
    weight, dw = draw(tuple(shape), seed)
    u, _, v = torch.linalg.svd(weight.detach().flatten(1))
    u, v = u[:, 0], v[0]
    # where u, v are the singular vectors, the gradient of σ itself is uvᵀ too: no constant is assumed
    y = weight / torch.linalg.matrix_norm(weight.flatten(1), 2)
    expected = torch.autograd.grad(y, weight, dw)
    close([gradients.spectral_norm_backward(dw, weight.detach(), u, v)], expected)


@given(st.integers(3, 40), seeds)
def test_identities_of_batch_norms_gradient(m, seed):
    """Σdx = 0, <x̂, dx> = 0 and the norm of dx, for ε = 0."""
    x, dy = random_input((m, 4), seed=seed), random_input((m, 4), seed=seed + 1, offset=0.7)
    gamma = random_input((4,), seed=seed + 2)
    dx, _, _ = gradients.batch_norm_backward(dy, x, gamma, eps=0.0)
    sigma2 = x.var(0, correction=0)
    x_hat = (x - x.mean(0)) / sigma2.sqrt()
    scale = dx.abs().sum(0) + 1e-300
    assert (dx.sum(0) / scale).abs().max() < 1e-12
    assert ((x_hat * dx).sum(0) / scale).abs().max() < 1e-12
    norm2 = gamma**2 / sigma2 * ((dy**2).sum(0) - dy.sum(0) ** 2 / m - (dy * x_hat).sum(0) ** 2 / m)
    torch.testing.assert_close((dx**2).sum(0), norm2, rtol=1e-8, atol=1e-12)


@given(st.integers(3, 20), seeds, st.floats(0.1, 10))
def test_under_batch_norm_a_weight_is_orthogonal_to_its_gradient(m, seed, factor):
    x, R = random_input((m, 6), seed=seed), random_input((m, 4), seed=seed + 1)

    def gradient(w):
        w = w.clone().requires_grad_()
        y = F.standardize(x @ w.mT, 0, eps=0.0)
        return torch.autograd.grad((y * R).sum(), w)[0]

    w = random_input((4, 6), seed=seed + 2, offset=0)
    at_w = gradient(w)
    assert ((w * at_w).sum(1).abs() / (w.norm(dim=1) * at_w.norm(dim=1))).max() < 1e-10
    torch.testing.assert_close(gradient(factor * w), at_w / factor, rtol=1e-8, atol=1e-10)


def test_detached_statistics_are_wrong():
    x, dy = random_input((16, 4)).requires_grad_(), random_input((16, 4), seed=1)
    mean, std = x.mean(0).detach(), x.std(0, correction=0).detach()
    (wrong,) = torch.autograd.grad((x - mean) / std, x, dy)
    right, _, _ = gradients.batch_norm_backward(dy, x.detach(), eps=0.0)
    assert (wrong - right).norm() / right.norm() > 0.1


def test_without_weight_and_in_half_precision():
    x, dy = random_input((6, 3), torch.bfloat16), random_input((6, 3), torch.bfloat16, seed=1)
    dx, dgamma, dbeta = gradients.batch_norm_backward(dy, x)
    assert dx.dtype == torch.bfloat16 and dgamma.dtype == dbeta.dtype == torch.float32
    exact, _, _ = gradients.batch_norm_backward(dy.double(), x.double())
    torch.testing.assert_close(dx.double(), exact, rtol=1e-2, atol=1e-3)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"grad_output must have the shape of input, \(4, 3\)"):
        gradients.batch_norm_backward(torch.ones(4, 2), torch.ones(4, 3))
