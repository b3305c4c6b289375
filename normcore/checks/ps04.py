"""PS04, Training and inference: the checks of its tasks."""

import math

import numpy as np
import torch

from normcore import functional as F
from normcore.checks.answers import answer
from normcore.checks.catalogue import ProblemSet
from normcore.checks.check import Check, Inputs
from normcore.checks.forbidden import NORMALIZATIONS
from normcore.checks.mistakes import AVERAGES, BATCH, GAMMA_BETA_SWAPPED, STATISTICS
from normcore.checks.notebook import HiddenCheck, VisibleCheck
from normcore.checks.slips import Slip, slips
from normcore.checks.tell_apart import Implementation, TellApart, wrong_ones
from normcore.statistics import moments

# --- BatchNorm ----------------------------------------------------------------------------------------


def _draw_layer(rng: np.random.Generator, number: int) -> Inputs:
    features = int(rng.integers(2, 6))

    def images(count: int, *size: int) -> np.ndarray:
        values = rng.normal(size=(count, *size, features)) * rng.uniform(0.5, 2, features)
        # positions differ in their means, as in photographs
        shift = 2 * rng.normal(size=features) + rng.normal(size=(*size, features))
        return np.moveaxis(values + shift, -1, 1)

    height, width = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    last = (1, 1, 1) if number % 3 == 0 else (int(rng.integers(1, 4)), height, width)
    return {
        "x1": images(int(rng.integers(2, 5)), height, width),
        "x2": images(int(rng.integers(2, 5)), width, height),
        "x3": images(*last),  # evaluation needs no batch
        "gamma": rng.uniform(0.5, 2, features) * rng.choice([-1, 1], features),
        "beta": rng.normal(size=features),
        "eps": rng.uniform(0.05, 0.5),
        "momentum": rng.uniform(0.1, 0.4),
    }


@answer
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
        n, _, height, width = x.shape
        x = x.movedim(1, -1).flatten(0, 2)  # a row a position
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
        y = gamma * x_hat + beta
        return y.unflatten(0, (n, height, width)).movedim(-1, 1)


