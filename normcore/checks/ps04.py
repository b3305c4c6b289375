"""PS04, Training and inference: the checks of its tasks."""

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from normcore.checks.catalogue import ProblemSet
from normcore.checks.check import Check, Inputs, Mistake
from normcore.checks.families import AVERAGES, AXES, BATCH
from normcore.checks.forbidden import NORMALIZATIONS
from normcore.checks.notebook import HiddenCheck, VisibleCheck
from normcore.checks.slips import Slip, slips

# --- BatchNorm ----------------------------------------------------------------------------------------


def _draw_layer(rng: np.random.Generator, number: int) -> Inputs:
    features = int(rng.integers(2, 6))

    def batch(m: int) -> np.ndarray:
        return rng.normal(size=(m, features)) * rng.uniform(0.5, 2, features) + 2 * rng.normal(size=features)

    return {
        "x1": batch(int(rng.integers(3, 9))),
        "x2": batch(int(rng.integers(3, 9))),
        "x3": batch(int(rng.integers(1, 5)) if number % 3 else 1),  # evaluation needs no batch
        "gamma": rng.uniform(0.5, 2, features) * rng.choice([-1, 1], features),
        "beta": rng.normal(size=features),
        "eps": rng.uniform(0.05, 0.5),
        "momentum": rng.uniform(0.1, 0.4),
    }


class _BatchNorm(torch.nn.Module):
    def __init__(self, features, eps, momentum):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))
        self.weight = torch.nn.Parameter(torch.ones(features))
        self.bias = torch.nn.Parameter(torch.zeros(features))

    def forward(self, x):
        gamma, beta, eps, momentum = self.weight, self.bias, self.eps, self.momentum
        if self.training:
            mean, var = x.mean(0, keepdim=True), x.var(0, correction=0, keepdim=True)
            with torch.no_grad():
                running_mean, running_var = self.running_mean, self.running_var
                new_mean = (1 - momentum) * running_mean + momentum * x.mean(0)
                new_var = (1 - momentum) * running_var + momentum * x.var(0)
                self.running_mean.data, self.running_var.data = new_mean, new_var
        else:
            mean, var = self.running_mean, self.running_var
        x_hat = (x - mean) / (var + eps).sqrt()
        return gamma * x_hat + beta


