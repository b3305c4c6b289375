"""PS03, The gradient: the checks of its tasks."""

import numpy as np
import torch

from normcore import functional as F
from normcore import gradients
from normcore.checks.answers import answer
from normcore.checks.catalogue import ProblemSet
from normcore.checks.check import Check, Inputs
from normcore.checks.forbidden import AUTOGRAD, NORMALIZATIONS
from normcore.checks.mistakes import AFFINE, AXES, GRADIENTS, STATISTICS
from normcore.checks.notebook import HiddenCheck, VisibleCheck
from normcore.checks.slips import Slip, slips
from normcore.checks.tell_apart import Implementation, TellApart, wrong_ones
from normcore.statistics import moments

FORBIDDEN = NORMALIZATIONS | AUTOGRAD


def _sizes(rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(4, 10)), int(rng.integers(2, 6))


def _scales(rng: np.random.Generator, number: int, features: int) -> np.ndarray:
    """Of the features; in some cases they lie so far apart that no one step of a numerical derivative suits
    them all: the gradient is to be derived, not measured.
    """
    if number % 4 < 3:
        return rng.uniform(0.3, 2, features)
    exponents = rng.uniform(-6, 4, features)
    exponents[rng.permutation(features)[:2]] = -6, 4
    return 10**exponents


def _backward(function, inputs, *upstream):
    """What autograd says: a reference in which no formula of the tasks stands.

    The gradient is that of one number, ⟨upstream, outputs⟩: for a table's, autograd imports torch's compiler.
    """
    inputs = [v.detach().requires_grad_() for v in inputs]
    pairs = zip(function(*inputs), upstream, strict=True)
    return torch.autograd.grad(sum((y * dy).sum() for y, dy in pairs), inputs)


# --- batch_norm_forward -------------------------------------------------------------------------------


def _draw_forward(rng: np.random.Generator, number: int) -> Inputs:
    m, features = _sizes(rng)
    scale = _scales(rng, number, features)
    return {
        "x": (rng.normal(size=(m, features)) + rng.normal(size=features) * 2) * scale,
        "gamma": rng.uniform(0.5, 2, features) * rng.choice([-1, 1], features),
        "beta": rng.normal(size=features),
        "eps": rng.uniform(0.05, 0.5) * min(1.0, scale.min() ** 2),
    }


@answer
def _batch_norm_forward(x, gamma, beta, eps):
    mean, var = x.mean(0, keepdim=True), x.var(0, correction=0, keepdim=True)
    x_hat = (x - mean) / (var + eps).sqrt()
    y = gamma * x_hat + beta
    return y, x_hat, (var + eps).sqrt().squeeze(0)


def _forward_reference(x, gamma, beta, eps):
    x_hat = F.standardize(x, 0, eps=eps)
    y = F.batch_norm(x, None, None, gamma, beta, training=True, eps=eps)
    return y, x_hat, (moments(x, 0)[1] + eps).sqrt()


FORWARD_SLIPS = (
    Slip("r is the inverse", ".sqrt().squeeze(0) → .rsqrt().squeeze(0)",
         "Your r is 1/√(σ² + ε). Here the root itself is kept: r = √(σ² + ε), and x̂ = (x − μ)/r."),
    Slip("r is the variance", "(var + eps).sqrt().squeeze(0) → var.squeeze(0)",
         "Your r is σ². It is what x − μ was divided by, √(σ² + ε)."),
    Slip("r without eps", "(var + eps).sqrt().squeeze(0) → var.sqrt().squeeze(0)",
         "Your r is σ. x − μ was divided by √(σ² + ε), so that is r."),
    Slip("r without the root", "(var + eps).sqrt().squeeze(0) → (var + eps).squeeze(0)",
         "Your r is σ² + ε. The root is missing: r = √(σ² + ε)."),
    Slip("x̂ is x − μ", "return y, x_hat, → return y, x - mean,",
         "Your x_hat is x − μ. x̂ is what γ multiplies: (x − μ)/r."),
    Slip("x̂ with γ and β", "return y, x_hat, → return y, y,",
         "Your x_hat is y. x̂ is the value before γ multiplies and β is added."),
    Slip("swapped", "return y, x_hat, → return x_hat, y,", "You returned y and x̂ in each other's place."),
)  # fmt: skip
FORWARD = Check(
    name="batch_norm_forward",
    run="y, x_hat, r = batch_norm_forward(x, gamma, beta, eps)",
    outputs=("y", "x_hat", "r"),
    draw=_draw_forward,
    reference=_forward_reference,
    forbidden=FORBIDDEN,
    mistakes=slips(_batch_norm_forward, FORWARD_SLIPS, (*STATISTICS, *AXES, *AFFINE)),
)

