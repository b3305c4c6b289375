"""What a learner's solution may not call: the built-ins that would do the task."""

__all__ = ["AUTOGRAD", "NORMALIZATIONS", "SCALERS", "spoken"]

# Operators as torch dispatches them, whatever the layer or function that led there; this package; and of
# torch's functions in Python those that have "_norm" in their name, some of them composed of other operators.
NORMALIZATIONS = frozenset(
    {
        "aten::native_batch_norm",
        "aten::_native_batch_norm_legit",
        "aten::_native_batch_norm_legit_functional",
        "aten::_native_batch_norm_legit_no_training",
        "aten::_batch_norm_with_update",
        "aten::_batch_norm_with_update_functional",
        "aten::_batch_norm_no_update",
        "aten::batch_norm_update_stats",
        "aten::cudnn_batch_norm",
        "aten::miopen_batch_norm",
        "aten::batch_norm",
        "aten::instance_norm",
        "aten::native_layer_norm",
        "aten::native_group_norm",
        "aten::_fused_rms_norm",
        "aten::rms_norm",
        # a gradient holds x̂
        "aten::native_batch_norm_backward",
        "aten::batch_norm_backward",
        "aten::_batch_norm_impl_index_backward",
        "aten::cudnn_batch_norm_backward",
        "aten::miopen_batch_norm_backward",
        "aten::native_layer_norm_backward",
        "aten::native_group_norm_backward",
        "aten::_fused_rms_norm_backward",
        "normcore",
        "scipy.stats",
        "torch.nn.functional:_norm",
        "torch.nn.functional:normalize",
        "torch.nested:_norm",
        "torch._decomp:_norm",
        "torch._refs:_norm",
        "torch.nn.utils.fusion:fuse",
    }
)
SCALERS = frozenset({"sklearn", "scipy.stats", "normcore"})
# What differentiates: `backward()` and `torch.autograd.grad`, forward mode, torch.func's transforms (but not
# vmap, which is no derivative).
AUTOGRAD = frozenset(
    {
        "torch.autograd.graph",
        "torch.autograd.forward_ad",
        "torch._functorch.eager_transforms",
    }
)

DIFFERENTIATES = "autograd (backward(), torch.autograd or torch.func)"


def spoken(seen: set[str]) -> list[str]:
    """What was called, in the names that a learner writes rather than those of the operators behind them."""
    modules = {name for name in seen if "::" not in name}
    differentiates = {name for name in modules if name.startswith(("torch.autograd", "torch._functorch"))}
    named = sorted(modules - differentiates) + [DIFFERENTIATES] * bool(differentiates)
    return named or sorted(seen)
