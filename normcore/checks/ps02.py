"""PS02, The transform: the checks of its tasks."""

import numpy as np
import torch

from normcore import functional as F
from normcore.checks.answers import answer
from normcore.checks.catalogue import ProblemSet
from normcore.checks.check import Check, Inputs
from normcore.checks.forbidden import NORMALIZATIONS
from normcore.checks.mistakes import AVERAGES, BATCH, DETACHED, STATISTICS, WRONG_AXIS
from normcore.checks.notebook import HiddenCheck, VisibleCheck
from normcore.checks.slips import Slip, slips
from normcore.checks.tell_apart import Implementation, TellApart, wrong_ones
from normcore.statistics import moments

DX = frozenset({"dx"})
AND_DX = "\ndx = the gradient that comes back to x, if one does"

# --- normalize ----------------------------------------------------------------------------------------


def _draw_normalize(rng: np.random.Generator, number: int) -> Inputs:
    dims = int(rng.integers(2, 5))
    shape = rng.integers(3, 6, dims)
    chosen = rng.permutation(dims)[: rng.integers(1, dims)]
    location = rng.normal(size=[n if d in chosen else 1 for d, n in enumerate(shape)])
    x = rng.normal(size=shape) * rng.uniform(0.5, 2) + rng.uniform(1, 3) + location
    return {"x": x, "dim": tuple(int(d) for d in sorted(chosen)), "eps": rng.uniform(0.05, 0.5)}


@answer
def _normalize(x, dim, eps):
    mean, var = x.mean(dim, keepdim=True), x.var(dim, correction=0, keepdim=True)
    return (x - mean) / (var + eps).sqrt()


NORMALIZE_SLIPS = (
    Slip("other dimensions", "(dim, → (tuple(d for d in range(x.dim()) if d not in dim),",
         "You averaged over the dimensions that are not in dim. dim names those that are averaged over, "
         "those that disappear from the mean."),
    Slip("whole tensor", "(dim, → (tuple(range(x.dim())),",
         "You used one mean and variance for the whole tensor. Pass dim to mean and var, with keepdim=True."),
    Slip("always dimension 0", "(dim, → (0,",
         "You averaged over dimension 0, whatever dim is. Pass dim to mean and var."),
    Slip("first of dim", "(dim, → (dim[0],",
         "You averaged over the first dimension of dim alone. mean and var take the whole tuple."),
    Slip("last dimension", "(dim, → (-1,",
         "You averaged over the last dimension, whatever dim is. Pass dim to mean and var."),
)  # fmt: skip
NORMALIZE = Check(
    name="normalize",
    run="x_hat, dx = with_gradient(lambda x: normalize(x, dim, eps), x)",
    shown="x_hat = normalize(x, dim, eps)" + AND_DX,
    outputs=("x_hat", "dx"),
    optional=DX,
    draw=_draw_normalize,
    reference=lambda x, dim, eps: F.standardize(x, dim, eps=eps),
    forbidden=NORMALIZATIONS,
    mistakes=slips(_normalize, NORMALIZE_SLIPS, (*STATISTICS, *DETACHED)),
)

# --- batch_norm ---------------------------------------------------------------------------------------


def _draw_batch_norm(rng: np.random.Generator, number: int) -> Inputs:
    m, features = int(rng.integers(4, 20)), int(rng.integers(2, 7))
    return {
        "x": rng.normal(size=(m, features)) * rng.uniform(0.3, 2, features) + rng.normal(size=features) * 2,
        "gamma": rng.uniform(0.5, 2, features) * rng.choice([-1, 1], features),
        "beta": rng.normal(size=features),
        "eps": rng.uniform(0.05, 0.5),
    }


@answer
def _batch_norm(x, gamma, beta, eps):
    mean, var = x.mean(0, keepdim=True), x.var(0, correction=0, keepdim=True)
    x_hat = (x - mean) / (var + eps).sqrt()
    return gamma * x_hat + beta


