"""Each method's forward formula, stateless; torch.nn.functional's signature where it has the method.

Every method is `standardize` (or `standardize_rms`) over its own index set. For images, input (N, C, H, W):

    batch norm      mean over (N, H, W)        one mean a channel
    layer norm      mean over (C, H, W)        one mean an example
    instance norm   mean over (H, W)           one mean an example and channel
    group norm      mean over (C/G, H, W)      one mean an example and group of channels
"""

from normcore.functional.batch import (
    batch_norm,
    batch_renorm,
    ghost_batch_norm,
    mean_only_batch_norm,
    virtual_batch_norm,
)
from normcore.functional.conditional import adaptive_layer_norm, conditional_batch_norm
from normcore.functional.group import group_norm, instance_norm
from normcore.functional.layer import (
    dynamic_tanh,
    layer_norm,
    partial_rms_norm,
    qk_norm,
    rms_norm,
    scale_norm,
)
from normcore.functional.mixed import adaptive_instance_norm, batch_instance_norm, switchable_norm
from normcore.functional.recurrent import normalized_gru_cell, normalized_lstm_cell
from normcore.functional.response import evonorm_b0, evonorm_s0, filter_response_norm, local_response_norm
from normcore.functional.standardization import standardize, standardize_rms
from normcore.functional.sync import sync_batch_norm
from normcore.functional.weight import spectral_norm, weight_norm, weight_standardization
from normcore.functional.whitening import decorrelated_batch_norm

__all__ = [
    "adaptive_instance_norm",
    "adaptive_layer_norm",
    "batch_instance_norm",
    "batch_norm",
    "batch_renorm",
    "conditional_batch_norm",
    "decorrelated_batch_norm",
    "dynamic_tanh",
    "evonorm_b0",
    "evonorm_s0",
    "filter_response_norm",
    "ghost_batch_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "local_response_norm",
    "mean_only_batch_norm",
    "normalized_gru_cell",
    "normalized_lstm_cell",
    "partial_rms_norm",
    "qk_norm",
    "rms_norm",
    "scale_norm",
    "spectral_norm",
    "standardize",
    "standardize_rms",
    "switchable_norm",
    "sync_batch_norm",
    "virtual_batch_norm",
    "weight_norm",
    "weight_standardization",
]
