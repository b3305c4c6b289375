"""How many steps gradient descent takes when the ranges of two inputs differ (chapter: Scaling inputs)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from normcore.experiments.grid import Grid, grid
from normcore.plotting import COLORS, figure

__all__ = ["bound", "draw", "measure"]


def measure(
    ratios: Sequence[float] = (1, 2, 4, 8, 16, 32), seeds: Sequence[int] = range(10), tolerance: float = 1e-3
) -> Grid:
    """Least squares on two independent inputs, by gradient descent from a random start.

    The loss is 1/(2m) Σ (w·x_i − t_i)² with m = 200, its curvature H = XᵀX/m. Each run uses the best
    fixed step for its H, η = 2/(λ_max + λ_min), so that nothing but the conditioning is compared.

    Args:
        ratios: range of the second input over that of the first.
        seeds: each draws data, target weights and start.
        tolerance: a run ends when ‖w − w*‖ ≤ tolerance·‖w₀ − w*‖.

    Returns:
        By quantity, seed, ratio: "kappa", the condition number of H, and "steps" of the run.
    """

    def one(seed: int, ratio: float) -> tuple[float, int]:
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
        return eigenvalues[-1] / eigenvalues[0], count

    axes = {"seed": seeds, "ratio": ratios}
    return grid(one, axes, {"quantity": ("kappa", "steps")}, tolerance=tolerance)


def bound(kappa: np.ndarray, tolerance: float) -> np.ndarray:
    """ln(tolerance) / ln((κ − 1)/(κ + 1)); rounded up, no run at the best fixed step needs more."""
    return np.log(tolerance) / np.log((kappa - 1) / (kappa + 1))


def draw(results: Grid) -> Figure:
    """Steps against the condition number, every run a point, with the bound."""
    kappa, steps = results["kappa"].ravel(), results["steps"].ravel()
    with figure() as (fig, ax):
        ax.scatter(kappa, steps, s=14, color=COLORS["blue"], label="runs")
        line = np.sort(kappa)
        ax.plot(
            line, bound(line, results.settings["tolerance"]),
            marker="", color=COLORS["orange"], linestyle="--", label="bound",
        )  # fmt: skip
        ax.set(xscale="log", yscale="log", xlabel="condition number κ", ylabel="steps")
        ax.legend()
    return fig
