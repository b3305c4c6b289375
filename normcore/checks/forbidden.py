"""What a learner's solution may not call: the built-ins that would do the task."""

__all__ = ["AUTOGRAD", "NORMALIZATIONS", "SCALERS"]

# Operators as torch dispatches them, whatever the layer or function that led there, and this package.
NORMALIZATIONS = frozenset(
    {
        "aten::native_batch_norm",
        "aten::_native_batch_norm_legit",
        "aten::_native_batch_norm_legit_functional",
        "aten::_native_batch_norm_legit_no_training",
        "aten::_batch_norm_with_update",
        "aten::cudnn_batch_norm",
        "aten::miopen_batch_norm",
        "aten::batch_norm",
        "aten::instance_norm",
        "aten::native_layer_norm",
        "aten::native_group_norm",
        "aten::_fused_rms_norm",
        "aten::rms_norm",
        "normcore",
    }
)
SCALERS = frozenset({"sklearn", "normcore"})
# What runs a backward pass: `backward()` and `torch.autograd.grad`, and torch.func's transforms.
AUTOGRAD = frozenset({"torch.autograd.graph", "torch._functorch.apis", "torch._functorch.eager_transforms"})