# --- affine_backward ----------------------------------------------------------------------------------


def _draw_affine(rng: np.random.Generator, number: int) -> Inputs:
    n, channels = _sizes(rng)
    shape = n // 2, channels, *(int(k) for k in rng.integers(1 + (number % 3 > 0), 4, 2))
    return {
        "dy": rng.normal(size=shape) + 0.5,
        "x_hat": rng.normal(size=shape),
        "gamma": rng.uniform(0.5, 2, channels) * rng.choice([-1, 1], channels),
    }


@answer
def _affine_backward(dy, x_hat, gamma):
    gamma = gamma[:, None, None]
    dgamma, dbeta = (dy * x_hat).sum((0, 2, 3)), dy.sum((0, 2, 3))
    return gamma * dy, dgamma, dbeta


PRODUCT_OF_SUMS = Slip(
    "product of sums",
    "= (dy * x_hat).sum(0) → = dy.sum(0) * x_hat.sum(0)",
    "Your dgamma is the product of two sums. It is the sum of the products dy·x̂.",
)


def _of_images(slip: Slip) -> Slip:
    return slip.at(slip.change.replace("(0)", "((0, 2, 3))"))


SHARED_BY = "A channel's γ and β are shared by all images and all positions: sum over dimensions 0, 2 and 3."
AFFINE_SLIPS = (
    Slip("x̂ for γ", "return gamma * dy → return x_hat * dy",
         "You multiplied by x̂. y = γ x̂ + β, so dx̂ = γ dy."),
    _of_images(PRODUCT_OF_SUMS),
    Slip("no γ", "gamma * dy → dy", "You left γ out. y = γ x̂ + β, so dx̂ = γ dy."),
    Slip("divided by γ", "gamma * dy → dy / gamma",
         "You divided by γ. The chain rule multiplies: dx̂ = dy · ∂y/∂x̂ = γ dy."),
    Slip("over the features", "x_hat).sum((0, 2, 3)), dy.sum((0, 2, 3)) → x_hat).sum(1), dy.sum(1)",
         f"You summed over the channels (dimension 1). {SHARED_BY}"),
    Slip("over the batch alone", "x_hat).sum((0, 2, 3)), dy.sum((0, 2, 3)) → x_hat).sum(0), dy.sum(0)",
         f"You summed over the images alone. {SHARED_BY}"),
    Slip("over the positions alone",
         "x_hat).sum((0, 2, 3)), dy.sum((0, 2, 3)) → x_hat).sum((2, 3)), dy.sum((2, 3))",
         f"You summed over each image's positions alone. {SHARED_BY}"),
    Slip("mean over the positions",
         "x_hat).sum((0, 2, 3)), dy.sum((0, 2, 3)) → x_hat).sum(0).mean((1, 2)), dy.sum(0).mean((1, 2))",
         "You took the mean over the positions. Each uses the parameter, so its gradient is the sum."),
)  # fmt: skip
AFFINE_BACKWARD = Check(
    name="affine_backward",
    run="dx_hat, dgamma, dbeta = affine_backward(dy, x_hat, gamma)",
    outputs=("dx_hat", "dgamma", "dbeta"),
    draw=_draw_affine,
    reference=lambda dy, x_hat, gamma: _backward(
        lambda x_hat, gamma, beta: (gamma.view(-1, 1, 1) * x_hat + beta.view(-1, 1, 1),),
        (x_hat, gamma, torch.zeros_like(gamma)),
        dy,
    ),
    forbidden=FORBIDDEN,
    mistakes=slips(_affine_backward, AFFINE_SLIPS, [_of_images(slip) for slip in GRADIENTS]),
)

