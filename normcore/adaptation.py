"""What is done to the batch norms of a trained model: statistics re-estimated, folded away, replaced."""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import Module

from normcore.statistics import merge, moments

__all__ = ["adapt_to_domain", "convert", "fold", "fold_pair", "reestimate"]


@torch.no_grad()
def reestimate(model: Module, batches: Iterable[Tensor]) -> Module:
    """Replace running averages by the mean and variance over whole data ("precise" statistics).

    The data is run through the model with the norms alone in training mode: each batch is normalized by
    itself, and dropout is off. Mean and variance of what each norm receives are merged over all batches,
    exactly. The variance is stored unbiased.

    Args:
        model: changed in place; its modes are left as they were.
        batches: inputs of the model. Large ones: each is normalized by its own statistics.

    Returns:
        model.

    Raises:
        ValueError: no batch, or no layer that keeps running averages.

    Source: Wu and Johnson (2021), "Rethinking 'Batch' in BatchNorm" (PreciseBN).
    """
    norms = [m for m in model.modules() if _keeps_averages(m)]
    if not norms:
        raise ValueError("reestimate: the model has no layer with running_mean and running_var")
    totals: dict[Module, tuple[int, Tensor, Tensor]] = {}

    def record(norm: Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].to(torch.float64)
        mean, var = moments(x, (0, *range(2, x.dim())))
        count = x.numel() // x.shape[1]
        totals[norm] = merge(*totals[norm], count, mean, var) if norm in totals else (count, mean, var)

    kept = {norm: (norm.running_mean.clone(), norm.running_var.clone()) for norm in norms}
    hooks = [norm.register_forward_pre_hook(record) for norm in norms]
    with _mode(model, norms):
        try:
            for batch in batches:
                model(batch)
        finally:
            for hook in hooks:
                hook.remove()
            for norm, (mean, var) in kept.items():
                norm.running_mean.copy_(mean)
                norm.running_var.copy_(var)
    if not totals:
        raise ValueError("reestimate: no batch was given")
    for norm, (count, mean, var) in totals.items():
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var * (count / max(count - 1, 1)))
    return model


def adapt_to_domain(model: Module, batches: Iterable[Tensor]) -> Module:
    """AdaBN: a copy of the model whose statistics are those of another domain; nothing is learned.

    Args:
        model: trained on the source domain; not changed.
        batches: inputs from the target domain, without labels.

    Source: Li, Wang, Shi, Liu and Hou (2016), Algorithm 1.
    """
    return reestimate(copy.deepcopy(model), batches)


def fold_pair(layer: Module, norm: Module) -> Module:
    """A linear or convolutional layer that does what `layer` and then `norm` do in evaluation.

        W′_o = W_o · γ_o/√(v_o + ε),        b′_o = (b_o − μ_o) · γ_o/√(v_o + ε) + β_o

    Args:
        layer: torch.nn.Linear, Conv1d to 3d or ConvTranspose1d to 3d; not changed.
        norm: a batch norm with running averages, of as many features as the layer has outputs.

    Raises:
        TypeError: a layer of another kind, or a norm without running averages.
        ValueError: numbers of features that differ.

    Source: Jacob et al. (2018), section 3.2.
    """
    transposed = isinstance(layer, torch.nn.modules.conv._ConvTransposeNd)
    if not isinstance(layer, (torch.nn.Linear, torch.nn.modules.conv._ConvNd)):
        raise TypeError(f"fold_pair: layer must be linear or convolutional, but it is {type(layer).__name__}")
    if not _keeps_averages(norm):
        raise TypeError(f"fold_pair: norm must keep running averages, but it is {type(norm).__name__}")
    outputs = layer.out_channels if hasattr(layer, "out_channels") else layer.out_features
    if outputs != norm.num_features:
        raise ValueError(f"fold_pair: the layer has {outputs} outputs, the norm {norm.num_features} features")
    factor = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        factor = factor * norm.weight
    bias = -norm.running_mean if layer.bias is None else layer.bias - norm.running_mean
    bias = bias * factor
    if norm.bias is not None:
        bias = bias + norm.bias
    folded = copy.deepcopy(layer)
    if transposed:
        # weights are (in, out/groups, *): outputs of group g stand beside the inputs of group g
        groups = layer.groups
        weight = layer.weight.unflatten(0, (groups, -1))
        by_output = factor.view(groups, 1, -1, *[1] * (layer.weight.dim() - 2))
        weight = (weight * by_output).flatten(0, 1)
    else:
        weight = layer.weight * factor.view(-1, *[1] * (layer.weight.dim() - 1))
    folded.weight = torch.nn.Parameter(weight.detach().to(layer.weight.dtype))
    folded.bias = torch.nn.Parameter(bias.detach().to(layer.weight.dtype))
    return folded


def fold(model: Module) -> Module:
    """A copy of a model, in evaluation, with each batch norm that follows a layer in a Sequential folded in.

    Args:
        model: not changed. Norms that follow anything else stay.
    """
    folded = copy.deepcopy(model).eval()
    containers = [m for m in folded.modules() if isinstance(m, torch.nn.Sequential)]
    for container in containers:
        kept: list[Module] = []
        for module in container:
            if kept and _keeps_averages(module) and isinstance(kept[-1], _FOLDABLE):
                kept[-1] = fold_pair(kept[-1], module)
            else:
                kept.append(module)
        for name in list(container._modules):
            del container._modules[name]
        for index, module in enumerate(kept):
            container.add_module(str(index), module)
    return folded


def convert(
    model: Module, kind: type[Module] | tuple[type[Module], ...], make: Callable[[Module], Module]
) -> Module:
    """A copy of a model with every layer of a kind replaced.

        convert(model, torch.nn.BatchNorm2d, lambda old: nn.GroupNorm(8, old.num_features))

    γ and β are carried over where both layers have them in the same shape; so are running averages.

    Args:
        model: not changed.
        kind: of layers to replace; the model itself may be one.
        make: the new layer for an old one.
    """

    def replaced(module: Module) -> Module:
        if isinstance(module, kind):
            new = make(module)
            held = new.state_dict()
            same = {k: v for k, v in module.state_dict().items() if k in held and held[k].shape == v.shape}
            new.load_state_dict(same, strict=False)
            return new.train(module.training)
        for name, child in module.named_children():
            setattr(module, name, replaced(child))
        return module

    return replaced(copy.deepcopy(model))


_FOLDABLE = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)


def _keeps_averages(module: Module) -> bool:
    return all(isinstance(getattr(module, n, None), Tensor) for n in ("running_mean", "running_var"))


@contextmanager
def _mode(model: Module, norms: list[Module]) -> Iterator[None]:
    """Evaluation for all but the norms; afterwards each module's own mode again."""
    modes = {module: module.training for module in model.modules()}
    counts = {
        n: n.num_batches_tracked.clone() for n in norms if getattr(n, "num_batches_tracked", None) is not None
    }
    model.eval()
    for norm in norms:
        norm.train()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for norm, count in counts.items():
            norm.num_batches_tracked.copy_(count)
