"""Scalers against scikit-learn's; whitening against its definition."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import preprocessing

from normcore.scaling import MeanScaler, MinMaxScaler, StandardScaler, Whitener
from tests.layers import random_input

tables = st.tuples(st.integers(2, 12), st.integers(1, 5))
seeds = st.integers(0, 10**6)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(MinMaxScaler, preprocessing.MinMaxScaler), (StandardScaler, preprocessing.StandardScaler)],
)
@given(tables, seeds)
def test_equals_scikit_learns_on_new_data_too(ours, theirs, shape, seed):
    x, new = random_input(shape, seed=seed), random_input((4, shape[1]), seed=seed + 1, scale=9.0)
    x[:, 0] = 3.25  # a constant feature
    mine, reference = ours().fit(x), theirs().fit(x.numpy())
    for data in (x, new):
        np.testing.assert_allclose(mine.transform(data), reference.transform(data.numpy()), atol=1e-10)
    z = random_input((3, shape[1]), seed=seed + 2)
    np.testing.assert_allclose(mine.inverse_transform(z), reference.inverse_transform(z.numpy()), atol=1e-10)


@given(tables, seeds)
def test_mean_normalization(shape, seed):
    x = random_input(shape, seed=seed)
    y = MeanScaler().fit_transform(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(shape[1]).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(y.amax(0) - y.amin(0), torch.ones(shape[1]).double())


@pytest.mark.parametrize("scaler", [MinMaxScaler, MeanScaler, StandardScaler])
def test_new_data_outside_the_range_stays_outside_and_comes_back(scaler):
    x = random_input((20, 3))
    fitted = scaler().fit(x)
    far = 100 * random_input((5, 3), seed=1)
    assert (fitted.transform(far).abs() > 5).any()
    torch.testing.assert_close(fitted.inverse_transform(fitted.transform(far)), far)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_dtypes_and_large_means(dtype):
    x = random_input((500, 3), torch.float32, offset=0 if dtype == torch.float16 else 1e4, scale=1.0).to(
        dtype
    )
    y = StandardScaler().fit_transform(x)
    assert y.dtype == dtype
    assert (y.double().std(0, correction=0) - 1).abs().max() < (1e-5 if dtype == torch.float32 else 2e-3)


@pytest.mark.parametrize("method", ["pca", "zca"])
@given(st.integers(8, 30), st.integers(1, 5), seeds)
def test_whitened_data_is_uncorrelated_and_comes_back(method, rows, features, seed):
    x = random_input((rows, features), seed=seed) @ random_input((features, features), seed=seed + 1)
    whitener = Whitener(method, eps=1e-9).fit(x)
    z = whitener.transform(x)
    covariance = np.cov(x.numpy(), rowvar=False, bias=True).reshape(features, features)
    w = whitener.matrix.numpy()
    identity = w @ (covariance + 1e-9 * np.eye(features)) @ w.T
    np.testing.assert_allclose(identity, np.eye(features), atol=1e-4)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-6 * max(1, np.abs(w).max()))
    back = whitener.inverse_transform(z)
    torch.testing.assert_close(back, x, atol=1e-5, rtol=1e-5)
    if method == "zca":
        np.testing.assert_allclose(w, w.T, rtol=1e-6, atol=1e-6 * np.abs(w).max())


def test_pca_whitening_equals_scikit_learns_up_to_signs():
    from sklearn.decomposition import PCA

    x = random_input((40, 3)) @ random_input((3, 3), seed=1)
    theirs = PCA(whiten=True).fit_transform(x.numpy()) * np.sqrt(40 / 39)  # theirs divides by m − 1
    ours = Whitener("pca", eps=0.0).fit_transform(x).numpy()[:, ::-1]  # theirs: largest first
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), rtol=1e-6)


def test_singular_data_needs_eps():
    x = torch.ones(5, 2).double()
    assert torch.isfinite(Whitener(eps=1e-3).fit_transform(x)).all()


@pytest.mark.parametrize("make", [MinMaxScaler, MeanScaler, StandardScaler, Whitener])
def test_bad_input_is_named(make):
    x = random_input((4, 3))
    with pytest.raises(ValueError, match="call fit before transform"):
        make().transform(x)
    with pytest.raises(ValueError, match=r"fitted to 3 features, but x is of shape \(4, 2\)"):
        make().fit(x).transform(x[:, :2])
    for bad in (x[0], x[:0]):
        with pytest.raises(ValueError, match=r"table \(m, d\)"):
            make().fit(bad)
    with pytest.raises(ValueError, match="floating point, but it is torch.int64"):
        make().fit(torch.ones(3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="'pca' or 'zca', but got 'svd'"):
        Whitener("svd")
    assert make().fit(x).transform(x[:0]).shape == (0, 3)


def test_whitening_of_many_rows_is_as_exact_as_of_few():
    """A product of matrices adds one row after the other; a million of them cost four digits of float32."""
    x = torch.randn(2**20, 2, generator=torch.Generator().manual_seed(0)) + 5
    exact = Whitener().fit(x.double()).matrix
    assert (Whitener().fit(x).matrix - exact).abs().max() < 2e-5 * exact.abs().max()