BATCH_NORM = Check(
    name="batch_norm",
    run="y, dx = with_gradient(lambda x: batch_norm(x, gamma, beta, eps), x)",
    shown="y = batch_norm(x, gamma, beta, eps)" + AND_DX,
    outputs=("y", "dx"),
    optional=DX,
    draw=_draw_batch_norm,
    reference=lambda x, gamma, beta, eps: F.batch_norm(x, None, None, gamma, beta, training=True, eps=eps),
    forbidden=NORMALIZATIONS,
    mistakes=slips(_batch_norm, shared=BATCH),
)

# --- batch_norm_train ---------------------------------------------------------------------------------


def _draw_train(rng: np.random.Generator, number: int) -> Inputs:
    inputs = dict(_draw_batch_norm(rng, number))
    features = inputs["x"].shape[1]
    return {
        **inputs,
        "running_mean": rng.normal(size=features),
        "running_var": rng.uniform(0.3, 3, features),
        "momentum": rng.uniform(0.05, 0.4),
    }


@answer
def _batch_norm_train(x, gamma, beta, running_mean, running_var, momentum, eps):
    mean, var = x.mean(0, keepdim=True), x.var(0, correction=0, keepdim=True)
    x_hat = (x - mean) / (var + eps).sqrt()
    y = gamma * x_hat + beta
    new_mean = (1 - momentum) * running_mean + momentum * x.mean(0)
    new_var = (1 - momentum) * running_var + momentum * x.var(0)
    return y, new_mean, new_var


def _train_reference(x, gamma, beta, running_mean, running_var, momentum, eps):
    running_mean, running_var = running_mean.clone(), running_var.clone()
    y = F.batch_norm(x, running_mean, running_var, gamma, beta, True, momentum, eps)
    return y, running_mean, running_var


BATCH_NORM_TRAIN_SLIPS = (
    Slip("normalized by the new averages",
         "return y, → return gamma * (x - new_mean) / (new_var + eps).sqrt() + beta,",
         "You normalized by the running averages. In training a batch is normalized by its own statistics; "
         "the averages are for evaluation."),
    Slip("normalized by the old averages",
         "return y, → return gamma * (x - running_mean) / (running_var + eps).sqrt() + beta,",
         "You normalized by the running averages. In training a batch is normalized by its own statistics; "
         "the averages are for evaluation."),
)  # fmt: skip
BATCH_NORM_TRAIN = Check(
    name="batch_norm_train",
    run="""
(y, new_mean, new_var), dx = with_gradient(
    lambda x: batch_norm_train(x, gamma, beta, running_mean, running_var, momentum, eps), x
)
""",
    shown="y, new_mean, new_var = batch_norm_train("
    "x, gamma, beta, running_mean, running_var, momentum, eps)" + AND_DX,
    outputs=("y", "new_mean", "new_var", "dx"),
    optional=DX,
    draw=_draw_train,
    reference=_train_reference,
    forbidden=NORMALIZATIONS,
    equivalent={
        "new_var = (1 - momentum) * running_var + momentum * x.var(0, correction=1) → "
        "new_var = (1 - momentum) * running_var + momentum * x.var(0)": "torch's default is correction=1",
    },
    mistakes=slips(_batch_norm_train, BATCH_NORM_TRAIN_SLIPS, (*AVERAGES, *BATCH)),
)

# --- identity_parameters ------------------------------------------------------------------------------


def _draw_identity(rng: np.random.Generator, number: int) -> Inputs:
    inputs = _draw_batch_norm(rng, number)
    return {"x": inputs["x"], "eps": inputs["eps"]}


@answer
def _identity_parameters(x, eps):
    mean, var = x.mean(0), x.var(0, correction=0)
    return (var + eps).sqrt(), mean


def _identity_reference(x, eps):
    mean, var = moments(x, 0)
    return (var + eps).sqrt(), mean