BUFFER = "Use self.register_buffer(name, tensor)."
PARAMETERS = (
    "weight and bias are learned, so they must be parameters: torch.nn.Parameter(tensor). A plain tensor is "
    "seen neither by an optimizer nor by state_dict()."
)
BY_AVERAGES = "In training you normalized by the running averages. Use the batch's statistics there."
LAYER = Check(
    name="BatchNorm",
    run="""
layer = BatchNorm(len(gamma), eps, momentum).to(gamma.dtype)
learned = {name for name, p in layer.named_parameters() if p.requires_grad}
weight_is_learned, bias_is_learned = "weight" in learned, "bias" in learned
nothing_else_is_learned = learned <= {"weight", "bias"}
averages_are_buffers = {"running_mean", "running_var"} <= {name for name, _ in layer.named_buffers()}
averages_are_saved = {"running_mean", "running_var"} <= set(layer.state_dict())
first_weight, first_bias = layer.weight.clone(), layer.bias.clone()
with torch.no_grad():
    layer.weight.copy_(gamma), layer.bias.copy_(beta)
    x1.requires_grad_(), x2.requires_grad_(), x3.requires_grad_()
train_1 = layer(x1)
dx, dweight, dbias = gradients(train_1, (x1, layer.weight, layer.bias))
train_2 = layer(x2)
averages_keep_graph = layer.running_mean.requires_grad or layer.running_var.requires_grad
layer.eval()
evaluation = layer(x3)
(dx_evaluation,) = gradients(evaluation, (x3,))
running_mean, running_var = layer.running_mean, layer.running_var
""",
    shown="""
layer = BatchNorm(features, eps, momentum), with weight = gamma and bias = beta
train_1 = layer(x1); dx, dweight, dbias = the gradients to x1, weight and bias
train_2 = layer(x2); layer.eval(); evaluation = layer(x3); dx_evaluation = the gradient to x3
""",
    outputs=(
        "weight_is_learned",
        "bias_is_learned",
        "nothing_else_is_learned",
        "averages_are_buffers",
        "averages_are_saved",
        "first_weight",
        "first_bias",
        "train_1",
        "train_2",
        "evaluation",
        "running_mean",
        "running_var",
        "dx",
        "dweight",
        "dbias",
        "dx_evaluation",
        "averages_keep_graph",
    ),
    draw=_draw_layer,
    reference=lambda features, eps, momentum: torch.nn.BatchNorm1d(features, eps, momentum),
    forbidden=NORMALIZATIONS,
    equivalent={
        "self.running_var.mul_(1 - a).add_(a * x.var(0, correction=1)) → "
        "self.running_var.mul_(1 - a).add_(a * x.var(0))": "torch's default is correction=1",
    },
    mistakes=slips(
        _BatchNorm,
        (
            Slip(
                "both variances swapped",
                "correction=0 → correction=1; x.var(0) → x.var(0, correction=0)",
                "You have the two variances the wrong way round: the batch is normalized by the one that "
                "divides by m, and the one that divides by m − 1 is stored.",
            ),
            Slip(
                "graph kept",
                "with torch.no_grad(): → if True:; "
                "self.running_mean.data, self.running_var.data = → self.running_mean, self.running_var =",
                "Your running averages keep the graph of every batch: memory grows with each step. Update "
                "them under torch.no_grad(), or from detached statistics.",
            ),
            Slip(
                "last batch's graph kept",
                "with torch.no_grad(): → if True:; "
                "= self.running_mean, self.running_var\n → "
                "= self.running_mean.detach(), self.running_var.detach()\n; "
                "self.running_mean.data, self.running_var.data = → self.running_mean, self.running_var =",
                "Your running averages keep the graph of every batch: memory grows with each step. Update "
                "them under torch.no_grad(), or from detached statistics.",
            ),
            Slip(
                "averages are parameters",
                'self.register_buffer("running_mean", torch.zeros(features)) → '
                "self.running_mean = torch.nn.Parameter(torch.zeros(features)); "
                'self.register_buffer("running_var", torch.ones(features)) → '
                "self.running_var = torch.nn.Parameter(torch.ones(features))",
                f"Your running averages are parameters, so an optimizer would move them. {BUFFER}",
            ),
            Slip(
                "averages are parameters without gradient",
                'self.register_buffer("running_mean", torch.zeros(features)) → '
                "self.running_mean = torch.nn.Parameter(torch.zeros(features), requires_grad=False); "
                'self.register_buffer("running_var", torch.ones(features)) → '
                "self.running_var = torch.nn.Parameter(torch.ones(features), requires_grad=False)",
                "Your running averages are parameters, though without a gradient: they count as the model's "
                f"parameters, and weight decay or a new requires_grad_() would move them. {BUFFER}",
            ),
            Slip(
                "averages are not saved",
                'self.register_buffer("running_mean", torch.zeros(features)) → '
                "self.running_mean = torch.zeros(features); "
                'self.register_buffer("running_var", torch.ones(features)) → '
                "self.running_var = torch.ones(features)",
                "Your running averages are plain attributes: they are missing from state_dict(), so a saved "
                f"model loses them. {BUFFER}",
            ),
            Slip("weight and bias are no parameters", "torch.nn.Parameter → torch.Tensor.clone", PARAMETERS),
            Slip("weight is no parameter", "torch.nn.Parameter(torch.ones → (torch.ones", PARAMETERS),
            Slip("bias is no parameter", "torch.nn.Parameter(torch.zeros → (torch.zeros", PARAMETERS),
            Slip(
                "no graph",
                "    def forward → \n    @torch.no_grad()\n    def forward",
                "No gradient comes out of your layer: nothing before it can learn. torch.no_grad() belongs "
                "around the update of the averages alone.",
            ),
            Slip(
                "input detached",
                "if self.training:\n → x = x.detach()\n        if self.training:\n",
                "You cut x off from the graph (.data, detach()): no gradient reaches what lies before the "
                "layer.",
            ),
            Slip(
                "weight and bias detached",
                "= self.weight, self.bias, → = self.weight.detach(), self.bias.detach(),",
                "You cut weight and bias off from the graph (.data, detach()): they would never learn.",
            ),
            Slip(
                "averages move in evaluation",
                "if self.training:\n            mean, var = x.mean(0, keepdim=True), "
                "x.var(0, correction=0, keepdim=True)\n → "
                "if True:\n            mean, var = x.mean(0, keepdim=True), "
                "x.var(0, correction=0, keepdim=True)\n; "
                "        else:\n → \n        if not self.training:\n",
                "Your running averages move in evaluation, too. Update them only if self.training.",
            ),
            Slip(
                "training in evaluation",
                "if self.training: → if True:",
                "Your layer does the same in evaluation as in training. If self.training is False, "
                "normalize by the running averages, and leave them as they are.",
            ),
            Slip(
                "batch in evaluation",
                "mean, var = self.running_mean, self.running_var → "
                "mean, var = x.mean(0), x.var(0, correction=0)",
                "In evaluation you normalized by the batch's statistics. Use the running averages there.",
            ),
            Slip(
                "running mean alone in evaluation",
                "mean, var = self.running_mean, self.running_var → "
                "mean, var = self.running_mean, x.var(0, correction=0)",
                "In evaluation you used the running mean, but the batch's variance. Use running_var there.",
            ),
            Slip(
                "running variance alone in evaluation",
                "mean, var = self.running_mean, self.running_var → mean, var = x.mean(0), self.running_var",
                "In evaluation you used the running variance, but the batch's mean. Use running_mean there.",
            ),
            Slip(
                "running variance ignored in evaluation",
                "mean, var = self.running_mean, self.running_var → mean, var = self.running_mean, "
                "torch.ones_like(self.running_var) - eps",
                "In evaluation you did not divide by √(running_var + ε).",
            ),
            Slip(
                "evaluation not scaled by eps",
                "mean, var = self.running_mean, self.running_var → "
                "mean, var = self.running_mean, self.running_var - eps",
                "In evaluation you left eps out, or put a number of your own in its place. It is added to "
                "running_var, under the root, as in training.",
            ),
            Slip(
                "deviation plus eps in evaluation",
                "mean, var = self.running_mean, self.running_var → "
                "mean, var = self.running_mean, (self.running_var.sqrt() + eps) ** 2 - eps",
                "In evaluation you added eps to the standard deviation. It belongs under the root, as in "
                "training.",
            ),
            Slip(
                "evaluation without the affine step",
                "self.running_mean, self.running_var\n        x_hat → self.running_mean, self.running_var\n"
                "            gamma, beta = 1.0, 0.0\n        x_hat",
                "In evaluation you returned x̂. weight and bias act there, too.",
            ),
            Slip(
                "training and evaluation swapped",
                "if self.training: → if not self.training:",
                "You have training and evaluation the wrong way round: self.training is True in training.",
            ),
            Slip(
                "old averages in training",
                "x_hat = → mean, var = (running_mean, running_var) if self.training else (mean, var)\n"
                "        x_hat =",
                BY_AVERAGES,
            ),
            Slip(
                "averages in training",
                "x_hat = → mean, var = self.running_mean, self.running_var\n        x_hat =",
                BY_AVERAGES,
            ),
            Slip(
                "variance starts at 0",
                'register_buffer("running_var", torch.ones( → register_buffer("running_var", torch.zeros(',
                "Your running variance starts at 0. It starts at 1, the running mean at 0.",
            ),
            Slip(
                "mean starts at 1",
                'register_buffer("running_mean", torch.zeros( → register_buffer("running_mean", torch.ones(',
                "Your running mean starts at 1. It starts at 0, the running variance at 1.",
            ),
            Slip(
                "bias starts at 1",
                "Parameter(torch.zeros( → Parameter(torch.ones(",
                "Your bias starts at 1. It starts at 0, the weight at 1.",
            ),
        ),
        (*AVERAGES, *(slip for slip in BATCH if slip not in AXES)),
    ),
)

