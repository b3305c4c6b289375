"""Layers. Those that torch.nn has are its own, with another forward: `from normcore import nn` is a drop-in.

What looks for torch's layers finds them (isinstance), torch.fx takes each layer whole, and names, arguments,
buffers and state dicts are torch's. In one thing they are more patient: input and parameters may differ in
dtype. The result has the input's, computed in float32 at least; torch refuses most such pairs.
"""

from normcore.nn.batch import BatchNorm1d, BatchNorm2d, BatchNorm3d
from normcore.nn.batch_variants import GhostBatchNorm, MeanOnlyBatchNorm, VirtualBatchNorm
from normcore.nn.conditional import AdaptiveInstanceNorm, AdaptiveLayerNorm, ConditionalBatchNorm
from normcore.nn.decorrelated import DecorrelatedBatchNorm
from normcore.nn.group import GroupNorm
from normcore.nn.instance import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from normcore.nn.layer import DynamicTanh, LayerNorm, PartialRMSNorm, QKNorm, RMSNorm, ScaleNorm
from normcore.nn.mixed import BatchInstanceNorm, SwitchableNorm
from normcore.nn.recurrent import BatchNormGRU, BatchNormLSTM, LayerNormGRU, LayerNormLSTM
from normcore.nn.renorm import BatchRenorm, renorm_limits
from normcore.nn.residual import DeepNorm, PostNorm, PreNorm, SandwichNorm, SkipInit, deepnorm_constants
from normcore.nn.response import EvoNormB0, EvoNormS0, FilterResponseNorm, LocalResponseNorm
from normcore.nn.step import StepBatchNorm
from normcore.nn.sync import SyncBatchNorm
from normcore.nn.weight import initialize_from_data, spectral_norm, weight_norm, weight_standardization

__all__ = [
    "AdaptiveInstanceNorm",
    "AdaptiveLayerNorm",
    "BatchInstanceNorm",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "BatchNormGRU",
    "BatchNormLSTM",
    "BatchRenorm",
    "ConditionalBatchNorm",
    "DecorrelatedBatchNorm",
    "DeepNorm",
    "DynamicTanh",
    "EvoNormB0",
    "EvoNormS0",
    "FilterResponseNorm",
    "GhostBatchNorm",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "LayerNormGRU",
    "LayerNormLSTM",
    "LocalResponseNorm",
    "MeanOnlyBatchNorm",
    "PartialRMSNorm",
    "PostNorm",
    "PreNorm",
    "QKNorm",
    "RMSNorm",
    "SandwichNorm",
    "ScaleNorm",
    "SkipInit",
    "StepBatchNorm",
    "SwitchableNorm",
    "SyncBatchNorm",
    "VirtualBatchNorm",
    "deepnorm_constants",
    "initialize_from_data",
    "renorm_limits",
    "spectral_norm",
    "weight_norm",
    "weight_standardization",
]
