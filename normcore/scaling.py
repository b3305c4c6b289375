"""Scaling of inputs: fitted to one set of data, applied to any.

Each scaler has fit, transform, inverse_transform and fit_transform, as scikit-learn's, on tensors (m, d).
"""

from __future__ import annotations

import torch
from torch import Tensor

from normcore.functional.whitening import covariance, inverse_root
from normcore.statistics import centre, moments

__all__ = ["MeanScaler", "MinMaxScaler", "StandardScaler", "Whitener"]


class _Scaler:
    """x ↦ (x − shift_j) / scale_j for each feature j; a subclass computes shift and scale."""

    shift: Tensor
    scale: Tensor

    def fit(self, x: Tensor) -> _Scaler:
        """Take the statistics from x, (m, d) with m at least 1.

        Raises:
            ValueError: x that is not a table, has no row, or is not floating point.
        """
        _check_table(x)
        self.shift, scale = self._statistics(x)
        # a feature that never changes carries nothing; it becomes a constant
        self.scale = torch.where(scale == 0, torch.ones_like(scale), scale)
        return self

    def transform(self, x: Tensor) -> Tensor:
        """x, (k, d), scaled by the fitted statistics; values outside the fitted range stay outside."""
        self._check_fitted(x)
        return (x - self.shift) / self.scale

    def inverse_transform(self, z: Tensor) -> Tensor:
        """Undo `transform`."""
        self._check_fitted(z)
        return z * self.scale + self.shift

    def fit_transform(self, x: Tensor) -> Tensor:
        """`fit`, then `transform` the same data."""
        return self.fit(x).transform(x)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError(f"{type(self).__name__} has no statistics")

    def _check_fitted(self, x: Tensor) -> None:
        if not hasattr(self, "shift"):
            raise ValueError(f"{type(self).__name__}: call fit before transform")
        _check_table(x, rows=False)
        if x.shape[1] != len(self.shift):
            raise ValueError(
                f"{type(self).__name__}: fitted to {len(self.shift)} features, but x is of shape "
                f"{tuple(x.shape)}"
            )


class MinMaxScaler(_Scaler):
    """x ↦ (x − min_j) / (max_j − min_j): the fitted data lies in [0, 1]."""

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.amin(0), x.amax(0) - x.amin(0)


class MeanScaler(_Scaler):
    """x ↦ (x − μ_j) / (max_j − min_j): mean 0, a range of length 1."""

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return moments(x, 0)[0].to(x.dtype), x.amax(0) - x.amin(0)


class StandardScaler(_Scaler):
    """x ↦ (x − μ_j) / σ_j, σ² dividing by m: mean 0, deviation 1."""

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, var = moments(x, 0)
        return mean.to(x.dtype), var.sqrt().to(x.dtype)


class Whitener:
    """z = W (x − μ), with W Σ Wᵀ = I: mean 0, deviation 1 and no correlation.

        Σ = (1/m) Σ_i (x_i − μ)(x_i − μ)ᵀ + ε I = D Λ Dᵀ
        PCA:  W = Λ^(−1/2) Dᵀ        ZCA:  W = D Λ^(−1/2) Dᵀ, the whitening closest to the identity

    Args:
        method: "pca" or "zca".
        eps: ε; above 0 where Σ may be singular.

    Raises:
        ValueError: another method.

    Source: Kessy, Lewin and Strimmer (2018), "Optimal Whitening and Decorrelation".
    """

    def __init__(self, method: str = "zca", eps: float = 1e-8) -> None:
        if method not in ("pca", "zca"):
            raise ValueError(f"method must be 'pca' or 'zca', but got {method!r}")
        self.method = method
        self.eps = eps

    def fit(self, x: Tensor) -> Whitener:
        """Take μ and Σ from x, (m, d) with m at least 1."""
        _check_table(x)
        mean, centred = centre(x, 0)
        identity = torch.eye(x.shape[1], dtype=centred.dtype, device=x.device)
        sigma = covariance(centred.mT) + self.eps * identity
        self.mean = mean[0]
        if self.method == "zca":
            self.matrix = inverse_root(sigma, self.eps)
        else:
            eigenvalues, vectors = torch.linalg.eigh(sigma)
            self.matrix = (vectors * eigenvalues.clamp_min(self.eps).rsqrt()).mT
        return self

    def transform(self, x: Tensor) -> Tensor:
        """x, (k, d), by the fitted μ and W."""
        self._check_fitted(x)
        return (x - self.mean) @ self.matrix.mT

    def inverse_transform(self, z: Tensor) -> Tensor:
        """Undo `transform`."""
        self._check_fitted(z)
        return torch.linalg.solve(self.matrix, z.mT).mT + self.mean

    def fit_transform(self, x: Tensor) -> Tensor:
        """`fit`, then `transform` the same data."""
        return self.fit(x).transform(x)

    def _check_fitted(self, x: Tensor) -> None:
        if not hasattr(self, "matrix"):
            raise ValueError("Whitener: call fit before transform")
        _check_table(x, rows=False)
        if x.shape[1] != len(self.mean):
            raise ValueError(
                f"Whitener: fitted to {len(self.mean)} features, but x is of shape {tuple(x.shape)}"
            )


def _check_table(x: Tensor, rows: bool = True) -> None:
    if x.dim() != 2 or (rows and not len(x)):
        raise ValueError(
            f"x must be a table (m, d) with at least one row, but it is of shape {tuple(x.shape)}"
        )
    if not x.is_floating_point():
        raise ValueError(f"x must be floating point, but it is {x.dtype}: convert it with .float()")
