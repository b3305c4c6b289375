"""A formula with a backward pass written by hand, in fewer full-size tensors than autograd's."""

import torch
from torch import Tensor


def in_place(*grads: Tensor) -> bool:
    """Whether a backward pass may write to buffers: not if it is differentiated, nor if it is batched.

    A Jacobian row by row (`is_grads_batched`) runs it under vmap, where a buffer is not batched and what is
    written to it is.
    """
    inside = torch._C._functorch
    return not torch.is_grad_enabled() and not any(
        inside.is_functorch_wrapped_tensor(g) or inside.is_legacy_batchedtensor(g) for g in grads
    )


class ByHand(torch.autograd.Function):
    """Base of a function that has its formula twice: as one reads it, and as it runs fast.

    `formula`, of tensors and then of constants, is what a compiler, a second derivative and forward mode
    see. `forward` and `first_order` are by hand, and only the inputs are kept between them.
    """

    generate_vmap_rule = True

    @classmethod
    def of(cls, *inputs):
        """The value, by hand or, under a compiler, by the formula."""
        return cls.formula(*inputs) if torch.compiler.is_compiling() else cls.apply(*inputs)

    @staticmethod
    def formula(*inputs):
        raise NotImplementedError

    @staticmethod
    def first_order(inputs: tuple, grads: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
        """Gradients to the tensors among `inputs`, outside any graph."""
        raise NotImplementedError

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        tensors = [i for i in inputs if isinstance(i, Tensor)]
        ctx.constants = inputs[len(tensors) :]
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @classmethod
    def _differentiable(cls, ctx):
        return lambda *tensors: cls.formula(*tensors, *ctx.constants)

    @classmethod
    def backward(cls, ctx, *grads: Tensor):
        rest = (None,) * len(ctx.constants)
        if not in_place(*grads):
            _, vjp = torch.func.vjp(cls._differentiable(ctx), *ctx.saved_tensors)
            return *vjp(grads if len(grads) > 1 else grads[0]), *rest
        return *cls.first_order((*ctx.saved_tensors, *ctx.constants), grads), *rest

    @classmethod
    def jvp(cls, ctx, *tangents: Tensor | None):
        tensors = ctx.saved_tensors
        moves = tuple(
            torch.zeros_like(x) if t is None else t
            for x, t in zip(tensors, tangents[: len(tensors)], strict=True)
        )
        return torch.func.jvp(cls._differentiable(ctx), tensors, moves)[1]
