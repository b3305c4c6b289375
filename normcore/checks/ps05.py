"""PS05, Why it works: the checks of its tasks."""

import numpy as np
import torch

from normcore.checks.answers import answer
from normcore.checks.catalogue import ProblemSet
from normcore.checks.check import Check, Inputs
from normcore.checks.notebook import HiddenCheck, VisibleCheck
from normcore.checks.slips import Slip, slips
from normcore.statistics import moments

# --- input_shift --------------------------------------------------------------------------------------


def _draw_inputs(rng: np.random.Generator, number: int) -> Inputs:
    m, units = int(rng.integers(5, 12)), int(rng.integers(3, 6))
    before = rng.normal(size=(m, units)) * rng.uniform(0.3, 3, units) + rng.normal(size=units)
    after = before * rng.uniform(1.5, 2, units) + rng.normal(size=units) + 0.3 * rng.normal(size=(m, units))
    return {"before": before, "after": after}


@answer
def _input_shift(before, after):
    shift = (after.mean(0) - before.mean(0)) / before.std(0, correction=0)
    return shift.square().mean().sqrt()


@answer
def _shift_reference(before, after):
    mean, var = moments(before, 0)
    return ((moments(after, 0)[0] - mean).square() / var).mean().sqrt()


SHIFT_SLIPS = (
    Slip("unbiased deviation", "correction=0 → correction=1",
         "Your σ divides by m − 1. Here it is that of the data themselves: divide by m (in torch: "
         "correction=0)."),
    Slip("deviation after the step", "before.std → after.std",
         "You divided by the deviation after the step. The unit of the shift is that before it."),
    Slip("not in deviations", " / before.std(0, correction=0) → ",
         "You did not divide by σ. A shift counts in units of the unit's own deviation."),
    Slip("divided by the variance", "before.std → before.var",
         "You divided by the variance. Divide by its root."),
    Slip("mean of absolute values", "shift.square().mean().sqrt() → shift.abs().mean()",
         "You averaged absolute values. The root mean square squares first, averages, and takes the root."),
    Slip("no root", ".mean().sqrt() → .mean()", "The root is missing: this is the mean square."),
    Slip("not averaged", ".mean().sqrt() → .sum().sqrt()",
         "You added the squares over the units. Average them: the root mean square."),
    Slip("signed mean", "shift.square().mean().sqrt() → shift.mean()",
         "You averaged the shifts with their signs: units that move apart cancel. Square first."),
    Slip("sum of squares", ".mean().sqrt() → .sum()",
         "This is the sum of the squares. The root mean square averages them, and takes the root."),
    Slip("not averaged over units", "shift.square().mean().sqrt() → shift",
         "You return one number a unit. Take the root mean square over the units."),
    Slip("whole table", ".mean(0) → .mean(); .std(0, → .std(",
         "You took one mean and deviation for all units. Each unit has its own: dimension 0."),
    Slip("over the units", ".mean(0) → .mean(1); .std(0, → .std(1,",
         "You took means and deviations over the units (dimension 1). They are over the examples: "
         "dimension 0."),
    Slip("largest", "shift.square().mean().sqrt() → shift.abs().max()",
         "You took the largest shift. The root mean square is over all units."),
    Slip("over examples", "(after.mean(0) - before.mean(0)) → (after - before)",
         "You measured how far single examples moved. The shift is that of the distribution: take the mean "
         "over the examples first."),
)  # fmt: skip
INPUT_SHIFT = Check(
    name="input_shift",
    run="shift = input_shift(before, after)",
    outputs=("shift",),
    draw=_draw_inputs,
    reference=_shift_reference,
    mistakes=slips(_input_shift, SHIFT_SLIPS),
)

# --- gradient_shift -----------------------------------------------------------------------------------


def _draw_gradients(rng: np.random.Generator, number: int) -> Inputs:
    shape = tuple(rng.integers(3, 6, 2))
    g = rng.normal(size=shape) + 0.5
    return {"g": g, "g_moved": rng.uniform(0.3, 2) * g + rng.normal(size=shape)}


@answer
def _gradient_shift(g, g_moved):
    change = (g - g_moved).norm() / g.norm()
    cosine = (g * g_moved).sum() / (g.norm() * g_moved.norm())
    return change, cosine


