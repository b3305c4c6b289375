"""Batch norms folded into the linear or convolutional layer before them."""

import copy
import warnings
from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.utils import parametrize

__all__ = ["fold", "fold_pair"]

_LAYERS = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
# in evaluation with running averages both are one straight line a channel; torch.nn's and ours
_NORMS = (torch.nn.modules.batchnorm._BatchNorm, torch.nn.modules.instancenorm._InstanceNorm)


def fold_pair(layer: Module, norm: Module) -> Module:
    """A linear or convolutional layer that does what `layer` and then `norm` do in evaluation.

        W′_o = W_o · γ_o/√(v_o + ε),        b′_o = (b_o − μ_o) · γ_o/√(v_o + ε) + β_o

    Args:
        layer: torch.nn.Linear, of inputs (N, C), Conv1d to 3d or ConvTranspose1d to 3d; not changed. A
            weight that is computed (weight norm, say) becomes a plain one.
        norm: a batch or instance norm with running averages, of as many features as the layer has outputs.

    Raises:
        TypeError: a layer or a norm of another kind, or a norm without running averages.
        ValueError: numbers of features that differ.

    Source: Jacob et al. (2018), section 3.2.
    """
    if not isinstance(layer, _LAYERS):
        raise TypeError(f"fold_pair: layer must be linear or convolutional, but it is {type(layer).__name__}")
    if not _foldable(norm):
        raise TypeError(
            "fold_pair: norm must be a batch or instance norm that keeps running averages, "
            f"but it is {type(norm).__name__}"
        )
    if _outputs(layer) != norm.num_features:
        raise ValueError(
            f"fold_pair: the layer has {_outputs(layer)} outputs, the norm {norm.num_features} features"
        )
    kept: Any = norm  # the two kinds have no common class that names what they keep
    mean, var = kept.running_mean, kept.running_var
    factor = torch.rsqrt(var + kept.eps)
    if kept.weight is not None:
        factor = factor * kept.weight
    folded: Any = copy.deepcopy(layer).eval()
    weight, bias = folded.weight, folded.bias
    if parametrize.is_parametrized(folded):
        # not remove_parametrizations: that changes the class, which the copy has in common with `layer`
        folded.__class__ = parametrize.type_before_parametrizations(folded)
        del folded.parametrizations
    bias = -mean if bias is None else bias - mean
    bias = bias * factor
    if kept.bias is not None:
        bias = bias + kept.bias
    dtype = weight.dtype
    if isinstance(layer, torch.nn.modules.conv._ConvTransposeNd):
        # weights are (in, out/groups, *): outputs of group g stand beside the inputs of group g
        by_output = factor.view(layer.groups, 1, -1, *[1] * (weight.dim() - 2))
        weight = (weight.unflatten(0, (layer.groups, -1)) * by_output).flatten(0, 1)
    else:
        weight = weight * factor.view(-1, *[1] * (weight.dim() - 1))
    folded.weight = torch.nn.Parameter(weight.detach().to(dtype))
    folded.bias = torch.nn.Parameter(bias.detach().to(dtype))
    return folded.train(layer.training)


def fold(model: Module) -> Module:
    """A copy of a model, in evaluation, with batch norms folded into the layers that feed them.

    Names stay: the layer before holds the new weight and bias, torch.nn.Identity stands where the norm was.
    A norm is folded where torch.fx sees that one linear or convolutional layer feeds it and nothing else
    reads or calls that layer; where a model cannot be traced, its children are traced one by one. A linear
    layer's outputs are taken to be the norm's channels, (N, C).

    Args:
        model: not changed.

    Warns:
        UserWarning: names the norms with running averages that are left.
    """
    folded = copy.deepcopy(model).eval()
    with torch.no_grad():
        for layer, norm in _pairs(folded):
            _replace(folded, layer, fold_pair(layer, norm).eval())
            _replace(folded, norm, torch.nn.Identity().eval())
    left = [f"{name} ({type(m).__name__})" for name, m in folded.named_modules() if _foldable(m)]
    if left:
        warnings.warn(
            "fold: left as they are, for no linear or convolutional layer feeds them alone: "
            + ", ".join(left),
            stacklevel=2,
        )
    return folded


def _pairs(root: Module) -> list[tuple[Any, Any]]:
    """(layer, norm) where the norm's only input is that layer, called once and read once."""
    try:
        graph = torch.fx.Tracer().trace(root)
    except Exception:  # whatever the model's own code raises when it is given no tensor
        return [pair for child in root.children() for pair in _pairs(child)]
    called = Counter(n.target for n in graph.nodes if n.op == "call_module")
    read = {n.target.rpartition(".")[0] for n in graph.nodes if n.op == "get_attr"}

    def once(node, kinds: tuple[type[Module], ...]) -> Any:
        if not isinstance(node, torch.fx.Node) or node.op != "call_module" or len(node.args) != 1:
            return None
        module = root.get_submodule(str(node.target))
        alone = called[node.target] == 1 and node.target not in read and not node.kwargs
        return module if alone and isinstance(module, kinds) else None

    pairs = []
    for node in graph.nodes:
        norm = once(node, _NORMS)
        layer = None if norm is None else once(node.args[0], _LAYERS)
        if layer is None or not _foldable(norm) or len(node.args[0].users) > 1:
            continue
        if _outputs(layer) == norm.num_features:
            pairs.append((layer, norm))
    return pairs


def _replace(model: Module, old: Module, new: Module) -> None:
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module is old:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, new)


def _foldable(norm: Module) -> bool:
    return isinstance(norm, _NORMS) and all(
        isinstance(getattr(norm, name), Tensor) for name in ("running_mean", "running_var")
    )


def _outputs(layer: Any) -> int:
    return layer.out_features if isinstance(layer, torch.nn.Linear) else layer.out_channels
