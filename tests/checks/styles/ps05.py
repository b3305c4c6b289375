import math

import numpy as np
import torch


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
