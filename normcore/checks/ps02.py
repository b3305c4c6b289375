"""PS02, The transform: the checks of its tasks."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from normcore import functional as F
from normcore.checks.catalogue import ProblemSet
from normcore.checks.check import Check, Inputs, Mistake
from normcore.checks.forbidden import NORMALIZATIONS
from normcore.checks.notebook import HiddenCheck, VisibleCheck

UNBIASED = (
    "You divided by m − 1. A batch is normalized by its own second moment: divide by m "
    "(in torch: correction=0)."
)
EPS_OUTSIDE = (
    "You added eps to the standard deviation. It belongs under the root, next to the variance: √(σ² + ε)."
)
STD_PLUS_EPS = (
    "Two things at once: x.std() divides by m − 1, and you added eps to the deviation. Batch norm divides by "
    "√(σ² + ε), with the σ² that divides by m (in torch: correction=0)."
)
NO_ROOT = "You divided by the variance. Divide by its square root, √(σ² + ε)."
NO_EPS = "You left eps out. It is added to the variance, under the root."
WRONG_AXIS = (
    "You averaged over the features of each example (dimension 1). Batch norm averages each feature over the "
    "batch, dimension 0."
)
NOT_CENTRED = "You divided by the deviation but did not subtract the mean."
NO_AFFINE = "You returned x̂. The last step is missing: multiply by gamma and add beta."
SWAPPED = "You swapped gamma and beta: gamma multiplies, beta is added."
SHIFTED_FIRST = "You added beta before you multiplied by gamma. The order is γ·x̂ + β."

# --- normalize ----------------------------------------------------------------------------------------


def _draw_normalize(rng: np.random.Generator, number: int) -> Inputs:
    dims = int(rng.integers(2, 5))
    shape = rng.integers(3, 6, dims)
    chosen = rng.permutation(dims)[: rng.integers(1, dims)]
    location = rng.normal(size=[n if d in chosen else 1 for d, n in enumerate(shape)])
    x = rng.normal(size=shape) * rng.uniform(0.5, 2) + rng.uniform(1, 3) + location
    return {"x": x, "dim": tuple(int(d) for d in sorted(chosen)), "eps": rng.uniform(0.05, 0.5)}


def _plain(
    x: Tensor,
    dim: int | tuple[int, ...] | None,
    eps: float,
    *,
    correction: int = 0,
    root: str = "inside",
    centred: bool = True,
) -> Tensor:
    """Normalization with one thing wrong."""
    mean = x.mean(dim, keepdim=True)
    var = x.var(dim, correction=correction, keepdim=True)
    scale = {
        "inside": (var + eps).sqrt(),
        "outside": var.sqrt() + eps,
        "none": var + eps,
        "no eps": var.sqrt(),
    }[root]
    return (x - mean if centred else x) / scale


def _other_dims(x: Tensor, dim: tuple[int, ...], eps: float) -> Tensor:
    return _plain(x, tuple(d for d in range(x.dim()) if d not in dim), eps)


NORMALIZE = Check(
    name="normalize",
    run="x_hat = normalize(x, dim, eps)",
    outputs=("x_hat",),
    draw=_draw_normalize,
    reference=lambda x, dim, eps: F.standardize(x, dim, eps=eps),
    forbidden=NORMALIZATIONS,
    mistakes=(
        Mistake("unbiased variance", UNBIASED, partial(_plain, correction=1)),
        Mistake("eps outside the root", EPS_OUTSIDE, partial(_plain, root="outside")),
        Mistake("deviation plus eps", STD_PLUS_EPS, partial(_plain, correction=1, root="outside")),
        Mistake("divided by the variance", NO_ROOT, partial(_plain, root="none")),
        Mistake("eps left out", NO_EPS, partial(_plain, root="no eps")),
        Mistake("not centred", NOT_CENTRED, partial(_plain, centred=False)),
        Mistake(
            "other dimensions",
            "You averaged over the dimensions that are not in dim. dim names those that are averaged over, "
            "those that disappear from the mean.",
            _other_dims,
        ),
        Mistake(
            "whole tensor",
            "You used one mean and variance for the whole tensor. Pass dim to mean and var, with "
            "keepdim=True.",
            lambda x, dim, eps: _plain(x, tuple(range(x.dim())), eps),
        ),
    ),
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


def _affine(x: Tensor, gamma: Tensor, beta: Tensor, eps: float, dim: int = 0, **wrong) -> Tensor:
    return gamma * _plain(x, dim, eps, **wrong) + beta


BATCH_NORM = Check(
    name="batch_norm",
    run="y = batch_norm(x, gamma, beta, eps)",
    outputs=("y",),
    draw=_draw_batch_norm,
    reference=lambda x, gamma, beta, eps: F.batch_norm(x, None, None, gamma, beta, training=True, eps=eps),
    forbidden=NORMALIZATIONS,
    mistakes=(
        Mistake("unbiased variance", UNBIASED, partial(_affine, correction=1)),
        Mistake("eps outside the root", EPS_OUTSIDE, partial(_affine, root="outside")),
        Mistake("deviation plus eps", STD_PLUS_EPS, partial(_affine, correction=1, root="outside")),
        Mistake("divided by the variance", NO_ROOT, partial(_affine, root="none")),
        Mistake("eps left out", NO_EPS, partial(_affine, root="no eps")),
        Mistake("not centred", NOT_CENTRED, partial(_affine, centred=False)),
        Mistake("wrong axis", WRONG_AXIS, partial(_affine, dim=1)),
        Mistake("no affine step", NO_AFFINE, lambda x, gamma, beta, eps: _plain(x, 0, eps)),
        Mistake("gamma and beta swapped", SWAPPED, lambda x, gamma, beta, eps: _affine(x, beta, gamma, eps)),
        Mistake(
            "shifted first", SHIFTED_FIRST, lambda x, gamma, beta, eps: gamma * (_plain(x, 0, eps) + beta)
        ),
    ),
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


def _train(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
    *,
    stored_correction: int = 1,
    stored_std: bool = False,
    reverse: bool = False,
    affine: bool = True,
    swap: bool = False,
    use_running: bool = False,
    **wrong,
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm in training with one thing wrong."""
    dim = wrong.pop("dim", 0)
    y = _plain(x, dim, eps, **wrong)
    if swap:
        gamma, beta = beta, gamma
    mean, var = x.mean(0), x.var(0, correction=stored_correction)
    if stored_std:
        var = var.sqrt()
    new = 1 - momentum if reverse else momentum
    running_mean = (1 - new) * running_mean + new * mean
    running_var = (1 - new) * running_var + new * var
    if use_running:
        y = (x - running_mean) / (running_var + eps).sqrt()
    return (gamma * y + beta if affine else y), running_mean, running_var