# --- deviation_backward -------------------------------------------------------------------------------


def _draw_deviation(rng: np.random.Generator, number: int) -> Inputs:
    m, features = _sizes(rng)
    c = rng.normal(size=(m, features)) * rng.uniform(0.3, 2, features)
    return {
        "dx_hat": rng.normal(size=(m, features)),
        "c": c - c.mean(0),
        "r": rng.uniform(0.4, 2.5, features) if number % 4 < 3 else _scales(rng, number, features),
    }


@answer
def _deviation_backward(dx_hat, c, r):
    return -(dx_hat * c).sum(0) / r**2


DEVIATION_SLIPS = (
    Slip("sign", "return - → return ",
         "The sign is wrong. x̂ = c/r falls when r rises: the derivative of 1/r is −1/r²."),
    Slip("r once", "r**2 → r", "You divided by r. The derivative of 1/r is −1/r²."),
    Slip("r left out", " / r**2 → ", "You left r out: the derivative of 1/r is −1/r²."),
    Slip("multiplied by r", "/ r**2 → * r**2", "You multiplied by r². The derivative of 1/r is −1/r²."),
    Slip("gradient of the inverse", "-(dx_hat * c).sum(0) / r**2 → (dx_hat * c).sum(0)",
         "You returned Σ dx̂·c, which is the gradient of 1/r. Go on to r: the derivative of 1/r is −1/r²."),
    Slip("gradient of the variance", "/ r**2 → / (2 * r**3)",
         "You returned the gradient of σ². Here the graph ends at r = √(σ² + ε): dr = −Σ dx̂·c/r²."),
    Slip("the chapter's s", "-(dx_hat * c).sum(0) / r**2 → -0.5 * r**3 * (dx_hat * c).sum(0)",
         "This is the chapter's dσ² with r in place of s. r is √(σ² + ε), and x̂ = c/r: derive by r."),
    Slip("mean instead of sum", ".sum(0) → .mean(0)",
         "You took the mean over the batch. Every example uses r, so its gradient is a sum."),
    Slip("not summed", ".sum(0) → ",
         "You did not sum over the batch. r has one entry a feature, and so has its gradient."),
    Slip("c left out", "(dx_hat * c) → dx_hat", "You left c out: x̂ = c/r, so the gradient is −Σ dx̂·c/r²."),
    Slip("over the features", "(dx_hat * c).sum(0) / r**2 → (dx_hat * c / r**2).sum(1)",
         "You summed over the features (dimension 1). Each feature has its own r, shared by the batch."),
    Slip("x̂ for c", "(dx_hat * c) → (dx_hat * c / r)",
         "There is one r too many below: with c it is −Σ dx̂·c/r², with x̂ = c/r in its place −Σ dx̂·x̂/r."),
)  # fmt: skip
DEVIATION_BACKWARD = Check(
    name="deviation_backward",
    run="dr = deviation_backward(dx_hat, c, r)",
    outputs=("dr",),
    draw=_draw_deviation,
    reference=lambda dx_hat, c, r: _backward(lambda r: (c / r,), (r,), dx_hat)[0],
    forbidden=FORBIDDEN,
    mistakes=slips(_deviation_backward, DEVIATION_SLIPS),
)

# --- input_backward -----------------------------------------------------------------------------------


