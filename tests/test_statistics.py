import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from normcore.statistics import centre, mean_square, merge, moments, pooled, update_running


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
def test_moments_equal_numpys(shape, data):
    dims = data.draw(st.lists(st.sampled_from(range(len(shape))), unique=True, min_size=1))
    x = np.random.default_rng(0).normal(3, 2, shape)
    for keepdim in (True, False):
        signed = tuple(d - len(shape) if d % 2 else d for d in dims)
        mean, var = moments(torch.from_numpy(x), signed, keepdim=keepdim)
        np.testing.assert_allclose(mean.numpy(), x.mean(tuple(dims), keepdims=keepdim), atol=1e-12)
        np.testing.assert_allclose(var.numpy(), x.var(tuple(dims), keepdims=keepdim), atol=1e-12)


@pytest.mark.parametrize("offset", [0, 1e3, 1e4, 1e6])
def test_float32_variance_survives_a_large_mean(offset):
    """E[x²] − E[x]² in float32 is wrong at 1e3 and useless at 1e4; this must not be."""
    x = torch.from_numpy(np.random.default_rng(1).normal(offset, 1, (4096, 3))).float()
    exact = x.double().numpy()
    mean, var = moments(x, 0)
    np.testing.assert_allclose(var.numpy(), exact.var(0), rtol=1e-6)
    np.testing.assert_allclose(mean.numpy(), exact.mean(0), rtol=1e-7, atol=1e-7)
    naive = (x.square().mean(0) - x.mean(0).square()).numpy()
    if offset >= 1e4:
        assert np.abs(naive - exact.var(0)).max() > 0.5


def test_float64_variance_survives_1e8_deviations():
    x = np.random.default_rng(2).normal(1e8, 1, 1000)
    _, var = moments(torch.from_numpy(x), 0)
    np.testing.assert_allclose(var, (x - 1e8).var(), rtol=1e-10)


def test_centred_values_sum_to_zero_and_carry_the_whole_gradient():
    x = (torch.randn(50, 3) + 1e5).requires_grad_()
    _, centred = centre(x, 0)
    assert centred.sum(0).abs().max() < 1e-4
    upstream = torch.randn(50, 3)
    (gradient,) = torch.autograd.grad((centred * upstream).sum(), x)
    torch.testing.assert_close(gradient, upstream - upstream.mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_accumulates_in_float32(dtype):
    mean, var = moments(torch.full((4096, 2), 30.0, dtype=dtype), 0)  # the sum overflows float16
    assert mean.dtype == var.dtype == torch.float32
    assert mean.tolist() == [30.0, 30.0] and var.tolist() == [0.0, 0.0]


def test_empty_index_set_is_nan():
    mean, var = moments(torch.empty(0, 3), 0)
    assert mean.isnan().all() and var.isnan().all()


def test_update_running_is_in_place_and_outside_the_graph():
    running, batch = torch.tensor([1.0, 2.0]), torch.tensor([5.0, -2.0], requires_grad=True)
    same = running
    update_running(running, batch, 0.25)
    assert same is running and not running.requires_grad
    assert running.tolist() == [2.0, 1.0]


@given(st.integers(0, 6), st.integers(1, 6), st.integers(0, 10**6))
def test_merged_moments_are_those_of_the_union(n, m, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(3, 2, (n, 4)), rng.normal(-1, 5, (m, 4))
    mean_a, var_a = (torch.zeros(4).double(),) * 2 if n == 0 else moments(torch.from_numpy(a), 0)
    mean_b, var_b = moments(torch.from_numpy(b), 0)
    count, mean, var = merge(n, mean_a, var_a, m, mean_b, var_b)
    union = np.concatenate([a, b])
    assert count == n + m
    np.testing.assert_allclose(mean, union.mean(0), atol=1e-12)
    np.testing.assert_allclose(var, union.var(0), atol=1e-12)


def test_merging_many_parts_at_a_large_mean_loses_nothing():
    x = np.random.default_rng(0).normal(1e6, 1, (1000, 3))
    total = (0, torch.zeros(3).double(), torch.zeros(3).double())
    for part in np.array_split(x, 37):
        total = merge(*total, len(part), *moments(torch.from_numpy(part), 0))
    np.testing.assert_allclose(total[2], x.var(0), rtol=1e-9)


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_pooled_moments_are_those_of_the_union(offset):
    x = np.random.default_rng(0).normal(offset, 1, (5, 3, 40)) + np.arange(5)[:, None, None]
    mean, var = moments(torch.from_numpy(x), 2, keepdim=True)
    for dim, axes in ((0, (0, 2)), (1, (1, 2)), ((0, 1), (0, 1, 2))):
        together, spread = pooled(mean, var, dim)
        np.testing.assert_allclose(together.squeeze(), x.mean(axes), rtol=1e-14, atol=1e-12)
        np.testing.assert_allclose(spread.squeeze(), x.var(axes), rtol=1e-12 if offset == 0 else 1e-6)


@pytest.mark.parametrize(
    "shape, dim",
    [
        ((2**22 + 17,), 0),
        ((2, 2**21), 1),
        ((2, 2, 1024, 1024), (0, 2, 3)),
        ((2**20, 4), 0),
        ((3, 1024, 1025), (1, 2)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_index_sets_are_as_exact_as_small_ones(shape, dim, dtype):
    """Values added one after the other in float32 lose four digits over 2^22 of them."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    for actual, expected in zip(moments(x, dim), moments(x.double(), dim), strict=True):
        torch.testing.assert_close(actual.double(), expected, rtol=4e-7, atol=4e-7)
    square = mean_square(x.float(), dim).double()
    torch.testing.assert_close(square, x.double().square().mean(dim, keepdim=True), rtol=4e-7, atol=0)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.data())
def test_mean_square_over_any_dimensions(shape, data):
    """Blocks, and what is left beside them, in every combination of dimensions."""
    dims = tuple(data.draw(st.lists(st.sampled_from(range(-len(shape), 0)), unique=True)))
    x = torch.randn(shape, dtype=torch.float64)
    expected = x.square().mean(dims, keepdim=True) if dims else x.square()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("normcore.statistics.BLOCK", 2)
        torch.testing.assert_close(mean_square(x, dims), expected, rtol=1e-13, atol=0, equal_nan=True)


def test_over_no_dimension_each_value_is_a_set_of_its_own():
    x = torch.randn(3, 4)
    mean, var = moments(x, ())
    assert torch.equal(mean, x) and torch.equal(var, torch.zeros_like(x))
    mean, var = pooled(x, x.square(), ())
    assert torch.equal(mean, x) and torch.equal(var, x.square())


def test_dimensions_are_named():
    with pytest.raises(IndexError, match="dim must be between -2 and 1, but got 2"):
        moments(torch.randn(3, 4), 2)
    with pytest.raises(RuntimeError, match=r"dim must name each dimension once, but got \(0, -2\)"):
        moments(torch.randn(3, 4), (0, -2))


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
def test_an_infinite_value_gives_torchs_statistics(value):
    x = torch.randn(6, 3)
    x[2, 1] = value
    mean, var = moments(x, 0)
    torch.testing.assert_close(mean, x.mean(0), equal_nan=True)
    torch.testing.assert_close(var, x.var(0, correction=0), equal_nan=True)
