"""float32 over millions of values: no layer errs by more than twice what torch's own errs by.

What torch does not have is held to its own formula, differentiated by autograd, whose sums torch adds pairwise.

    LARGE=25 python -m pytest -n0 tests/nn/test_large_index_sets.py

takes index sets of 2^25 values, one layer after the other.
"""

import copy
import os

import pytest
import torch
from torch import nn as tnn

from normcore import nn
from tests.layers import outputs_of

EXPONENT = int(os.environ.get("LARGE", 18))
SEEDS = range(3 if EXPONENT < 20 else 1)  # a small error is in part luck
ROUNDING = torch.finfo(torch.float32).eps / 2


class _Normalized(tnn.Module):
    """torch's ScaleNorm: its vector norm, and a length."""

    def __init__(self, features):
        super().__init__()
        self.scale = tnn.Parameter(torch.tensor(features**0.5))

    def forward(self, x):
        return self.scale * tnn.functional.normalize(x, dim=-1)


def rows(m):
    return (torch.randn(2, m) + 0.5,)


def table(m):
    return (torch.randn(m, 2) + 0.5,)


def positions(ndim):
    """Images of two channels, or sequences, or volumes; instances differ, or a gate would learn nothing."""

    def give(m):
        x = torch.randn(2, 2, *[2] * (ndim - 1), m // 2 ** (ndim - 1)) + 0.5
        return (x * torch.tensor([[1.0, 3.0], [2.0, 0.5]]).view(2, 2, *[1] * ndim),)

    return give


image = positions(2)
# name → (ours, torch's or None, inputs): of the size m of an index set
LARGE = {
    "AdaptiveInstanceNorm": (lambda m: nn.AdaptiveInstanceNorm(), None, lambda m: image(m) + image(m // 2)),
    "AdaptiveLayerNorm": (
        lambda m: nn.AdaptiveLayerNorm(m, 1),
        None,
        lambda m: (*rows(m), torch.randn(2, 1)),
    ),
    "BatchInstanceNorm": (lambda m: nn.BatchInstanceNorm(2), None, image),
    "BatchNorm1d": (lambda m: nn.BatchNorm1d(2), lambda m: tnn.BatchNorm1d(2), table),
    "BatchNorm2d": (lambda m: nn.BatchNorm2d(2), lambda m: tnn.BatchNorm2d(2), image),
    "BatchNorm3d": (lambda m: nn.BatchNorm3d(2), lambda m: tnn.BatchNorm3d(2), positions(3)),
    "BatchNormGRU": (lambda m: nn.BatchNormGRU(2, 1, 1), None, lambda m: (table(m)[0][:, None],)),
    "BatchNormLSTM": (lambda m: nn.BatchNormLSTM(2, 1, 1), None, lambda m: (table(m)[0][:, None],)),
    "BatchRenorm": (lambda m: nn.BatchRenorm(2), None, image),
    "ConditionalBatchNorm": (
        lambda m: nn.ConditionalBatchNorm(2, 2),
        None,
        lambda m: (*image(m), torch.tensor([0, 1])),
    ),
    "DecorrelatedBatchNorm": (lambda m: nn.DecorrelatedBatchNorm(2), None, image),
    "EvoNormB0": (lambda m: nn.EvoNormB0(2), None, image),
    "EvoNormS0": (lambda m: nn.EvoNormS0(1, 2), None, image),
    "FilterResponseNorm": (lambda m: nn.FilterResponseNorm(2), None, image),
    "GhostBatchNorm": (lambda m: nn.GhostBatchNorm(2, 1), None, image),
    "GroupNorm": (lambda m: nn.GroupNorm(1, 2), lambda m: tnn.GroupNorm(1, 2), image),
    "InstanceNorm1d": (lambda m: nn.InstanceNorm1d(2), lambda m: tnn.InstanceNorm1d(2), positions(1)),
    "InstanceNorm2d": (lambda m: nn.InstanceNorm2d(2), lambda m: tnn.InstanceNorm2d(2), image),
    "InstanceNorm3d": (lambda m: nn.InstanceNorm3d(2), lambda m: tnn.InstanceNorm3d(2), positions(3)),
    "LayerNorm": (lambda m: nn.LayerNorm(m), lambda m: tnn.LayerNorm(m), rows),
    "MeanOnlyBatchNorm": (lambda m: nn.MeanOnlyBatchNorm(2), None, image),
    "PartialRMSNorm": (lambda m: nn.PartialRMSNorm(m, 0.5), lambda m: tnn.RMSNorm(m), rows),
    "QKNorm": (lambda m: nn.QKNorm(10.0), None, lambda m: rows(m) + rows(m)),
    "RMSNorm": (lambda m: nn.RMSNorm(m), lambda m: tnn.RMSNorm(m), rows),
    "ScaleNorm": (lambda m: nn.ScaleNorm(m), lambda m: _Normalized(m), rows),
    "StepBatchNorm": (lambda m: nn.StepBatchNorm(2, 1), None, lambda m: (*table(m), 0)),
    "SwitchableNorm": (lambda m: nn.SwitchableNorm(2), None, image),
    "SyncBatchNorm": (lambda m: nn.SyncBatchNorm(2), lambda m: tnn.BatchNorm2d(2), image),
    "VirtualBatchNorm": (lambda m: nn.VirtualBatchNorm(2, 1), None, image),
}
# no index set, the neighbouring channels, or those of the layers in them
WITHOUT = {"DynamicTanh", "LocalResponseNorm", "LayerNormGRU", "LayerNormLSTM"}
WITHOUT |= {"PreNorm", "PostNorm", "SandwichNorm", "DeepNorm", "SkipInit"}


def test_every_layer_is_here():
    assert set(LARGE) | WITHOUT == {n for n in nn.__all__ if isinstance(getattr(nn, n), type)}


def results(layer, inputs, dtype, upstream=None):
    """Outputs, gradients of the inputs, gradients of the parameters, from upstream ones as given or made here."""
    one = copy.deepcopy(layer).to(dtype)
    given = [
        i.to(dtype, copy=True).requires_grad_() if torch.is_tensor(i) and i.is_floating_point() else i
        for i in inputs
    ]
    outputs = outputs_of(one(*given))
    # in part along y and along 1: sums for γ and β that are small differences would say little
    upstream = upstream or [(torch.randn(y.shape) + 0.5 + 0.5 * y.detach()).float() for y in outputs]
    wanted = [i for i in given if torch.is_tensor(i) and i.requires_grad]
    wanted += one.parameters()
    grads = torch.autograd.grad(outputs, wanted, [u.to(dtype) for u in upstream])
    count = len(grads) - len(list(one.parameters()))
    return [y.detach() for y in outputs], grads[:count], grads[count:], upstream


def errors(layer, inputs, exact=None):
    """Largest error of outputs, of the inputs' and of the parameters' gradients, and what is exact."""
    *exact, upstream = exact or results(layer, inputs, torch.float64)
    *found, _ = results(layer, inputs, torch.float32, upstream)
    return [
        max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(*pair, strict=True))
        if pair[0]
        else 0.0
        for pair in zip(found, exact, strict=True)
    ], (*exact, upstream)


@pytest.mark.parametrize("name", LARGE)
def test_as_exact_as_torch(name, monkeypatch):
    build, theirs, make = LARGE[name]
    m = 2**EXPONENT
    found = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        inputs, layer = make(m), build(m)
        ours, exact = errors(layer, inputs)
        if theirs is None:
            with monkeypatch.context() as patch:
                patch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)  # which takes the formula
                reference, _ = errors(layer, inputs, exact)
        else:
            reference, _ = errors(theirs(m), inputs)
        found.append(torch.tensor([ours, reference]))
    ours, reference = torch.stack(found).mean(0).tolist()
    print(f"{name:22}", *(f"{a:.1e}/{b:.1e}" for a, b in zip(ours, reference, strict=True)))
    for what, our, their in zip(("output", "inputs", "parameters"), ours, reference, strict=True):
        assert our <= 2 * max(their, ROUNDING), (what, ours, reference)