def _draw_input(rng: np.random.Generator, number: int) -> Inputs:
    inputs = dict(_draw_deviation(rng, number))
    inputs["dx_hat"] = inputs["dx_hat"] + 0.5
    return {**inputs, "dr": rng.normal(size=inputs["r"].shape)}


@answer
def _input_backward(dx_hat, c, r, dr):
    dc = dx_hat / r + dr * c / (len(c) * r)
    return dc - dc.mean(0)


def _input_reference(dx_hat, c, r, dr):
    def x_hat_and_deviation(x):
        # √(σ² + ε) as its tangent at r: the root itself, of a c that has not this r, would lose all digits
        return (x - x.mean(0)) / r, x.var(0, correction=0) / (2 * r)

    return _backward(x_hat_and_deviation, (c,), dx_hat, dr)[0]


INPUT_SLIPS = (
    Slip("deviation's path left out", " + dr * c / (len(c) * r) → ",
         "The part that comes back through r is missing: dc = dx̂/r + dr·c/(m·r)."),
    Slip("mean's path left out", " - dc.mean(0) → ",
         "You returned dc. x also goes into μ, which every c subtracts: dx = dc − mean(dc)."),
    Slip("both paths left out", " + dr * c / (len(c) * r) → ;  - dc.mean(0) → ",
         "You treated μ and r as constants. Both depend on x, and their gradients come back to it."),
    Slip("r left out of the deviation's path", "(len(c) * r) → len(c)",
         "In the part through r the 1/r is missing: the derivative of √v is 1/(2√v), and √v is r."),
    Slip("no 1/m", "(len(c) * r) → r",
         "The factor 1/m is missing: the mean of c² hands each c an m-th part of its gradient."),
    Slip("m − 1", "len(c) → (len(c) - 1)", "You divided by m − 1. The variance of batch norm divides by m."),
    Slip("factor 2", "dr * c → dr * 2 * c",
         "There is a 2 too many: the derivative of c² is 2c, but that of the root has a half."),
    Slip("half", "dr * c → dr * c / 2",
         "There is a half too many: the derivative of the root has one, but that of c² is 2c."),
    Slip("dr for the variance's gradient", "dr * c / (len(c) * r) → 2 / len(c) * c * dr",
         "You used dr as if it were dσ². r is the root of the mean of c²: its derivative to c is c/(m·r)."),
    Slip("sum subtracted", "dc.mean(0) → dc.sum(0)",
         "You subtracted the sum of dc. μ = (1/m) Σ x hands each x an m-th part: dx = dc − mean(dc)."),
    Slip("mean added", "- dc.mean(0) → + dc.mean(0)",
         "The sign of the mean's path is wrong: c = x − μ, so dμ = −Σ dc."),
    Slip("multiplied by r", "dx_hat / r → dx_hat * r",
         "You multiplied by r. x̂ = c/r, so the direct part of dc is dx̂/r."),
    Slip("deviation's path subtracted", "+ dr → - dr",
         "You subtracted the part that comes back through r. Gradients of two arrows are added."),
    Slip("mean of the features", "dc.mean(0) → dc.mean(1, keepdim=True)",
         "You took the mean of dc over the features (dimension 1). μ is that of the batch: dimension 0."),
    Slip("mean of dx̂", "dc.mean(0) → dx_hat.mean(0)",
         "You subtracted the mean of dx̂. What comes back through μ is the mean of dc."),
    Slip("r left out", "dx_hat / r → dx_hat", "You left r out: x̂ = c/r, so the direct part of dc is dx̂/r."),
)  # fmt: skip
INPUT_BACKWARD = Check(
    name="input_backward",
    run="dx = input_backward(dx_hat, c, r, dr)",
    outputs=("dx",),
    draw=_draw_input,
    reference=_input_reference,
    forbidden=FORBIDDEN,
    mistakes=slips(_input_backward, INPUT_SLIPS),
)