BUFFER = "Use self.register_buffer(name, tensor)."
PARAMETERS = (
    "weight and bias are learned, so they must be parameters: torch.nn.Parameter(tensor). A plain tensor is "
    "seen neither by an optimizer nor by state_dict()."
)
BY_AVERAGES = "In training you normalized by the running averages. Use the batch's statistics there."
OF_THE_BATCH = "mean, var = x.mean(0, keepdim=True), x.var(0, correction=0, keepdim=True)"
IMAGES = "images = x.unflatten(0, (n, -1))\n            mean, var = "
ALL_VALUES = "A channel's statistics are over all images and all positions: dimensions 0, 2 and 3."
LAYER_SLIPS = (
    Slip("wrong axis", "x.mean(0, → x.mean(1,; x.var(0, → x.var(1,",
         f"You averaged over the channels (dimension 1). {ALL_VALUES}"),
    Slip("whole table", "x.mean(0, → x.mean((0, 1),; x.var(0, → x.var((0, 1),",
         f"You used one mean and variance for all channels. {ALL_VALUES}"),
    Slip("each image by itself",
         f"{OF_THE_BATCH} → {IMAGES}(v.expand_as(images).flatten(0, 1) for v in "
         "(images.mean(1, keepdim=True), images.var(1, correction=0, keepdim=True)))",
         f"You normalized each image by itself. {ALL_VALUES}"),
    Slip("each position by itself",
         f"{OF_THE_BATCH} → {IMAGES}(v.expand_as(images).flatten(0, 1) for v in "
         "(images.mean(0, keepdim=True), images.var(0, correction=0, keepdim=True)))",
         f"You normalized each position by itself, over the images alone. {ALL_VALUES}"),
    Slip("variance of each image",
         f"{OF_THE_BATCH} → mean = x.mean(0, keepdim=True)\n"
         "            var = x.unflatten(0, (n, -1)).var(1, correction=0).mean(0, keepdim=True)",
         f"Your variance is the images' mean variance; how their means differ is lost. {ALL_VALUES}"),
    Slip("variance of each position",
         f"{OF_THE_BATCH} → mean = x.mean(0, keepdim=True)\n"
         "            var = x.unflatten(0, (n, -1)).var(0, correction=0).mean(0, keepdim=True)",
         f"Your variance is the positions' mean variance; how their means differ is lost. {ALL_VALUES}"),
    Slip("corrected by the number of images",
         "momentum * x.var(0) → momentum * x.var(0, correction=0) * n / (n - 1)",
         "You corrected the running variance by N/(N − 1). The variance is of m = N·H·W values: m/(m − 1)."),
    Slip("both variances swapped", "correction=0 → correction=1; x.var(0) → x.var(0, correction=0)",
         "You have the two variances the wrong way round: the batch is normalized by the one that divides "
         "by m, and the one that divides by m − 1 is stored."),
    Slip("graph kept",
         "with torch.no_grad(): → if True:; "
         "self.running_mean.data, self.running_var.data = → self.running_mean, self.running_var =",
         "Your running averages keep the graph of every batch: memory grows with each step. Update them "
         "under torch.no_grad(), or from detached statistics."),
    Slip("last batch's graph kept",
         "with torch.no_grad(): → if True:; "
         "= self.running_mean, self.running_var\n → "
         "= self.running_mean.detach(), self.running_var.detach()\n; "
         "self.running_mean.data, self.running_var.data = → self.running_mean, self.running_var =",
         "Your running averages keep the graph of every batch: memory grows with each step. Update them "
         "under torch.no_grad(), or from detached statistics."),
    Slip("averages are parameters",
         'self.register_buffer("running_mean", torch.zeros(features)) → '
         "self.running_mean = torch.nn.Parameter(torch.zeros(features)); "
         'self.register_buffer("running_var", torch.ones(features)) → '
         "self.running_var = torch.nn.Parameter(torch.ones(features))",
         f"Your running averages are parameters, so an optimizer would move them. {BUFFER}"),
    Slip("averages are parameters without gradient",
         'self.register_buffer("running_mean", torch.zeros(features)) → '
         "self.running_mean = torch.nn.Parameter(torch.zeros(features), requires_grad=False); "
         'self.register_buffer("running_var", torch.ones(features)) → '
         "self.running_var = torch.nn.Parameter(torch.ones(features), requires_grad=False)",
         "Your running averages are parameters, though without a gradient: they count as the model's "
         f"parameters, and weight decay or a new requires_grad_() would move them. {BUFFER}"),
    Slip("averages are not saved",
         'self.register_buffer("running_mean", torch.zeros(features)) → '
         "self.running_mean = torch.zeros(features); "
         'self.register_buffer("running_var", torch.ones(features)) → '
         "self.running_var = torch.ones(features)",
         "Your running averages are plain attributes: they are missing from state_dict(), so a saved "
         f"model loses them. {BUFFER}"),
    Slip("weight and bias are no parameters", "torch.nn.Parameter → torch.Tensor.clone", PARAMETERS),
    Slip("weight is no parameter", "torch.nn.Parameter(torch.ones → (torch.ones", PARAMETERS),
    Slip("bias is no parameter", "torch.nn.Parameter(torch.zeros → (torch.zeros", PARAMETERS),
    Slip("no graph", "    def forward → \n    @torch.no_grad()\n    def forward",
         "No gradient comes out of your layer: nothing before it can learn. torch.no_grad() belongs around "
         "the update of the averages alone."),
    Slip("input detached", "if self.training:\n → x = x.detach()\n        if self.training:\n",
         "You cut x off from the graph (.data, detach()): no gradient reaches what lies before the layer."),
    Slip("weight and bias detached",
         "= self.weight, self.bias, → = self.weight.detach(), self.bias.detach(),",
         "You cut weight and bias off from the graph (.data, detach()): they would never learn."),
    Slip("averages move in evaluation",
         "if self.training:\n            mean, var = x.mean( → if True:\n            mean, var = x.mean(; "
         "        else:\n → \n        if not self.training:\n",
         "Your running averages move in evaluation, too. Update them only if self.training."),
    Slip("training in evaluation", "if self.training: → if True:",
         "Your layer does the same in evaluation as in training. If self.training is False, normalize by "
         "the running averages, and leave them as they are."),
    Slip("batch in evaluation",
         "mean, var = self.running_mean, self.running_var → mean, var = x.mean(0), x.var(0, correction=0)",
         "In evaluation you normalized by the batch's statistics. Use the running averages there."),
    Slip("running mean alone in evaluation",
         "mean, var = self.running_mean, self.running_var → "
         "mean, var = self.running_mean, x.var(0, correction=0)",
         "In evaluation you used the running mean, but the batch's variance. Use running_var there."),
    Slip("running variance alone in evaluation",
         "mean, var = self.running_mean, self.running_var → mean, var = x.mean(0), self.running_var",
         "In evaluation you used the running variance, but the batch's mean. Use running_mean there."),
    Slip("running variance ignored in evaluation",
         "mean, var = self.running_mean, self.running_var → "
         "mean, var = self.running_mean, torch.ones_like(self.running_var) - eps",
         "In evaluation you did not divide by √(running_var + ε)."),
    Slip("evaluation not scaled by eps",
         "mean, var = self.running_mean, self.running_var → "
         "mean, var = self.running_mean, self.running_var - eps",
         "In evaluation you left eps out, or put a number of your own in its place. It is added to "
         "running_var, under the root, as in training."),
    Slip("deviation plus eps in evaluation",
         "mean, var = self.running_mean, self.running_var → "
         "mean, var = self.running_mean, (self.running_var.sqrt() + eps) ** 2 - eps",
         "In evaluation you added eps to the standard deviation. It belongs under the root, as in training."),
    Slip("evaluation without the affine step",
         "self.running_mean, self.running_var\n        x_hat → "
         "self.running_mean, self.running_var\n            gamma, beta = 1.0, 0.0\n        x_hat",
         "In evaluation you returned x̂. weight and bias act there, too."),
    Slip("training and evaluation swapped", "if self.training: → if not self.training:",
         "You have training and evaluation the wrong way round: self.training is True in training."),
    Slip("old averages in training",
         "x_hat = → "
         "mean, var = (running_mean, running_var) if self.training else (mean, var)\n        x_hat =",
         BY_AVERAGES),
    Slip("averages in training", "x_hat = → mean, var = self.running_mean, self.running_var\n        x_hat =",
         BY_AVERAGES),
    Slip("variance starts at 0",
         'register_buffer("running_var", torch.ones( → register_buffer("running_var", torch.zeros(',
         "Your running variance starts at 0. It starts at 1, the running mean at 0."),
    Slip("mean starts at 1",
         'register_buffer("running_mean", torch.zeros( → register_buffer("running_mean", torch.ones(',
         "Your running mean starts at 1. It starts at 0, the running variance at 1."),
    Slip("bias starts at 1", "Parameter(torch.zeros( → Parameter(torch.ones(",
         "Your bias starts at 1. It starts at 0, the weight at 1."),
)  # fmt: skip
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
    reference=lambda features, eps, momentum: torch.nn.BatchNorm2d(features, eps, momentum),
    forbidden=NORMALIZATIONS,
    equivalent={
        "self.running_var.mul_(1 - a).add_(a * x.var((0, 2, 3), correction=1)) → "
        "self.running_var.mul_(1 - a).add_(a * x.var((0, 2, 3)))": "torch's default is correction=1",
    },
    mistakes=slips(_BatchNorm, LAYER_SLIPS, (*AVERAGES, *BATCH)),
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


