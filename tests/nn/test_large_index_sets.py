"""float32 over millions of values: no layer errs by more than twice what torch's own errs by."""

import copy

import pytest
import torch

from normcore import nn
from tests.layers import outputs_of

EXPONENT = 22
CHANNELS = 2
ONE_ROUNDING = torch.finfo(torch.float32).eps


def _normalized(features):
    """torch's ScaleNorm: its vector norm, and a length."""

    class Normalized(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(features**0.5))

        def forward(self, x):
            return self.scale * torch.nn.functional.normalize(x, dim=-1)

    return Normalized()


class _Covariance(torch.nn.Module):
    """What torch errs by where channels are multiplied: its own covariance."""

    def forward(self, x):
        return torch.cov(x.movedim(1, 0).flatten(1), correction=0)


IMAGE = "image"
# name → (ours, torch's nearest, kind of input); what torch does not have is held to torch's batch norm
LARGE = {
    "BatchNorm2d": (lambda m: nn.BatchNorm2d(2), lambda m: torch.nn.BatchNorm2d(2), IMAGE),
    "InstanceNorm2d": (lambda m: nn.InstanceNorm2d(2), lambda m: torch.nn.InstanceNorm2d(2), IMAGE),
    "GroupNorm": (lambda m: nn.GroupNorm(1, 2), lambda m: torch.nn.GroupNorm(1, 2), IMAGE),
    "LayerNorm": (lambda m: nn.LayerNorm(m), lambda m: torch.nn.LayerNorm(m), "rows"),
    "RMSNorm": (lambda m: nn.RMSNorm(m), lambda m: torch.nn.RMSNorm(m), "rows"),
    "PartialRMSNorm": (lambda m: nn.PartialRMSNorm(m, 0.5), lambda m: torch.nn.RMSNorm(m), "rows"),
    "ScaleNorm": (lambda m: nn.ScaleNorm(m), _normalized, "rows"),
    "DecorrelatedBatchNorm": (lambda m: nn.DecorrelatedBatchNorm(2), lambda m: _Covariance(), IMAGE),
}
OTHERS = {
    "BatchInstanceNorm": lambda: nn.BatchInstanceNorm(2),
    "BatchRenorm": lambda: nn.BatchRenorm(2),
    "EvoNormB0": lambda: nn.EvoNormB0(2),
    "EvoNormS0": lambda: nn.EvoNormS0(1, 2),
    "FilterResponseNorm": lambda: nn.FilterResponseNorm(2),
    "GhostBatchNorm": lambda: nn.GhostBatchNorm(2, 1),
    "MeanOnlyBatchNorm": lambda: nn.MeanOnlyBatchNorm(2),
    "SwitchableNorm": lambda: nn.SwitchableNorm(2),
    "SyncBatchNorm": lambda: nn.SyncBatchNorm(2),
    "VirtualBatchNorm": lambda: nn.VirtualBatchNorm(2, 1),
}
LARGE |= {k: (lambda m, f=f: f(), lambda m: torch.nn.BatchNorm2d(2), IMAGE) for k, f in OTHERS.items()}
# no index set, or one that a layer's own sizes keep small; the other dimensions are the same code
SMALL = {"AdaptiveInstanceNorm", "AdaptiveLayerNorm", "ConditionalBatchNorm", "DynamicTanh", "QKNorm"}
SMALL |= {
    "LocalResponseNorm",
    "StepBatchNorm",
    "BatchNorm1d",
    "BatchNorm3d",
    "InstanceNorm1d",
    "InstanceNorm3d",
}
SMALL |= {f"{n}Norm{cell}" for n in ("Batch", "Layer") for cell in ("LSTM", "GRU")}
SMALL |= {"PreNorm", "PostNorm", "SandwichNorm", "DeepNorm", "SkipInit"}


def test_every_layer_is_here():
    assert set(LARGE) | SMALL == {n for n in nn.__all__ if isinstance(getattr(nn, n), type)}


def large_input(kind):
    generator = torch.Generator().manual_seed(0)
    if kind == "rows":
        return torch.randn(2, 2 ** (EXPONENT - 1), generator=generator) + 0.5
    height = 2 ** ((EXPONENT - 2) // 2)
    x = torch.randn(2, CHANNELS, height, 2 ** (EXPONENT - 2) // height, generator=generator) + 0.5
    # instances that differ: otherwise what a gate learns is a difference of equal numbers
    return x * torch.tensor([[1.0, 3.0], [2.0, 0.5]])[..., None, None]


def errors(layer, x):
    """Largest error of the output, of the input's and of the parameters' gradients, against float64."""
    results = []
    for dtype in (torch.float32, torch.float64):
        one, given = copy.deepcopy(layer).to(dtype), x.to(dtype, copy=True).requires_grad_()
        (y,) = outputs_of(one(given))
        generator = torch.Generator().manual_seed(1)
        upstream = torch.randn(y.shape, generator=generator).to(dtype)
        grads = torch.autograd.grad((y * upstream).sum(), (given, *one.parameters()))
        results.append((y.detach(), *grads))
    relative = [((a - b).abs().max() / b.abs().max()).item() for a, b in zip(*results, strict=True)]
    return relative[0], relative[1], max(relative[2:], default=0.0)


@pytest.mark.parametrize("name", LARGE)
def test_as_exact_as_torch(name):
    build, theirs, kind = LARGE[name]
    x = large_input(kind)
    m = x.shape[-1]
    ours, reference = errors(build(m), x), errors(theirs(m), x)
    assert ours[0] <= 2 * max(reference[0], ONE_ROUNDING)
    # a covariance that is off is off in the gradient too; an activation rounds once more
    assert ours[1] <= 2 * max(*reference[:2], 1.5 * ONE_ROUNDING)
    assert ours[2] <= 2 * max(reference[2], 50 * ONE_ROUNDING)  # sums of millions of products
