"""PS04, Training and inference: the checks of its tasks."""

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from normcore.checks.catalogue import ProblemSet
from normcore.checks.check import Check, Inputs, Mistake
from normcore.checks.forbidden import NORMALIZATIONS
from normcore.checks.notebook import HiddenCheck, VisibleCheck

# --- BatchNorm ----------------------------------------------------------------------------------------


def _draw_layer(rng: np.random.Generator, number: int) -> Inputs:
    features = int(rng.integers(2, 6))

    def batch(m: int) -> np.ndarray:
        return rng.normal(size=(m, features)) * rng.uniform(0.5, 2, features) + 2 * rng.normal(size=features)

    return {
        "x1": batch(int(rng.integers(3, 9))),
        "x2": batch(int(rng.integers(3, 9))),
        "x3": batch(int(rng.integers(2, 5))),
        "gamma": rng.uniform(0.5, 2, features) * rng.choice([-1, 1], features),
        "beta": rng.normal(size=features),
        "eps": rng.uniform(0.05, 0.5),
        "momentum": rng.uniform(0.1, 0.4),
    }


class _Layer(torch.nn.Module):
    """Batch norm with one thing wrong."""

    def __init__(
        self,
        features: int,
        eps: float,
        momentum: float,
        *,
        correction: int = 0,
        stored_correction: int = 1,
        stored_std: bool = False,
        reverse: bool = False,
        keeps_graph: bool = False,
        kept_as: str = "buffer",
        moves_in_eval: bool = False,
        uses: str = "right",
        first_var: float = 1.0,
        outside: bool = False,
        affine: bool = True,
    ) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(features))
        self.bias = torch.nn.Parameter(torch.zeros(features))
        start = {"running_mean": torch.zeros(features), "running_var": torch.full((features,), first_var)}
        for name, value in start.items():
            if kept_as == "buffer":
                self.register_buffer(name, value)
            else:
                setattr(self, name, torch.nn.Parameter(value) if kept_as == "parameter" else value)
        self.eps, self.momentum = eps, 1 - momentum if reverse else momentum
        self.correction, self.stored_correction, self.stored_std = correction, stored_correction, stored_std
        self.keeps_graph, self.moves_in_eval, self.uses = keeps_graph, moves_in_eval, uses
        self.outside, self.affine = outside, affine

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.moves_in_eval:
            with torch.set_grad_enabled(self.keeps_graph):
                mean, var = x.mean(0), x.var(0, correction=self.stored_correction)
                for name, new in (
                    ("running_mean", mean),
                    ("running_var", var.sqrt() if self.stored_std else var),
                ):
                    moved = (1 - self.momentum) * getattr(self, name) + self.momentum * new
                    if self.keeps_graph:
                        setattr(self, name, moved)
                    else:
                        getattr(self, name).data = moved
        of_batch = {"right": self.training, "batch": True, "running": False}[self.uses]
        mean = x.mean(0) if of_batch else self.running_mean
        var = x.var(0, correction=self.correction) if of_batch else self.running_var
        y = (x - mean) / (var.sqrt() + self.eps if self.outside else torch.sqrt(var + self.eps))
        return y * self.weight + self.bias if self.affine else y