# gamma undoes the division: of what divides, the family's sentences would mislead.
IDENTITY_PARAMETERS_SLIPS = (
    Slip("eps left out", "(var + eps) → (var)",
         "Your gamma is σ. Batch norm divides by √(σ² + ε), so that is what gamma must undo."),
    Slip("deviation alone", "correction=0 → correction=1; (var + eps) → (var)",
         "Your gamma is x.std(), which divides by m − 1 and leaves out eps. Batch norm divides by √(σ² + "
         "ε), with the σ² that divides by m, so that is what gamma must undo."),
    Slip("eps outside the root", "(var + eps).sqrt() → (var.sqrt() + eps)",
         "Your gamma is σ + ε. Batch norm divides by √(σ² + ε), so that is what gamma must undo."),
    Slip("divided by the variance", "(var + eps).sqrt() → (var + eps)",
         "Your gamma is σ² + ε. Batch norm divides by its root."),
    Slip("inverse", "(var + eps).sqrt() → (var + eps).rsqrt()",
         "Your gamma divides once more. It must undo the division: gamma = √(σ² + ε)."),
    Slip("sign of beta", ", mean\n → , -mean\n",
         "Your beta is −μ. Batch norm has already subtracted μ, so beta must add it back."),
    Slip("beta scaled", ", mean\n → , mean / (var + eps).sqrt()\n",
         "You divided beta by √(σ² + ε). beta is added after gamma has multiplied, so it is μ itself."),
    Slip("beta of the inverse", ", mean\n → , -mean / (var + eps).sqrt()\n",
         "Your beta is −μ/√(σ² + ε), the shift by which batch norm itself centres. It must undo that: beta "
         "= μ."),
    Slip("initial values",
         "return (var + eps).sqrt(), mean → return torch.ones_like(var), torch.zeros_like(mean)",
         "With gamma = 1 and beta = 0 batch norm returns x̂. To get x back, gamma must undo the division "
         "and beta the subtraction."),
    Slip("swapped", "return (var + eps).sqrt(), mean → return mean, (var + eps).sqrt()",
         "You returned gamma and beta in each other's place."),
    WRONG_AXIS.at("x.mean(0) → x.mean(1); x.var(0, → x.var(1,"),
)  # fmt: skip
IDENTITY_PARAMETERS = Check(
    name="identity_parameters",
    run="gamma, beta = identity_parameters(x, eps)",
    outputs=("gamma", "beta"),
    draw=_draw_identity,
    reference=_identity_reference,
    forbidden=NORMALIZATIONS,
    mistakes=slips(_identity_parameters, IDENTITY_PARAMETERS_SLIPS, STATISTICS),
)

# --- hidden_layer -------------------------------------------------------------------------------------


def _draw_layer(rng: np.random.Generator, number: int) -> Inputs:
    inputs = _draw_batch_norm(rng, number)
    features = inputs["x"].shape[1]
    return {
        "x": rng.normal(size=(len(inputs["x"]), features)) + rng.normal(size=features),
        "weight": rng.normal(size=(features, features)),
        "gamma": inputs["gamma"],
        "beta": inputs["beta"],
        "eps": inputs["eps"],
    }


@answer
def _hidden_layer(x, weight, gamma, beta, eps):
    x = x @ weight.mT
    mean, var = x.mean(0, keepdim=True), x.var(0, correction=0, keepdim=True)
    x_hat = (x - mean) / (var + eps).sqrt()
    y = gamma * x_hat + beta
    return torch.relu(y)


def _layer_reference(x, weight, gamma, beta, eps):
    return torch.relu(F.batch_norm(x @ weight.mT, None, None, gamma, beta, training=True, eps=eps))


