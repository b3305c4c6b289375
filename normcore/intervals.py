"""Two methods on the same seeds: by how much they differ, and how well that is known."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Interval", "paired"]


@dataclass(frozen=True)
class Interval:
    """A mean over pairs with its confidence interval; a table shows it as 1.36 [1.23, 1.49].

    Attributes:
        mean: of the pairs' differences; geometric, of their ratios.
        low, high: ends of the interval.
        count: of the pairs.
        higher: pairs in which the first is the larger.
    """

    mean: float
    low: float
    high: float
    count: int
    higher: int


def paired(first, second, ratio: bool = False, level: float = 0.95) -> Interval:
    """Mean of first − second, or geometric mean of first / second, over pairs, with Student's interval.

        d̄ ± t s/√n,   d = first − second, or log first − log second

    s is the deviation of the n values of d with n − 1, t the quantile of Student's distribution with n − 1
    degrees of freedom. What a pair shares, such as the split and the initial weights that a seed draws,
    falls out of d. The interval takes d for a sample from a normal distribution.

        >>> print(paired([2, 4, 9], [1, 2, 3]))
        Interval(mean=3.0, low=-3.57..., high=9.57..., count=3, higher=3)

    Args:
        first, second: (pairs,).
        ratio: compare by ratio, where a difference has no scale of its own, as in counts of steps.
        level: of confidence.

    Raises:
        ValueError: other shapes than (pairs,) twice, fewer than two pairs, or values that are not finite, or
            for a ratio not positive: a run that did not arrive has no ratio.
    """
    from scipy.stats import t

    a, b = np.asarray(first, float), np.asarray(second, float)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ValueError(f"first and second must be (pairs,), of two pairs or more; got {a.shape}, {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("first and second must be finite: what did not arrive cannot be averaged")
    if ratio and (a.min() <= 0 or b.min() <= 0):
        raise ValueError("first and second must be positive to be compared by ratio")
    d = np.log(a / b) if ratio else a - b
    half = t.ppf((1 + level) / 2, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
    values = np.array([d.mean(), d.mean() - half, d.mean() + half])
    mean, low, high = map(float, np.exp(values) if ratio else values)
    return Interval(mean, low, high, len(d), int((d > 0).sum()))
