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