@answer
def _fold(weight, bias, gamma, beta, running_mean, running_var, eps):
    mean, var = running_mean, running_var
    gain = gamma / (var + eps).sqrt()
    rows = gain.view(-1, *[1] * (weight.dim() - 1))
    return weight * rows, (bias - mean) * gain + beta


def _fold_reference(weight, bias, gamma, beta, running_mean, running_var, eps):
    """Batch norm in evaluation of what the layer makes of 0, its bias, and of unit inputs, its columns."""
    zero = torch.zeros_like(beta)
    columns = F.batch_norm(weight.flatten(1).mT, zero, running_var, gamma, zero, False, eps=eps)
    new_bias = F.batch_norm(bias[None], running_mean, running_var, gamma, beta, False, eps=eps)
    return columns.mT.reshape(weight.shape), new_bias[0]


WHOLE = "b′ = γ (b − μ)/√(v + ε) + β."
FOLD_SLIPS = (
    Slip("bias not scaled", "(bias - mean) * gain → bias - mean * gain",
         f"You did not scale the bias. It passes through batch norm as W x does: {WHOLE}"),
    Slip("bias dropped", "(bias - mean) * gain → -mean * gain", f"You dropped the layer's own bias: {WHOLE}"),
    Slip("mean forgotten", "(bias - mean) → bias", f"You forgot to subtract the running mean: {WHOLE}"),
    Slip("beta forgotten", "* gain + beta → * gain", f"You forgot β in the bias: {WHOLE}"),
    Slip("sign of the mean", "bias - mean → bias + mean",
         f"You added the running mean. Batch norm subtracts it: {WHOLE}"),
    Slip("beta scaled", "(bias - mean) * gain + beta → (bias - mean + beta) * gain",
         f"You scaled β. It is added after the scaling: {WHOLE}"),
    Slip("bias unchanged", "(bias - mean) * gain + beta → bias",
         f"You kept the bias. It passes through batch norm: {WHOLE}"),
    Slip("mean not scaled", "(bias - mean) * gain → bias * gain - mean",
         f"You subtracted the running mean after the scaling. It goes with the bias: {WHOLE}"),
    Slip("neither scaled", "(bias - mean) * gain → bias - mean", f"You did not scale the bias: {WHOLE}"),
    Slip("beta alone", "(bias - mean) * gain + beta → beta",
         f"Your bias is β. The layer's own bias and the running mean belong in it: {WHOLE}"),
    Slip("bias added twice", "(bias - mean) * gain → bias + (bias - mean) * gain",
         f"You added the layer's bias once more: {WHOLE}"),
    Slip("weight unchanged", "weight * rows → weight",
         "You did not scale the weight: row c is multiplied by γ_c/√(v_c + ε)."),
    Slip("multiplied by the deviation", "gamma / (var → gamma * (var",
         "You multiplied by √(v + ε). Batch norm divides: the factor is γ/√(v + ε)."),
    Slip("not scaled", "gamma / (var + eps).sqrt() → gamma",
         "You left the division out: the factor is γ/√(v + ε), not γ."),
    Slip("input channels scaled",
         "gain.view(-1, *[1] * (weight.dim() - 1)) → gain.view(1, -1, *[1] * (weight.dim() - 2))",
         "You scaled dimension 1 of the weight, the input channels. Batch norm scales outputs: dimension 0."),
    Slip("gamma left out", "gamma / → 1 /", "You left γ out: the factor is γ/√(v + ε)."),
    GAMMA_BETA_SWAPPED.at("gamma / → beta /; gain + beta → gain + gamma"),
)  # fmt: skip
FOLD = Check(
    name="fold",
    run="new_weight, new_bias = fold(weight, bias, gamma, beta, running_mean, running_var, eps)",
    outputs=("new_weight", "new_bias"),
    draw=_draw_fold,
    reference=_fold_reference,
    forbidden=NORMALIZATIONS,
    mistakes=slips(_fold, FOLD_SLIPS, STATISTICS),
)

