"""Layers with the names, arguments, buffers and state dicts of torch.nn: `from normcore import nn`."""

from normcore.nn.batch import BatchNorm1d, BatchNorm2d, BatchNorm3d
from normcore.nn.group import GroupNorm
from normcore.nn.instance import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from normcore.nn.layer import LayerNorm, RMSNorm

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "RMSNorm",
]
