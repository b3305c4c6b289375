"""Right answers in other styles than the solution's pass: numpy, loops, float32, in place, torch's helpers."""

import math

import numpy as np
import pytest
import torch

from normcore.checks import ps03, ps04, ps05
from normcore.checks.notebook import attempt


def batch_norm_forward(x, gamma, beta, eps):
    """In numpy, in float32, feature by feature."""
    x32, g, b = x.numpy().astype(np.float32), gamma.numpy(), beta.numpy()
    x_hat, s = np.empty_like(x32), np.empty(x32.shape[1], np.float32)
    for c in range(x32.shape[1]):
        column = x32[:, c]
        s[c] = 1 / np.sqrt(column.var() + eps)
        x_hat[:, c] = (column - column.mean()) * s[c]
    return g * x_hat + b, x_hat, s


def affine_backward(dy, x_hat, gamma):
    return (
        torch.einsum("mc,c->mc", dy, gamma),
        torch.einsum("mc,mc->c", dy, x_hat),
        torch.ones(len(dy)).to(dy) @ dy,
    )


def variance_backward(dx_hat, c, s):
    total = 0
    for row, centred in zip(dx_hat, c, strict=True):
        total = total + row * centred
    return -(s**3) / 2 * total


def input_backward(dx_hat, c, s, dvar):
    m = c.shape[0]
    dx = dx_hat.mul(s)
    dx += c * dvar * (2 / m)
    dx -= dx.sum(0, keepdim=True) / m
    return dx


def batch_norm_backward(dy, x, gamma, eps):
    """Node by node, as in the chapter, with np.linalg-free numpy."""
    dy, x, gamma = dy.numpy(), x.numpy(), gamma.numpy()
    m = len(x)
    c = x - x.mean(0)
    s = (np.mean(c * c, 0) + eps) ** -0.5
    dx_hat = gamma * dy
    dvar = -0.5 * s**3 * (dx_hat * c).sum(0)
    dc = s * dx_hat + 2 / m * c * dvar
    return dc - dc.mean(0), (dy * c * s).sum(0), dy.sum(0)


def eval_backward(dy, x, gamma, running_mean, running_var, eps):
    std = (running_var + eps) ** 0.5
    return dy * gamma / std, torch.sum(dy * (x - running_mean) / std, dim=0), torch.sum(dy, dim=0)


class BatchNorm(torch.nn.Module):
    """Averages replaced instead of changed in place; detach() in place of no_grad()."""

    def __init__(self, features, eps, momentum):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.bias = torch.nn.Parameter(torch.zeros(features))
        self.weight = torch.nn.Parameter(torch.ones(features))
        self.register_buffer("running_var", torch.ones(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("count", torch.tensor(0))

    def forward(self, x):
        if not self.training:
            return self.weight * (x - self.running_mean) * (self.running_var + self.eps).rsqrt() + self.bias
        m = x.shape[0]
        mean = x.sum(0) / m
        var = ((x - mean) ** 2).sum(0) / m
        self.count += 1
        self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
        self.running_var = self.running_var.lerp(var.detach() * m / (m - 1), self.momentum)
        return self.weight * (x - mean) / (var + self.eps) ** 0.5 + self.bias


def fold(weight, bias, gamma, beta, running_mean, running_var, eps):
    new_weight, new_bias = weight.clone(), bias.clone()
    for c in range(len(bias)):
        factor = gamma[c] / math.sqrt(running_var[c].item() + eps)
        new_weight[c] *= factor
        new_bias[c] = (bias[c] - running_mean[c]) * factor + beta[c]
    return new_weight, new_bias


def precise_statistics(batches):
    """One batch after another, merged as Chan does, from an iterator."""
    total, mean, squares = 0, 0.0, 0.0
    for batch in iter(batches):
        n, own = len(batch), batch.mean(0)
        delta = own - mean
        squares = squares + ((batch - own) ** 2).sum(0) + delta**2 * total * n / (total + n)
        mean = mean + delta * n / (total + n)
        total += n
    return mean, squares / (total - 1)


def steps_to_forget(momentum, fraction):
    steps, left = 0, 1.0
    while left > fraction:
        steps, left = steps + 1, left * (1 - momentum)
    return torch.tensor(steps)


def from_keras(momentum, moving_variance, m):
    return np.float64(1.0) - momentum, moving_variance.numpy() / (1 - 1 / m)


def input_shift(before, after):
    total = 0.0
    for c in range(before.shape[1]):
        total += ((after[:, c].mean() - before[:, c].mean()) ** 2 / before[:, c].var(unbiased=False)).item()
    return math.sqrt(total / before.shape[1])


def gradient_shift(g, g_moved):
    a, b = g.flatten().numpy(), g_moved.flatten().numpy()
    return np.linalg.norm(a - b) / np.linalg.norm(a), a @ b / np.sqrt((a @ a) * (b @ b))


def effective_smoothness(gradient, w, lengths):
    g, best = gradient(w), 0.0
    for t in sorted(lengths):
        moved = w - t * g
        best = max(best, (torch.dist(gradient(moved), g) / torch.dist(moved, w)).item())
    return best


def growth_factor(squares):
    slope, _ = np.polyfit(np.arange(len(squares)), np.log2(squares.numpy()), 1)
    return 2.0**-slope


def effective_rate(weight, lr):
    return lr * weight.norm(dim=1) ** -2


def rescaled(weight, lr, a):
    return weight.mul(a), a * (a * lr)


CHECKS = [c for p in (ps03, ps04, ps05) for c in p.PROBLEM_SET.checks.values()]


@pytest.mark.parametrize("check", CHECKS, ids=[c.name for c in CHECKS])
def test_an_honest_answer_in_another_style_passes(check):
    for seed in range(10):
        verdict = attempt(check, globals()[check.name], seed, 12)
        assert verdict.passed, verdict.message