# --- fold ---------------------------------------------------------------------------------------------


def _draw_fold(rng: np.random.Generator, number: int) -> Inputs:
    channels = int(rng.integers(3, 6))
    kernel = (int(rng.integers(2, 4)),) * 2 if number % 4 >= 2 else ()
    return {
        "weight": rng.normal(size=(channels, channels, *kernel)),
        "bias": rng.normal(size=channels),
        "gamma": rng.uniform(0.5, 2, channels) * rng.choice([-1, 1], channels),
        "beta": rng.normal(size=channels),
        "running_mean": rng.normal(size=channels),
        "running_var": rng.uniform(0.3, 3, channels),
        "eps": rng.uniform(0.05, 0.5),
    }


def _rows(vector: Tensor, weight: Tensor) -> Tensor:
    return vector.view(-1, *[1] * (weight.dim() - 1))


def _fold(weight, bias, gamma, beta, running_mean, running_var, eps, gain=None, of_bias=None, rows=_rows):
    g = gamma * (running_var + eps).rsqrt() if gain is None else gain(gamma, running_var, eps)
    new_bias = (bias - running_mean) * g + beta
    if of_bias is not None:
        new_bias = of_bias(bias, running_mean, g, beta)
    return weight * rows(g, weight), new_bias


FOLD_EPS = "ε is missing, or a number of your own stands in its place: the factor is γ/√(v + ε)."
FOLD = Check(
    name="fold",
    run="new_weight, new_bias = fold(weight, bias, gamma, beta, running_mean, running_var, eps)",
    outputs=("new_weight", "new_bias"),
    draw=_draw_fold,
    reference=_fold,
    forbidden=NORMALIZATIONS,
    mistakes=(
        Mistake(
            "bias not scaled",
            "You did not scale the bias. It passes through batch norm as W x does: "
            "b′ = γ (b − μ)/√(v + ε) + β.",
            partial(_fold, of_bias=lambda b, mean, g, beta: b - mean * g + beta),
        ),
        Mistake(
            "bias dropped",
            "You dropped the layer's own bias: b′ = γ (b − μ)/√(v + ε) + β.",
            partial(_fold, of_bias=lambda b, mean, g, beta: beta - mean * g),
        ),
        Mistake(
            "mean forgotten",
            "You forgot to subtract the running mean: b′ = γ (b − μ)/√(v + ε) + β.",
            partial(_fold, of_bias=lambda b, mean, g, beta: b * g + beta),
        ),
        Mistake(
            "beta forgotten",
            "You forgot β in the bias: b′ = γ (b − μ)/√(v + ε) + β.",
            partial(_fold, of_bias=lambda b, mean, g, beta: (b - mean) * g),
        ),
        Mistake(
            "sign of the mean",
            "You added the running mean. Batch norm subtracts it: b′ = γ (b − μ)/√(v + ε) + β.",
            partial(_fold, of_bias=lambda b, mean, g, beta: (b + mean) * g + beta),
        ),
        Mistake(
            "beta scaled",
            "You scaled β. It is added after the scaling: b′ = γ (b − μ)/√(v + ε) + β.",
            partial(_fold, of_bias=lambda b, mean, g, beta: (b - mean + beta) * g),
        ),
        Mistake(
            "bias unchanged",
            "You kept the bias. It passes through batch norm: b′ = γ (b − μ)/√(v + ε) + β.",
            partial(_fold, of_bias=lambda b, mean, g, beta: b),
        ),
        Mistake(
            "mean not scaled",
            "You subtracted the running mean after the scaling. It goes with the bias: "
            "b′ = γ (b − μ)/√(v + ε) + β.",
            partial(_fold, of_bias=lambda b, mean, g, beta: b * g - mean + beta),
        ),
        Mistake(
            "neither scaled",
            "You did not scale the bias: b′ = γ (b − μ)/√(v + ε) + β.",
            partial(_fold, of_bias=lambda b, mean, g, beta: b - mean + beta),
        ),
        Mistake(
            "beta alone",
            "Your bias is β. The layer's own bias and the running mean belong in it: "
            "b′ = γ (b − μ)/√(v + ε) + β.",
            partial(_fold, of_bias=lambda b, mean, g, beta: beta),
        ),
        Mistake(
            "bias added twice",
            "You added the layer's bias once more: b′ = γ (b − μ)/√(v + ε) + β.",
            partial(_fold, of_bias=lambda b, mean, g, beta: b + (b - mean) * g + beta),
        ),
        Mistake(
            "weight unchanged",
            "You did not scale the weight: row c is multiplied by γ_c/√(v_c + ε).",
            partial(_fold, rows=lambda g, w: torch.ones_like(_rows(g, w))),
        ),
        Mistake(
            "multiplied by the deviation",
            "You multiplied by √(v + ε). Batch norm divides: the factor is γ/√(v + ε).",
            partial(_fold, gain=lambda gamma, v, eps: gamma * (v + eps).sqrt()),
        ),
        Mistake(
            "eps is 1e-5", FOLD_EPS, partial(_fold, gain=lambda gamma, v, eps: gamma * (v + 1e-5).rsqrt())
        ),
        Mistake(
            "eps is 1e-3", FOLD_EPS, partial(_fold, gain=lambda gamma, v, eps: gamma * (v + 1e-3).rsqrt())
        ),
        Mistake(
            "scaled once more by gamma",
            "You left the division out: the factor is γ/√(v + ε), not γ.",
            partial(_fold, gain=lambda gamma, v, eps: gamma),
        ),
        Mistake(
            "input channels scaled",
            "You scaled dimension 1 of the weight, the input channels. Batch norm scales outputs: "
            "dimension 0.",
            partial(_fold, rows=lambda g, w: g.view(1, -1, *[1] * (w.dim() - 2))),
        ),
        Mistake(
            "gamma left out",
            "You left γ out: the factor is γ/√(v + ε).",
            partial(_fold, gain=lambda gamma, v, eps: (v + eps).rsqrt()),
        ),
        Mistake(
            "eps left out",
            FOLD_EPS,
            partial(_fold, gain=lambda gamma, v, eps: gamma * v.rsqrt()),
        ),
        Mistake(
            "eps outside the root",
            "You added ε to the deviation. It belongs under the root: γ/√(v + ε).",
            partial(_fold, gain=lambda gamma, v, eps: gamma / (v.sqrt() + eps)),
        ),
        Mistake(
            "no root",
            "You divided by v + ε. Divide by its square root: γ/√(v + ε).",
            partial(_fold, gain=lambda gamma, v, eps: gamma / (v + eps)),
        ),
    ),
)

