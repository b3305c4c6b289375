import numpy as np
import torch


def normalize(x, dim, eps):
    """In numpy, by E[x²] − E[x]² of values that were moved first."""
    a = x.numpy().astype(np.float64)
    a = a - a.flat[0]
    mean = a.mean(axis=dim, keepdims=True)
    var = (a * a).mean(axis=dim, keepdims=True) - mean**2
    return torch.from_numpy((a - mean) * (var + eps) ** -0.5)


def batch_norm(x, gamma, beta, eps):
    """Column by column, from the mean of all pairs' squared differences."""
    columns = []
    for c in range(x.shape[1]):
        column = x[:, c]
        var = (column[:, None] - column[None, :]).square().mean() / 2
        columns.append((column - column.mean()).div((var + eps) ** 0.5).mul(gamma[c]).add(beta[c]))
    return torch.stack(columns, dim=1)


def batch_norm_train(x, gamma, beta, running_mean, running_var, momentum, eps):
    """In place on copies; var_mean; lerp."""
    var, mean = torch.var_mean(x, 0, correction=0)
    y = x.clone().sub_(mean).div_(torch.sqrt(var + eps)).mul_(gamma).add_(beta)
    n = x.size(0)
    return y, running_mean.lerp(mean, momentum), torch.lerp(running_var, var * (n / (n - 1)), momentum)


def identity_parameters(x, eps):
    """What a batch norm with γ = 1 and β = 0 did, undone by two of its values."""
    x = x.double()
    hat = (x - x.mean(0)) / (x.var(0, unbiased=False) + eps).sqrt()
    gamma = (x[1] - x[0]) / (hat[1] - hat[0])
    return gamma, x[0] - gamma * hat[0]


def hidden_layer(x, weight, gamma, beta, eps):
    """torch.nn for the linear map and the ReLU, einsum and a centring matrix between."""
    h = torch.nn.functional.linear(x, weight)
    m = len(h)
    centred = (torch.eye(m).to(h) - 1 / m) @ h
    scale = torch.einsum("mc,mc->c", centred, centred) / m + eps
    return torch.nn.ReLU()(centred * (gamma * scale.rsqrt()) + beta).clamp_min(0)


def is_batch_norm(candidate):
    """By properties: what the mean and the deviation are, that x̂ is in line with x, and what γ and β do to it."""
    torch.manual_seed(3)
    x, eps = 4 * torch.randn(4, 2, dtype=torch.float64) - 7, 1.3
    ones, zeros = torch.ones(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    x_hat = candidate(x, ones, zeros, eps)
    var = x.var(0, unbiased=False)
    if x_hat.shape != x.shape or not torch.allclose(x_hat.sum(0), zeros):
        return False
    slope = (x_hat[1:] - x_hat[:-1]) / (x[1:] - x[:-1])
    if not torch.allclose(slope * (var + eps) ** 0.5, torch.ones_like(slope)):
        return False
    gamma, beta = torch.tensor([-2.0, 0.3]).double(), torch.tensor([0.7, -5.0]).double()
    return bool(((candidate(x, gamma, beta, eps=eps) - beta) / gamma - x_hat).abs().max() < 1e-9)