def _train_reference(x, gamma, beta, running_mean, running_var, momentum, eps):
    running_mean, running_var = running_mean.clone(), running_var.clone()
    y = F.batch_norm(x, running_mean, running_var, gamma, beta, True, momentum, eps)
    return y, running_mean, running_var


BATCH_NORM_TRAIN = Check(
    name="batch_norm_train",
    run="y, new_mean, new_var = batch_norm_train(x, gamma, beta, running_mean, running_var, momentum, eps)",
    outputs=("y", "new_mean", "new_var"),
    draw=_draw_train,
    reference=_train_reference,
    forbidden=NORMALIZATIONS,
    equivalent={
        "new_var = (1 - momentum) * running_var + momentum * x.var(0, correction=1) → "
        "new_var = (1 - momentum) * running_var + momentum * x.var(0)": "torch's default is correction=1",
    },
    mistakes=(
        Mistake("unbiased variance", UNBIASED, partial(_train, correction=1)),
        Mistake("eps outside the root", EPS_OUTSIDE, partial(_train, root="outside")),
        Mistake("deviation plus eps", STD_PLUS_EPS, partial(_train, correction=1, root="outside")),
        Mistake("wrong axis", WRONG_AXIS, partial(_train, dim=1)),
        Mistake("no affine step", NO_AFFINE, partial(_train, affine=False)),
        Mistake("gamma and beta swapped", SWAPPED, partial(_train, swap=True)),
        Mistake(
            "standard deviation in the running average",
            "You averaged the standard deviation into running_var. It is an average of variances; the "
            "root is taken when it is used.",
            partial(_train, stored_std=True),
        ),
        Mistake(
            "biased running variance",
            "You stored the variance that divides by m. The running variance estimates that of the data, so "
            "it stores m/(m−1) times it (in torch: correction=1).",
            partial(_train, stored_correction=0),
        ),
        Mistake(
            "momentum reversed",
            "You used momentum as the weight of the old value. In PyTorch's convention it is the weight of "
            "the new one: (1 − momentum)·old + momentum·batch.",
            partial(_train, reverse=True),
        ),
        Mistake(
            "normalized by the running averages",
            "You normalized by the running averages. In training a batch is normalized by its own "
            "statistics; the averages are for evaluation.",
            partial(_train, use_running=True),
        ),
    ),
)

# --- identity_parameters ------------------------------------------------------------------------------