# --- precise_statistics -------------------------------------------------------------------------------


def _draw_precise(rng: np.random.Generator, number: int) -> Inputs:
    features = int(rng.integers(2, 5))
    sizes = [int(n) for n in rng.integers(2, 8, int(rng.integers(2, 5)))]
    sizes[0] += 6  # never all alike
    batches = [rng.normal(size=(n, features)) + 2 * rng.normal(size=features) for n in sizes]
    return {"x": np.concatenate(batches), "sizes": sizes}


@answer
def _precise_statistics(batches):
    x = torch.cat(batches)
    mean = x.mean(0)
    var = x.var(0)
    return mean, var


def _precise_reference(batches):
    x = torch.cat(batches)
    mean, var = moments(x, 0)
    return mean, var * len(x) / (len(x) - 1)


def _means(batches):
    return torch.stack([b.mean(0) for b in batches])


def _variances(batches, correction=1):
    return torch.stack([b.var(0, correction=correction) for b in batches])


AVERAGED = (
    "Your variance is the average of the batches' variances. It weighs a small batch like a large one, and "
    "misses how far the batches' means lie apart."
)
PRECISE_SLIPS = (
    Slip("biased", "x.var(0) → x.var(0, correction=0)",
         "You divided by the number of examples. In evaluation an estimate of the data's variance is "
         "wanted: divide by M − 1."),
    Slip("averages of averages",
         "= x.mean(0) → = _means(batches).mean(0); = x.var(0) → = _variances(batches).mean(0)",
         "You averaged the batches' means and variances. That weighs a small batch like a large one, and "
         "misses how far the batches' means lie apart."),
    Slip("averages of biased averages",
         "= x.mean(0) → = _means(batches).mean(0); = x.var(0) → = _variances(batches, 0).mean(0)",
         "You averaged the batches' means and (biased) variances. That weighs a small batch like a large "
         "one, and misses how far the batches' means lie apart."),
    Slip("unweighted mean", "= x.mean(0) → = _means(batches).mean(0)",
         "Your mean is the average of the batches' means. Weigh each by the size of its batch."),
    Slip("between batches left out",
         "= x.var(0) → = torch.cat([b - b.mean(0) for b in batches]).square().mean(0)",
         "Your variance is the average of the batches' variances. It misses how far the batches' means lie "
         "apart: add the squares of (mean of the batch − mean)."),
    Slip("between batches left out, M − 1",
         "= x.var(0) → = torch.cat([b - b.mean(0) for b in batches]).square().sum(0) / (len(x) - 1)",
         "Your variance is that within the batches alone. It misses how far the batches' means lie apart: "
         "add the squares of (mean of the batch − mean), once for each example."),
    Slip("deviation", "x.var(0) → x.std(0)",
         "You returned the standard deviation. Batch norm stores the variance."),
    Slip("biased within and between",
         "= x.var(0) → = (x - x.mean(0)).square().sum(0) / (len(x) - len(batches))",
         "Your variance divides by the wrong number: M − 1, once, over all examples of all batches."),
    Slip("averaged variances", "= x.var(0) → = _variances(batches).mean(0)", AVERAGED),
    Slip("averaged biased variances", "= x.var(0) → = _variances(batches, 0).mean(0)", AVERAGED),
    Slip("variance of the means", "= x.var(0) → = _means(batches).var(0)",
         "Your variance is that of the batches' means. It misses the spread within each batch."),
    Slip("over everything", "x.mean(0) → x.mean(); x.var(0) → x.var()",
         "You took one mean and variance over all features. Each feature has its own: dimension 0."),
    Slip("sum, not divided", "x.mean(0) → x.sum(0)",
         "Your mean is a sum: divide by the number M of all examples."),
    Slip("squares, not divided", "= x.var(0) → = (x - x.mean(0)).square().sum(0)",
         "Your variance is the sum of squares: divide by M − 1."),
    Slip("mean square", "= x.var(0) → = x.square().sum(0) / (len(x) - 1)",
         "You did not subtract the mean before you squared."),
    Slip("swapped", "return mean, var → return var, mean",
         "You returned mean and variance in each other's place."),
    Slip("first batch", "torch.cat(batches) → batches[0]",
         "You returned the statistics of the first batch alone."),
    Slip("over the number of batches", "x.mean(0) → x.sum(0) / len(batches)",
         "You divided the sum of all examples by the number of batches. Divide by that of the examples."),
    Slip("last batch", "torch.cat(batches) → batches[-1]",
         "You returned the statistics of the last batch alone."),
)  # fmt: skip
PRECISE = Check(
    name="precise_statistics",
    run="mean, var = precise_statistics(x.split(sizes))",
    outputs=("mean", "var"),
    draw=_draw_precise,
    reference=_precise_reference,
    forbidden=NORMALIZATIONS,
    mistakes=slips(_precise_statistics, PRECISE_SLIPS),
)