@answer
def _gradient_reference(g, g_moved):
    g, g_moved = g.flatten(), g_moved.flatten()
    return torch.dist(g, g_moved) / torch.dot(g, g).sqrt(), torch.cosine_similarity(g, g_moved, dim=0)


GRADIENT_SLIPS = (
    Slip("not relative", "g_moved).norm() / g.norm() → g_moved).norm()",
         "Your change is ‖G − G′‖. Divide it by ‖G‖."),
    Slip("relative to the moved gradient", "g_moved).norm() / g.norm() → g_moved).norm() / g_moved.norm()",
         "You divided by ‖G′‖. The change is relative to the gradient before, ‖G‖."),
    Slip("difference of norms", "(g - g_moved).norm() → (g.norm() - g_moved.norm()).abs()",
         "You compared the lengths. Two gradients of one length may point anywhere: take the norm of the "
         "difference."),
    Slip("squares", "return change, → return change**2,",
         "Your change is squared. Take the norms, not their squares."),
    Slip("divided by a square", "g_moved).norm() / g.norm() → g_moved).norm() / g.norm() ** 2",
         "You divided by ‖G‖². The change is relative to the length ‖G‖."),
    Slip("sum of absolute values", "g_moved).norm() / g.norm() → g_moved).abs().sum() / g.abs().sum()",
         "You added absolute values. ‖·‖ is the Euclidean length: the root of the sum of squares."),
    Slip("sum of the gradients", "(g - g_moved) → (g + g_moved)",
         "You added the gradients. The change is their difference."),
    Slip("column by column",
         "return change, cosine → return change, torch.cosine_similarity(g, g_moved, dim=0).mean()",
         "You took the cosine column by column and averaged. Treat the whole gradient as one vector."),
    Slip("one length", "/ (g.norm() * g_moved.norm()) → / g.norm()",
         "Your cosine is divided by one length only. Divide by both."),
    Slip("one length squared", "/ (g.norm() * g_moved.norm()) → / g.norm() ** 2",
         "Your cosine is divided by ‖G‖² (the part of G′ along G). Divide by both lengths, ‖G‖ ‖G′‖."),
    Slip("squared lengths", "/ (g.norm() * g_moved.norm()) → / (g.norm() * g_moved.norm()) ** 2",
         "Your cosine is divided by the squares of the lengths. Divide by the lengths."),
    Slip("mean of the products", "(g * g_moved).sum() → (g * g_moved).mean()",
         "Your cosine has the mean of the products. The inner product is their sum."),
    Slip("angle", "return change, cosine → return change, torch.acos(cosine)",
         "This is the angle. The cosine is asked for: no arc cosine."),
    Slip("distance", "return change, cosine → return change, 1 - cosine",
         "This is 1 − cosine. The cosine itself is asked for."),
    Slip("swapped", "return change, cosine → return cosine, change",
         "You returned change and cosine in each other's place."),
    Slip("row by row",
         "return change, cosine → return change, torch.cosine_similarity(g, g_moved, dim=1).mean()",
         "You took the cosine row by row and averaged. Treat the whole gradient as one vector: flatten it."),
    Slip("inner product", " / (g.norm() * g_moved.norm()) → ",
         "Your cosine is the inner product. Divide it by both lengths."),
    Slip("spectral norm",
         "(g - g_moved).norm() / g.norm() → "
         "torch.linalg.matrix_norm(g - g_moved, 2) / torch.linalg.matrix_norm(g, 2)",
         "You used the matrix norm (the largest singular value). Treat the gradient as one vector: the "
         "root of the sum of all squares."),
)  # fmt: skip
GRADIENT_SHIFT = Check(
    name="gradient_shift",
    run="change, cosine = gradient_shift(g, g_moved)",
    outputs=("change", "cosine"),
    draw=_draw_gradients,
    reference=_gradient_reference,
    mistakes=slips(_gradient_shift, GRADIENT_SLIPS),
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


@answer
def _effective_smoothness(gradient, w, lengths):
    g = gradient(w)
    ratios = []
    for t in lengths:
        moved = gradient(w - t * g)
        ratios.append((moved - g).norm() / (t * g.norm()))
    return max(ratios)


@answer
def _smoothness_reference(gradient, w, lengths):
    steps = [-t * gradient(w) for t in lengths]
    return torch.stack([torch.dist(gradient(w + step), gradient(w)) / step.norm() for step in steps]).amax()


DISTANCE = "The distance gone is ‖w′ − w‖ = t ‖g‖."
SMOOTHNESS_SLIPS = (
    Slip("divided by t alone", "(t * g.norm()) → t", f"You divided by t. {DISTANCE}"),
    Slip("divided by the gradient", "(t * g.norm()) → g.norm()", f"You divided by ‖g‖. {DISTANCE}"),
    Slip("not divided", " / (t * g.norm()) → ",
         "You returned the largest change of the gradient. Divide each by the distance gone, ‖w′ − w‖."),
    Slip("uphill", "w - t → w + t", "You went uphill. A step of gradient descent goes to w − t g."),
    Slip("smallest", "max(ratios) → min(ratios)", "You took the smallest ratio. β is a bound: the largest."),
    Slip("average", "max(ratios) → sum(ratios) / len(ratios)",
         "You averaged the ratios. β is a bound: the largest."),
    Slip("squared", "max(ratios) → max(ratios) ** 2",
         "Your ratio is squared. Take the norms, not their squares."),
    Slip("first length", "max(ratios) → ratios[0]",
         "You returned the ratio of the first length. Take the largest over all."),
    Slip("sum", "max(ratios) → sum(ratios)", "You added the ratios. β is a bound: the largest."),
    Slip("difference of norms", "(moved - g).norm() → (moved.norm() - g.norm()).abs()",
         "You compared the lengths of the gradients. Take the norm of their difference."),
    Slip("gradient at the new point", "(moved - g).norm() → moved.norm()",
         "You took the length of the new gradient. Take that of its difference from g."),
    Slip("length of w", "(t * g.norm()) → w.norm()", f"You divided by ‖w‖. {DISTANCE}"),
    Slip("squared distance", "(t * g.norm()) → (t * g.norm()) ** 2",
         "You divided by the square of the distance. Divide by the distance, t ‖g‖."),
    Slip("unit gradient", "g = gradient(w) → g = gradient(w) / gradient(w).norm()",
         "You divided the gradient by its length before you compared. Both gradients are taken as they are."),
    Slip("step of length t", "t * g) → t * g / g.norm()); (t * g.norm()) → t",
         "Your step has the length t. A step of gradient descent is t g, as long as the gradient makes it."),
    Slip("last length", "max(ratios) → ratios[-1]",
         "You returned the ratio of the last length. Take the largest over all."),
)  # fmt: skip
SMOOTHNESS = Check(
    name="effective_smoothness",
    run="beta = effective_smoothness(lambda w: A @ w + torch.sin(3 * w), w, lengths)",
    outputs=("beta",),
    draw=_draw_smoothness,
    reference=_smoothness_reference,
    mistakes=slips(_effective_smoothness, SMOOTHNESS_SLIPS),
)

# --- growth_factor ------------------------------------------------------------------------------------


def _draw_growth(rng: np.random.Generator, number: int) -> Inputs:
    layers = int(rng.integers(5, 15))
    logs = -np.arange(layers) * rng.uniform(0.2, 0.6) + 0.3 * rng.normal(size=layers)
    return {"squares": np.exp(logs + rng.normal())}


@answer
def _growth_factor(squares):
    logs = squares.log()
    at = torch.arange(len(squares), dtype=squares.dtype)
    at = at - at.mean()
    slope = (at * logs).sum() / at.square().sum()
    return torch.exp(-slope)


@answer
def _growth_reference(squares):
    at = torch.arange(len(squares), dtype=squares.dtype)
    line = torch.linalg.lstsq(torch.stack([at, torch.ones_like(at)], 1), squares.log()[:, None])
    return torch.exp(-line.solution[0, 0])


TO_LOGARITHMS = "Fit a line to the logarithms"
GROWTH_SLIPS = (
    Slip("from the first layer to the last", "exp(-slope) → exp(slope)",
         "This is the factor from the first layer to the last. The gradient goes the other way: the "
         "inverse."),
    Slip("of the norm", "exp(-slope) → exp(-slope / 2)",
         "This is the growth of the norm. squares are mean squares: no root."),
    Slip("slope", "torch.exp(-slope) → -slope",
         "This is the slope of the logarithms. The factor is its exponential."),
    Slip("first over last", "torch.exp(-slope) → (squares[0] / squares[-1]) ** (1 / (len(squares) - 1))",
         "You used the first and the last layer alone. The line of least squares uses all."),
    Slip("total growth", "torch.exp(-slope) → squares[0] / squares[-1]",
         "This is the growth over all layers. The factor is that of one."),
    Slip("over the number of layers", "torch.exp(-slope) → (squares[0] / squares[-1]) ** (1 / len(squares))",
         "You used the first and the last layer alone, and L steps where there are L − 1. The line of "
         "least squares uses all layers."),
    Slip("not the logarithm", "squares.log() → squares",
         "You fitted a line to the squares themselves. Fit it to their logarithms."),
    Slip("line through 0", "at - at.mean() → at",
         "You did not subtract the mean of t: such a line goes through 0."),
    Slip("slope upwards", "torch.exp(-slope) → slope",
         "This is the slope of the logarithms. The factor is its exponential, with the sign of the way "
         "back."),
    Slip("one minus the slope", "torch.exp(-slope) → 1 - slope",
         "exp(−slope) ≈ 1 − slope holds for small slopes only. Take the exponential."),
    Slip("squared", "exp(-slope) → exp(-2 * slope)",
         "This is the factor of two layers. You may have squared the squares: they are mean squares "
         "already."),
    Slip("mean of ratios, forwards", "torch.exp(-slope) → (squares[1:] / squares[:-1]).mean()",
         f"You averaged the ratios of neighbours, in the direction of the forward pass. {TO_LOGARITHMS}; "
         "the gradient goes from the last layer to the first."),
    Slip("mean of ratios", "torch.exp(-slope) → (squares[:-1] / squares[1:]).mean()",
         "You averaged the ratios of neighbours, in which a layer that is off counts twice. "
         f"{TO_LOGARITHMS}."),
    Slip("median of ratios", "torch.exp(-slope) → (squares[:-1] / squares[1:]).median()",
         f"You took the median of the ratios of neighbours. {TO_LOGARITHMS}: it uses all layers."),
    Slip("power of ten", "torch.exp(-slope) → 10**-slope",
         "You took a power of 10 of the slope of natural logarithms. Use one base for both: the "
         "exponential."),
    Slip("logarithm of another base", "squares.log() → squares.log10()",
         "You took the logarithm to base 10 or 2 and the exponential to base e. Use one base for both."),
    Slip("base 2", "squares.log() → squares.log2()",
         "You took the logarithm to base 2 and the exponential to base e. Use one base for both."),
)  # fmt: skip
GROWTH = Check(
    name="growth_factor",
    run="factor = growth_factor(squares)",
    outputs=("factor",),
    draw=_draw_growth,
    reference=_growth_reference,
    mistakes=slips(_growth_factor, GROWTH_SLIPS),
)

# --- effective_rate -----------------------------------------------------------------------------------


def _draw_rate(rng: np.random.Generator, number: int) -> Inputs:
    n = int(rng.integers(3, 7))
    return {"weight": rng.normal(size=(n, n)) * rng.uniform(0.3, 3, (n, 1)), "lr": rng.uniform(0.01, 1)}


@answer
def _effective_rate(weight, lr):
    return lr / weight.square().sum(1)


@answer
def _effective_reference(weight, lr):
    return lr / (weight @ weight.mT).diagonal()


RATE_SLIPS = (
    Slip("not squared", "weight.square().sum(1) → weight.norm(dim=1)",
         "You divided by ‖w‖. The gradient falls as 1/‖w‖, and the angle that a step turns once more: "
         "divide by ‖w‖²."),
    Slip("inputs instead of units", "sum(1) → sum(0)",
         "You took the columns. A unit's weights are a row of weight, as in torch.nn.Linear."),
    Slip("columns, not squared", "weight.square().sum(1) → weight.norm(dim=0)",
         "You took the columns, and did not square. A unit's weights are a row: divide by ‖w‖²."),
    Slip("rate left out", "lr / → 1 /", "You left the learning rate out: η/‖w‖²."),
    Slip("upside down", "lr / weight.square().sum(1) → weight.square().sum(1) / lr",
         "You divided by the learning rate. It is multiplied: η/‖w‖²."),
    Slip("square of the sum", "weight.square().sum(1) → weight.sum(1).square()",
         "You squared the sum of the weights. ‖w‖² is the sum of their squares."),
    Slip("absolute values", "square() → abs()", "You added absolute values. ‖w‖² is the sum of the squares."),
    Slip("whole matrix, not squared", "weight.square().sum(1) → weight.norm()",
         "You took one length for the whole matrix. Batch norm has a scale for each unit: one length a "
         "row, squared."),
    Slip("kept as a column", "sum(1) → sum(1, keepdim=True)",
         "Your rates have the shape (C, 1). One number a unit: (C,), without keepdim."),
    Slip("whole matrix", "sum(1) → sum()",
         "You took one length for the whole matrix. Batch norm has a scale for each unit: one length a row."),
    Slip("multiplied", "lr / → lr *", "You multiplied by ‖w‖². Longer weights turn less: divide."),
    Slip("mean", "sum(1) → mean(1)", "You divided by the mean of the squares. ‖w‖² is their sum."),
)  # fmt: skip
RATE = Check(
    name="effective_rate",
    run="rates = effective_rate(weight, lr)",
    outputs=("rates",),
    draw=_draw_rate,
    reference=_effective_reference,
    mistakes=slips(_effective_rate, RATE_SLIPS),
)

# --- rescaled -----------------------------------------------------------------------------------------


def _draw_rescaled(rng: np.random.Generator, number: int) -> Inputs:
    shape = tuple(rng.integers(2, 5, 2))
    return {"weight": rng.normal(size=shape), "lr": rng.uniform(0.01, 1), "a": rng.uniform(2, 10)}


@answer
def _rescaled(weight, lr, a):
    return a * weight, lr * a**2


@answer
def _rescaled_reference(weight, lr, a):
    """The effective rate, η/‖w‖², stays what it was."""
    longer = weight.mul(a)
    return longer, lr / weight.square().sum() * longer.square().sum()


RESCALED_SLIPS = (
    Slip("rate times a", "a**2 → a",
         "The rate is a times too small: the gradient at a·w is smaller by a, and the step must be longer "
         "by a. Multiply by a²."),
    Slip("rate unchanged", "lr * a**2 → lr",
         "You kept the rate. At a·w the same rate turns the weights by 1/a² of the angle."),
    Slip("rate divided by a²", "lr * → lr /",
         "You divided the rate. Longer weights need longer steps: multiply by a²."),
    Slip("rate divided by a", "lr * a**2 → lr / a",
         "You divided the rate. Longer weights need longer steps, and have smaller gradients: multiply by "
         "a²."),
    Slip("nothing changed", "a * weight, lr * a**2 → weight, lr",
         "You changed nothing. The weight is a·w, and the rate that goes with it a²·η."),
    Slip("weight divided", "a * weight → weight / a", "You divided the weight by a. It is multiplied."),
    Slip("both divided", "a * weight, lr * → weight / a, lr /",
         "You divided. The weight is a·w, and the rate that goes with it a²·η."),
    Slip("weight times a²", "a * weight → a**2 * weight",
         "You multiplied the weight by a². It is a·w; the rate gets the square."),
    Slip("squares exchanged", "a * weight, lr * a**2 → a**2 * weight, lr * a",
         "You multiplied the weight by a² and the rate by a. It is the other way round."),
    Slip("rate times √a", "a**2 → a**0.5",
         "You multiplied the rate by √a. The gradient at a·w is smaller by a, and the step must be longer "
         "by a."),
    Slip("rate times a³", "a**2 → a**3",
         "The rate is a times too large: a for the smaller gradient, a for the longer step: a²."),
    Slip("swapped", "a * weight, lr * a**2 → lr * a**2, a * weight",
         "You returned weight and rate in each other's place."),
    Slip("weight unchanged", "a * weight → weight", "You did not scale the weight."),
)  # fmt: skip
RESCALED = Check(
    name="rescaled",
    run="new_weight, new_lr = rescaled(weight, lr, a)",
    outputs=("new_weight", "new_lr"),
    draw=_draw_rescaled,
    reference=_rescaled_reference,
    mistakes=slips(_rescaled, RESCALED_SLIPS),
)

PROBLEM_SET = ProblemSet("ps05", [INPUT_SHIFT, GRADIENT_SHIFT, SMOOTHNESS, GROWTH, RATE, RESCALED])
check, hidden_check = VisibleCheck(PROBLEM_SET), HiddenCheck(PROBLEM_SET)
