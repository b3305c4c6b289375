"""A formula with forward and backward passes written by hand, in fewer full-size tensors than autograd's."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from normcore.statistics import traced

__all__ = ["ByHand", "sum_over", "transformed"]


def transformed(*tensors: Tensor) -> bool:
    """Whether one of them stands for several, or for a value and its derivative (torch.func).

    A buffer does not, and what is written to it then does not fit.
    """
    inside = torch._C._functorch
    return any(inside.is_functorch_wrapped_tensor(t) or inside.is_legacy_batchedtensor(t) for t in tensors)


def sum_over(x: Tensor, dim: tuple[int, ...]) -> Tensor:
    """Σ_{i∈S} x_i, size 1 in `dim`. Over no dimension it is a copy of x, where torch takes all."""
    return x.sum(dim, keepdim=True) if dim else x.clone()


class ByHand(torch.autograd.Function):
    """Base of what runs in place of a formula.

    `@Fast.runs` before a formula puts the class Fast in its place. The formula itself is what a compiler
    or an exporter sees, what derivatives of the derivative and forward mode go through, and what runs on
    tensors of torch.func. Between forward and backward the inputs are kept, and the outputs that `keeps`
    names by their number.
    """

    generate_vmap_rule = True
    keeps: tuple[int, ...] = ()
    formula: Callable

    @staticmethod
    def fast(*inputs):
        """The formula's value, outside any graph."""
        raise NotImplementedError

    @staticmethod
    def first_order(inputs: tuple, kept: tuple[Tensor, ...], grads: tuple[Tensor | None, ...]):
        """Gradients to the inputs that are tensors, outside any graph; None leaves it to the formula."""
        raise NotImplementedError

    @classmethod
    def runs(cls, formula: Callable) -> Callable:
        cls.formula = staticmethod(formula)

        @functools.wraps(formula)
        def run(*inputs):
            if traced():
                return formula(*inputs)
            if torch.is_grad_enabled() or transformed(*(i for i in inputs if isinstance(i, Tensor))):
                return cls.apply(*inputs)
            return cls.fast(*inputs)  # without the cost of a node in the graph

        return run

    @classmethod
    def apply(cls, *inputs):
        if torch._C._are_functorch_transforms_active():
            return super().apply(*inputs)
        # without a look at the signature, which takes as long as a small layer
        return super(torch.autograd.Function, cls).apply(*inputs)

    @classmethod
    def forward(cls, *inputs):
        given = (i for i in inputs if isinstance(i, Tensor))
        return cls.formula(*inputs) if transformed(*given) else cls.fast(*inputs)

    @classmethod
    def setup_context(cls, ctx, inputs, output) -> None:
        tensors = [i for i in inputs if isinstance(i, Tensor)]
        outputs = output if isinstance(output, tuple) else (output,)
        ctx.template = [None if isinstance(i, Tensor) else (i,) for i in inputs]
        ctx.save_for_backward(*tensors, *(outputs[k] for k in cls.keeps))
        ctx.save_for_forward(*tensors)
        ctx.set_materialize_grads(False)

    @classmethod
    def _of_tensors(cls, ctx) -> Callable:
        return lambda *tensors: cls.formula(*_filled(ctx.template, tensors))

    @classmethod
    def backward(cls, ctx, *grads: Tensor | None):
        if all(g is None for g in grads):
            return (None,) * len(ctx.template)
        count = ctx.template.count(None)
        tensors, kept = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        gradients = None
        if not torch.is_grad_enabled() and not transformed(*(g for g in grads if g is not None)):
            gradients = cls.first_order(_filled(ctx.template, tensors), kept, grads)
        if gradients is None:
            outputs, vjp = torch.func.vjp(cls._of_tensors(ctx), *tensors)
            if isinstance(outputs, tuple):
                pairs = zip(outputs, grads, strict=True)
                gradients = vjp(tuple(torch.zeros_like(o) if g is None else g for o, g in pairs))
            else:
                gradients = vjp(grads[0])
        gradients = iter(gradients)
        return tuple(None if slot is not None else next(gradients) for slot in ctx.template)

    @classmethod
    def jvp(cls, ctx, *tangents: Tensor | None):
        tensors = ctx.saved_tensors
        moves = (t for t, slot in zip(tangents, ctx.template, strict=True) if slot is None)
        moves = tuple(torch.zeros_like(x) if t is None else t for x, t in zip(tensors, moves, strict=True))
        return torch.func.jvp(cls._of_tensors(ctx), tensors, moves)[1]


def _filled(template: list[tuple | None], tensors: tuple[Tensor, ...]) -> tuple:
    """The inputs as they were: `tensors` where the template has None."""
    rest = iter(tensors)
    return tuple(next(rest) if slot is None else slot[0] for slot in template)
