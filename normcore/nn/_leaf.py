"""torch.fx takes torch.nn's layers whole and looks into all others; ours ask to be taken whole too."""

import functools
from collections.abc import Callable
from typing import Any

import torch


def leaf(forward: Callable) -> Callable:
    """For the `forward` of a layer: torch.fx records one call of the layer in place of what is in it.

    Otherwise the layer's checks would stop the tracer, and its mode, training or evaluation, would be
    fixed in the graph.
    """

    @functools.wraps(forward)
    def taken_whole(self, *args, **kwargs):
        for given in (*args, *kwargs.values()):
            tracer: Any = given.tracer if isinstance(given, torch.fx.Proxy) else None
            if tracer is not None and tracer.root is not self:
                return tracer.create_proxy("call_module", tracer.path_of_module(self), args, kwargs)
        return forward(self, *args, **kwargs)

    # torch.compile limits how often one code object is compiled: each layer needs one of its own
    taken_whole.__code__ = taken_whole.__code__.replace(
        co_name=forward.__name__, co_firstlineno=forward.__code__.co_firstlineno
    )
    return taken_whole
