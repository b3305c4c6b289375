"""How many steps gradient descent takes when the ranges of two inputs differ (chapter: Scaling inputs)."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from normcore.experiments.grid import Grid, grid
from normcore.plotting import COLORS, figure

__all__ = ["RAVINES", "bound", "draw", "measure", "measure_adam"]

# name → the rotation of the inputs
RAVINES = {"along the axes": np.eye(2), "turned by 45°": np.array([[1.0, 1.0], [-1.0, 1.0]]) / 2**0.5}


def measure(
    ratios: Sequence[float] = (1, 2, 4, 8, 16, 32), seeds: Sequence[int] = range(20), tolerance: float = 1e-3
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
        curvature, target, w = _problem(seed, ratio)
        eigenvalues = np.linalg.eigvalsh(curvature)
        eta = 2 / eigenvalues.sum()
        start, count = np.linalg.norm(w - target), 0
        while np.linalg.norm(w - target) > tolerance * start:
            w = w - eta * curvature @ (w - target)
            count += 1
        return eigenvalues[-1] / eigenvalues[0], count

    axes = {"seed": seeds, "ratio": ratios}
    return grid(one, axes, {"quantity": ("kappa", "steps")}, tolerance=tolerance)


def _problem(seed: int, ratio: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Curvature, target weights and start."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (200, 2)) * [1.0, ratio]
    return x.T @ x / len(x), rng.normal(size=2), rng.normal(size=2)


def measure_adam(
    learning_rates: Sequence[float] = (0.3, 1.0, 3.0, 10.0),
    seeds: Sequence[int] = range(20),
    ratio: float = 32,
    tolerance: float = 1e-3,
    limit: int = 3000,
) -> Grid:
    """Adam on the problems of `measure`, and on the same problems with all inputs turned by 45°.

    The turned inputs have one range and a correlation of (r² − 1)/(r² + 1). κ stays, and so do the steps of
    plain gradient descent, whose path is turned with them.

    Args:
        learning_rates: of Adam.
        seeds: each draws a problem.
        ratio: r, range of the second input over that of the first before the turn.
        tolerance: a run ends when ‖w − w*‖ ≤ tolerance·‖w₀ − w*‖.
        limit: of steps.

    Returns:
        Steps by ravine of RAVINES, seed, lr; inf where the limit was reached.
    """
    problems = [_problem(seed, ratio) for seed in seeds]

    def one(ravine: str, lr: float) -> np.ndarray:
        turn = RAVINES[ravine]
        curvature = torch.tensor(np.array([turn.T @ h @ turn for h, _, _ in problems]))
        target = torch.tensor(np.array([t @ turn for _, t, _ in problems]))
        # all seeds at once: Adam treats each weight by itself
        w = torch.tensor(np.array([w @ turn for _, _, w in problems]), requires_grad=True)
        adam = torch.optim.Adam([w], lr=lr)
        start, steps = (w.detach() - target).norm(dim=1), np.full(len(problems), np.inf)
        for count in range(1, limit + 1):
            w.grad = (curvature @ (w.detach() - target)[..., None])[..., 0]
            adam.step()
            there = ((w.detach() - target).norm(dim=1) <= tolerance * start).numpy()
            steps[there & np.isinf(steps)] = count
            if np.isfinite(steps).all():
                break
        return steps

    return grid(
        one, {"ravine": RAVINES, "lr": learning_rates}, {"seed": seeds},
        ratio=ratio, tolerance=tolerance, limit=limit,
    )  # fmt: skip


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