# --- steps_to_forget ----------------------------------------------------------------------------------


def _draw_steps(rng: np.random.Generator, number: int) -> Inputs:
    kind = number % 4
    if kind == 2:  # exactly reached: (1 − α)^t is the fraction, without rounding in any arithmetic
        momentum, steps = [(0.5, 1), (0.5, 2), (0.5, 4), (0.75, 2)][rng.integers(4)]
        return {"momentum": momentum, "fraction": (1 - momentum) ** steps}
    # of kind 0 most is left, and far more steps would be needed until that is lost
    momentum = rng.uniform(0.02, 0.3 if kind else 0.05)
    steps = int(rng.integers(3, 40 if kind else 9))
    # the nearest whole number is below in kind 1, above in kind 3
    over = rng.uniform(*[(0.3, 0.7), (0.55, 0.7), (), (0.3, 0.45)][kind])
    return {"momentum": momentum, "fraction": (1 - momentum) ** (steps - over)}


@answer
def _steps_to_forget(momentum, fraction):
    steps = math.log(fraction) / math.log(1 - momentum)
    return math.ceil(steps)


@answer
def _steps_reference(momentum, fraction):
    steps, left = 0, 1.0
    while left > fraction:
        steps, left = steps + 1, left * (1 - momentum)
    return steps


STEPS_SLIPS = (
    Slip("one too few", "math.ceil(steps) → math.ceil(steps) - 1",
         "One step too few: after your number of steps more than the fraction is left. Round up."),
    Slip("less than, not at most", "math.ceil(steps) → math.floor(steps) + 1",
         "At most the fraction may be left: where exactly the fraction is left, the steps are enough."),
    Slip("rounded to the nearest", "math.ceil(steps) → round(steps)",
         "You rounded to the nearest whole number. Below it more than the fraction is left: round up."),
    Slip("rounded down", "math.ceil(steps) → math.floor(steps)",
         "You rounded down: after that number of steps more than the fraction is left. Round up."),
    Slip("negative", "math.ceil(steps) → -math.ceil(steps)",
         "Your number is negative. Both logarithms are: their ratio is positive."),
    Slip("fraction lost", "log(fraction) → log(1 - fraction)",
         "You counted the steps until the fraction is lost. It is to be what is left."),
    Slip("ratio upside down",
         "math.log(fraction) / math.log(1 - momentum) → math.log(1 - momentum) / math.log(fraction)",
         "You divided the wrong way round: t = ln(fraction) / ln(1 − momentum)."),
    Slip("one too many", "math.ceil(steps) → math.ceil(steps) + 1",
         "One step too many: the fraction is reached one step earlier."),
    Slip("momentum reversed", "log(1 - momentum) → log(momentum)",
         "You took momentum as the weight of the old value. After a step 1 − momentum of the start is left."),
    Slip("not rounded", "math.ceil(steps) → steps",
         "You returned a fraction of a step. Round up to a whole number."),
    Slip("approximation", "math.log(1 - momentum) → -momentum",
         "You used ln(1 − α) ≈ −α. It is close for a small momentum only."),
)  # fmt: skip
STEPS = Check(
    name="steps_to_forget",
    run="steps = steps_to_forget(momentum, fraction)",
    outputs=("steps",),
    exact=frozenset({"steps"}),
    draw=_draw_steps,
    reference=_steps_reference,
    mistakes=slips(_steps_to_forget, STEPS_SLIPS),
)

