"""The layers that torch.nn has too, with random arguments, inputs, parameters and buffers for them."""

import inspect

import torch
from hypothesis import strategies as st

SPATIAL = {"1d": 1, "2d": 2, "3d": 3}
TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])
# of batch, group and instance norm; ours take what torch's take
WITH_BIAS = "bias" in inspect.signature(torch.nn.GroupNorm).parameters
assert (TORCH >= (2, 12)) == WITH_BIAS


@st.composite
def layer_cases(draw, families=("BatchNorm", "InstanceNorm", "GroupNorm", "LayerNorm", "RMSNorm")):
    """(name, positional arguments, keyword arguments, input shape) that torch.nn accepts in training."""
    family = draw(st.sampled_from(families))
    batch, channels = draw(st.integers(2, 5)), draw(st.integers(1, 6))
    eps = draw(st.sampled_from([1e-5, 1e-3, 0.1]))
    flag = st.booleans()
    if family in ("BatchNorm", "InstanceNorm"):
        suffix = draw(st.sampled_from(sorted(SPATIAL)))
        smallest = 1 if family == "BatchNorm" else 2
        spatial = [draw(st.integers(smallest, 4)) for _ in range(SPATIAL[suffix])]
        if family == "BatchNorm" and suffix == "1d" and draw(flag):
            spatial = []
        keywords = {
            "eps": eps,
            "momentum": draw(st.sampled_from([None, 0.1, 0.37, 1.0])),
            "affine": draw(flag),
            "track_running_stats": draw(flag),
        }
        if WITH_BIAS:
            keywords["bias"] = draw(flag)
        return family + suffix, (channels,), keywords, (batch, channels, *spatial)
    if family == "GroupNorm":
        groups = draw(st.integers(1, 3))
        spatial = [draw(st.integers(1, 4)) for _ in range(draw(st.integers(0, 3)))]
        keywords = {"eps": eps, "affine": draw(flag)}
        if WITH_BIAS:
            keywords["bias"] = draw(flag)
        return family, (groups, groups * channels), keywords, (batch, groups * channels, *spatial)
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    keywords = {"eps": eps, "elementwise_affine": draw(flag)}
    if family == "LayerNorm":
        keywords["bias"] = draw(flag)
    elif draw(flag):
        keywords["eps"] = None
    leading = draw(st.lists(st.integers(1, 4), min_size=0, max_size=2))
    return family, (shape,), keywords, (*leading, *shape)


def pair(case, dtype=torch.float64, seed=0):
    """Our layer and torch's, built alike, with the same random parameters and buffers."""
    from normcore import nn

    name, arguments, keywords, _ = case
    ours = getattr(nn, name)(*arguments, **keywords, dtype=dtype)
    theirs = getattr(torch.nn, name)(*arguments, **keywords, dtype=dtype)
    randomize(theirs, seed)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


