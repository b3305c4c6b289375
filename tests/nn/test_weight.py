"""Normalized weights against torch.nn.utils.parametrizations, or their formulas."""

import copy
import inspect
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


WRAPS = {
    "weight_norm": [{"dim": 0}, {"dim": 1}, {"dim": -1}, {"dim": None}, {"dim": -2}],
    "spectral_norm": [{}, {"dim": 0}, {"dim": 1}, {"n_power_iterations": 3, "eps": 1e-6}],
}
every_wrap = pytest.mark.parametrize(
    ("wrap", "options"), [(n, o) for n, each in WRAPS.items() for o in each], ids=str
)


@layers
@every_wrap
def test_a_parametrization_that_torch_has_equals_torchs(kind, wrap, options):
    """Values, gradients, names and shapes; state dicts both ways, strictly; a weight that is assigned."""
    layer, x = build(kind)
    torch.manual_seed(3)
    ours = getattr(nn, wrap)(copy.deepcopy(layer), **options)
    torch.manual_seed(3)
    theirs = getattr(parametrizations, wrap)(copy.deepcopy(layer), **options)
    assert isinstance(ours.parametrizations.weight[0], type(theirs.parametrizations.weight[0]))
    shapes = [{k: t.shape for k, t in m.state_dict().items()} for m in (ours, theirs)]
    assert shapes[0] == shapes[1]
    for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)
    for parameter in ours.parameters():
        parameter.data.copy_(random_input(parameter.shape, seed=parameter.numel()))
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    upstream = random_input(layer(x).shape, seed=3)
    for training in (True, True, False):
        for m in (ours, theirs):
            m.train(training).zero_grad()
        y, expected = ours(x), theirs(x)
        (y * upstream).sum().backward(), (expected * upstream).sum().backward()
        torch.testing.assert_close(y, expected)
        for (name, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad, msg=name)
    with torch.no_grad():
        new = random_input(layer.weight.shape, seed=5)
        ours.weight, theirs.weight = new, new
    torch.testing.assert_close(ours.eval().weight, theirs.eval().weight)


@pytest.mark.parametrize("wrap", WRAPS)
def test_signatures_and_refusals_are_torchs(wrap):
    ours, theirs = getattr(nn, wrap), getattr(parametrizations, wrap)
    assert [(p.name, p.default) for p in inspect.signature(ours).parameters.values()] == [
        (p.name, p.default) for p in inspect.signature(theirs).parameters.values()
    ]
    for call in (
        lambda f: f(torch.nn.Linear(3, 4), "missing"),
        lambda f: f(torch.nn.Linear(3, 4), dim=7),
        lambda f: f(torch.nn.Linear(3, 4), n_power_iterations=0),
    ):
        with pytest.raises(Exception) as expected:
            call(theirs)
        with pytest.raises(expected.type):
            call(ours)


def test_a_weight_norm_of_old_names_loads():
    old, new = torch.nn.Linear(3, 4), nn.weight_norm(torch.nn.Linear(3, 4))
    state = {"bias": old.bias, "weight_g": torch.ones(4, 1), "weight_v": old.weight}
    new.load_state_dict(state, strict=True)
    torch.testing.assert_close(new.weight, old.weight / old.weight.norm(dim=1, keepdim=True))


def test_the_spectral_norm_of_a_vector_is_its_length():
    ours, theirs = (
        wrap(torch.nn.LayerNorm(5)) for wrap in (nn.spectral_norm, parametrizations.spectral_norm)
    )
    torch.testing.assert_close(ours.weight, theirs.weight)


@pytest.mark.parametrize("wrap", WRAPS)
def test_half_precision(wrap):
    layer, x = build("conv2d")
    getattr(nn, wrap)(layer.bfloat16())
    y = layer(x.bfloat16())
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()


@pytest.mark.parametrize("kind", ["transposed"])
def test_data_dependent_start_of_a_transposed_convolution_needs_lengths_of_outputs(kind):
    layer, x = build(kind)
    with pytest.raises(ValueError, match="dim=1.*but got dim=0"):
        initialize_from_data(nn.weight_norm(copy.deepcopy(layer)), x)
    y = initialize_from_data(nn.weight_norm(layer, dim=1), x)
    torch.testing.assert_close(y.std((0, 2, 3), correction=0), torch.ones(4).double())
    with pytest.raises(ValueError, match="after weight_norm"):
        initialize_from_data(nn.spectral_norm(torch.nn.Linear(3, 4)), torch.randn(5, 3))


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
    out = 1 if kind == "transposed" else 0
    raw = layer.weight.detach().movedim(out, 0).flatten(1)
    nn.spectral_norm(layer, n_power_iterations=50)
    layer(x)
    divided = layer.weight.detach().movedim(out, 0).flatten(1)
    torch.testing.assert_close(divided, raw / torch.linalg.matrix_norm(raw, 2))
    assert torch.linalg.matrix_norm(divided, 2).item() == pytest.approx(1)


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
    assert torch.autograd.gradcheck(F.weight_norm, (v, g), fast_mode=True)
    assert torch.autograd.gradgradcheck(F.weight_norm, (v, g), fast_mode=True)
    assert torch.autograd.gradcheck(F.weight_standardization, (v,), fast_mode=True)
    u, w = (
        torch.nn.functional.normalize(random_input((3,)), dim=0),
        torch.nn.functional.normalize(random_input((4,)), dim=0),
    )
    assert torch.autograd.gradcheck(lambda v: F.spectral_norm(v, u, w), (v,), fast_mode=True)


@pytest.mark.parametrize("wrap", [nn.weight_norm, nn.weight_standardization, nn.spectral_norm])
def test_copies_state_dicts_and_pickled_states(wrap):
    layer, x = build("conv2d")
    wrap(layer).eval()
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    other = wrap(LAYERS["conv2d"][0]().double()).eval()
    other.load_state_dict(pickle.loads(pickle.dumps(layer.state_dict())), strict=True)
    assert torch.equal(other(x), layer(x))
