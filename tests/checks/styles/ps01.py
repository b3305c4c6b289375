import numpy as np
import torch


def min_max_scale(x, low, high):
    """In numpy, feature by feature, by another form of the formula."""
    table, out = x.numpy(), np.empty(x.shape)
    for c in range(table.shape[1]):
        first, last = sorted(table[:, c])[0], sorted(table[:, c])[-1]
        share = (table[:, c] - first) / (last - first) if last > first else np.zeros(len(table))
        out[:, c] = low * (1 - share) + high * share
    return out


class Standardizer:
    """Keeps a pair of lists; centred squares in place of std; the inverse from the deviation's reciprocal."""

    def fit(self, x):
        self.mu = [float(column.double().mean()) for column in x.T]
        self.sd = []
        for column, mu in zip(x.T, self.mu, strict=True):
            sd = float(((column.double() - mu) ** 2).mean() ** 0.5)
            self.sd.append(1.0 if bool((column == column[0]).all()) else sd)
        return self

    def transform(self, x):
        return torch.stack([(c - m) / s for c, m, s in zip(x.double().T, self.mu, self.sd, strict=True)], 1)

    def inverse_transform(self, z):
        return torch.tensor(self.mu) + z.double() * torch.tensor(self.sd)


def condition_number(x):
    """From the singular values of x."""
    values = torch.linalg.svdvals(x)
    return float(values.max() / values.min()) ** 2


def largest_learning_rate(x):
    return 2 * len(x) / np.linalg.norm(x.numpy(), 2) ** 2


def weights_in_original_units(weight, bias, mean, std):
    """What a linear function is, is found by trying it."""

    def predict(x):
        return ((x - mean) / std) @ weight + bias

    zero = predict(torch.zeros_like(mean))
    return torch.stack([predict(e) - zero for e in torch.eye(len(mean)).to(mean)]), zero
