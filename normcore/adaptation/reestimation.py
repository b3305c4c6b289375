"""Running averages replaced by the statistics of whole data."""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from normcore import nn
from normcore.statistics import merge, moments

__all__ = ["adapt_to_domain", "reestimate"]

_BatchNorm = torch.nn.modules.batchnorm._BatchNorm
_InstanceNorm = torch.nn.modules.instancenorm._InstanceNorm


@torch.no_grad()
def reestimate(model: Module, batches: Iterable[Any], device: torch.device | str | None = None) -> Module:
    """Replace running averages by the mean and variance over whole data ("precise" statistics).

    The data is run through the model with the norms alone in training mode: each batch is normalized by
    itself, and dropout is off. Mean and variance of what each norm receives are merged over all batches,
    exactly, and stored as the layer stores them:

    - batch norms: mean, unbiased variance
    - SwitchableNorm: mean, biased variance
    - BatchRenorm: mean, √(biased variance + ε)
    - MeanOnlyBatchNorm, EvoNormB0: what they keep of the two
    - StepBatchNorm: those of each time step, over the sequences that reach it
    - instance norms, DecorrelatedBatchNorm: the average of their values over all examples, since they keep
      averages of an instance's or a batch's own

    In a distributed run they are those of this process's batches.

    Args:
        model: changed in place; its modes are left as they were.
        batches: inputs of the model, or tuples and lists that begin with one, as (x, y). Large ones: each
            is normalized by its own statistics.
        device: where inputs are moved to first.

    Returns:
        model.

    Raises:
        ValueError: no batch, or no layer that keeps running averages.
        TypeError: a layer that keeps running averages of a kind not listed.

    Source: Wu and Johnson (2021), "Rethinking 'Batch' in BatchNorm" (PreciseBN).
    """
    norms = {name: m for name, m in model.named_modules() if _keeps_averages(m)}
    if not norms:
        raise ValueError("reestimate: the model has no layer with running_mean and running_var")
    for name, norm in norms.items():
        if not isinstance(norm, (*_STORED, *_AVERAGED)):
            raise TypeError(
                f"reestimate: it is not known how {type(norm).__name__} ({name or 'the model'}) keeps its "
                "running averages"
            )
    totals: dict[Any, tuple[int, Tensor, Tensor]] = {}
    examples = dict.fromkeys(norms.values(), 0)

    def record(norm: Module, args: tuple, kwargs: dict) -> None:
        x = args[0] if args else kwargs["input"]
        key = norm
        if isinstance(norm, _AVERAGED):
            # the layer averages for itself, with this batch's share as its momentum
            batched = not isinstance(norm, _InstanceNorm) or x.dim() == norm._get_no_batch_dim() + 1
            count = len(x) if batched else 1
            examples[norm] += count
            norm.momentum = count / max(examples[norm], 1)
            return
        if isinstance(norm, nn.StepBatchNorm):
            x, step, valid = _of_step(*args, **kwargs)
            key = (norm, min(step, norm.max_steps - 1))
            x = x if valid is None else x[valid]
        count = x.numel() // x.shape[1]
        if count:
            mean, var = moments(x.to(torch.float64), (0, *range(2, x.dim())))
            totals[key] = merge(*totals[key], count, mean, var) if key in totals else (count, mean, var)

    seen = False
    with _training(model, list(norms.values())), _hooked(norms.values(), record):
        for batch in batches:
            x = batch[0] if isinstance(batch, (tuple, list)) else batch
            model(x if device is None else x.to(device))
            seen = True
        if not seen:
            raise ValueError("reestimate: no batch was given")
        averaged = {n: _averages(n) for n, count in examples.items() if count}
    for norm, buffers in averaged.items():
        for name, value in buffers.items():
            getattr(norm, name).copy_(value)
    for norm in norms.values():
        if isinstance(norm, nn.StepBatchNorm):
            _store_steps(norm, {step: t for (n, step), t in _of_steps(totals) if n is norm})
        elif norm in totals:
            store = next(f for kind, f in _STORED.items() if isinstance(norm, kind))
            store(norm, *totals[norm])
    return model


