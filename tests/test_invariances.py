"""What is invariant to what: the table of Ba et al. (2016), with RMS norm from Zhang and Sennrich (2019).

A layer normalizes a = W x (weight norm: W itself). Each column of the table is a change of W or of the
data X, (N, D); an entry says whether the output stays.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from normcore import functional as F
from tests.layers import random_input


def of_weights(x, w):
    return x @ F.weight_norm(w, torch.ones(len(w), 1).double()).mT


METHODS = {
    "batch norm": lambda x, w: F.standardize(x @ w.mT, 0, eps=0.0),
    "weight norm": of_weights,
    "layer norm": lambda x, w: F.standardize(x @ w.mT, 1, eps=0.0),
    "RMS norm": lambda x, w: F.standardize_rms(x @ w.mT, 1, eps=0.0),
}


def one_row(t, factor):
    changed = t.clone()
    changed[1] *= factor
    return changed


# What is done to (x, w), with a positive factor and a random vector.
CHANGES = {
    "weight matrix scaled": lambda x, w, a, v: (x, a * w),
    "weight matrix centred": lambda x, w, a, v: (x, w + v),  # the same vector added to every unit's weights
    "one weight vector scaled": lambda x, w, a, v: (x, one_row(w, a)),
    "data scaled": lambda x, w, a, v: (a * x, w),
    "data centred": lambda x, w, a, v: (x + v, w),  # the same vector added to every case
    "one case scaled": lambda x, w, a, v: (one_row(x, a), w),
}

INVARIANT = {
    "batch norm": (True, False, True, True, True, False),
    "weight norm": (True, False, True, False, False, False),
    "layer norm": (True, True, False, True, False, True),
    "RMS norm": (True, False, False, True, False, True),
}
TABLE = [(m, c, entry) for m, row in INVARIANT.items() for c, entry in zip(CHANGES, row, strict=True)]


@pytest.mark.parametrize(("method", "change", "invariant"), TABLE, ids=[f"{m}, {c}" for m, c, _ in TABLE])
@given(st.integers(0, 10**6), st.floats(1.5, 4))
def test_the_table(method, change, invariant, seed, factor):
    x, w = random_input((6, 5), seed=seed, offset=0.5), random_input((4, 5), seed=seed + 1, offset=0.2)
    vector = random_input((5,), seed=seed + 2)
    before = METHODS[method](x, w)
    after = METHODS[method](*CHANGES[change](x, w, factor, vector))
    distance = ((after - before).norm() / before.norm()).item()
    assert distance < 1e-10 if invariant else distance > 1e-4


@given(st.integers(0, 10**6), st.floats(0.1, 10))
def test_layer_norm_under_a_negative_scale_flips_the_sign(seed, factor):
    """LN(αx) = LN(x) is claimed for every α; it holds for α > 0 only."""
    x = random_input((4, 6), seed=seed)
    y = F.standardize(x, 1, eps=0.0)
    torch.testing.assert_close(F.standardize(factor * x, 1, eps=0.0), y)
    torch.testing.assert_close(F.standardize(-factor * x, 1, eps=0.0), -y)


@given(st.integers(0, 10**6))
def test_weight_norm_and_batch_norm_agree_on_white_inputs(seed):
    """For inputs with mean 0 and covariance I, batch norm of Wx is weight norm of W."""
    x = random_input((30, 4), seed=seed)
    x = F.decorrelated_batch_norm(x, None, None, training=True, eps=1e-12)
    w = random_input((3, 4), seed=seed + 1)
    torch.testing.assert_close(METHODS["batch norm"](x, w), of_weights(x, w), rtol=1e-5, atol=1e-5)
