"""PS03, The gradient: the checks of its tasks."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from normcore import functional as F
from normcore import gradients
from normcore.checks.catalogue import ProblemSet
from normcore.checks.check import Check, Inputs, Mistake
from normcore.checks.families import AFFINE as AFFINE_STEP
from normcore.checks.families import AXES, NO_EPS, STATISTICS
from normcore.checks.forbidden import AUTOGRAD, NORMALIZATIONS
from normcore.checks.notebook import HiddenCheck, VisibleCheck
from normcore.checks.slips import Slip, slips

FORBIDDEN = NORMALIZATIONS | AUTOGRAD

UNBIASED = STATISTICS[0].hint
EPS_OUTSIDE = "You added eps to the deviation. It belongs under the root: s = 1/√(σ² + ε)."
SUM_NOT_MEAN = (
    "You took the mean over the batch for a parameter's gradient. Every example uses the parameter, so its "
    "gradient is the sum."
)
OVER_FEATURES = "You summed over the features (dimension 1). A parameter of a feature is shared by the batch."
NO_X_HAT = "Your dgamma is the sum of dy. γ multiplies x̂, so its gradient is the sum of dy·x̂."
NO_GAMMA = "You left γ out. y = γ x̂ + β, so dx̂ = γ dy."
SWAPPED = "You returned dgamma and dbeta in each other's place."


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


def _draw_forward(rng: np.random.Generator, number: int) -> Inputs:
    m, features = _sizes(rng)
    scale = _scales(rng, number, features)
    return {
        "x": (rng.normal(size=(m, features)) + rng.normal(size=features) * 2) * scale,
        "gamma": rng.uniform(0.5, 2, features) * rng.choice([-1, 1], features),
        "beta": rng.normal(size=features),
        "eps": rng.uniform(0.05, 0.5) * min(1.0, scale.min() ** 2),
    }


def _s(x: Tensor, eps: float, correction: int = 0, of=lambda var, eps: (var + eps).rsqrt()) -> Tensor:
    return of(x.var(0, correction=correction), eps)


def _outside(var: Tensor, eps: float) -> Tensor:
    return 1 / (var.sqrt() + eps)


# Another eps, or none: one hint for all.
OTHER_EPS = {
    "eps left out": lambda var, eps: var.rsqrt(),
    "eps is 1e-5": lambda var, eps: (var + 1e-5).rsqrt(),
    "eps is 1e-3": lambda var, eps: (var + 1e-3).rsqrt(),
}


def _only(index: int, wrong, right):
    """One output of `wrong`, the others of `right`."""

    def function(*inputs):
        outputs = list(right(*inputs))
        outputs[index] = wrong(*inputs)[index]
        return tuple(outputs)

    return function


# --- batch_norm_forward -------------------------------------------------------------------------------


def _forward(x, gamma, beta, eps):
    mean, var = x.mean(0, keepdim=True), x.var(0, correction=0, keepdim=True)
    x_hat = (x - mean) / (var + eps).sqrt()
    y = gamma * x_hat + beta
    return y, x_hat, (var + eps).sqrt().reciprocal().squeeze(0)


def _forward_reference(x, gamma, beta, eps):
    y = F.batch_norm(x, None, None, gamma, beta, training=True, eps=eps)
    return y, F.batch_norm(x, None, None, training=True, eps=eps), _s(x, eps)


FORWARD = Check(
    name="batch_norm_forward",
    run="y, x_hat, s = batch_norm_forward(x, gamma, beta, eps)",
    outputs=("y", "x_hat", "s"),
    draw=_draw_forward,
    reference=_forward_reference,
    forbidden=FORBIDDEN,
    mistakes=slips(
        _forward,
        (
            Slip(
                "s is the deviation",
                ".sqrt().reciprocal() → .sqrt()",
                "Your s is √(σ² + ε). The backward pass multiplies by s, so it is the inverse, 1/√(σ² + ε).",
            ),
            Slip(
                "s is the variance",
                "(var + eps).sqrt().reciprocal() → var",
                "Your s is σ². The backward pass multiplies by s, so it is 1/√(σ² + ε).",
            ),
            Slip(
                "s without eps",
                "(var + eps).sqrt().reciprocal() → var.rsqrt()",
                "Your s is 1/σ. x̂ was divided by √(σ² + ε), so s is 1/√(σ² + ε).",
            ),
            Slip(
                "s without the root",
                "(var + eps).sqrt().reciprocal() → (var + eps).reciprocal()",
                "Your s is 1/(σ² + ε). The root is missing: s = 1/√(σ² + ε).",
            ),
            Slip(
                "x̂ is x − μ",
                "return y, x_hat, → return y, x - mean,",
                "Your x_hat is x − μ. x̂ is what γ multiplies: (x − μ)·s.",
            ),
            Slip(
                "x̂ with γ and β",
                "return y, x_hat, → return y, y,",
                "Your x_hat is y. x̂ is the value before γ multiplies and β is added.",
            ),
            Slip(
                "swapped",
                "return y, x_hat, → return x_hat, y,",
                "You returned y and x̂ in each other's place.",
            ),
        ),
        (*STATISTICS, *AXES, *AFFINE_STEP),
    ),
)

# --- affine_backward ----------------------------------------------------------------------------------


def _draw_affine(rng: np.random.Generator, number: int) -> Inputs:
    m, features = _sizes(rng)
    return {
        "dy": rng.normal(size=(m, features)) + 0.5,
        "x_hat": rng.normal(size=(m, features)),
        "gamma": rng.uniform(0.5, 2, features) * rng.choice([-1, 1], features),
    }


def _affine(dy, x_hat, gamma):
    return gamma * dy, (dy * x_hat).sum(0), dy.sum(0)


def _affine_mean(dy, x_hat, gamma):
    return gamma * dy, (dy * x_hat).mean(0), dy.mean(0)


AFFINE = Check(
    name="affine_backward",
    run="dx_hat, dgamma, dbeta = affine_backward(dy, x_hat, gamma)",
    outputs=("dx_hat", "dgamma", "dbeta"),
    draw=_draw_affine,
    reference=_affine,
    forbidden=FORBIDDEN,
    mistakes=(
        Mistake(
            "mean instead of sum",
            SUM_NOT_MEAN,
            _affine_mean,
        ),
        Mistake("mean for dgamma", SUM_NOT_MEAN, _only(1, _affine_mean, _affine)),
        Mistake("mean for dbeta", SUM_NOT_MEAN, _only(2, _affine_mean, _affine)),
        Mistake(
            "x̂ for γ",
            "You multiplied by x̂. y = γ x̂ + β, so dx̂ = γ dy.",
            lambda dy, x_hat, gamma: (x_hat * dy, (dy * x_hat).sum(0), dy.sum(0)),
        ),
        Mistake(
            "γ in dgamma",
            "Your dgamma has γ in it. γ multiplies x̂, so its gradient is the sum of dy·x̂.",
            lambda dy, x_hat, gamma: (gamma * dy, (dy * x_hat * gamma).sum(0), dy.sum(0)),
        ),
        Mistake(
            "dgamma not summed",
            "You did not sum dgamma over the batch. γ has one entry a feature, and so has its gradient.",
            lambda dy, x_hat, gamma: (gamma * dy, dy * x_hat, dy.sum(0)),
        ),
        Mistake(
            "product of sums",
            "Your dgamma is the product of two sums. It is the sum of the products dy·x̂.",
            lambda dy, x_hat, gamma: (gamma * dy, dy.sum(0) * x_hat.sum(0), dy.sum(0)),
        ),
        Mistake(
            "over the features",
            OVER_FEATURES,
            lambda dy, x_hat, gamma: (gamma * dy, (dy * x_hat).sum(1), dy.sum(1)),
        ),
        Mistake("dgamma without x̂", NO_X_HAT, lambda dy, x_hat, gamma: (gamma * dy, dy.sum(0), dy.sum(0))),
        Mistake("no γ", NO_GAMMA, lambda dy, x_hat, gamma: (dy, (dy * x_hat).sum(0), dy.sum(0))),
        Mistake("swapped", SWAPPED, lambda dy, x_hat, gamma: (gamma * dy, dy.sum(0), (dy * x_hat).sum(0))),
        Mistake(
            "divided by γ",
            "You divided by γ. The chain rule multiplies: dx̂ = dy · ∂y/∂x̂ = γ dy.",
            lambda dy, x_hat, gamma: (dy / gamma, (dy * x_hat).sum(0), dy.sum(0)),
        ),
        Mistake(
            "not summed",
            "You did not sum over the batch. γ and β have one entry a feature, and so have their gradients.",
            lambda dy, x_hat, gamma: (gamma * dy, dy * x_hat, dy),
        ),
    ),
)

# --- variance_backward --------------------------------------------------------------------------------


def _draw_variance(rng: np.random.Generator, number: int) -> Inputs:
    m, features = _sizes(rng)
    c = rng.normal(size=(m, features)) * rng.uniform(0.3, 2, features)
    return {
        "dx_hat": rng.normal(size=(m, features)),
        "c": c - c.mean(0),
        "s": rng.uniform(0.4, 2.5, features) if number % 4 < 3 else 1 / _scales(rng, number, features),
    }


def _variance(dx_hat, c, s, factor=-0.5, power=3):
    return factor * s**power * (dx_hat * c).sum(0)


VARIANCE = Check(
    name="variance_backward",
    run="dvar = variance_backward(dx_hat, c, s)",
    outputs=("dvar",),
    draw=_draw_variance,
    reference=_variance,
    forbidden=FORBIDDEN,
    mistakes=(
        Mistake(
            "sign",
            "The sign is wrong. s = (σ² + ε)^(−1/2) falls when σ² rises: its derivative is −½ s³.",
            partial(_variance, factor=0.5),
        ),
        Mistake(
            "no half",
            "The factor ½ is missing: the derivative of v^(−1/2) is −½ v^(−3/2), which is −½ s³.",
            partial(_variance, factor=-1.0),
        ),
        Mistake(
            "s squared",
            "You multiplied by s². The derivative of (σ² + ε)^(−1/2) is −½ (σ² + ε)^(−3/2), which is −½ s³.",
            partial(_variance, power=2),
        ),
        Mistake(
            "s once",
            "You multiplied by s. The derivative of (σ² + ε)^(−1/2) is −½ (σ² + ε)^(−3/2), which is −½ s³.",
            partial(_variance, power=1),
        ),
        Mistake(
            "ds",
            "You returned ds = Σ dx̂·c, the gradient of s. Go one node further: dσ² = −½ s³ ds.",
            partial(_variance, factor=1.0, power=0),
        ),
        Mistake(
            "mean instead of sum",
            "You took the mean over the batch. Every example uses s, so ds is the sum of dx̂·c.",
            lambda dx_hat, c, s: -0.5 * s**3 * (dx_hat * c).mean(0),
        ),
        Mistake(
            "not summed",
            "You did not sum over the batch. σ² has one entry a feature, and so has its gradient.",
            lambda dx_hat, c, s: -0.5 * s**3 * dx_hat * c,
        ),
        Mistake(
            "s is the deviation",
            "You divided by s³, as if s were the deviation. s = 1/√(σ² + ε): multiply, dσ² = −½ s³ ds.",
            partial(_variance, power=-3),
        ),
        Mistake(
            "sign and half",
            "Sign and half are missing: the derivative of v^(−1/2) is −½ v^(−3/2), which is −½ s³.",
            partial(_variance, factor=1.0),
        ),
        Mistake(
            "c left out",
            "You left c out: x̂ = c·s, so the gradient of s is Σ dx̂·c.",
            lambda dx_hat, c, s: -0.5 * s**3 * dx_hat.sum(0),
        ),
        Mistake(
            "over the features",
            "You summed over the features (dimension 1). Each feature has its own σ², shared by the batch.",
            lambda dx_hat, c, s: -0.5 * (s**3 * dx_hat * c).sum(1),
        ),
        Mistake(
            "x̂ for c",
            "You used x̂ = c·s where c belongs: x̂ = c s, so the gradient of s is Σ dx̂·c.",
            partial(_variance, power=4),
        ),
    ),
)

# --- input_backward -----------------------------------------------------------------------------------


def _draw_input(rng: np.random.Generator, number: int) -> Inputs:
    inputs = dict(_draw_variance(rng, number))
    inputs["dx_hat"] = inputs["dx_hat"] + 0.5
    return {**inputs, "dvar": rng.normal(size=inputs["s"].shape)}


def _input(dx_hat, c, s, dvar, of_var=None, of_mean=lambda dc: dc.mean(0)):
    m = len(dx_hat)
    dc = s * dx_hat + (2 / m * c * dvar if of_var is None else of_var(c, dvar, m))
    return dc - of_mean(dc)


INPUT = Check(
    name="input_backward",
    run="dx = input_backward(dx_hat, c, s, dvar)",
    outputs=("dx",),
    draw=_draw_input,
    reference=_input,
    forbidden=FORBIDDEN,
    mistakes=(
        Mistake(
            "variance's path left out",
            "The part that comes back through σ² is missing: dc = s·dx̂ + (2/m)·c·dσ².",
            partial(_input, of_var=lambda c, dvar, m: 0.0),
        ),
        Mistake(
            "mean's path left out",
            "You returned dc. x also goes into μ, which every c subtracts: dx = dc − mean(dc).",
            partial(_input, of_mean=lambda dc: 0.0),
        ),
        Mistake(
            "both paths left out",
            "You treated μ and σ² as constants. Both depend on x, and their gradients come back to it.",
            partial(_input, of_var=lambda c, dvar, m: 0.0, of_mean=lambda dc: 0.0),
        ),
        Mistake(
            "no factor 2",
            "The factor 2 is missing: the derivative of c² is 2c.",
            partial(_input, of_var=lambda c, dvar, m: c * dvar / m),
        ),
        Mistake(
            "no 1/m",
            "The factor 1/m is missing: σ² is the mean of c², so each c has (2/m)·c of its gradient.",
            partial(_input, of_var=lambda c, dvar, m: 2 * c * dvar),
        ),
        Mistake(
            "m − 1",
            "You divided by m − 1. The variance of batch norm divides by m.",
            partial(_input, of_var=lambda c, dvar, m: 2 * c * dvar / (m - 1)),
        ),
        Mistake(
            "sum subtracted",
            "You subtracted the sum of dc. μ = (1/m) Σ x hands each x an m-th part: dx = dc − mean(dc).",
            partial(_input, of_mean=lambda dc: dc.sum(0)),
        ),
        Mistake(
            "mean added",
            "The sign of the mean's path is wrong: c = x − μ, so dμ = −Σ dc.",
            partial(_input, of_mean=lambda dc: -dc.mean(0)),
        ),
        Mistake(
            "divided by s",
            "You divided by s, as if it were the deviation. s = 1/√(σ² + ε): the direct part of dc is s·dx̂.",
            lambda dx_hat, c, s, dvar: _input(dx_hat, c, 1 / s, dvar),
        ),
        Mistake(
            "variance's path subtracted",
            "You subtracted the part that comes back through σ². Gradients of two arrows are added.",
            partial(_input, of_var=lambda c, dvar, m: -2 / m * c * dvar),
        ),
        Mistake(
            "mean of the features",
            "You took the mean of dc over the features (dimension 1). μ is that of the batch: dimension 0.",
            partial(_input, of_mean=lambda dc: dc.mean(1, keepdim=True)),
        ),
        Mistake(
            "mean of dx̂",
            "You subtracted the mean of dx̂. What comes back through μ is the mean of dc.",
            lambda dx_hat, c, s, dvar: s * dx_hat + 2 / len(c) * c * dvar - dx_hat.mean(0),
        ),
        Mistake(
            "s left out",
            "You left s out: x̂ = c·s, so the direct part of dc is s·dx̂.",
            lambda dx_hat, c, s, dvar: _input(dx_hat, c, torch.ones_like(s), dvar),
        ),
    ),
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


def _backward(dy, x, gamma, eps, mean=1.0, along=1.0, gain=None, **wrong):
    s = _s(x, eps, **wrong)
    x_hat = (x - x.mean(0)) * s
    g = dy - mean * dy.mean(0) - along * x_hat * (dy * x_hat).mean(0)
    return (gamma if gain is None else gain) * s * g, (dy * x_hat).sum(0), dy.sum(0)


def _sums(dy, x, gamma, eps, mean=True, along=True):
    m = len(x)
    return _backward(dy, x, gamma, eps, mean=m if mean else 1.0, along=m if along else 1.0)


def _backward_mean(dy, x, gamma, eps):
    dx, dgamma, dbeta = _backward(dy, x, gamma, eps)
    return dx, dgamma / len(x), dbeta / len(x)


def _backward_parameters(of_gamma=None, of_beta=None):
    """Another dgamma, from dy, x and x̂; another dbeta, from dy."""

    def function(dy, x, gamma, eps):
        dx, dgamma, dbeta = _backward(dy, x, gamma, eps)
        if of_gamma is not None:
            dgamma = of_gamma(dy, x, (x - x.mean(0)) * _s(x, eps))
        return dx, dgamma, dbeta if of_beta is None else of_beta(dy)

    return function


BACKWARD = Check(
    name="batch_norm_backward",
    run="dx, dgamma, dbeta = batch_norm_backward(dy, x, gamma, eps)",
    outputs=("dx", "dgamma", "dbeta"),
    draw=_draw_backward,
    reference=lambda dy, x, gamma, eps: gradients.batch_norm_backward(dy, x, gamma, eps),
    forbidden=FORBIDDEN,
    mistakes=(
        Mistake(
            "both paths left out",
            "You treated μ and σ² as constants, as in evaluation. In training both depend on x.",
            partial(_backward, mean=0.0, along=0.0),
        ),
        Mistake(
            "mean's path left out",
            "The mean of dy is not subtracted: it is what comes back through μ.",
            partial(_backward, mean=0.0),
        ),
        Mistake(
            "variance's path left out",
            "What is subtracted along x̂ is missing, or 0. It is x̂ · mean(dy·x̂), the mean of the product "
            "(not the product of the means): what comes back through σ².",
            partial(_backward, along=0.0),
        ),
        Mistake(
            "sums instead of means",
            "You subtracted sums over the batch. The closed form subtracts means: dβ/m and x̂·dγ/m.",
            _sums,
        ),
        Mistake(
            "sum instead of the mean",
            "You subtracted the sum of dy. The closed form subtracts its mean, dβ/m.",
            partial(_sums, along=False),
        ),
        Mistake(
            "sum along x̂",
            "Along x̂ you subtracted x̂·dγ. The closed form subtracts x̂·dγ/m, with the mean of dy·x̂.",
            partial(_sums, mean=False),
        ),
        Mistake(
            "mean added",
            "You added the mean of dy. It is subtracted: it is what comes back through μ.",
            partial(_backward, mean=-1.0),
        ),
        Mistake(
            "part along x̂ added",
            "You added the part along x̂. It is subtracted: it is what comes back through σ².",
            partial(_backward, along=-1.0),
        ),
        Mistake(
            "γ left out",
            "You left γ out of dx.",
            lambda dy, x, gamma, eps: _backward(dy, x, gamma, eps, gain=1.0),
        ),
        Mistake(
            "s left out",
            "You left 1/√(σ² + ε) out of dx.",
            lambda dy, x, gamma, eps: _backward(dy, x, gamma, eps, gain=gamma / _s(x, eps)),
        ),
        Mistake("unbiased variance", UNBIASED, partial(_backward, correction=1)),
        Mistake("eps outside the root", EPS_OUTSIDE, partial(_backward, of=_outside)),
        *(Mistake(name, NO_EPS, partial(_backward, of=of)) for name, of in OTHER_EPS.items()),
        Mistake(
            "divided by the variance",
            "You divided by σ² + ε. Divide by its square root: s = 1/√(σ² + ε).",
            partial(_backward, of=lambda var, eps: 1 / (var + eps)),
        ),
        Mistake(
            "s is the deviation",
            "You multiplied by √(σ² + ε). s is its inverse, 1/√(σ² + ε).",
            partial(_backward, of=lambda var, eps: (var + eps).sqrt()),
        ),
        Mistake(
            "divided by s",
            "You divided by s. It is 1/√(σ² + ε) already: multiply.",
            lambda dy, x, gamma, eps: _backward(dy, x, gamma, eps, gain=gamma / _s(x, eps) ** 2),
        ),
        Mistake("mean instead of sum", SUM_NOT_MEAN, _backward_mean),
        Mistake("mean for dgamma", SUM_NOT_MEAN, _only(1, _backward_mean, _backward)),
        Mistake("mean for dbeta", SUM_NOT_MEAN, _only(2, _backward_mean, _backward)),
        Mistake(
            "swapped",
            SWAPPED,
            lambda dy, x, gamma, eps: tuple(_backward(dy, x, gamma, eps)[i] for i in (0, 2, 1)),
        ),
        Mistake("dgamma without x̂", NO_X_HAT, _backward_parameters(lambda dy, x, x_hat: dy.sum(0))),
        Mistake(
            "dgamma with x",
            "Your dgamma is the sum of dy·x. γ multiplies x̂: the sum of dy·x̂.",
            _backward_parameters(lambda dy, x, x_hat: (dy * x).sum(0)),
        ),
        Mistake(
            "dgamma with x − μ",
            "Your dgamma is the sum of dy·(x − μ). γ multiplies x̂: the sum of dy·x̂.",
            _backward_parameters(lambda dy, x, x_hat: (dy * (x - x.mean(0))).sum(0)),
        ),
        Mistake(
            "over the features",
            OVER_FEATURES,
            _backward_parameters(lambda dy, x, x_hat: (dy * x_hat).sum(1), lambda dy: dy.sum(1)),
        ),
    ),
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


def _eval(dy, x, gamma, running_mean, running_var, eps, gain=None):
    s = (running_var + eps).rsqrt() if gain is None else gain(running_var, eps)
    x_hat = (x - running_mean) * s
    return gamma * s * dy, (dy * x_hat).sum(0), dy.sum(0)


def _eval_mean(dy, x, *others):
    dx, dgamma, dbeta = _eval(dy, x, *others)
    return dx, dgamma / len(x), dbeta / len(x)


EVAL_EPS = "eps is missing, or a number of your own stands in its place: divide by √(running_var + ε)."
EVAL = Check(
    name="eval_backward",
    run="dx, dgamma, dbeta = eval_backward(dy, x, gamma, running_mean, running_var, eps)",
    outputs=("dx", "dgamma", "dbeta"),
    draw=_draw_eval,
    reference=lambda dy, x, gamma, running_mean, running_var, eps: gradients.batch_norm_eval_backward(
        dy, x, running_mean, running_var, gamma, eps
    ),
    forbidden=FORBIDDEN,
    mistakes=(
        Mistake(
            "s left out of dx",
            "You left 1/√(v + ε) out of dx: dx = γ·dy/√(v + ε).",
            _only(0, lambda dy, x, gamma, *_: (gamma * dy,) * 3, _eval),
        ),
        Mistake(
            "dgamma without s",
            "Your dgamma is the sum of dy·(x − running_mean). γ multiplies x̂, which is divided by √(v + "
            "ε), too.",
            _only(1, lambda dy, x, gamma, mean, *_: ((dy * (x - mean)).sum(0),) * 3, _eval),
        ),
        Mistake(
            "dgamma not centred",
            "In dgamma you did not subtract the running mean: x̂ = (x − running_mean)/√(v + ε).",
            _only(1, lambda dy, x, gamma, mean, var, eps: ((dy * x / (var + eps).sqrt()).sum(0),) * 3, _eval),
        ),
        Mistake("dgamma without x̂", NO_X_HAT, _only(1, lambda dy, *_: (dy.sum(0),) * 3, _eval)),
        Mistake("swapped", SWAPPED, lambda *inputs: tuple(_eval(*inputs)[i] for i in (0, 2, 1))),
        Mistake("mean instead of sum", SUM_NOT_MEAN, _eval_mean),
        Mistake("mean for dgamma", SUM_NOT_MEAN, _only(1, _eval_mean, _eval)),
        Mistake("mean for dbeta", SUM_NOT_MEAN, _only(2, _eval_mean, _eval)),
        Mistake(
            "batch in dx",
            "In dx you divided by the batch's deviation. In evaluation it is √(running_var + ε).",
            _only(0, lambda dy, x, gamma, mean, var, eps: (gamma * _s(x, eps) * dy,) * 3, _eval),
        ),
        Mistake(
            "gradient of training",
            "This is the gradient of training. In evaluation the statistics are constants: no part comes "
            "back through them, and x̂ uses the running averages.",
            lambda dy, x, gamma, running_mean, running_var, eps: _backward(dy, x, gamma, eps),
        ),
        Mistake(
            "batch in x̂",
            "Your dx is right, but x̂ in dgamma uses the batch's statistics. Use the running averages.",
            lambda dy, x, gamma, running_mean, running_var, eps: (
                _eval(dy, x, gamma, running_mean, running_var, eps)[0],
                *_backward(dy, x, gamma, eps)[1:],
            ),
        ),
        Mistake(
            "paths kept",
            "You subtracted the mean of dy and the part along x̂. In evaluation nothing comes back through "
            "the statistics: dx = γ·dy/√(v + ε).",
            lambda dy, x, gamma, running_mean, running_var, eps: (
                _kept(dy, x, gamma, running_mean, running_var, eps),
                *_eval(dy, x, gamma, running_mean, running_var, eps)[1:],
            ),
        ),
        Mistake(
            "eps left out",
            EVAL_EPS,
            partial(_eval, gain=lambda v, eps: v.rsqrt()),
        ),
        Mistake("eps is 1e-5", EVAL_EPS, partial(_eval, gain=lambda v, eps: (v + 1e-5).rsqrt())),
        Mistake("eps is 1e-3", EVAL_EPS, partial(_eval, gain=lambda v, eps: (v + 1e-3).rsqrt())),
        Mistake(
            "eps outside the root",
            "You added eps to the deviation. It belongs under the root: √(running_var + ε).",
            partial(_eval, gain=lambda v, eps: 1 / (v.sqrt() + eps)),
        ),
        Mistake(
            "no root",
            "You divided by running_var + ε. Divide by its square root.",
            partial(_eval, gain=lambda v, eps: 1 / (v + eps)),
        ),
        Mistake(
            "γ left out",
            "You left γ out of dx: dx = γ·dy/√(v + ε).",
            lambda dy, x, gamma, running_mean, running_var, eps: _eval(
                dy, x, torch.ones_like(gamma), running_mean, running_var, eps
            ),
        ),
    ),
)


def _kept(dy, x, gamma, running_mean, running_var, eps):
    s = (running_var + eps).rsqrt()
    x_hat = (x - running_mean) * s
    return gamma * s * (dy - dy.mean(0) - x_hat * (dy * x_hat).mean(0))


PROBLEM_SET = ProblemSet("ps03", [FORWARD, AFFINE, VARIANCE, INPUT, BACKWARD, EVAL])
check, hidden_check = VisibleCheck(PROBLEM_SET), HiddenCheck(PROBLEM_SET)
