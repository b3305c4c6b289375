"""LSTM and GRU with normalization inside the recurrence: by batch, per time step or per sequence; by layer.

Sequences are (N, T, C). All cells share one loop; they differ in the three norms that they are given:
on the input's part W_x x_t, on the hidden part W_h h_{t−1}, and on what leaves the cell.
"""

import torch
from torch import Tensor
from torch.nn import Module, Parameter, init

from normcore import functional as F
from normcore.nn._affine import register_affine

__all__ = ["BatchNormGRU", "BatchNormLSTM", "LayerNormGRU", "LayerNormLSTM", "StepBatchNorm"]

GAMMA = 0.1


class StepBatchNorm(Module):
    """Batch norm with running averages of its own for each time step; γ and β are shared.

    Training normalizes by the valid examples of the step. Beyond the longest step seen in training,
    evaluation uses the last one's averages.

    Args:
        num_features: C.
        max_steps: running averages are kept for so many steps.
        gamma: what γ starts at; 0.1 keeps the gradient through tanh alive.
        bias: learn β.
        eps, momentum: as BatchNorm1d.

    Raises:
        ValueError: fewer than 2 valid examples at a step, in training.

    Source: Cooijmans, Ballas, Laurent, Gülçehre and Courville (2016), section 3.
    """

    def __init__(
        self,
        num_features: int,
        max_steps: int,
        gamma: float = GAMMA,
        bias: bool = True,
        eps: float = 1e-5,
        momentum: float = 0.1,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.max_steps = max_steps
        self.eps = eps
        self.momentum = momentum
        register_affine(self, (num_features,), True, bias, device, dtype)
        init.constant_(self.weight, gamma)
        if bias:
            init.zeros_(self.bias)
        shape = (max_steps, num_features)
        self.register_buffer("running_mean", torch.zeros(shape, device=device, dtype=dtype))
        self.register_buffer("running_var", torch.ones(shape, device=device, dtype=dtype))
        self.register_buffer("steps_seen", torch.tensor(0, dtype=torch.long, device=device))

    def forward(self, input: Tensor, step: int, valid: Tensor | None = None) -> Tensor:
        """Input (N, C) at `step`, counted from 0; valid (N,) says which examples have not ended."""
        if self.training:
            kept = min(step, self.max_steps - 1)
            self.steps_seen.fill_(max(int(self.steps_seen), kept + 1))
        else:
            kept = min(step, max(int(self.steps_seen), 1) - 1)
        arguments = (self.running_mean[kept], self.running_var[kept], self.weight, self.bias)
        options = (self.training, self.momentum, self.eps)
        if valid is None or not self.training or bool(valid.all()):
            return F.batch_norm(input, *arguments, *options)
        output = torch.zeros_like(input)
        output[valid] = F.batch_norm(input[valid], *arguments, *options)
        return output


class _Layer(Module):
    """Layer norm of one step; the step and the mask do not matter to it."""

    def __init__(self, num_features: int, bias: bool, device, dtype) -> None:
        super().__init__()
        register_affine(self, (num_features,), True, bias, device, dtype)
        init.ones_(self.weight)
        if bias:
            init.zeros_(self.bias)

    def forward(self, input: Tensor, step: int, valid: Tensor | None = None) -> Tensor:
        return F.layer_norm(input, input.shape[-1:], self.weight, self.bias)


class _Identity(Module):
    def forward(self, input: Tensor, step: int, valid: Tensor | None = None) -> Tensor:
        return input


class _Recurrent(Module):
    """The loop over time: weights, the norms, lengths."""

    gates: int

    def __init__(
        self, input_size: int, hidden_size: int, norms: tuple[Module | None, ...], device, dtype
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        kwargs = {"device": device, "dtype": dtype}
        self.weight_ih = Parameter(torch.empty(self.gates * hidden_size, input_size, **kwargs))
        self.weight_hh = Parameter(torch.empty(self.gates * hidden_size, hidden_size, **kwargs))
        self.bias = Parameter(torch.zeros(self.gates * hidden_size, **kwargs))
        self.norm_ih, self.norm_hh, self.norm_out = norms
        self.norm_sequence: Module | None = None
        init.xavier_uniform_(self.weight_ih)
        for gate in self.weight_hh.chunk(self.gates):
            init.orthogonal_(gate)

    def forward(self, input: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run over (N, T, C).

        Args:
            input: (N, T, input_size).
            lengths: (N,), valid steps of each example; None for all T. After its end an example's
                state stays, and its outputs are 0.

        Returns:
            outputs (N, T, hidden_size), and the last state (N, hidden_size).

        Raises:
            ValueError: input that is not (N, T, input_size), or lengths outside 1…T.
        """
        if input.dim() != 3 or input.shape[2] != self.input_size:
            raise ValueError(
                f"{type(self).__name__}: input must be (N, T, {self.input_size}), "
                f"but it is of shape {tuple(input.shape)}"
            )
        batch, steps = input.shape[:2]
        valid = None
        if lengths is not None:
            if lengths.shape != (batch,) or int(lengths.min()) < 1 or int(lengths.max()) > steps:
                raise ValueError(
                    f"{type(self).__name__}: lengths must be ({batch},) numbers from 1 to {steps}, "
                    f"but they are {lengths.tolist()}"
                )
            valid = torch.arange(steps, device=input.device) < lengths.to(input.device)[:, None]
        from_input = input @ self.weight_ih.mT
        if self.norm_sequence is not None:
            from_input = self._over_sequence(from_input, valid)
        state = self.initial(input)
        outputs = []
        for t in range(steps):
            now = None if valid is None else valid[:, t]
            new = self.step(from_input[:, t], state, t, now)
            if now is not None:
                new = tuple(torch.where(now[:, None], n, s) for n, s in zip(new, state, strict=True))
            state = new
            outputs.append(state[0] if now is None else torch.where(now[:, None], state[0], 0.0))
        return torch.stack(outputs, 1), state[0]

    def initial(self, input: Tensor) -> tuple[Tensor, ...]:
        """The states before the first step."""
        return (input.new_zeros(len(input), self.hidden_size),)

    def step(self, x: Tensor, state: tuple[Tensor, ...], t: int, valid: Tensor | None) -> tuple[Tensor, ...]:
        """The states after a step; the first is the output."""
        raise NotImplementedError(f"{type(self).__name__} has no step")

    def _over_sequence(self, from_input: Tensor, valid: Tensor | None) -> Tensor:
        if valid is None:
            return self.norm_sequence(from_input.flatten(0, 1)).view(from_input.shape)
        output = torch.zeros_like(from_input)
        output[valid] = self.norm_sequence(from_input[valid])
        return output


class _LSTM(_Recurrent):
    gates = 4

    def initial(self, input: Tensor) -> tuple[Tensor, ...]:
        h = input.new_zeros(len(input), self.hidden_size)
        return h, h

    def step(self, x: Tensor, state: tuple[Tensor, ...], t: int, valid: Tensor | None) -> tuple[Tensor, ...]:
        return F.normalized_lstm_cell(
            x,
            state,
            self.weight_hh,
            self.bias,
            lambda a: self.norm_ih(a, t, valid),
            lambda a: self.norm_hh(a, t, valid),
            lambda c: self.norm_out(c, t, valid),
        )


class _GRU(_Recurrent):
    gates = 3

    def step(self, x: Tensor, state: tuple[Tensor, ...], t: int, valid: Tensor | None) -> tuple[Tensor, ...]:
        (h,) = state
        norm_ih, norm_hh = (lambda a, n=n: n(a, t, valid) for n in (self.norm_ih, self.norm_hh))
        return (F.normalized_gru_cell(x, h, self.weight_hh, self.bias, norm_ih, norm_hh),)


class BatchNormLSTM(_LSTM):
    """LSTM with batch norm.

    With statistics per "step" (Cooijmans et al.), at each t with its own running averages:

        (f, i, o, g) = BN(W_h h_{t−1}) + BN(W_x x_t) + b
        c_t = σ(f) ⊙ c_{t−1} + σ(i) ⊙ tanh(g),        h_t = σ(o) ⊙ tanh(BN(c_t))

    With statistics per "sequence" (Laurent et al.), W_x x alone is normalized, over all examples and
    all of their valid steps together.

    Args:
        input_size, hidden_size: of x_t and h_t.
        max_steps: running averages are kept for so many steps (per step).
        statistics: "step" or "sequence".

    Raises:
        ValueError: statistics that is neither.

    Source: Cooijmans et al. (2016), equations 6 to 8; Laurent et al. (2016), section 4.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        max_steps: int = 1,
        statistics: str = "step",
        device=None,
        dtype=None,
    ) -> None:
        sizes = (4 * hidden_size, 4 * hidden_size, hidden_size)
        norms = _batch_norms(sizes, (False, False, True), max_steps, statistics, device, dtype)
        super().__init__(input_size, hidden_size, norms, device, dtype)
        if statistics == "sequence":
            self.norm_sequence = _SequenceBatchNorm(4 * hidden_size, device, dtype)


class BatchNormGRU(_GRU):
    """GRU with batch norm, as BatchNormLSTM.

        r = σ(BN(W_x x_t) + BN(W_h h_{t−1}) + b),  z likewise
        n = tanh(BN(W_x x_t) + b + r ⊙ BN(W_h h_{t−1})),        h_t = (1 − z) ⊙ n + z ⊙ h_{t−1}

    Arguments and errors: `BatchNormLSTM`.

    Source: the equations of Cooijmans et al. (2016) on torch.nn.GRU's cell.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        max_steps: int = 1,
        statistics: str = "step",
        device=None,
        dtype=None,
    ) -> None:
        sizes = (3 * hidden_size, 3 * hidden_size)
        norms = _batch_norms(sizes, (False, False), max_steps, statistics, device, dtype)
        super().__init__(input_size, hidden_size, (*norms, None), device, dtype)
        if statistics == "sequence":
            self.norm_sequence = _SequenceBatchNorm(3 * hidden_size, device, dtype)


class LayerNormLSTM(_LSTM):
    """LSTM with layer norm: BatchNormLSTM's equations with LN in place of BN; nothing depends on t or N.

    Args:
        input_size, hidden_size: of x_t and h_t.

    Source: Ba, Kiros and Hinton (2016), equations 20 to 22.
    """

    def __init__(self, input_size: int, hidden_size: int, device=None, dtype=None) -> None:
        shapes = ((4 * hidden_size, False), (4 * hidden_size, False), (hidden_size, True))
        norms = tuple(_Layer(size, bias, device, dtype) for size, bias in shapes)
        super().__init__(input_size, hidden_size, norms, device, dtype)


class LayerNormGRU(_GRU):
    """GRU with layer norm on W_x x_t and W_h h_{t−1}.

    Args:
        input_size, hidden_size: of x_t and h_t.

    Source: Ba, Kiros and Hinton (2016), equations 26 to 28.
    """

    def __init__(self, input_size: int, hidden_size: int, device=None, dtype=None) -> None:
        gates = (_Layer(3 * hidden_size, False, device, dtype) for _ in range(2))
        norms = (*gates, None)
        super().__init__(input_size, hidden_size, norms, device, dtype)


class _SequenceBatchNorm(Module):
    def __init__(self, num_features: int, device, dtype) -> None:
        super().__init__()
        self.norm = StepBatchNorm(num_features, 1, device=device, dtype=dtype, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        return self.norm(input, 0)


def _batch_norms(
    sizes: tuple[int, ...], biases: tuple[bool, ...], max_steps: int, statistics: str, device, dtype
) -> tuple[Module, ...]:
    if statistics not in ("step", "sequence"):
        raise ValueError(f"statistics must be 'step' or 'sequence', but got {statistics!r}")
    if statistics == "sequence":
        return tuple(_Identity() for _ in sizes)
    pairs = zip(sizes, biases, strict=True)
    return tuple(StepBatchNorm(n, max_steps, bias=bias, device=device, dtype=dtype) for n, bias in pairs)