HIDDEN_LAYER_SLIPS = (
    Slip("after the activation", "x @ weight.mT → torch.relu(x @ weight.mT); torch.relu(y) → y",
         "You normalized after the ReLU. Here batch norm stands between the linear map and the ReLU."),
    Slip("before the linear map", "x = x @ weight.mT → x = x; torch.relu(y) → torch.relu(y @ weight.mT)",
         "You normalized the input of the linear map. Normalize its output."),
    Slip("no activation", "torch.relu(y) → y",
         "You returned the output of batch norm. Apply the ReLU to it."),
    Slip("weight not transposed", "weight.mT → weight",
         "You computed x @ weight. weight is (out, in), as in torch.nn.Linear: use x @ weight.T."),
    Slip("another activation", "torch.relu → torch.sigmoid", "You applied the sigmoid. Here it is the ReLU."),
    Slip("leaky ReLU", "torch.relu → torch.nn.functional.leaky_relu",
         "You applied the leaky ReLU. Here it is the plain one: what is below 0 becomes 0."),
    Slip("no batch norm", "torch.relu(y) → torch.relu(x)",
         "You left batch norm out: it stands between the linear map and the ReLU."),
    Slip("no linear map", "x = x @ weight.mT → x = x",
         "You left the linear map out: batch norm is applied to x @ weight.T."),
    Slip("ReLU before the affine step",
         "x_hat = (x - mean) / (var + eps).sqrt() → x_hat = torch.relu((x - mean) / (var + eps).sqrt()); "
         "torch.relu(y) → y",
         "You applied the ReLU to x̂. It comes last, after gamma and beta."),
    Slip("twice", "x = x @ weight.mT → x = torch.relu(x @ weight.mT)",
         "You applied a ReLU before batch norm, too. There is one, at the end."),
)  # fmt: skip
HIDDEN_LAYER = Check(
    name="hidden_layer",
    run="h, dx = with_gradient(lambda x: hidden_layer(x, weight, gamma, beta, eps), x)",
    shown="h = hidden_layer(x, weight, gamma, beta, eps)" + AND_DX,
    outputs=("h", "dx"),
    optional=DX,
    draw=_draw_layer,
    reference=_layer_reference,
    forbidden=NORMALIZATIONS,
    mistakes=slips(_hidden_layer, HIDDEN_LAYER_SLIPS, BATCH),
)

# --- is_batch_norm ------------------------------------------------------------------------------------


@answer
def _one_pass(x, gamma, beta, eps):
    mean = x.mean(0)
    return (x - mean) * ((x * x).mean(0) - mean * mean + eps).rsqrt() * gamma + beta


@answer
def _scale_and_shift(x, gamma, beta, eps):
    scale = gamma / (x.var(0, correction=0) + eps).sqrt()
    return x * scale + (beta - x.mean(0) * scale)


def _absolute(x, gamma, beta, eps):
    return _batch_norm(x, gamma.abs(), beta, eps)


def _upside_down(x, gamma, beta, eps):
    return _batch_norm(x, gamma, beta, eps).flip(0)


RIGHT = (
    Implementation("is written as the formula", _batch_norm, True),
    Implementation("subtracts μ² from the mean of x², in one pass", _one_pass, True, "Allow for rounding."),
    Implementation(
        "multiplies by one number and adds another", _scale_and_shift, True, "Allow for rounding."
    ),
    Implementation("is torch's own", BATCH_NORM.reference, True, "Allow for rounding."),
)
SMALL_BATCH = "In a batch of 1000 that makes next to no difference; in one of 4 it does."
EPS = "Where eps is small beside the variance, it hides: try eps = 0.5."
SCALES = "Give each feature of x a mean and a scale of its own."
GAMMA = "With gamma = 1 and beta = 0 it cannot be seen: draw both at random, gamma negative, too."
WRONG = {
    "unbiased variance": ("divides the variance by N − 1", SMALL_BATCH),
    "eps outside the root": ("adds eps to the deviation, not under the root", EPS),
    "divided by the variance": ("divides by the variance, not by its root", SCALES),
    "eps left out": ("leaves eps out", EPS),
    "eps is 1e-5": ("takes 1e-5 for eps, whatever it is given", EPS),
    "not centred": ("does not subtract the mean", SCALES),
    "wrong axis": ("averages over the features", SCALES),
    "whole table": ("has one mean and variance for the whole table", SCALES),
    "no affine step": ("returns x̂", GAMMA),
    "gamma and beta swapped": ("swaps gamma and beta", GAMMA),
    "shifted first": ("adds beta before it multiplies by gamma", GAMMA),
    "gamma left out": ("leaves gamma out", GAMMA),
    "beta left out": ("leaves beta out", GAMMA),
    "divided by gamma": ("divides by gamma", GAMMA),
}