# --- batch_norm_backward ------------------------------------------------------------------------------


def _draw_backward(rng: np.random.Generator, number: int) -> Inputs:
    inputs = _draw_forward(rng, number)
    return {
        "dy": rng.normal(size=inputs["x"].shape) + 0.5,
        "x": inputs["x"],
        "gamma": inputs["gamma"],
        "eps": inputs["eps"],
    }


@answer
def _batch_norm_backward(dy, x, gamma, eps):
    mean, var = x.mean(0, keepdim=True), x.var(0, correction=0, keepdim=True)
    x_hat = (x - mean) / (var + eps).sqrt()
    dgamma, dbeta = (dy * x_hat).sum(0), dy.sum(0)
    dx = gamma * (dy - dy.mean(0) - x_hat * (dy * x_hat).mean(0)) / (var + eps).sqrt()
    return dx, dgamma, dbeta


BACKWARD_SLIPS = (
    Slip("both paths left out", "(dy - dy.mean(0) - x_hat * (dy * x_hat).mean(0)) → dy",
         "You treated μ and σ² as constants, as in evaluation. In training both depend on x."),
    Slip("mean's path left out", "dy - dy.mean(0) - → dy -",
         "The mean of dy is not subtracted: it is what comes back through μ."),
    Slip("variance's path left out", " - x_hat * (dy * x_hat).mean(0) → ",
         "What is subtracted along x̂ is missing, or 0. It is x̂ · mean(dy·x̂), the mean of the product "
         "(not the product of the means): what comes back through σ²."),
    Slip("sums instead of means", "dy.mean(0) → dy.sum(0); (dy * x_hat).mean(0) → (dy * x_hat).sum(0)",
         "You subtracted sums over the batch. The closed form subtracts means: dβ/m and x̂·dγ/m."),
    Slip("sum instead of the mean", "dy.mean(0) → dy.sum(0)",
         "You subtracted the sum of dy. The closed form subtracts its mean, dβ/m."),
    Slip("sum along x̂", "(dy * x_hat).mean(0) → (dy * x_hat).sum(0)",
         "Along x̂ you subtracted x̂·dγ. The closed form subtracts x̂·dγ/m, with the mean of dy·x̂."),
    Slip("mean added", "dy - dy.mean(0) → dy + dy.mean(0)",
         "You added the mean of dy. It is subtracted: it is what comes back through μ."),
    Slip("part along x̂ added", "- x_hat * (dy → + x_hat * (dy",
         "You added the part along x̂. It is subtracted: it is what comes back through σ²."),
    Slip("γ left out", "gamma * (dy → (dy", "You left γ out of dx."),
    Slip("s left out", ".mean(0)) / (var + eps).sqrt() → .mean(0))", "You left 1/√(σ² + ε) out of dx."),
    Slip("s is the deviation", "/ (var + eps).sqrt() → * (var + eps).sqrt()",
         "You multiplied by √(σ² + ε). s is its inverse, 1/√(σ² + ε)."),
    Slip("divided by s", ".mean(0)) / (var + eps).sqrt() → .mean(0)) * (var + eps).sqrt()",
         "You divided by s. It is 1/√(σ² + ε) already: multiply."),
    Slip("dgamma with x", "= (dy * x_hat).sum(0) → = (dy * x).sum(0)",
         "Your dgamma is the sum of dy·x. γ multiplies x̂: the sum of dy·x̂."),
    Slip("dgamma with x − μ", "= (dy * x_hat).sum(0) → = (dy * (x - mean)).sum(0)",
         "Your dgamma is the sum of dy·(x − μ). γ multiplies x̂: the sum of dy·x̂."),
)  # fmt: skip
BACKWARD = Check(
    name="batch_norm_backward",
    run="dx, dgamma, dbeta = batch_norm_backward(dy, x, gamma, eps)",
    outputs=("dx", "dgamma", "dbeta"),
    draw=_draw_backward,
    reference=lambda dy, x, gamma, eps: gradients.batch_norm_backward(dy, x, gamma, eps),
    forbidden=FORBIDDEN,
    mistakes=slips(_batch_norm_backward, BACKWARD_SLIPS, (*STATISTICS, *AXES, *GRADIENTS)),
)

