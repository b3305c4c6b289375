"""Normalized weights against torch.nn.utils.parametrizations, or their formulas."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils import parametrizations

from normcore import functional as F
from normcore import nn
from normcore.nn.weight import initialize_from_data
from tests.layers import random_input

LAYERS = {
    "linear": (lambda: torch.nn.Linear(5, 4), (7, 5)),
    "conv1d": (lambda: torch.nn.Conv1d(3, 4, 2), (7, 3, 5)),
    "conv2d": (lambda: torch.nn.Conv2d(3, 4, 2), (7, 3, 5, 5)),
    "conv3d": (lambda: torch.nn.Conv3d(3, 4, 2), (7, 3, 3, 3, 3)),
    "transposed": (lambda: torch.nn.ConvTranspose2d(3, 4, 2), (7, 3, 5, 5)),
}
layers = pytest.mark.parametrize("kind", LAYERS)


def build(kind):
    torch.manual_seed(0)
    make, shape = LAYERS[kind]
    return make().double(), random_input(shape)


@layers
@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm_equals_torchs(kind, dim):
    layer, x = build(kind)
    ours = nn.weight_norm(copy.deepcopy(layer), dim=dim)
    theirs = parametrizations.weight_norm(copy.deepcopy(layer), dim=-1 if dim is None else dim)
    before = layer(x)
    torch.testing.assert_close(ours(x), before)  # nothing changed yet
    assert [tuple(p.shape) for p in ours.parameters()] != [] and set(ours.state_dict()) == set(
        theirs.state_dict()
    )
    if dim is None:
        return  # torch keeps one length as a scalar
    for parameter in ours.parameters():
        parameter.data.copy_(random_input(parameter.shape, seed=parameter.numel()))
    theirs.load_state_dict(ours.state_dict())
    upstream = random_input(before.shape, seed=3)
    (ours(x) * upstream).sum().backward(), (theirs(x) * upstream).sum().backward()
    torch.testing.assert_close(ours(x), theirs(x))
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p.grad, dict(theirs.named_parameters())[name].grad), q


@pytest.mark.parametrize("kind", ["linear", "conv1d", "conv2d", "conv3d"])
def test_data_dependent_start(kind):
    layer, x = build(kind)
    nn.weight_norm(layer)
    layer.parametrizations.weight.original1.data.normal_(0, 0.05)
    y = initialize_from_data(layer, x)
    channel = 1
    others = [d for d in range(y.dim()) if d != channel]
    torch.testing.assert_close(y, layer(x))
    torch.testing.assert_close(y.mean(others), torch.zeros(4).double(), atol=1e-10, rtol=0)
    torch.testing.assert_close(y.std(others, correction=0), torch.ones(4).double())
    with pytest.raises(ValueError, match="after weight_norm, with a bias"):
        initialize_from_data(torch.nn.Linear(3, 4), x)


@layers
@pytest.mark.parametrize("scaled", [False, True])
def test_weight_standardization(kind, scaled):
    layer, x = build(kind)
    raw = layer.weight.detach().numpy().copy()
    nn.weight_standardization(layer, eps=0.01, gain=True, scaled=scaled)
    gain = random_input(layer.parametrizations.weight[0].gain.shape, seed=4)
    layer.parametrizations.weight[0].gain.data.copy_(gain)
    axes = tuple(range(1, raw.ndim))
    expected = (raw - raw.mean(axes, keepdims=True)) / np.sqrt(raw.var(axes, keepdims=True) + 0.01)
    expected *= gain.numpy() / (np.sqrt(raw[0].size) if scaled else 1)
    np.testing.assert_allclose(layer.weight.detach().numpy(), expected, rtol=1e-10)
    assert layer(x).shape


def test_scaled_weight_standardization_keeps_the_variance():
    torch.manual_seed(0)
    layer = nn.weight_standardization(torch.nn.Linear(400, 300, bias=False), eps=1e-10, scaled=True)
    y = layer(torch.randn(2000, 400))
    assert abs(y.var() - 1) < 0.03


@layers
def test_spectral_norm_divides_by_the_largest_singular_value(kind):
    layer, x = build(kind)
    raw = layer.weight.detach().flatten(1)
    nn.spectral_norm(layer, n_power_iterations=50)
    layer(x)
    torch.testing.assert_close(layer.weight.detach().flatten(1), raw / torch.linalg.matrix_norm(raw, 2))
    assert torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2).item() == pytest.approx(1)


@pytest.mark.parametrize("kind", ["linear", "conv2d"])
def test_spectral_norm_equals_torchs_from_the_same_vectors(kind):
    layer, x = build(kind)
    theirs = parametrizations.spectral_norm(copy.deepcopy(layer), n_power_iterations=2)
    ours = nn.spectral_norm(copy.deepcopy(layer), n_power_iterations=2)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    upstream = random_input(layer(x).shape, seed=3)
    for training in (True, True, False):
        ours.train(training), theirs.train(training)
        ours.zero_grad(), theirs.zero_grad()
        y, expected = ours(x), theirs(x)
        torch.testing.assert_close(y, expected)
        (y * upstream).sum().backward(), (expected * upstream).sum().backward()
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad)
    for p, q in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(p, q)


def test_spectral_norm_may_run_twice_before_backward():
    layer, x = build("linear")
    nn.spectral_norm(layer)
    (layer(x) + layer(2 * x)).sum().backward()


@given(st.integers(0, 10**6))
def test_gradcheck(seed):
    v, g = (
        random_input((3, 4), seed=seed).requires_grad_(),
        random_input((3, 1), seed=seed + 1).requires_grad_(),
    )
    assert torch.autograd.gradcheck(F.weight_norm, (v, g))
    assert torch.autograd.gradgradcheck(F.weight_norm, (v, g))
    assert torch.autograd.gradcheck(F.weight_standardization, (v,))
    u, w = (
        torch.nn.functional.normalize(random_input((3,)), dim=0),
        torch.nn.functional.normalize(random_input((4,)), dim=0),
    )
    assert torch.autograd.gradcheck(lambda v: F.spectral_norm(v, u, w), (v,))


@pytest.mark.parametrize("wrap", [nn.weight_norm, nn.weight_standardization, nn.spectral_norm])
def test_copies_state_dicts_and_pickled_states(wrap):
    layer, x = build("conv2d")
    wrap(layer).eval()
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    other = wrap(LAYERS["conv2d"][0]().double()).eval()
    other.load_state_dict(pickle.loads(pickle.dumps(layer.state_dict())), strict=True)
    assert torch.equal(other(x), layer(x))
