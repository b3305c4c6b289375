"""Running averages as buffers: what batch norm and instance norm share."""

import torch
from torch.nn import Module

from normcore.nn._affine import register_affine, reset_affine


class RunningNorm(Module):
    """Parameters γ, β and buffers running_mean, running_var, num_batches_tracked, as torch.nn's."""

    # State dicts before version 2 have no num_batches_tracked.
    _version = 2

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        bias: bool,
        device,
        dtype,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        register_affine(self, (num_features,), affine, affine and bias, device, dtype)
        running_mean = running_var = num_batches_tracked = None
        if track_running_stats:
            running_mean = torch.zeros(num_features, device=device, dtype=dtype)
            running_var = torch.ones(num_features, device=device, dtype=dtype)
            num_batches_tracked = torch.tensor(0, dtype=torch.long, device=device)
        self.register_buffer("running_mean", running_mean)
        self.register_buffer("running_var", running_var)
        self.register_buffer("num_batches_tracked", num_batches_tracked)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batch seen."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Running averages and γ, β as in a new layer."""
        self.reset_running_stats()
        reset_affine(self)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args) -> None:
        key = prefix + "num_batches_tracked"
        if (local_metadata.get("version") or 0) < 2 and self.track_running_stats and key not in state_dict:
            state_dict[key] = torch.tensor(0, dtype=torch.long)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)
