"""Layers of a model replaced by others."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import Module

from normcore import nn

__all__ = ["as_torch", "convert"]


def convert(
    model: Module, kind: type[Module] | tuple[type[Module], ...], make: Callable[[Module], Module]
) -> Module:
    """A copy of a model with every layer of a kind replaced.

    >>> model = torch.nn.Sequential(torch.nn.BatchNorm2d(16))
    >>> grouped = convert(model, torch.nn.BatchNorm2d, lambda old: nn.GroupNorm(8, old.num_features))
    >>> grouped[0].num_channels
    16

    γ and β are carried over where both layers have them in the same shape, and so are running averages;
    and with them dtype, device (meta too), requires_grad and mode. A layer that stands in two places is
    replaced by one.

    Args:
        model: not changed.
        kind: of layers to replace; the model itself may be one.
        make: the new layer for an old one.
    """
    model = copy.deepcopy(model)
    replaced: dict[Module, Module] = {}
    inside: tuple[str, ...] = ()
    for name, old in list(model.named_modules(remove_duplicate=False)):
        if not isinstance(old, kind) or name.startswith(inside):
            continue
        if old not in replaced:
            replaced[old] = _in_the_place_of(old, make(old))
        if not name:
            return replaced[old]
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, replaced[old])
        inside += (f"{name}.",)
    return model


def as_torch(model: Module) -> Module:
    """A copy of a model in which each layer that torch.nn has too is torch.nn's own.

    For what looks at a layer's exact type, where a subclass is not enough: torch.ao.quantization's
    `fuse_modules` and the fusions of its `prepare_fx`, torch.jit.script.

    Args:
        model: not changed.
    """
    model = copy.deepcopy(model)
    for module in model.modules():
        name = type(module).__name__
        # the same tensors and arguments: nothing but forward is ours
        if type(module) is getattr(nn, name, None) and hasattr(torch.nn, name):
            module.__class__ = getattr(torch.nn, name)
    return model


@torch.no_grad()
def _in_the_place_of(old: Module, new: Module) -> Module:
    held = {**dict(old.named_parameters()), **dict(old.named_buffers())}
    like = next((t for t in held.values() if t.is_floating_point()), None)
    if like is not None:
        if like.is_meta or any(t.is_meta for t in (*new.parameters(), *new.buffers())):
            new.to_empty(device=like.device)  # there are no values to move
            reset: Any = new  # every layer has reset_parameters, and Module does not say so
            reset.reset_parameters()
        new.to(like.device, like.dtype)
    for name, tensor in (*new.named_parameters(), *new.named_buffers()):
        if name in held and held[name].shape == tensor.shape:
            tensor.copy_(held[name])
            tensor.requires_grad_(held[name].requires_grad)
    return new.train(old.training)