# --- precise_statistics -------------------------------------------------------------------------------


def _draw_precise(rng: np.random.Generator, number: int) -> Inputs:
    features = int(rng.integers(2, 5))
    sizes = [int(n) for n in rng.integers(2, 8, int(rng.integers(2, 5)))]
    sizes[0] += 6  # never all alike
    batches = [rng.normal(size=(n, features)) + 2 * rng.normal(size=features) for n in sizes]
    return {"x": np.concatenate(batches), "sizes": sizes}


def _precise(x: Tensor, sizes: list[int], correction: int = 1) -> tuple[Tensor, Tensor]:
    return x.mean(0), x.var(0, correction=correction)


def _wrong_precise(function):
    """A wrong implementation, given as (batches, sizes) → (mean, var); called with the batches alone."""

    def called(batches):
        return function(batches, torch.tensor([len(b) for b in batches], dtype=batches[0].dtype)[:, None])

    return called


def _means(batches):
    return torch.stack([b.mean(0) for b in batches])


def _variances(batches, correction=1):
    return torch.stack([b.var(0, correction=correction) for b in batches])


PRECISE = Check(
    name="precise_statistics",
    run="mean, var = precise_statistics(x.split(sizes))",
    outputs=("mean", "var"),
    draw=_draw_precise,
    reference=lambda batches: _precise(torch.cat(batches), []),
    forbidden=NORMALIZATIONS,
    mistakes=(
        Mistake(
            "biased",
            "You divided by the number of examples. In evaluation an estimate of the data's variance is "
            "wanted: "
            "divide by M − 1.",
            lambda batches: _precise(torch.cat(batches), [], correction=0),
        ),
        Mistake(
            "averages of averages",
            "You averaged the batches' means and variances. That weighs a small batch like a large one, and "
            "misses how far the batches' means lie apart.",
            lambda batches: (_means(batches).mean(0), _variances(batches).mean(0)),
        ),
        Mistake(
            "averages of biased averages",
            "You averaged the batches' means and (biased) variances. That weighs a small batch like a large "
            "one, and misses how far the batches' means lie apart.",
            lambda batches: (_means(batches).mean(0), _variances(batches, 0).mean(0)),
        ),
        Mistake(
            "unweighted mean",
            "Your mean is the average of the batches' means. Weigh each by the size of its batch.",
            lambda batches: (_means(batches).mean(0), torch.cat(batches).var(0)),
        ),
        Mistake(
            "between batches left out",
            "Your variance is the average of the batches' variances. It misses how far the batches' means "
            "lie "
            "apart: add the squares of (mean of the batch − mean).",
            _wrong_precise(
                lambda batches, n: (
                    (n * _means(batches)).sum(0) / n.sum(),
                    (n * _variances(batches, 0)).sum(0) / n.sum(),
                )
            ),
        ),
        Mistake(
            "between batches left out, M − 1",
            "Your variance is that within the batches alone. It misses how far the batches' means lie "
            "apart: add the squares of (mean of the batch − mean), once for each example.",
            _wrong_precise(
                lambda batches, n: (
                    (n * _means(batches)).sum(0) / n.sum(),
                    (n * _variances(batches, 0)).sum(0) / (n.sum() - 1),
                )
            ),
        ),
        Mistake(
            "deviation",
            "You returned the standard deviation. Batch norm stores the variance.",
            lambda batches: (torch.cat(batches).mean(0), torch.cat(batches).std(0)),
        ),
        Mistake(
            "biased within and between",
            "Your variance divides by the wrong number: M − 1, once, over all examples of all batches.",
            lambda batches: (
                torch.cat(batches).mean(0),
                sum(((b - torch.cat(batches).mean(0)) ** 2).sum(0) for b in batches)
                / sum(len(b) - 1 for b in batches),
            ),
        ),
        Mistake(
            "averaged variances",
            "Your variance is the average of the batches' variances. It weighs a small batch like a large "
            "one, and misses how far the batches' means lie apart.",
            lambda batches: (torch.cat(batches).mean(0), _variances(batches).mean(0)),
        ),
        Mistake(
            "averaged biased variances",
            "Your variance is the average of the batches' variances. It weighs a small batch like a large "
            "one, and misses how far the batches' means lie apart.",
            lambda batches: (torch.cat(batches).mean(0), _variances(batches, 0).mean(0)),
        ),
        Mistake(
            "variance of the means",
            "Your variance is that of the batches' means. It misses the spread within each batch.",
            lambda batches: (torch.cat(batches).mean(0), _means(batches).var(0)),
        ),
        Mistake(
            "over everything",
            "You took one mean and variance over all features. Each feature has its own: dimension 0.",
            lambda batches: (torch.cat(batches).mean(), torch.cat(batches).var()),
        ),
        Mistake(
            "sum, not divided",
            "Your mean is a sum: divide by the number M of all examples.",
            lambda batches: (torch.cat(batches).sum(0), torch.cat(batches).var(0)),
        ),
        Mistake(
            "squares, not divided",
            "Your variance is the sum of squares: divide by M − 1.",
            lambda batches: (
                torch.cat(batches).mean(0),
                torch.cat(batches).var(0, correction=0) * sum(map(len, batches)),
            ),
        ),
        Mistake(
            "mean square",
            "You did not subtract the mean before you squared.",
            lambda batches: (
                torch.cat(batches).mean(0),
                torch.cat(batches).square().sum(0) / (sum(map(len, batches)) - 1),
            ),
        ),
        Mistake(
            "swapped",
            "You returned mean and variance in each other's place.",
            lambda batches: (torch.cat(batches).var(0), torch.cat(batches).mean(0)),
        ),
        Mistake(
            "first batch",
            "You returned the statistics of the first batch alone.",
            lambda batches: (batches[0].mean(0), batches[0].var(0)),
        ),
        Mistake(
            "last batch",
            "You returned the statistics of the last batch alone.",
            lambda batches: (batches[-1].mean(0), batches[-1].var(0)),
        ),
    ),
)

