"""The layers that torch.nn has too, with random arguments, inputs, parameters and buffers for them."""

import torch
from hypothesis import strategies as st

SPATIAL = {"1d": 1, "2d": 2, "3d": 3}


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
            "bias": draw(flag),
            "track_running_stats": draw(flag),
        }
        return family + suffix, (channels,), keywords, (batch, channels, *spatial)
    if family == "GroupNorm":
        groups = draw(st.integers(1, 3))
        spatial = [draw(st.integers(1, 4)) for _ in range(draw(st.integers(0, 3)))]
        keywords = {"eps": eps, "affine": draw(flag), "bias": draw(flag)}
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