def _draw_identity(rng: np.random.Generator, number: int) -> Inputs:
    inputs = _draw_batch_norm(rng, number)
    return {"x": inputs["x"], "eps": inputs["eps"]}


def _identity(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return (x.var(0, correction=0) + eps).sqrt(), x.mean(0)


IDENTITY_PARAMETERS = Check(
    name="identity_parameters",
    run="gamma, beta = identity_parameters(x, eps)",
    outputs=("gamma", "beta"),
    draw=_draw_identity,
    reference=_identity,
    forbidden=NORMALIZATIONS,
    mistakes=(
        Mistake(
            "eps forgotten",
            "Your gamma is σ. Batch norm divides by √(σ² + ε), so that is what gamma must undo.",
            lambda x, eps: (x.std(0, correction=0), x.mean(0)),
        ),
        Mistake(
            "unbiased deviation",
            "Your gamma is x.std(), which divides by m − 1 and leaves out eps. Batch norm divides by "
            "√(σ² + ε), with the σ² that divides by m, so that is what gamma must undo.",
            lambda x, eps: (x.std(0), x.mean(0)),
        ),
        Mistake("unbiased variance", UNBIASED, lambda x, eps: ((x.var(0) + eps).sqrt(), x.mean(0))),
        Mistake(
            "variance",
            "Your gamma is σ² + ε. Batch norm divides by its root.",
            lambda x, eps: (x.var(0, correction=0) + eps, x.mean(0)),
        ),
        Mistake(
            "inverse",
            "Your gamma divides once more. It must undo the division: gamma = √(σ² + ε).",
            lambda x, eps: (1 / _identity(x, eps)[0], x.mean(0)),
        ),
        Mistake(
            "sign of beta",
            "Your beta is −μ. Batch norm has already subtracted μ, so beta must add it back.",
            lambda x, eps: (_identity(x, eps)[0], -x.mean(0)),
        ),
        Mistake(
            "beta scaled",
            "You divided beta by √(σ² + ε). beta is added after gamma has multiplied, so it is μ itself.",
            lambda x, eps: (_identity(x, eps)[0], x.mean(0) / _identity(x, eps)[0]),
        ),
    ),
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


def _layer(x, weight, gamma, beta, eps):
    return torch.relu(_affine(x @ weight.mT, gamma, beta, eps))


HIDDEN_LAYER = Check(
    name="hidden_layer",
    run="h = hidden_layer(x, weight, gamma, beta, eps)",
    outputs=("h",),
    draw=_draw_layer,
    reference=_layer,
    forbidden=NORMALIZATIONS,
    mistakes=(
        Mistake(
            "after the activation",
            "You normalized after the ReLU. Here batch norm stands between the linear map and the ReLU.",
            lambda x, weight, gamma, beta, eps: _affine(torch.relu(x @ weight.mT), gamma, beta, eps),
        ),
        Mistake(
            "before the linear map",
            "You normalized the input of the linear map. Normalize its output.",
            lambda x, weight, gamma, beta, eps: torch.relu(_affine(x, gamma, beta, eps) @ weight.mT),
        ),
        Mistake(
            "no activation",
            "You returned the output of batch norm. Apply the ReLU to it.",
            lambda x, weight, gamma, beta, eps: _affine(x @ weight.mT, gamma, beta, eps),
        ),
        Mistake(
            "weight not transposed",
            "You computed x @ weight. weight is (out, in), as in torch.nn.Linear: use x @ weight.T.",
            lambda x, weight, gamma, beta, eps: torch.relu(_affine(x @ weight, gamma, beta, eps)),
        ),
        Mistake(
            "no affine step",
            NO_AFFINE,
            lambda x, weight, gamma, beta, eps: torch.relu(_plain(x @ weight.mT, 0, eps)),
        ),
        Mistake(
            "unbiased variance",
            UNBIASED,
            lambda x, weight, gamma, beta, eps: torch.relu(
                _affine(x @ weight.mT, gamma, beta, eps, correction=1)
            ),
        ),
        Mistake(
            "eps outside the root",
            EPS_OUTSIDE,
            lambda x, weight, gamma, beta, eps: torch.relu(
                _affine(x @ weight.mT, gamma, beta, eps, root="outside")
            ),
        ),
    ),
)

PROBLEM_SET = ProblemSet("ps02", [NORMALIZE, BATCH_NORM, BATCH_NORM_TRAIN, IDENTITY_PARAMETERS, HIDDEN_LAYER])
check, hidden_check = VisibleCheck(PROBLEM_SET), HiddenCheck(PROBLEM_SET)