# --- eval_backward ------------------------------------------------------------------------------------


def _draw_eval(rng: np.random.Generator, number: int) -> Inputs:
    inputs = dict(_draw_backward(rng, number))
    features = inputs["x"].shape[1]
    eps = inputs.pop("eps")
    return {
        **inputs,
        "running_mean": rng.normal(size=features),
        "running_var": rng.uniform(0.3, 3, features),
        "eps": eps,
    }


@answer
def _eval_backward(dy, x, gamma, running_mean, running_var, eps):
    mean, var = running_mean, running_var
    x_hat = (x - mean) / (var + eps).sqrt()
    dgamma, dbeta = (dy * x_hat).sum(0), dy.sum(0)
    dx = gamma * dy / (var + eps).sqrt()
    return dx, dgamma, dbeta


EVAL_SLIPS = (
    Slip("s left out of dx", "gamma * dy / (var + eps).sqrt() → gamma * dy",
         "You left 1/√(v + ε) out of dx: dx = γ·dy/√(v + ε)."),
    Slip("dgamma without s", "x_hat = (x - mean) / (var + eps).sqrt() → x_hat = x - mean",
         "Your dgamma is the sum of dy·(x − running_mean). γ multiplies x̂, which is divided by √(v + ε), "
         "too."),
    PRODUCT_OF_SUMS,
    Slip("batch in dx", "gamma * dy / (var + eps) → gamma * dy / (x.var(0, correction=0) + eps)",
         "In dx you divided by the batch's deviation. In evaluation it is √(running_var + ε)."),
    Slip("gradient of training",
         "mean, var = running_mean, running_var → return _batch_norm_backward(dy, x, gamma, eps)",
         "This is the gradient of training. In evaluation the statistics are constants: no part comes back "
         "through them, and x̂ uses the running averages."),
    Slip("batch in x̂", "x_hat = (x - mean) / (var → x_hat = (x - x.mean(0)) / (x.var(0, correction=0)",
         "Your dx is right, but x̂ in dgamma uses the batch's statistics. Use the running averages."),
    Slip("paths kept", "gamma * dy → gamma * (dy - dy.mean(0) - x_hat * (dy * x_hat).mean(0))",
         "You subtracted the mean of dy and the part along x̂. In evaluation nothing comes back through "
         "the statistics: dx = γ·dy/√(v + ε)."),
    Slip("γ left out", "gamma * dy → dy", "You left γ out of dx: dx = γ·dy/√(v + ε)."),
)  # fmt: skip
EVAL = Check(
    name="eval_backward",
    run="dx, dgamma, dbeta = eval_backward(dy, x, gamma, running_mean, running_var, eps)",
    outputs=("dx", "dgamma", "dbeta"),
    draw=_draw_eval,
    reference=lambda dy, x, gamma, running_mean, running_var, eps: gradients.batch_norm_eval_backward(
        dy, x, running_mean, running_var, gamma, eps
    ),
    forbidden=FORBIDDEN,
    mistakes=slips(_eval_backward, EVAL_SLIPS, (*STATISTICS, *GRADIENTS)),
)

# --- is_gradient --------------------------------------------------------------------------------------


@answer
def _scale_backward(dy, x, gamma, eps):
    """Of y = γ x / √(mean(x²) + ε)."""
    r = ((x * x).mean(0) + eps).sqrt()
    x_hat = x / r
    dx = gamma * (dy - x_hat * (dy * x_hat).mean(0)) / r
    dgamma = (dy * x_hat).sum(0)
    return dx, dgamma


