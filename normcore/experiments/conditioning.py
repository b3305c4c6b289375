"""How many steps gradient descent takes when the ranges of two inputs differ (chapter: Scaling inputs)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from normcore.plotting import COLORS, figure

__all__ = ["Conditioning", "draw", "measure"]


@dataclass(frozen=True)
class Conditioning:
    """Measurements, each of shape (ratios, seeds).

    Attributes:
        ratios: (ratios,), the range of the second input over that of the first.
        kappa: the condition number of the loss's curvature.
        steps: until the distance to the minimum was `tolerance` of what it was.
        tolerance: that fraction.
    """

    ratios: np.ndarray
    kappa: np.ndarray
    steps: np.ndarray
    tolerance: float

    @property
    def predicted(self) -> np.ndarray:
        """ln(tolerance) / ln((κ − 1)/(κ + 1)); rounded up, no run at the best fixed step needs more."""
        return np.log(self.tolerance) / np.log((self.kappa - 1) / (self.kappa + 1))


def measure(
    ratios: Sequence[float] = (1, 2, 4, 8, 16, 32), seeds: Sequence[int] = range(10), tolerance: float = 1e-3
) -> Conditioning:
    """Least squares on two independent inputs, by gradient descent from a random start.

    The loss is 1/(2m) Σ (w·x_i − t_i)² with m = 200, its curvature H = XᵀX/m. Each run uses the best
    fixed step for its H, η = 2/(λ_max + λ_min), so that nothing but the conditioning is compared.

    Args:
        ratios: range of the second input over that of the first.
        seeds: each draws data, target weights and start.
        tolerance: a run ends when ‖w − w*‖ ≤ tolerance·‖w₀ − w*‖.
    """
    kappa, steps = (np.zeros((len(ratios), len(seeds))) for _ in range(2))
    for i, ratio in enumerate(ratios):
        for j, seed in enumerate(seeds):
            rng = np.random.default_rng(seed)
            x = rng.uniform(-1, 1, (200, 2)) * [1.0, ratio]
            curvature = x.T @ x / len(x)
            eigenvalues = np.linalg.eigvalsh(curvature)
            target, w = rng.normal(size=2), rng.normal(size=2)
            eta = 2 / eigenvalues.sum()
            start, count = np.linalg.norm(w - target), 0
            while np.linalg.norm(w - target) > tolerance * start:
                w = w - eta * curvature @ (w - target)
                count += 1
            kappa[i, j], steps[i, j] = eigenvalues[-1] / eigenvalues[0], count
    return Conditioning(np.asarray(ratios, float), kappa, steps, tolerance)


def draw(measured: Conditioning) -> Figure:
    """Steps against the condition number, every run a point, with the bound."""
    with figure() as (fig, ax):
        ax.scatter(measured.kappa, measured.steps, s=14, color=COLORS["blue"], label="runs")
        order = np.argsort(measured.kappa.ravel())
        ax.plot(
            measured.kappa.ravel()[order],
            measured.predicted.ravel()[order],
            marker="",
            color=COLORS["orange"],
            linestyle="--",
            label="bound",
        )
        ax.set(xscale="log", yscale="log", xlabel="condition number κ", ylabel="steps")
        ax.legend()
    return fig
