"""The index set is the method: every method is `standardize` over its own axes."""

import inspect

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from normcore import functional as F
from tests.layers import random_input

images = st.tuples(
    st.integers(2, 4), st.integers(1, 3).map(lambda g: 2 * g), st.integers(2, 4), st.integers(1, 4)
)


def same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@given(images, st.integers(0, 10**6))
def test_each_method_is_its_axes(shape, seed):
    x = random_input(shape, seed=seed)
    n, c, h, w = shape
    same(F.standardize(x, (0, 2, 3)), torch.nn.functional.batch_norm(x, None, None, training=True))
    same(F.standardize(x, (1, 2, 3)), torch.nn.functional.layer_norm(x, (c, h, w)))
    same(F.standardize(x, (2, 3)), torch.nn.functional.instance_norm(x))
    grouped = F.standardize(x.view(n, 2, c // 2, h, w), (2, 3, 4)).view(shape)
    same(grouped, torch.nn.functional.group_norm(x, 2))
    same(F.standardize_rms(x, 3, eps=1e-5), torch.nn.functional.rms_norm(x, (w,), eps=1e-5))


@given(images, st.integers(0, 10**6))
def test_the_spectrum_from_layer_to_instance_norm(shape, seed):
    x = random_input(shape, seed=seed)
    same(F.group_norm(x, 1), F.layer_norm(x, shape[1:]))
    same(F.group_norm(x, shape[1]), F.instance_norm(x))
    same(F.batch_norm(x[:1], None, None, training=True), F.instance_norm(x[:1]))


def test_a_batch_of_two_keeps_only_the_order():
    x = torch.tensor([[1.0, -3.0], [1.5, -400.0]], dtype=torch.float64)
    same(F.standardize(x, 0, eps=0.0), torch.tensor([[-1.0, 1.0], [1.0, -1.0]], dtype=torch.float64))


def test_output_has_mean_beta_and_deviation_gamma():
    x = random_input((200, 3))
    gamma, beta = torch.tensor([0.5, 2.0, -1.0]).double(), torch.tensor([1.0, -4.0, 0.0]).double()
    y = F.batch_norm(x, None, None, gamma, beta, training=True, eps=1e-12)
    same(y.mean(0), beta)
    torch.testing.assert_close(y.std(0, correction=0), gamma.abs(), rtol=1e-9, atol=0)


def test_normalize_refuses_integers():
    with pytest.raises(NotImplementedError, match="int64"):
        F.standardize(torch.ones(3, 4, dtype=torch.int64), 0)
    with pytest.raises(NotImplementedError, match="int64"):
        F.standardize_rms(torch.ones(3, 4, dtype=torch.int64), 0)


def test_no_name_of_torch_with_another_meaning():
    """`from normcore import functional as F` stands where torch's does: what both have means the same."""
    import torch.nn.functional as theirs

    assert not hasattr(F, "normalize"), "torch's normalize divides by a vector norm"
    for name in F.__all__:
        if hasattr(theirs, name):
            ours, torchs = (inspect.signature(getattr(module, name)).parameters for module in (F, theirs))
            assert list(ours) == list(torchs), name


POSITIONLESS = {
    "standardize": lambda x, v: F.standardize(
        x, tuple(range(2, x.dim())), v.view(-1, *[1] * (x.dim() - 2)), eps=0.1
    ),
    "standardize_rms": lambda x, v: F.standardize_rms(x, tuple(range(2, x.dim())), eps=0.1),
    "filter_response_norm": lambda x, v: F.filter_response_norm(x, v, v, v),
    "adaptive_instance_norm": lambda x, v: F.adaptive_instance_norm(x, 2 * x + 1),
    "evonorm_s0": lambda x, v: F.evonorm_s0(x, 2, v, v),
    "evonorm_b0, training": lambda x, v: F.evonorm_b0(x, None, v, v, training=True),
    "evonorm_b0": lambda x, v: F.evonorm_b0(x, v.square(), v, v),
    "batch_norm": lambda x, v: F.batch_norm(x, None, None, v, training=True),
    "batch_instance_norm": lambda x, v: F.batch_instance_norm(x, None, None, v, training=True),
    "switchable_norm": lambda x, v: F.switchable_norm(x, None, None, v[:3], v[1:], training=True),
    "virtual_batch_norm": lambda x, v: F.virtual_batch_norm(x, 2, v),
    "group_norm": lambda x, v: F.group_norm(x, 2, v),
    "decorrelated_batch_norm": lambda x, v: F.decorrelated_batch_norm(x, None, None, training=True),
}


@pytest.mark.parametrize("name", POSITIONLESS)
def test_a_table_is_an_image_of_one_pixel(name):
    """(N, C) and (N, C, 1, 1) are the same numbers: no dimension to average over is not every dimension."""
    x, v = random_input((5, 4)), random_input((4,), seed=1)
    run = POSITIONLESS[name]
    results = []
    for shape in ((5, 4), (5, 4, 1, 1)):
        given = x.clone().view(shape).requires_grad_()
        y = run(given, v)
        (gradient,) = torch.autograd.grad(y.pow(3).sum(), given)
        results.append((y.detach().view(5, 4), gradient.view(5, 4)))
    for of_table, of_image in zip(*results, strict=True):
        same(of_table, of_image)


@pytest.mark.parametrize("shape", [(), (4,)])
def test_weights_without_an_input_have_nothing_to_average_over(shape):
    with pytest.raises(RuntimeError, match=r"weight must be \(out, in, \*\), but got of shape"):
        F.weight_standardization(torch.ones(shape))