@answer
def _scale_backward_by_nodes(dy, x, gamma, eps):
    mean_square = (x * x).mean(0) + eps
    s = mean_square**-0.5
    dx_hat = gamma * dy
    d_mean_square = -0.5 * s**3 * (dx_hat * x).sum(0)
    return s * dx_hat + 2 / len(x) * x * d_mean_square, torch.einsum("mc,mc->c", dy, x) * s


def _scale_backward_by_autograd(dy, x, gamma, eps):
    with torch.enable_grad():
        return _backward(lambda x, gamma: (gamma * x * (x.square().mean(0) + eps).rsqrt(),), (x, gamma), dy)


THROUGH_R = "Draw dy and x at random: in special ones what comes back through r is 0."
LARGE_R = "Give each feature of x a size of its own, so that r is far from 1."
SOME_GAMMA = "With gamma = 1 it cannot be seen."
SOME_EPS = "Where eps is small beside the squares of x, it hides: try eps = 0.5."
EACH = "Look at each entry of dx, or at its product with several random tensors."
BOTH = "Look at both gradients, dx and dgamma."
WRONG_GRADIENTS = {
    "path left out": ("treats r as a constant", THROUGH_R),
    "path added": ("adds what comes back through r, where it is subtracted", THROUGH_R),
    "sum for the mean": ("takes a sum where the mean belongs, in what comes back through r", THROUGH_R),
    "product of means": ("takes the product of two means for the mean of the product", THROUGH_R),
    "x̂ averaged": ("hands each example the same part of what comes back through r", EACH),
    "mean subtracted": ("also subtracts the mean of dy, as if x were centred", THROUGH_R),
    "γ left out": ("leaves gamma out of dx", SOME_GAMMA),
    "divided by γ": ("divides by gamma in dx", SOME_GAMMA),
    "r left out": ("leaves 1/r out of dx", LARGE_R),
    "multiplied by r": ("multiplies by r in dx", LARGE_R),
    "ε left out": ("leaves eps out", SOME_EPS),
    "dgamma with x": ("takes the sum of dy·x for dgamma", f"{BOTH} {LARGE_R}"),
    "mean for the sum": ("takes a mean for dgamma, where the sum belongs", BOTH),
    "over the features": ("averages over the features", THROUGH_R),
}
SCALE_SLIPS = (
    Slip("path left out", " - x_hat * (dy * x_hat).mean(0) → ", ""),
    Slip("path added", "- x_hat * (dy → + x_hat * (dy", ""),
    Slip("sum for the mean", "(dy * x_hat).mean(0)) → (dy * x_hat).sum(0))", ""),
    Slip("product of means", "(dy * x_hat).mean(0)) → dy.mean(0) * x_hat.mean(0))", ""),
    Slip("x̂ averaged", "- x_hat * (dy → - x_hat.mean(0) * (dy", ""),
    Slip("mean subtracted", "(dy - x_hat → (dy - dy.mean(0) - x_hat", ""),
    Slip("γ left out", "gamma * (dy → (dy", ""),
    Slip("divided by γ", "gamma * (dy - x_hat → 1 / gamma * (dy - x_hat", ""),
    Slip("r left out", ".mean(0)) / r → .mean(0))", ""),
    Slip("multiplied by r", ".mean(0)) / r → .mean(0)) * r", ""),
    Slip("ε left out", " + eps).sqrt() → ).sqrt()", ""),
    Slip("dgamma with x", "dgamma = (dy * x_hat) → dgamma = (dy * x)", ""),
    Slip("mean for the sum", "(dy * x_hat).sum(0) → (dy * x_hat).mean(0)", ""),
    Slip("over the features",
         "(x * x).mean(0) → (x * x).mean(1, True); (dy * x_hat).mean(0) → (dy * x_hat).mean(1, True)", ""),
)  # fmt: skip
ROOM = "Differences are not exact: leave room."
GRADIENT_RIGHT = (
    Implementation("is written in one line", _scale_backward, True),
    Implementation("goes back node by node", _scale_backward_by_nodes, True, ROOM),
    Implementation("is autograd's", _scale_backward_by_autograd, True, ROOM),
)


