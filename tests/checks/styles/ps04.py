import math

import numpy as np
import torch


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
        channels_last = x.permute(0, 2, 3, 1)
        if not self.training:
            scale = self.weight * (self.running_var + self.eps).rsqrt()
            return ((channels_last - self.running_mean) * scale + self.bias).permute(0, 3, 1, 2)
        values = channels_last.reshape(-1, x.shape[1])
        m = values.shape[0]
        mean = values.sum(0) / m
        var = ((values - mean) ** 2).sum(0) / m
        self.count += 1
        self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
        self.running_var = self.running_var.lerp(var.detach() * m / (m - 1), self.momentum)
        y = self.weight * (values - mean) / (var + self.eps) ** 0.5 + self.bias
        return y.reshape(channels_last.shape).permute(0, 3, 1, 2)


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


def is_keras_layer(candidate):
    """By what must hold: centring and scaling undone, fixed points of the averages, halves of their way."""
    n, c = 3, 2
    x = torch.linspace(-4, 9, n * c).double().square().reshape(n, c)
    one, zero = torch.ones(c).double(), torch.zeros(c).double()
    mean, var = x.mean(0), (x - x.mean(0)).square().mean(0)
    other_mean, other_var = mean + 3, 2 * var + 1
    gamma, beta, eps = torch.tensor([-2.0, 0.25]).double(), torch.tensor([5.0, 1.0]).double(), 3.0
    close = lambda a, b: bool((a - b).abs().max() < 1e-8)  # noqa: E731
    y, *moved = candidate(x, gamma, beta, other_mean, other_var, 0.75, eps, True)
    if not close(moved[0], mean + 0.75 * 3) or not close(moved[1], var + 0.75 * (var + 1)):
        return False
    if not close((y - beta) / gamma * (var + eps).sqrt() + mean, x):
        return False
    y, *kept = candidate(x, gamma, beta, other_mean, other_var, 0.75, eps, False)
    if not close(kept[0], other_mean) or not close(kept[1], other_var):
        return False
    return close((y - beta) / gamma * (other_var + eps).sqrt() + other_mean, x) and close(one, one + zero)