LAYER = Check(
    name="BatchNorm",
    run="""
layer = BatchNorm(len(gamma), eps, momentum).to(gamma.dtype)
first_weight, first_bias = layer.weight, layer.bias
layer.weight, layer.bias = torch.nn.Parameter(gamma), torch.nn.Parameter(beta)
y1, y2 = layer(x1.clone().requires_grad_()), layer(x2)
layer.eval()
y3 = layer(x3)
running_mean, running_var = layer.running_mean, layer.running_var
keeps_graph = running_mean.grad_fn is not None or running_var.grad_fn is not None
learned = len([p for p in layer.parameters() if p.requires_grad])
saved = {"weight", "bias", "running_mean", "running_var"} <= set(layer.state_dict())
""",
    outputs=(
        "first_weight",
        "first_bias",
        "y1",
        "y2",
        "y3",
        "running_mean",
        "running_var",
        "keeps_graph",
        "learned",
        "saved",
    ),
    draw=_draw_layer,
    reference=lambda features, eps, momentum: torch.nn.BatchNorm1d(features, eps, momentum),
    forbidden=NORMALIZATIONS,
    equivalent={
        "self.running_var.mul_(1 - a).add_(a * x.var(0, correction=1)) → "
        "self.running_var.mul_(1 - a).add_(a * x.var(0))": "torch's default is correction=1",
    },
    mistakes=(
        Mistake(
            "unbiased variance",
            "You normalized the batch by the variance that divides by m − 1. The batch is normalized by σ², "
            "which divides by m; m − 1 is for the running variance.",
            partial(_Layer, correction=1),
        ),
        Mistake(
            "biased running variance",
            "You stored the variance that divides by m. The running variance estimates that of the data: it "
            "stores m/(m − 1)·σ².",
            partial(_Layer, stored_correction=0),
        ),
        Mistake(
            "both variances swapped",
            "You have the two variances the wrong way round: the batch is normalized by the one that "
            "divides by "
            "m, and the one that divides by m − 1 is stored.",
            partial(_Layer, correction=1, stored_correction=0),
        ),
        Mistake(
            "standard deviation stored",
            "You averaged the standard deviation into running_var. Average variances; the root is taken when "
            "they are used.",
            partial(_Layer, stored_std=True),
        ),
        Mistake(
            "momentum reversed",
            "You used momentum as the weight of the old value. Here, as in PyTorch, it is that of the new "
            "one.",
            partial(_Layer, reverse=True),
        ),
        Mistake(
            "graph kept",
            "Your running averages keep the graph of every batch: memory grows with each step. Update them "
            "under torch.no_grad(), or from detached statistics.",
            partial(_Layer, keeps_graph=True),
        ),
        Mistake(
            "averages are parameters",
            "Your running averages are parameters, so an optimizer would move them. Use "
            "self.register_buffer(name, tensor).",
            partial(_Layer, kept_as="parameter"),
        ),
        Mistake(
            "averages are not saved",
            "Your running averages are plain attributes: they are missing from state_dict(), so a saved "
            "model "
            "loses them. Use self.register_buffer(name, tensor).",
            partial(_Layer, kept_as="attribute"),
        ),
        Mistake(
            "averages move in evaluation",
            "Your running averages move in evaluation, too. Update them only if self.training.",
            partial(_Layer, moves_in_eval=True),
        ),
        Mistake(
            "batch in evaluation",
            "In evaluation you normalized by the batch's statistics. Use the running averages there.",
            partial(_Layer, uses="batch"),
        ),
        Mistake(
            "averages in training",
            "In training you normalized by the running averages. Use the batch's statistics there.",
            partial(_Layer, uses="running"),
        ),
        Mistake(
            "variance starts at 0",
            "Your running variance starts at 0. It starts at 1, the running mean at 0.",
            partial(_Layer, first_var=0.0),
        ),
        Mistake(
            "eps outside the root",
            "You added eps to the standard deviation. It belongs under the root: √(σ² + ε).",
            partial(_Layer, outside=True),
        ),
        Mistake(
            "no affine step",
            "You returned x̂. The last step is missing: multiply by self.weight and add self.bias.",
            partial(_Layer, affine=False),
        ),
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
            "You left ε out: the factor is γ/√(v + ε).",
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
            "last batch",
            "You returned the statistics of the last batch alone.",
            lambda batches: (batches[-1].mean(0), batches[-1].var(0)),
        ),
    ),
)

# --- steps_to_forget ----------------------------------------------------------------------------------


def _draw_steps(rng: np.random.Generator, number: int) -> Inputs:
    momentum, steps = rng.uniform(0.02, 0.3), int(rng.integers(3, 40))
    return {"momentum": momentum, "fraction": (1 - momentum) ** (steps - rng.uniform(0.3, 0.7))}


def _steps(momentum: float, fraction: float) -> int:
    return math.ceil(math.log(fraction) / math.log(1 - momentum))


STEPS = Check(
    name="steps_to_forget",
    run="steps = steps_to_forget(momentum, fraction)",
    outputs=("steps",),
    draw=_draw_steps,
    reference=_steps,
    mistakes=(
        Mistake(
            "one too few",
            "One step too few: after your number of steps more than the fraction is left. Round up.",
            lambda momentum, fraction: _steps(momentum, fraction) - 1,
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
            "both kept",
            "You changed nothing. Keras's momentum is the weight of the old value, and its variance "
            "divides by m.",
            lambda momentum, moving_variance, m: (momentum, moving_variance),
        ),
    ),
)

PROBLEM_SET = ProblemSet("ps04", [LAYER, FOLD, PRECISE, STEPS, FROM_KERAS])
check, hidden_check = VisibleCheck(PROBLEM_SET), HiddenCheck(PROBLEM_SET)
