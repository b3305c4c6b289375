"""Each method's backward pass, derived by hand, in the book's symbols."""

from normcore.gradients.mixed import batch_instance_norm_backward, switchable_norm_backward
from normcore.gradients.normalization import (
    batch_norm_backward,
    batch_norm_eval_backward,
    batch_renorm_backward,
    group_norm_backward,
    instance_norm_backward,
    layer_norm_backward,
    rms_norm_backward,
    through_normalization,
)
from normcore.gradients.weight import spectral_norm_backward, weight_norm_backward

__all__ = [
    "batch_instance_norm_backward",
    "batch_norm_backward",
    "batch_norm_eval_backward",
    "batch_renorm_backward",
    "group_norm_backward",
    "instance_norm_backward",
    "layer_norm_backward",
    "rms_norm_backward",
    "spectral_norm_backward",
    "switchable_norm_backward",
    "through_normalization",
    "weight_norm_backward",
]