@answer
def _is_gradient(candidate):
    x = torch.arange(8.0).double().mul(7).sin().reshape(4, 2) * torch.tensor([3.0, 0.5])
    dy = torch.arange(8.0).double().mul(5).cos().reshape(4, 2) + 0.3
    gamma = torch.tensor([2.0, -0.5]).double()
    eps, h = 0.5, 1e-6

    def loss(x, gamma):
        return (dy * gamma * x / (x.square().mean(0) + eps).sqrt()).sum()

    def slope(step_x, step_gamma):
        ahead = loss(x + h * step_x, gamma + h * step_gamma)
        behind = loss(x - h * step_x, gamma - h * step_gamma)
        return (ahead - behind) / (2 * h)

    dx, dgamma = candidate(dy, x, gamma, eps)
    ones = torch.eye(8).double().reshape(8, 4, 2)
    by_x = torch.stack([slope(one, 0.0) for one in ones]).reshape(4, 2)
    by_gamma = torch.stack([slope(0.0, one) for one in torch.eye(2).double()])
    return torch.allclose(dx, by_x, 1e-5, 1e-7) and torch.allclose(dgamma, by_gamma, 1e-5, 1e-7)


IS_GRADIENT_SLIPS = (
    Slip("dx alone", " and torch.allclose(dgamma, by_gamma, 1e-5, 1e-7) → ",
         "Your test looks at dx alone. A candidate returns two gradients."),
    Slip("dgamma alone", "torch.allclose(dx, by_x, 1e-5, 1e-7) and → ",
         "Your test looks at dgamma alone. A candidate returns two gradients."),
    Slip("gamma of ones", "[2.0, -0.5] → [1.0, 1.0]",
         "Your test looks at gamma = 1 alone, where leaving gamma out is no mistake."),
    Slip("small eps", "eps, h = 0.5 → eps, h = 1e-12",
         "The eps of your test is so small that nobody sees what is done with it. Take a larger one."),
    Slip("dx's sum", "torch.allclose(dx, by_x, → torch.allclose(dx.sum(), by_x.sum(),",
         "Your test looks at the sum of dx alone. Move one entry of x at a time, or in several random "
         "directions."),
    Slip("accepts everything", "return torch → return True or torch",
         "Your test accepts whatever it is given. Compare both gradients with differences of the loss."),
    Slip("refuses everything", "return torch → return False and torch",
         "Your test refuses whatever it is given, right ones, too. The loss is Σ dy·y. In float64, with a "
         "step of 1e-6, differences are right to some 1e-8: less agreement cannot be asked for."),
    Slip("the wrong way round", "return torch → return not torch; and torch → or not torch",
         "Your test returns True for the wrong ones. True means: this is the gradient."),
)  # fmt: skip
IS_GRADIENT = TellApart(
    name="is_gradient",
    argument="candidate",
    parameters={"dy": ("M", "C"), "x": ("M", "C"), "gamma": ("C",), "eps": ()},
    implementations=(*GRADIENT_RIGHT, *wrong_ones(slips(_scale_backward, SCALE_SLIPS), WRONG_GRADIENTS)),
    forbidden=FORBIDDEN,
    mistakes=slips(_is_gradient, IS_GRADIENT_SLIPS),
)

PROBLEM_SET = ProblemSet(
    "ps03", [FORWARD, AFFINE_BACKWARD, DEVIATION_BACKWARD, INPUT_BACKWARD, BACKWARD, EVAL, IS_GRADIENT]
)
check, hidden_check = VisibleCheck(PROBLEM_SET), HiddenCheck(PROBLEM_SET)
