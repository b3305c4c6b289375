"""PS05, Why it works: the checks of its tasks."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from normcore.checks.catalogue import ProblemSet
from normcore.checks.check import Check, Inputs, Mistake
from normcore.checks.notebook import HiddenCheck, VisibleCheck

# --- input_shift --------------------------------------------------------------------------------------


def _draw_inputs(rng: np.random.Generator, number: int) -> Inputs:
    m, units = int(rng.integers(5, 12)), int(rng.integers(3, 6))
    before = rng.normal(size=(m, units)) * rng.uniform(0.3, 3, units) + rng.normal(size=units)
    after = before * rng.uniform(1.5, 2, units) + rng.normal(size=units) + 0.3 * rng.normal(size=(m, units))
    return {"before": before, "after": after}


def _shift(before: Tensor, after: Tensor, correction: int = 0, of: str = "before") -> Tensor:
    deviation = (before if of == "before" else after).std(0, correction=correction)
    return ((after.mean(0) - before.mean(0)) / deviation).square().mean().sqrt()


INPUT_SHIFT = Check(
    name="input_shift",
    run="shift = input_shift(before, after)",
    outputs=("shift",),
    draw=_draw_inputs,
    reference=_shift,
    mistakes=(
        Mistake(
            "unbiased deviation",
            "Your σ divides by m − 1. Here it is that of the data themselves: divide by m "
            "(in torch: correction=0).",
            partial(_shift, correction=1),
        ),
        Mistake(
            "deviation after the step",
            "You divided by the deviation after the step. The unit of the shift is that before it.",
            partial(_shift, of="after"),
        ),
        Mistake(
            "not in deviations",
            "You did not divide by σ. A shift counts in units of the unit's own deviation.",
            lambda before, after: (after.mean(0) - before.mean(0)).square().mean().sqrt(),
        ),
        Mistake(
            "divided by the variance",
            "You divided by the variance. Divide by its root.",
            lambda before, after: (
                ((after.mean(0) - before.mean(0)) / before.var(0, correction=0)).square().mean().sqrt()
            ),
        ),
        Mistake(
            "mean of absolute values",
            "You averaged absolute values. The root mean square squares first, averages, and takes the root.",
            lambda before, after: (
                ((after.mean(0) - before.mean(0)) / before.std(0, correction=0)).abs().mean()
            ),
        ),
        Mistake(
            "no root",
            "The root is missing: this is the mean square.",
            lambda before, after: _shift(before, after).square(),
        ),
        Mistake(
            "not averaged",
            "You added the squares over the units. Average them: the root mean square.",
            lambda before, after: _shift(before, after) * before.shape[1] ** 0.5,
        ),
        Mistake(
            "over examples",
            "You measured how far single examples moved. The shift is that of the distribution: take the "
            "mean "
            "over the examples first.",
            lambda before, after: ((after - before) / before.std(0, correction=0)).square().mean().sqrt(),
        ),
    ),
)

# --- gradient_shift -----------------------------------------------------------------------------------


def _draw_gradients(rng: np.random.Generator, number: int) -> Inputs:
    shape = tuple(rng.integers(3, 6, 2))
    g = rng.normal(size=shape) + 0.5
    return {"g": g, "g_moved": rng.uniform(0.3, 2) * g + rng.normal(size=shape)}


def _gradients(g: Tensor, g_moved: Tensor) -> tuple[Tensor, Tensor]:
    return (g - g_moved).norm() / g.norm(), (g * g_moved).sum() / (g.norm() * g_moved.norm())


GRADIENT_SHIFT = Check(
    name="gradient_shift",
    run="change, cosine = gradient_shift(g, g_moved)",
    outputs=("change", "cosine"),
    draw=_draw_gradients,
    reference=_gradients,
    mistakes=(
        Mistake(
            "not relative",
            "Your change is ‖G − G′‖. Divide it by ‖G‖.",
            lambda g, h: ((g - h).norm(), _gradients(g, h)[1]),
        ),
        Mistake(
            "relative to the moved gradient",
            "You divided by ‖G′‖. The change is relative to the gradient before, ‖G‖.",
            lambda g, h: ((g - h).norm() / h.norm(), _gradients(g, h)[1]),
        ),
        Mistake(
            "difference of norms",
            "You compared the lengths. Two gradients of one length may point anywhere: take the norm of the "
            "difference.",
            lambda g, h: ((g.norm() - h.norm()).abs() / g.norm(), _gradients(g, h)[1]),
        ),
        Mistake(
            "squares",
            "Your change is squared. Take the norms, not their squares.",
            lambda g, h: (_gradients(g, h)[0] ** 2, _gradients(g, h)[1]),
        ),
        Mistake(
            "row by row",
            "You took the cosine row by row and averaged. Treat the whole gradient as one vector: flatten "
            "it.",
            lambda g, h: (_gradients(g, h)[0], torch.nn.functional.cosine_similarity(g, h, dim=1).mean()),
        ),
        Mistake(
            "inner product",
            "Your cosine is the inner product. Divide it by both lengths.",
            lambda g, h: (_gradients(g, h)[0], (g * h).sum()),
        ),
        Mistake(
            "spectral norm",
            "You used the matrix norm (the largest singular value). Treat the gradient as one vector: "
            "the root of the sum of all squares.",
            lambda g, h: (
                torch.linalg.matrix_norm(g - h, 2) / torch.linalg.matrix_norm(g, 2),
                _gradients(g, h)[1],
            ),
        ),
    ),
)

# --- effective_smoothness -----------------------------------------------------------------------------


def _draw_smoothness(rng: np.random.Generator, number: int) -> Inputs:
    n = int(rng.integers(3, 6))
    root = rng.normal(size=(n, n))
    # far from a minimum: where the gradient is small, its change is lost in float32's rounding
    direction = rng.normal(size=n)
    return {
        "A": root @ root.T / n + np.eye(n),
        "w": 3 * direction / np.linalg.norm(direction),
        "lengths": [float(t) for t in rng.permutation(rng.uniform(0.3, 1.0, 4) * [0.6, 0.8, 1.0, 1.2])],
    }


def _smoothness(
    gradient, w: Tensor, lengths, sign: float = -1.0, distance: str = "step", take=max, power: float = 1.0
) -> Tensor:
    g = gradient(w)
    ratios = []
    for t in lengths:
        change = (gradient(w + sign * t * g) - g).norm()
        divisor = {"step": t * g.norm(), "t": t, "g": g.norm(), "none": 1.0}[distance]
        ratios.append((change / divisor) ** power)
    return take(ratios)


SMOOTHNESS = Check(
    name="effective_smoothness",
    run="beta = effective_smoothness(lambda w: A @ w + torch.sin(3 * w), w, lengths)",
    outputs=("beta",),
    draw=_draw_smoothness,
    reference=_smoothness,
    mistakes=(
        Mistake(
            "divided by t alone",
            "You divided by t. The distance gone is ‖w′ − w‖ = t ‖g‖.",
            partial(_smoothness, distance="t"),
        ),
        Mistake(
            "divided by the gradient",
            "You divided by ‖g‖. The distance gone is ‖w′ − w‖ = t ‖g‖.",
            partial(_smoothness, distance="g"),
        ),
        Mistake(
            "not divided",
            "You returned the largest change of the gradient. Divide each by the distance gone, ‖w′ − w‖.",
            partial(_smoothness, distance="none"),
        ),
        Mistake(
            "uphill",
            "You went uphill. A step of gradient descent goes to w − t g.",
            partial(_smoothness, sign=1.0),
        ),
        Mistake(
            "smallest",
            "You took the smallest ratio. β is a bound: the largest.",
            partial(_smoothness, take=min),
        ),
        Mistake(
            "average",
            "You averaged the ratios. β is a bound: the largest.",
            partial(_smoothness, take=lambda ratios: sum(ratios) / len(ratios)),
        ),
        Mistake(
            "squared",
            "Your ratio is squared. Take the norms, not their squares.",
            partial(_smoothness, power=2.0),
        ),
        Mistake(
            "last length",
            "You returned the ratio of the last length. Take the largest over all.",
            partial(_smoothness, take=lambda ratios: ratios[-1]),
        ),
    ),
)

# --- growth_factor ------------------------------------------------------------------------------------


def _draw_growth(rng: np.random.Generator, number: int) -> Inputs:
    layers = int(rng.integers(5, 15))
    logs = -np.arange(layers) * rng.uniform(0.2, 0.6) + 0.3 * rng.normal(size=layers)
    return {"squares": np.exp(logs + rng.normal())}


def _slope(values: Tensor) -> Tensor:
    at = torch.arange(len(values), dtype=values.dtype)
    at = at - at.mean()
    return (at * (values - values.mean())).sum() / at.square().sum()


def _growth(squares: Tensor) -> Tensor:
    return torch.exp(-_slope(squares.log()))


GROWTH = Check(
    name="growth_factor",
    run="factor = growth_factor(squares)",
    outputs=("factor",),
    draw=_draw_growth,
    reference=_growth,
    mistakes=(
        Mistake(
            "from the first layer to the last",
            "This is the factor from the first layer to the last. The gradient goes the other way: the "
            "inverse.",
            lambda squares: 1 / _growth(squares),
        ),
        Mistake(
            "of the norm",
            "This is the growth of the norm. squares are mean squares: no root.",
            lambda squares: _growth(squares).sqrt(),
        ),
        Mistake(
            "slope",
            "This is the slope of the logarithms. The factor is its exponential.",
            lambda squares: -_slope(squares.log()),
        ),
        Mistake(
            "first over last",
            "You used the first and the last layer alone. The line of least squares uses all.",
            lambda squares: (squares[0] / squares[-1]) ** (1 / (len(squares) - 1)),
        ),
        Mistake(
            "total growth",
            "This is the growth over all layers. The factor is that of one.",
            lambda squares: squares[0] / squares[-1],
        ),
        Mistake(
            "mean of ratios",
            "You averaged the ratios of neighbours, in which a layer that is off counts twice. Fit a line "
            "to the "
            "logarithms.",
            lambda squares: (squares[:-1] / squares[1:]).mean(),
        ),
        Mistake(
            "logarithm of another base",
            "You took the logarithm to base 10 or 2 and the exponential to base e. Use one base for both.",
            lambda squares: torch.exp(-_slope(squares.log10())),
        ),
        Mistake(
            "base 2",
            "You took the logarithm to base 2 and the exponential to base e. Use one base for both.",
            lambda squares: torch.exp(-_slope(squares.log2())),
        ),
    ),
)

# --- effective_rate -----------------------------------------------------------------------------------


def _draw_rate(rng: np.random.Generator, number: int) -> Inputs:
    n = int(rng.integers(3, 7))
    return {"weight": rng.normal(size=(n, n)) * rng.uniform(0.3, 3, (n, 1)), "lr": rng.uniform(0.01, 1)}


RATE = Check(
    name="effective_rate",
    run="rates = effective_rate(weight, lr)",
    outputs=("rates",),
    draw=_draw_rate,
    reference=lambda weight, lr: lr / weight.square().sum(1),
    mistakes=(
        Mistake(
            "not squared",
            "You divided by ‖w‖. The gradient falls as 1/‖w‖, and the angle that a step turns once more: "
            "divide by ‖w‖².",
            lambda weight, lr: lr / weight.norm(dim=1),
        ),
        Mistake(
            "inputs instead of units",
            "You took the columns. A unit's weights are a row of weight, as in torch.nn.Linear.",
            lambda weight, lr: lr / weight.square().sum(0),
        ),
        Mistake(
            "whole matrix",
            "You took one length for the whole matrix. Batch norm has a scale for each unit: one length a "
            "row.",
            lambda weight, lr: lr / weight.square().sum(),
        ),
        Mistake(
            "multiplied",
            "You multiplied by ‖w‖². Longer weights turn less: divide.",
            lambda weight, lr: lr * weight.square().sum(1),
        ),
        Mistake(
            "mean",
            "You divided by the mean of the squares. ‖w‖² is their sum.",
            lambda weight, lr: lr / weight.square().mean(1),
        ),
    ),
)

# --- rescaled -----------------------------------------------------------------------------------------


def _draw_rescaled(rng: np.random.Generator, number: int) -> Inputs:
    shape = tuple(rng.integers(2, 5, 2))
    return {"weight": rng.normal(size=shape), "lr": rng.uniform(0.01, 1), "a": rng.uniform(2, 10)}


RESCALED = Check(
    name="rescaled",
    run="new_weight, new_lr = rescaled(weight, lr, a)",
    outputs=("new_weight", "new_lr"),
    draw=_draw_rescaled,
    reference=lambda weight, lr, a: (a * weight, lr * a**2),
    mistakes=(
        Mistake(
            "rate times a",
            "The rate is a times too small: the gradient at a·w is smaller by a, and the step must be "
            "longer by "
            "a. Multiply by a².",
            lambda weight, lr, a: (a * weight, lr * a),
        ),
        Mistake(
            "rate unchanged",
            "You kept the rate. At a·w the same rate turns the weights by 1/a² of the angle.",
            lambda weight, lr, a: (a * weight, lr),
        ),
        Mistake(
            "rate divided by a²",
            "You divided the rate. Longer weights need longer steps: multiply by a².",
            lambda weight, lr, a: (a * weight, lr / a**2),
        ),
        Mistake(
            "rate divided by a",
            "You divided the rate. Longer weights need longer steps, and have smaller gradients: multiply "
            "by a².",
            lambda weight, lr, a: (a * weight, lr / a),
        ),
        Mistake(
            "weight unchanged",
            "You did not scale the weight.",
            lambda weight, lr, a: (weight, lr * a**2),
        ),
    ),
)

PROBLEM_SET = ProblemSet("ps05", [INPUT_SHIFT, GRADIENT_SHIFT, SMOOTHNESS, GROWTH, RATE, RESCALED])
check, hidden_check = VisibleCheck(PROBLEM_SET), HiddenCheck(PROBLEM_SET)