def adapt_to_domain(
    model: Module, batches: Iterable[Any], device: torch.device | str | None = None
) -> Module:
    """AdaBN: a copy of the model whose statistics are those of another domain; nothing is learned.

    Args:
        model: trained on the source domain; not changed.
        batches, device: inputs from the target domain, without need of labels; as for `reestimate`.

    Source: Li, Wang, Shi, Liu and Hou (2016), Algorithm 1.
    """
    return reestimate(copy.deepcopy(model), batches, device)


def _of_step(input: Tensor, step: int, valid: Tensor | None = None) -> tuple:
    return input, step, valid


def _unbiased(count: int, var: Tensor) -> Tensor:
    return var * (count / max(count - 1, 1))


def _store_moments(norm: Any, count: int, mean: Tensor, var: Tensor) -> None:
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(_unbiased(count, var))


def _store_biased(norm: Any, count: int, mean: Tensor, var: Tensor) -> None:
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)


def _store_deviation(norm: Any, count: int, mean: Tensor, var: Tensor) -> None:
    norm.running_mean.copy_(mean)
    norm.running_std.copy_(torch.sqrt(var + norm.eps))


def _store_mean(norm: Any, count: int, mean: Tensor, var: Tensor) -> None:
    norm.running_mean.copy_(mean)


def _store_variance(norm: Any, count: int, mean: Tensor, var: Tensor) -> None:
    norm.running_var.copy_(_unbiased(count, var))


def _store_steps(norm: Any, steps: dict[int, tuple[int, Tensor, Tensor]]) -> None:
    for step, (count, mean, var) in steps.items():
        norm.running_mean[step].copy_(mean)
        norm.running_var[step].copy_(_unbiased(count, var))
    norm.steps_seen.fill_(len(steps))


def _of_steps(totals: dict) -> list:
    """Those of a time step that rest on two values at least; a step with one has no variance."""
    return [(key, t) for key, t in totals.items() if isinstance(key, tuple) and t[0] > 1]


_STORED: dict[type[Module], Callable[..., None]] = {
    _BatchNorm: _store_moments,
    nn.BatchInstanceNorm: _store_moments,
    nn.ConditionalBatchNorm: _store_moments,
    nn.SwitchableNorm: _store_biased,
    nn.BatchRenorm: _store_deviation,
    nn.MeanOnlyBatchNorm: _store_mean,
    nn.EvoNormB0: _store_variance,
    nn.StepBatchNorm: _store_steps,
}
_AVERAGED = (_InstanceNorm, nn.DecorrelatedBatchNorm)


def _averages(module: Module) -> dict[str, Tensor]:
    """Copies of a layer's own buffers that are called running_…"""
    buffers = module.named_buffers(recurse=False)
    return {name: b.clone() for name, b in buffers if name.startswith("running_")}


def _keeps_averages(module: Module) -> bool:
    return any(name.startswith("running_") for name, _ in module.named_buffers(recurse=False))


@contextmanager
def _hooked(norms: Iterable[Module], record: Callable) -> Iterator[None]:
    hooks = [norm.register_forward_pre_hook(record, with_kwargs=True) for norm in norms]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _training(model: Module, norms: list[Module]) -> Iterator[None]:
    """The norms in training and the rest in evaluation; afterwards modes and buffers as they were."""
    modes = {module: module.training for module in model.modules()}
    buffers = {norm: [(b, b.clone()) for b in norm.buffers(recurse=False)] for norm in norms}
    momenta = {norm: norm.momentum for norm in norms}
    limits = {norm: norm.limits for norm in norms if isinstance(norm, nn.BatchRenorm)}
    model.eval()
    for norm in norms:
        norm.train()
    for norm in limits:
        norm.limits = _by_the_batch_alone
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for norm in norms:
            norm.momentum = momenta[norm]
            for buffer, before in buffers[norm]:
                buffer.copy_(before)
        for norm, own in limits.items():
            norm.limits = own


def _by_the_batch_alone(step: Tensor) -> tuple[float, float]:
    return 1.0, 0.0
