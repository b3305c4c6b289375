import numpy as np
import torch


def batch_norm_forward(x, gamma, beta, eps):
    """In numpy, in float32, feature by feature."""
    x32, g, b = x.numpy().astype(np.float32), gamma.numpy(), beta.numpy()
    x_hat, r = np.empty_like(x32), np.empty(x32.shape[1], np.float32)
    for c in range(x32.shape[1]):
        column = x32[:, c]
        r[c] = np.sqrt(column.var() + eps)
        x_hat[:, c] = (column - column.mean()) / r[c]
    return g * x_hat + b, x_hat, r


def affine_backward(dy, x_hat, gamma):
    return (
        torch.einsum("nchw,c->nchw", dy, gamma),
        torch.einsum("nchw,nchw->c", dy, x_hat),
        dy.transpose(0, 1).flatten(1) @ torch.ones(dy[:, 0].numel()).to(dy),
    )


def deviation_backward(dx_hat, c, r):
    total = 0
    for row, centred in zip(dx_hat, c, strict=True):
        total = total - row * (centred / r)
    return total / r


def input_backward(dx_hat, c, r, dr):
    """The root's path first, and what both have in common taken out."""
    dx = c * (dr / c.shape[0])
    dx += dx_hat
    dx /= r
    dx -= dx.sum(0, keepdim=True) / c.shape[0]
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


def is_gradient(candidate):
    """Along random directions, from four points: off by h⁴ only."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    x, dy, gamma, eps, h = 3 * draw(6, 3) * draw(3), draw(6, 3), draw(3), 0.8, 1e-3
    loss = lambda x, gamma: (dy * gamma * x * (x.pow(2).mean(0) + eps) ** -0.5).sum()  # noqa: E731
    dx, dgamma = candidate(dy=dy, x=x, gamma=gamma, eps=eps)
    for _ in range(5):
        u, v = draw(6, 3), draw(3)
        at = [loss(x + t * h * u, gamma + t * h * v) for t in (-2, -1, 1, 2)]
        slope = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h)
        if abs(slope - (dx * u).sum() - (dgamma * v).sum()) > 1e-7 * (1 + abs(slope)):
            return False
    return True