# --- from_keras ---------------------------------------------------------------------------------------


def _draw_keras(rng: np.random.Generator, number: int) -> Inputs:
    return {
        "momentum": rng.uniform(0.3, 0.99),
        "moving_variance": rng.uniform(0.3, 3, int(rng.integers(2, 6))),
        "m": int(rng.integers(2, 12)),
    }


@answer
def _from_keras(momentum, moving_variance, m):
    factor = m / (m - 1)
    return 1 - momentum, moving_variance * factor


@answer
def _keras_reference(momentum, moving_variance, m):
    return 1 - momentum, moving_variance / (1 - 1 / m)


KERAS_SLIPS = (
    Slip("momentum kept", "1 - momentum → momentum",
         "You kept the momentum. Keras's is the weight of the old value, PyTorch's that of the new one."),
    Slip("variance kept", "moving_variance * factor → moving_variance",
         "You kept the variance. Keras averages variances that divide by m, PyTorch ones that divide by m "
         "− 1."),
    Slip("factor inverted", "m / (m - 1) → (m - 1) / m",
         "The factor is the wrong way round. The biased variance is too small: multiply by m/(m − 1)."),
    Slip("factor with m + 1", "m / (m - 1) → (m + 1) / m",
         "The factor is m/(m − 1): the variance that divides by m − 1 over the one that divides by m."),
    Slip("over m + 1", "m / (m - 1) → m / (m + 1)",
         "The factor is m/(m − 1): the variance that divides by m − 1 over the one that divides by m."),
    Slip("variance times m", "m / (m - 1) → m", "You multiplied by m alone. The factor is m/(m − 1)."),
    Slip("divided by m − 1", "m / (m - 1) → 1 / (m - 1)",
         "You divided by m − 1 alone. The factor is m/(m − 1)."),
    Slip("standard deviation", "moving_variance * factor → (moving_variance * factor).sqrt()",
         "You took a root. running_var is a variance: multiply it by m/(m − 1)."),
    Slip("root of the factor", "* factor → * factor**0.5",
         "You multiplied by √(m/(m − 1)), the factor of a deviation. That of a variance is m/(m − 1)."),
    Slip("averaged with the momentum", "moving_variance * factor → (1 - momentum) * moving_variance * factor",
         "You averaged once more. The moving variance is converted as it is: multiply by m/(m − 1)."),
    Slip("inverse of the momentum", "1 - momentum → 1 / momentum",
         "You took 1/momentum. Keras's is the weight of the old value, PyTorch's that of the new: 1 − "
         "momentum."),
    Slip("swapped", "1 - momentum, moving_variance * factor → moving_variance * factor, 1 - momentum",
         "You returned momentum and variance in each other's place."),
    Slip("both kept", "1 - momentum, moving_variance * factor → momentum, moving_variance",
         "You changed nothing. Keras's momentum is the weight of the old value, and its variance divides "
         "by m."),
)  # fmt: skip
FROM_KERAS = Check(
    name="from_keras",
    run="new_momentum, running_var = from_keras(momentum, moving_variance, m)",
    outputs=("new_momentum", "running_var"),
    draw=_draw_keras,
    reference=_keras_reference,
    mistakes=slips(_from_keras, KERAS_SLIPS),
)

# --- is_keras_layer -----------------------------------------------------------------------------------


@answer
def _keras_layer(x, gamma, beta, running_mean, running_var, momentum, eps, training):
    mean, var = x.mean(0), x.var(0, correction=0)
    if training:
        new_mean = momentum * running_mean + (1 - momentum) * mean
        new_var = momentum * running_var + (1 - momentum) * var
    else:
        mean, var = running_mean, running_var
        new_mean, new_var = running_mean, running_var
    return gamma * (x - mean) / (var + eps).sqrt() + beta, new_mean, new_var