@answer
def _is_batch_norm(candidate):
    x = torch.arange(15.0).double().mul(7).sin().reshape(5, 3)
    x = x * torch.tensor([2.0, 1.0, 0.5]) + torch.tensor([3.0, -1.0, 0.5])
    gamma = torch.tensor([2.0, -0.5, 1.5]).double()
    beta = torch.tensor([1.0, -2.0, 0.5]).double()
    eps = 0.5
    y = candidate(x, gamma, beta, eps)
    mean, var = x.mean(0), x.var(0, correction=0)
    expected = gamma * ((x - mean) / (var + eps).sqrt()) + beta
    return torch.allclose(y, expected)


MORE_WRONG = (
    Implementation("takes the absolute value of gamma", _absolute, False, GAMMA),
    Implementation("returns the examples in another order", _upside_down, False, "Compare value by value."),
)


IS_BATCH_NORM_SLIPS = (
    Slip("gamma of ones, beta of zeros",
         "[2.0, -0.5, 1.5] → [1.0, 1.0, 1.0]; [1.0, -2.0, 0.5] → [0.0, 0.0, 0.0]",
         "Your test looks at gamma = 1 and beta = 0 alone, where the last step does nothing."),
    Slip("gamma of ones", "[2.0, -0.5, 1.5] → [1.0, 1.0, 1.0]",
         "Your test looks at gamma = 1 alone, where leaving gamma out is no mistake."),
    Slip("beta of zeros", "[1.0, -2.0, 0.5] → [0.0, 0.0, 0.0]",
         "Your test looks at beta = 0 alone, where leaving beta out is no mistake."),
    Slip("small eps", "eps = 0.5 → eps = 1e-8",
         "The eps of your test is so small that nobody sees what is done with it. Take a larger one."),
    Slip("large batch", "15.0 → 3000.0; (5, 3) → (1000, 3); (y, expected) → (y, expected, 0.01, 0.01)",
         "Your batch is so large, and your tolerance so wide, that N and N − 1 are the same to it. A few "
         "examples will do."),
    Slip("centred x", "torch.tensor([3.0, -1.0, 0.5])\n → 0.0\n    x = x - x.mean(0)\n",
         "The x of your test has mean 0, so nobody needs to subtract it."),
    Slip("no room for rounding", "torch.allclose(y, expected) → torch.equal(y, expected)",
         "Your test asks for the very same bits. Right implementations compute in different orders: allow "
         "for rounding, as torch.allclose does."),
    Slip("the mean alone", "torch.allclose(y, expected) → torch.allclose(y.mean(0), expected.mean(0))",
         "Your test looks at the mean of the output alone; it is beta, whatever is done to the scale."),
    Slip("mean and deviation",
         "y, expected) → torch.stack(torch.std_mean(y, 0)), torch.stack(torch.std_mean(expected, 0)))",
         "The mean and the deviation of each feature are right in some that are wrong example by example. "
         "Compare value by value."),
    Slip("accepts everything", "torch.allclose(y, expected) → True",
         "Your test accepts whatever it is given. Compare the values of the output with those that the "
         "formula gives."),
    Slip("refuses everything", "torch.allclose(y, expected) → False",
         "Your test refuses whatever it is given, right ones, too. Compare one of these with what you "
         "expect; rounding alone must not count."),
    Slip("the wrong way round", "return torch.allclose → return not torch.allclose",
         "Your test returns True for the wrong ones. True means: this is batch norm."),
)  # fmt: skip
IS_BATCH_NORM = TellApart(
    name="is_batch_norm",
    argument="candidate",
    parameters={"x": ("N", "C"), "gamma": ("C",), "beta": ("C",), "eps": ()},
    implementations=(*RIGHT, *wrong_ones(BATCH_NORM.mistakes, WRONG), *MORE_WRONG),
    forbidden=NORMALIZATIONS,
    mistakes=slips(_is_batch_norm, IS_BATCH_NORM_SLIPS),
)

PROBLEM_SET = ProblemSet(
    "ps02", [NORMALIZE, BATCH_NORM, BATCH_NORM_TRAIN, IDENTITY_PARAMETERS, HIDDEN_LAYER, IS_BATCH_NORM]
)
check, hidden_check = VisibleCheck(PROBLEM_SET), HiddenCheck(PROBLEM_SET)