def randomize(layer, seed=0):
    """Random γ, β, running averages: a missing step cannot hide behind ones and zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in layer.state_dict().items():
            if tensor.is_floating_point():
                values = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
                tensor.copy_(values.abs() + 0.5 if name.endswith("running_var") else values)


def random_input(shape, dtype=torch.float64, seed=0, offset=1.5, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * scale + offset).to(dtype)


def _sublayer():
    return torch.nn.Linear(4, 4)


IMAGE, TABLE, SEQUENCE = (4, 4, 3, 3), (6, 4), (3, 5, 4)
# every layer of normcore.nn: how it is made (device and dtype may follow), and the shapes of its inputs
EVERY = {
    "AdaptiveInstanceNorm": (lambda nn, **k: nn.AdaptiveInstanceNorm(), (IMAGE, (4, 4, 2, 5))),
    "AdaptiveLayerNorm": (lambda nn, **k: nn.AdaptiveLayerNorm(4, 2, **k), (SEQUENCE, (3, 2))),
    "BatchInstanceNorm": (lambda nn, **k: nn.BatchInstanceNorm(4, **k), (IMAGE,)),
    "BatchNorm1d": (lambda nn, **k: nn.BatchNorm1d(4, **k), (TABLE,)),
    "BatchNorm2d": (lambda nn, **k: nn.BatchNorm2d(4, **k), (IMAGE,)),
    "BatchNorm3d": (lambda nn, **k: nn.BatchNorm3d(4, **k), ((2, 4, 2, 2, 2),)),
    "BatchNormGRU": (lambda nn, **k: nn.BatchNormGRU(4, 3, 5, **k), (SEQUENCE,)),
    "BatchNormLSTM": (lambda nn, **k: nn.BatchNormLSTM(4, 3, 5, **k), (SEQUENCE,)),
    "BatchRenorm": (lambda nn, **k: nn.BatchRenorm(4, **k), (IMAGE,)),
    "ConditionalBatchNorm": (lambda nn, **k: nn.ConditionalBatchNorm(4, 3, **k), (IMAGE, "classes")),
    "DecorrelatedBatchNorm": (lambda nn, **k: nn.DecorrelatedBatchNorm(4, 2, **k), (IMAGE,)),
    "DeepNorm": (lambda nn, **k: nn.DeepNorm(nn.LayerNorm(4, **k), _sublayer(), 1.5), (SEQUENCE,)),
    "DynamicTanh": (lambda nn, **k: nn.DynamicTanh(4, 1, **k), (SEQUENCE,)),
    "EvoNormB0": (lambda nn, **k: nn.EvoNormB0(4, **k), (IMAGE,)),
    "EvoNormS0": (lambda nn, **k: nn.EvoNormS0(2, 4, **k), (IMAGE,)),
    "FilterResponseNorm": (lambda nn, **k: nn.FilterResponseNorm(4, **k), (IMAGE,)),
    "GhostBatchNorm": (lambda nn, **k: nn.GhostBatchNorm(4, 2, **k), (IMAGE,)),
    "GroupNorm": (lambda nn, **k: nn.GroupNorm(2, 4, **k), (IMAGE,)),
    "InstanceNorm1d": (lambda nn, **k: nn.InstanceNorm1d(4, affine=True, **k), ((3, 4, 5),)),
    "InstanceNorm2d": (lambda nn, **k: nn.InstanceNorm2d(4, track_running_stats=True, **k), (IMAGE,)),
    "InstanceNorm3d": (lambda nn, **k: nn.InstanceNorm3d(4, affine=True, **k), ((2, 4, 2, 2, 2),)),
    "LayerNorm": (lambda nn, **k: nn.LayerNorm(4, **k), (SEQUENCE,)),
    "LayerNormGRU": (lambda nn, **k: nn.LayerNormGRU(4, 3, **k), (SEQUENCE,)),
    "LayerNormLSTM": (lambda nn, **k: nn.LayerNormLSTM(4, 3, **k), (SEQUENCE,)),
    "LocalResponseNorm": (lambda nn, **k: nn.LocalResponseNorm(3), (IMAGE,)),
    "MeanOnlyBatchNorm": (lambda nn, **k: nn.MeanOnlyBatchNorm(4, **k), (IMAGE,)),
    "PartialRMSNorm": (lambda nn, **k: nn.PartialRMSNorm(4, 0.5, **k), (SEQUENCE,)),
    "PostNorm": (lambda nn, **k: nn.PostNorm(nn.LayerNorm(4, **k), _sublayer()), (SEQUENCE,)),
    "PreNorm": (lambda nn, **k: nn.PreNorm(nn.LayerNorm(4, **k), _sublayer()), (SEQUENCE,)),
    "QKNorm": (lambda nn, **k: nn.QKNorm(10, **k), (SEQUENCE, SEQUENCE)),
    "RMSNorm": (lambda nn, **k: nn.RMSNorm(4, **k), (SEQUENCE,)),
    "SandwichNorm": (
        lambda nn, **k: nn.SandwichNorm(nn.LayerNorm(4, **k), _sublayer(), nn.RMSNorm(4, **k)),
        (SEQUENCE,),
    ),
    "ScaleNorm": (lambda nn, **k: nn.ScaleNorm(4, **k), (SEQUENCE,)),
    "SkipInit": (lambda nn, **k: nn.SkipInit(_sublayer(), **k), (SEQUENCE,)),
    "StepBatchNorm": (lambda nn, **k: nn.StepBatchNorm(4, 3, **k), (TABLE, "step")),
    "SwitchableNorm": (lambda nn, **k: nn.SwitchableNorm(4, **k), (IMAGE,)),
    "SyncBatchNorm": (lambda nn, **k: nn.SyncBatchNorm(4, **k), (IMAGE,)),
    "VirtualBatchNorm": (lambda nn, **k: nn.VirtualBatchNorm(4, 2, **k), (IMAGE,)),
}


def make(name, **factory):
    """A layer of `EVERY`, with its parameters as they start."""
    from normcore import nn

    return EVERY[name][0](nn, **factory)


def inputs_of(name, dtype=torch.float64):
    kinds = {"classes": torch.arange(4) % 3, "step": 1}
    shapes = EVERY[name][1]
    return tuple(kinds[s] if s in kinds else random_input(s, dtype, seed=i) for i, s in enumerate(shapes))


def outputs_of(result):
    """The tensors in what a layer returns."""
    if isinstance(result, torch.Tensor):
        return [result]
    return [tensor for part in result for tensor in outputs_of(part)]