@answer
def _keras_layer_by_steps(x, gamma, beta, running_mean, running_var, momentum, eps, training):
    mean, var = running_mean, running_var
    if training:
        mean, square = x.mean(0), x.square().mean(0)
        var = square - mean * mean
        running_mean = running_mean - (1 - momentum) * (running_mean - mean)
        running_var = running_var - (1 - momentum) * (running_var - var)
    scale = gamma * (var + eps).rsqrt()
    return x * scale + (beta - mean * scale), running_mean, running_var


def _keras_layer_by_torchs(x, gamma, beta, running_mean, running_var, momentum, eps, training):
    """PyTorch's, whose momentum is the other's complement and whose stored variance divides by N − 1."""
    m, mean, var = len(x), running_mean.clone(), running_var.clone()
    y = torch.nn.functional.batch_norm(x, mean, var, gamma, beta, training, 1 - momentum, eps)
    if training:
        var = momentum * running_var + (var - momentum * running_var) * (m - 1) / m
    return y, mean, var


MODES = "Try it with training=True and with training=False."
FAR = "With momentum = 0.5 old and new weigh the same: take 0.9."
FEW = "In a batch of 1000 that makes next to no difference; in one of 4 it does."
STATE = "Look at all three that it returns."
OTHER = "Give it running averages that are not those of x."
LARGE_EPS = "Take an eps that is large enough to be seen, such as 0.5."
WRONG_LAYERS = {
    "momentum reversed": ("takes momentum for the weight of the new value, as PyTorch does", FAR),
    "momentum reversed for the variance": ("takes momentum the wrong way round in the variance", FAR),
    "unbiased running variance": ("stores the variance that divides by N − 1, as PyTorch does", FEW),
    "unbiased variance": ("normalizes by the variance that divides by N − 1", FEW),
    "deviation stored": ("averages the deviation in place of the variance", STATE),
    "averages do not move": ("never moves its averages", STATE),
    "variance does not move": ("never moves its running variance", STATE),
    "averages move in evaluation": ("moves its averages in evaluation, too", f"{MODES} {STATE}"),
    "batch in evaluation": ("normalizes by the batch in evaluation", MODES),
    "batch's variance in evaluation": ("divides by the batch's deviation in evaluation", MODES),
    "averages in training": ("normalizes by its averages in training", OTHER),
    "new averages in training": ("normalizes by its new averages in training", OTHER),
    "modes swapped": ("has training and evaluation the wrong way round", MODES),
    "eps stored": ("stores the variance with eps", LARGE_EPS),
    "eps left out": ("leaves eps out", LARGE_EPS),
}
KERAS_SLIPS = (
    Slip("momentum reversed",
         "momentum * running_ → old * running_; (1 - momentum) → momentum; old * → (1 - momentum) *", ""),
    Slip("momentum reversed for the variance",
         "momentum * running_var + (1 - momentum) * var → (1 - momentum) * running_var + momentum * var", ""),
    Slip("unbiased running variance", "(1 - momentum) * var → (1 - momentum) * x.var(0)", ""),
    Slip("unbiased variance",
         "(1 - momentum) * var\n → (1 - momentum) * var\n        var = x.var(0)\n", ""),
    Slip("deviation stored", "(1 - momentum) * var → (1 - momentum) * var.sqrt()", ""),
    Slip("averages do not move",
         "momentum * running_mean + (1 - momentum) * mean → running_mean; "
         "momentum * running_var + (1 - momentum) * var → running_var", ""),
    Slip("variance does not move", "momentum * running_var + (1 - momentum) * var → running_var", ""),
    Slip("averages move in evaluation",
         "new_mean, new_var = running_mean, running_var → "
         "new_mean = momentum * running_mean + (1 - momentum) * x.mean(0)\n        "
         "new_var = momentum * running_var + (1 - momentum) * x.var(0, correction=0)", ""),
    Slip("batch in evaluation", "mean, var = running_mean, running_var\n        new → new", ""),
    Slip("batch's variance in evaluation",
         "mean, var = running_mean, running_var\n        new → mean = running_mean\n        new", ""),
    Slip("averages in training",
         "return gamma → mean, var = running_mean, running_var\n    return gamma", ""),
    Slip("new averages in training", "return gamma → mean, var = new_mean, new_var\n    return gamma", ""),
    Slip("modes swapped", "if training: → if not training:", ""),
    Slip("eps stored", "(1 - momentum) * var → (1 - momentum) * (var + eps)", ""),
    Slip("eps left out", "(var + eps) → (var)", ""),
)  # fmt: skip
ROOM = "Allow for rounding."
KERAS_RIGHT = (
    Implementation("is written as the formulas", _keras_layer, True),
    Implementation(
        "moves its averages a step towards the batch", _keras_layer_by_steps, True, "Allow for rounding."
    ),
    Implementation("is PyTorch's, converted", _keras_layer_by_torchs, True, "Allow for rounding."),
)


