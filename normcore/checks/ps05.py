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
            "signed mean",
            "You averaged the shifts with their signs: units that move apart cancel. Square first.",
            lambda before, after: ((after.mean(0) - before.mean(0)) / before.std(0, correction=0)).mean(),
        ),
        Mistake(
            "sum of squares",
            "This is the sum of the squares. The root mean square averages them, and takes the root.",
            lambda before, after: _shift(before, after).square() * before.shape[1],
        ),
        Mistake(
            "not averaged over units",
            "You return one number a unit. Take the root mean square over the units.",
            lambda before, after: (after.mean(0) - before.mean(0)) / before.std(0, correction=0),
        ),
        Mistake(
            "whole table",
            "You took one mean and deviation for all units. Each unit has its own: dimension 0.",
            lambda before, after: ((after.mean() - before.mean()) / before.std(correction=0)).abs(),
        ),
        Mistake(
            "over the units",
            "You took means and deviations over the units (dimension 1). They are over the examples: "
            "dimension 0.",
            lambda before, after: _shift(before.mT, after.mT),
        ),
        Mistake(
            "largest",
            "You took the largest shift. The root mean square is over all units.",
            lambda before, after: (
                ((after.mean(0) - before.mean(0)) / before.std(0, correction=0)).abs().max()
            ),
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
            "divided by a square",
            "You divided by ‖G‖². The change is relative to the length ‖G‖.",
            lambda g, h: ((g - h).norm() / g.norm() ** 2, _gradients(g, h)[1]),
        ),
        Mistake(
            "sum of absolute values",
            "You added absolute values. ‖·‖ is the Euclidean length: the root of the sum of squares.",
            lambda g, h: ((g - h).abs().sum() / g.abs().sum(), _gradients(g, h)[1]),
        ),
        Mistake(
            "sum of the gradients",
            "You added the gradients. The change is their difference.",
            lambda g, h: ((g + h).norm() / g.norm(), _gradients(g, h)[1]),
        ),
        Mistake(
            "column by column",
            "You took the cosine column by column and averaged. Treat the whole gradient as one vector.",
            lambda g, h: (_gradients(g, h)[0], torch.nn.functional.cosine_similarity(g, h, dim=0).mean()),
        ),
        Mistake(
            "one length",
            "Your cosine is divided by one length only. Divide by both.",
            lambda g, h: (_gradients(g, h)[0], (g * h).sum() / g.norm()),
        ),
        Mistake(
            "one length squared",
            "Your cosine is divided by ‖G‖² (the part of G′ along G). Divide by both lengths, ‖G‖ ‖G′‖.",
            lambda g, h: (_gradients(g, h)[0], (g * h).sum() / g.square().sum()),
        ),
        Mistake(
            "squared lengths",
            "Your cosine is divided by the squares of the lengths. Divide by the lengths.",
            lambda g, h: (_gradients(g, h)[0], (g * h).sum() / (g.norm() * h.norm()) ** 2),
        ),
        Mistake(
            "mean of the products",
            "Your cosine has the mean of the products. The inner product is their sum.",
            lambda g, h: (_gradients(g, h)[0], (g * h).mean() / (g.norm() * h.norm())),
        ),
        Mistake(
            "angle",
            "This is the angle. The cosine is asked for: no arc cosine.",
            lambda g, h: (_gradients(g, h)[0], torch.acos(_gradients(g, h)[1])),
        ),
        Mistake(
            "distance",
            "This is 1 − cosine. The cosine itself is asked for.",
            lambda g, h: (_gradients(g, h)[0], 1 - _gradients(g, h)[1]),
        ),
        Mistake(
            "swapped",
            "You returned change and cosine in each other's place.",
            lambda g, h: _gradients(g, h)[::-1],
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
    gradient,
    w: Tensor,
    lengths,
    *,
    sign: float = -1.0,
    distance: str = "step",
    take=max,
    power: float = 1.0,
    change=lambda moved, g: (moved - g).norm(),
    unit: bool = False,
) -> Tensor:
    g = gradient(w)
    step = g / g.norm() if unit else g
    ratios = []
    for t in lengths:
        far = t * step.norm()
        divisor = {"step": far, "t": t, "g": g.norm(), "none": 1.0, "w": w.norm(), "square": far**2}[distance]
        ratios.append((change(gradient(w + sign * t * step), g) / divisor) ** power)
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
            "first length",
            "You returned the ratio of the first length. Take the largest over all.",
            partial(_smoothness, take=lambda ratios: ratios[0]),
        ),
        Mistake(
            "sum",
            "You added the ratios. β is a bound: the largest.",
            partial(_smoothness, take=sum),
        ),
        Mistake(
            "difference of norms",
            "You compared the lengths of the gradients. Take the norm of their difference.",
            partial(_smoothness, change=lambda moved, g: (moved.norm() - g.norm()).abs()),
        ),
        Mistake(
            "gradient at the new point",
            "You took the length of the new gradient. Take that of its difference from g.",
            partial(_smoothness, change=lambda moved, g: moved.norm()),
        ),
        Mistake(
            "length of w",
            "You divided by ‖w‖. The distance gone is ‖w′ − w‖ = t ‖g‖.",
            partial(_smoothness, distance="w"),
        ),
        Mistake(
            "squared distance",
            "You divided by the square of the distance. Divide by the distance, t ‖g‖.",
            partial(_smoothness, distance="square"),
        ),
        Mistake(
            "step of length t",
            "Your step has the length t. A step of gradient descent is t g, as long as the gradient makes "
            "it.",
            partial(_smoothness, unit=True),
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


def _through_zero(values: Tensor) -> Tensor:
    at = torch.arange(len(values), dtype=values.dtype)
    return (at * values).sum() / at.square().sum()


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
            "over the number of layers",
            "You used the first and the last layer alone, and L steps where there are L − 1. The line of "
            "least squares uses all layers.",
            lambda squares: (squares[0] / squares[-1]) ** (1 / len(squares)),
        ),
        Mistake(
            "not the logarithm",
            "You fitted a line to the squares themselves. Fit it to their logarithms.",
            lambda squares: torch.exp(-_slope(squares)),
        ),
        Mistake(
            "line through 0",
            "You did not subtract the mean of t: such a line goes through 0.",
            lambda squares: torch.exp(-_through_zero(squares.log())),
        ),
        Mistake(
            "slope upwards",
            "This is the slope of the logarithms. The factor is its exponential, with the sign of the way "
            "back.",
            lambda squares: _slope(squares.log()),
        ),
        Mistake(
            "one minus the slope",
            "exp(−slope) ≈ 1 − slope holds for small slopes only. Take the exponential.",
            lambda squares: 1 - _slope(squares.log()),
        ),
        Mistake(
            "squared",
            "This is the factor of two layers. You may have squared the squares: they are mean squares "
            "already.",
            lambda squares: _growth(squares) ** 2,
        ),
        Mistake(
            "mean of ratios, forwards",
            "You averaged the ratios of neighbours, in the direction of the forward pass. Fit a line to the "
            "logarithms; the gradient goes from the last layer to the first.",
            lambda squares: (squares[1:] / squares[:-1]).mean(),
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
            "columns, not squared",
            "You took the columns, and did not square. A unit's weights are a row: divide by ‖w‖².",
            lambda weight, lr: lr / weight.norm(dim=0),
        ),
        Mistake(
            "rate left out",
            "You left the learning rate out: η/‖w‖².",
            lambda weight, lr: 1 / weight.square().sum(1),
        ),
        Mistake(
            "upside down",
            "You divided by the learning rate. It is multiplied: η/‖w‖².",
            lambda weight, lr: weight.square().sum(1) / lr,
        ),
        Mistake(
            "square of the sum",
            "You squared the sum of the weights. ‖w‖² is the sum of their squares.",
            lambda weight, lr: lr / weight.sum(1) ** 2,
        ),
        Mistake(
            "absolute values",
            "You added absolute values. ‖w‖² is the sum of the squares.",
            lambda weight, lr: lr / weight.abs().sum(1),
        ),
        Mistake(
            "whole matrix, not squared",
            "You took one length for the whole matrix. Batch norm has a scale for each unit: one length a "
            "row, squared.",
            lambda weight, lr: lr / weight.norm(),
        ),
        Mistake(
            "kept as a column",
            "Your rates have the shape (C, 1). One number a unit: (C,), without keepdim.",
            lambda weight, lr: lr / weight.square().sum(1, keepdim=True),
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
            "nothing changed",
            "You changed nothing. The weight is a·w, and the rate that goes with it a²·η.",
            lambda weight, lr, a: (weight, lr),
        ),
        Mistake(
            "weight divided",
            "You divided the weight by a. It is multiplied.",
            lambda weight, lr, a: (weight / a, lr * a**2),
        ),
        Mistake(
            "both divided",
            "You divided. The weight is a·w, and the rate that goes with it a²·η.",
            lambda weight, lr, a: (weight / a, lr / a**2),
        ),
        Mistake(
            "weight times a²",
            "You multiplied the weight by a². It is a·w; the rate gets the square.",
            lambda weight, lr, a: (weight * a**2, lr * a**2),
        ),
        Mistake(
            "squares exchanged",
            "You multiplied the weight by a² and the rate by a. It is the other way round.",
            lambda weight, lr, a: (weight * a**2, lr * a),
        ),
        Mistake(
            "rate times √a",
            "You multiplied the rate by √a. The gradient at a·w is smaller by a, and the step must be "
            "longer by a.",
            lambda weight, lr, a: (a * weight, lr * a**0.5),
        ),
        Mistake(
            "rate times a³",
            "The rate is a times too large: a for the smaller gradient, a for the longer step: a².",
            lambda weight, lr, a: (a * weight, lr * a**3),
        ),
        Mistake(
            "swapped",
            "You returned weight and rate in each other's place.",
            lambda weight, lr, a: (lr * a**2, a * weight),
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
