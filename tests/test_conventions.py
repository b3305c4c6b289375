"""Momentum, the running variance and eps, framework by framework.

| | running average | running variance | eps |
|---|---|---|---|
| PyTorch | new = (1 − 0.1)·old + 0.1·batch | unbiased | 1e-5 |
| Keras | new = 0.99·old + 0.01·batch | biased | 1e-3 |
| Flax | new = 0.99·old + 0.01·batch | biased | 1e-5 |
| ONNX | new = 0.9·old + 0.1·batch | biased | 1e-5 |
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from normcore import functional as F
from normcore import nn
from tests.layers import random_input

# framework: weight of the new value, whether the running variance divides by m, eps
CONVENTIONS = {
    "PyTorch": (0.1, False, 1e-5),
    "Keras": (0.01, True, 1e-3),
    "Flax": (0.01, True, 1e-5),
    "ONNX": (0.1, True, 1e-5),
}
X = random_input((6, 3))


def expected(framework):
    """Output, running mean and running variance after one step from 0 and 1."""
    new, biased, eps = CONVENTIONS[framework]
    x = X.numpy()
    y = (x - x.mean(0)) / np.sqrt(x.var(0) + eps)
    return y, new * x.mean(0), (1 - new) + new * x.var(0, ddof=0 if biased else 1)


def agree(actual, framework, tolerance=1e-5):
    for ours, theirs in zip(actual, expected(framework), strict=True):
        np.testing.assert_allclose(np.asarray(ours), theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("namespace", [torch.nn, nn], ids=["torch.nn", "normcore.nn"])
def test_pytorch(namespace):
    layer = namespace.BatchNorm1d(3).double()
    agree((layer(X).detach(), layer.running_mean, layer.running_var), "PyTorch", 1e-12)


KERAS = """
import json, sys
import numpy as np, keras
x = np.array(json.load(sys.stdin))
layer = keras.layers.BatchNormalization(dtype="float64")
y = keras.ops.convert_to_numpy(layer(x, training=True)).tolist()
numbers = [keras.ops.convert_to_numpy(v).tolist() for v in (layer.moving_mean, layer.moving_variance)]
print(json.dumps([y, *numbers, layer.momentum, layer.epsilon]))
"""


def test_keras_on_its_torch_backend(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", KERAS],
        input=json.dumps(X.tolist()),
        capture_output=True,
        text=True,
        # without this Keras writes its configuration into the home folder
        env={**os.environ, "KERAS_BACKEND": "torch", "KERAS_HOME": str(tmp_path)},
    )
    assert result.returncode == 0, result.stderr
    y, mean, var, momentum, eps = json.loads(result.stdout.splitlines()[-1])
    agree((y, mean, var), "Keras")
    assert (momentum, eps) == (0.99, 1e-3)  # Keras's momentum is the weight of the old value


def test_kerass_convention_with_our_layer():
    """The same numbers from ours: momentum 1 − 0.99, eps 1e-3, and the biased variance."""
    mean, var = torch.zeros(3).double(), torch.ones(3).double()
    y = F.batch_norm(X, mean, var, training=True, momentum=1 - 0.99, eps=1e-3)
    m = len(X)
    biased = 0.99 + (var - 0.99) * (m - 1) / m
    agree((y, mean, biased), "Keras", 1e-10)


def test_flax():
    flax = pytest.importorskip("flax.linen", reason="Flax is not installed")
    import jax

    layer = flax.BatchNorm(use_running_average=False)
    variables = layer.init(jax.random.PRNGKey(0), X.numpy())
    y, updated = layer.apply(variables, X.numpy(), mutable=["batch_stats"])
    statistics = updated["batch_stats"]
    agree((y, statistics["mean"], statistics["var"]), "Flax", 1e-4)


def test_the_four_differ_where_the_table_says_so():
    runs = {name: np.concatenate([part.ravel() for part in expected(name)]) for name in CONVENTIONS}
    names = list(runs)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            assert np.abs(runs[a] - runs[b]).max() > 1e-4, (a, b)