# --- steps_to_forget ----------------------------------------------------------------------------------


def _draw_steps(rng: np.random.Generator, number: int) -> Inputs:
    if number % 4 == 2:  # exactly reached: (1 − α)^t is the fraction, without rounding in any arithmetic
        momentum, steps = [(0.5, 1), (0.5, 2), (0.5, 4), (0.75, 2)][rng.integers(4)]
        return {"momentum": momentum, "fraction": (1 - momentum) ** steps}
    momentum, steps = rng.uniform(0.02, 0.3), int(rng.integers(3, 40))
    return {"momentum": momentum, "fraction": (1 - momentum) ** (steps - rng.uniform(0.3, 0.7))}


def _steps(momentum: float, fraction: float) -> int:
    return math.ceil(math.log(fraction) / math.log(1 - momentum))


STEPS = Check(
    name="steps_to_forget",
    run="steps = steps_to_forget(momentum, fraction)",
    outputs=("steps",),
    exact=frozenset({"steps"}),
    draw=_draw_steps,
    reference=_steps,
    mistakes=(
        Mistake(
            "one too few",
            "One step too few: after your number of steps more than the fraction is left. Round up.",
            lambda momentum, fraction: _steps(momentum, fraction) - 1,
        ),
        Mistake(
            "less than, not at most",
            "At most the fraction may be left: where exactly the fraction is left, the steps are enough.",
            lambda momentum, fraction: math.floor(math.log(fraction) / math.log(1 - momentum)) + 1,
        ),
        Mistake(
            "rounded to the nearest",
            "You rounded to the nearest whole number. Below it more than the fraction is left: round up.",
            lambda momentum, fraction: round(math.log(fraction) / math.log(1 - momentum)),
        ),
        Mistake(
            "rounded down",
            "You rounded down: after that number of steps more than the fraction is left. Round up.",
            lambda momentum, fraction: math.floor(math.log(fraction) / math.log(1 - momentum)),
        ),
        Mistake(
            "negative",
            "Your number is negative. Both logarithms are: their ratio is positive.",
            lambda momentum, fraction: -_steps(momentum, fraction),
        ),
        Mistake(
            "fraction lost",
            "You counted the steps until the fraction is lost. It is to be what is left.",
            lambda momentum, fraction: math.ceil(math.log(1 - fraction) / math.log(1 - momentum)),
        ),
        Mistake(
            "ratio upside down",
            "You divided the wrong way round: t = ln(fraction) / ln(1 − momentum).",
            lambda momentum, fraction: math.ceil(math.log(1 - momentum) / math.log(fraction)),
        ),
        Mistake(
            "one too many",
            "One step too many: the fraction is reached one step earlier.",
            lambda momentum, fraction: _steps(momentum, fraction) + 1,
        ),
        Mistake(
            "momentum reversed",
            "You took momentum as the weight of the old value. After a step 1 − momentum of the start is "
            "left.",
            lambda momentum, fraction: math.ceil(math.log(fraction) / math.log(momentum)),
        ),
        Mistake(
            "not rounded",
            "You returned a fraction of a step. Round up to a whole number.",
            lambda momentum, fraction: math.log(fraction) / math.log(1 - momentum),
        ),
        Mistake(
            "approximation",
            "You used ln(1 − α) ≈ −α. It is close for a small momentum only.",
            lambda momentum, fraction: math.ceil(-math.log(fraction) / momentum),
        ),
    ),
)