@answer
def _is_keras_layer(candidate):
    x = torch.arange(8.0).double().mul(7).sin().reshape(4, 2) * torch.tensor([3.0, 0.5]) + 2
    gamma, beta = torch.tensor([2.0, -0.5]).double(), torch.tensor([1.0, -3.0]).double()
    running_mean, running_var = torch.tensor([0.3, -0.2]).double(), torch.tensor([2.0, 0.7]).double()
    momentum, eps = 0.9, 0.5
    told = []
    for training in (True, False):
        returned = candidate(x, gamma, beta, running_mean, running_var, momentum, eps, training)
        mean, var, new_mean, new_var = running_mean, running_var, running_mean, running_var
        if training:
            mean, var = x.mean(0), x.var(0, correction=0)
            new_mean = momentum * running_mean + (1 - momentum) * mean
            new_var = momentum * running_var + (1 - momentum) * var
        y = gamma * (x - mean) / (var + eps).sqrt() + beta
        expected = (y, new_mean, new_var)
        told += [torch.allclose(a, b) for a, b in zip(returned, expected, strict=False)]
    return all(told)


IS_KERAS_SLIPS = (
    Slip("training alone", "(True, False) → (True,)",
         "Your test looks at training alone. In evaluation the layer is another one."),
    Slip("evaluation alone", "(True, False) → (False,)",
         "Your test looks at evaluation alone. In training the layer is another one."),
    Slip("momentum of a half", "momentum, eps = 0.9, → momentum, eps = 0.5,",
         "With the momentum of your test old and new weigh the same, so nobody can get it the wrong way "
         "round."),
    Slip("output alone", "zip(returned, expected → zip(returned[:1], expected[:1]",
         "Your test looks at y alone. The averages go into every later evaluation."),
    Slip("averages alone", "zip(returned, expected → zip(returned[1:], expected[1:]",
         "Your test looks at the averages alone, and not at y."),
    Slip("running variance unseen", "zip(returned, expected → zip(returned[:2], expected[:2]",
         "Your test does not look at the running variance."),
    Slip("small eps", "momentum, eps = 0.9, 0.5 → momentum, eps = 0.9, 1e-12",
         "The eps of your test is so small that nobody sees what is done with it. Take a larger one."),
    Slip("large batch",
         "8.0 → 1000.0; (4, 2) → (500, 2); torch.allclose(a, b) → torch.allclose(a, b, 0.01, 0.01)",
         "Your batch is so large, and your tolerance so wide, that N and N − 1 are the same to it. A few "
         "examples will do."),
    Slip("no room for rounding", "torch.allclose(a, b) → torch.equal(a, b)",
         "Your test asks for the very same bits. Right implementations compute in different orders: allow "
         "for rounding, as torch.allclose does."),
    Slip("accepts everything", "return all(told) → return True",
         "Your test accepts whatever it is given. Compare what it returns with what the formulas give."),
    Slip("refuses everything", "return all(told) → return False",
         "Your test refuses whatever it is given, right ones, too. Is momentum the weight of the old value, "
         "and does the stored variance divide by N? Is there room for rounding?"),
    Slip("PyTorch's momentum",
         "momentum * running_ → old * running_; (1 - momentum) → momentum; old * → (1 - momentum) *",
         "Your test expects PyTorch's momentum, the weight of the new value. Keras's is that of the old "
         "one."),
    Slip("the wrong way round", "return all → return not all",
         "Your test returns True for the wrong ones. True means: this is Keras's layer."),
)  # fmt: skip
IS_KERAS_LAYER = TellApart(
    name="is_keras_layer",
    argument="candidate",
    parameters={
        **dict.fromkeys(("x",), ("N", "C")),
        **dict.fromkeys(("gamma", "beta", "running_mean", "running_var"), ("C",)),
        **dict.fromkeys(("momentum", "eps"), ()),
        "training": None,
    },
    implementations=(*KERAS_RIGHT, *wrong_ones(slips(_keras_layer, KERAS_SLIPS), WRONG_LAYERS)),
    forbidden=NORMALIZATIONS,
    mistakes=slips(_is_keras_layer, IS_KERAS_SLIPS),
)

PROBLEM_SET = ProblemSet("ps04", [LAYER, FOLD, PRECISE, STEPS, FROM_KERAS, IS_KERAS_LAYER])
check, hidden_check = VisibleCheck(PROBLEM_SET), HiddenCheck(PROBLEM_SET)