# --- from_keras ---------------------------------------------------------------------------------------


def _draw_keras(rng: np.random.Generator, number: int) -> Inputs:
    return {
        "momentum": rng.uniform(0.8, 0.99),
        "moving_variance": rng.uniform(0.3, 3, int(rng.integers(2, 6))),
        "m": int(rng.integers(2, 12)),
    }


def _keras(momentum, moving_variance, m):
    return 1 - momentum, moving_variance * m / (m - 1)


FROM_KERAS = Check(
    name="from_keras",
    run="new_momentum, running_var = from_keras(momentum, moving_variance, m)",
    outputs=("new_momentum", "running_var"),
    draw=_draw_keras,
    reference=_keras,
    mistakes=(
        Mistake(
            "momentum kept",
            "You kept the momentum. Keras's is the weight of the old value, PyTorch's that of the new one.",
            lambda momentum, moving_variance, m: (momentum, moving_variance * m / (m - 1)),
        ),
        Mistake(
            "variance kept",
            "You kept the variance. Keras averages variances that divide by m, PyTorch ones that divide by "
            "m − 1.",
            lambda momentum, moving_variance, m: (1 - momentum, moving_variance),
        ),
        Mistake(
            "factor inverted",
            "The factor is the wrong way round. The biased variance is too small: multiply by m/(m − 1).",
            lambda momentum, moving_variance, m: (1 - momentum, moving_variance * (m - 1) / m),
        ),
        Mistake(
            "factor with m + 1",
            "The factor is m/(m − 1): the variance that divides by m − 1 over the one that divides by m.",
            lambda momentum, moving_variance, m: (1 - momentum, moving_variance * (m + 1) / m),
        ),
        Mistake(
            "variance times m",
            "You multiplied by m alone. The factor is m/(m − 1).",
            lambda momentum, moving_variance, m: (1 - momentum, moving_variance * m),
        ),
        Mistake(
            "divided by m − 1",
            "You divided by m − 1 alone. The factor is m/(m − 1).",
            lambda momentum, moving_variance, m: (1 - momentum, moving_variance / (m - 1)),
        ),
        Mistake(
            "standard deviation",
            "You took a root. running_var is a variance: multiply it by m/(m − 1).",
            lambda momentum, moving_variance, m: (1 - momentum, (moving_variance * m / (m - 1)).sqrt()),
        ),
        Mistake(
            "root of the factor",
            "You multiplied by √(m/(m − 1)), the factor of a deviation. That of a variance is m/(m − 1).",
            lambda momentum, moving_variance, m: (1 - momentum, moving_variance * (m / (m - 1)) ** 0.5),
        ),
        Mistake(
            "averaged with the momentum",
            "You averaged once more. The moving variance is converted as it is: multiply by m/(m − 1).",
            lambda momentum, moving_variance, m: (
                1 - momentum,
                (1 - momentum) * moving_variance * m / (m - 1),
            ),
        ),
        Mistake(
            "inverse of the momentum",
            "You took 1/momentum. Keras's is the weight of the old value, PyTorch's that of the new: 1 − "
            "momentum.",
            lambda momentum, moving_variance, m: (1 / momentum, moving_variance * m / (m - 1)),
        ),
        Mistake(
            "swapped",
            "You returned momentum and variance in each other's place.",
            lambda momentum, moving_variance, m: (moving_variance * m / (m - 1), 1 - momentum),
        ),
        Mistake(
            "both kept",
            "You changed nothing. Keras's momentum is the weight of the old value, and its variance "
            "divides by m.",
            lambda momentum, moving_variance, m: (momentum, moving_variance),
        ),
    ),
)

PROBLEM_SET = ProblemSet("ps04", [LAYER, FOLD, PRECISE, STEPS, FROM_KERAS])
check, hidden_check = VisibleCheck(PROBLEM_SET), HiddenCheck(PROBLEM_SET)
