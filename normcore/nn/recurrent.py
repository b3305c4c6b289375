"""LSTM and GRU with normalization inside the recurrence: by batch, per time step or per sequence; by layer.

Sequences are (N, T, C), states as torch.nn's. All cells share one loop; they differ in the three norms that
they are given: on the input's part W_x x_t, on the hidden part W_h h_{t−1}, and on what leaves the cell.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Module, Parameter, init

from normcore import functional as F
from normcore.nn._leaf import leaf
from normcore.nn.layer import LayerNorm
from normcore.nn.step import StepBatchNorm

__all__ = ["BatchNormGRU", "BatchNormLSTM", "LayerNormGRU", "LayerNormLSTM"]


class _GatesAndCandidate(Module):
    """Layer norm of (N, 3H), the first 2H and the last H each by themselves."""

    def __init__(self, hidden_size: int, bias: bool, device, dtype) -> None:
        super().__init__()
        self.gates = LayerNorm(2 * hidden_size, bias=False, device=device, dtype=dtype)
        self.candidate = LayerNorm(hidden_size, bias=bias, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """γ = 1, β = 0."""
        self.gates.reset_parameters()
        self.candidate.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        size = self.candidate.normalized_shape[0]
        gates, candidate = input.split((2 * size, size), dim=1)
        return torch.cat([self.gates(gates), self.candidate(candidate)], dim=1)


Norm = StepBatchNorm | LayerNorm | _GatesAndCandidate


class _Recurrent(Module):
    """The loop over time: weights, the norms (None for none), states, lengths."""

    gates: int
    states: tuple[str, ...]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        norm_ih: Norm | None,
        norm_hh: Norm | None,
        norm_out: Norm | None,
        norm_sequence: StepBatchNorm | None,
        device,
        dtype,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        kwargs = {"device": device, "dtype": dtype}
        self.weight_ih = Parameter(torch.empty(self.gates * hidden_size, input_size, **kwargs))
        self.weight_hh = Parameter(torch.empty(self.gates * hidden_size, hidden_size, **kwargs))
        self.bias = Parameter(torch.empty(self.gates * hidden_size, **kwargs))
        self.norm_ih = norm_ih
        self.norm_hh = norm_hh
        self.norm_out = norm_out
        self.norm_sequence = norm_sequence
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """W_x Xavier-uniform, each gate's W_h orthogonal, b = 0, the norms as new ones."""
        init.xavier_uniform_(self.weight_ih)
        with torch.no_grad():
            for gate in self.weight_hh.chunk(self.gates):
                # drawn in float32: half precision has no orthogonal matrices
                drawn = torch.empty_like(gate, dtype=torch.promote_types(gate.dtype, torch.float32))
                gate.copy_(init.orthogonal_(drawn))
        init.zeros_(self.bias)
        for norm in (self.norm_ih, self.norm_hh, self.norm_out, self.norm_sequence):
            if norm is not None:
                norm.reset_parameters()

    @leaf
    def forward(
        self, input: Tensor, hx=None, lengths: Tensor | Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor | tuple[Tensor, ...]]:
        """Run over (N, T, C); as torch.nn.LSTM and GRU of one layer with batch_first.

        Args:
            input: (N, T, input_size).
            hx: the states before the first step: (h, c) of an LSTM, h of a GRU, each (1, N, hidden_size);
                None for 0. Steps are counted from the start of `input`.
            lengths: (N,), valid steps of each example; None for all T. After its end an example's
                states stay, and its outputs are 0.

        Returns:
            outputs (N, T, hidden_size), and the last states in the form of hx.

        Raises:
            ValueError: input that is not (N, T, input_size), T at least 1; lengths outside 1…T (not looked
                at where that would wait for a device).
            RuntimeError: hx of another form.
        """
        if input.dim() != 3 or input.shape[2] != self.input_size or input.shape[1] == 0:
            raise ValueError(
                f"{type(self).__name__}: input must be (N, T, {self.input_size}) with T at least 1, "
                f"but it is of shape {tuple(input.shape)}"
            )
        valid = None if lengths is None else self._valid(input, lengths)
        if valid is not None:
            input = torch.where(valid[..., None], input, 0.0)
        from_input = input @ self.weight_ih.mT
        if self.norm_sequence is not None:
            together = None if valid is None else valid.flatten()
            from_input = self.norm_sequence(from_input.flatten(0, 1), 0, together).view(from_input.shape)
        state = self._initial(input, hx)
        outputs = []
        for t in range(input.shape[1]):
            now = None if valid is None else valid[:, t]
            new = self.step(from_input[:, t], state, t, now)
            if now is not None:
                new = tuple(torch.where(now[:, None], n, s) for n, s in zip(new, state, strict=True))
            state = new
            outputs.append(state[0] if now is None else torch.where(now[:, None], state[0], 0.0))
        last = tuple(s.unsqueeze(0) for s in state)
        return torch.stack(outputs, 1), last if len(last) > 1 else last[0]

    def step(self, x: Tensor, state: tuple[Tensor, ...], t: int, valid: Tensor | None) -> tuple[Tensor, ...]:
        """The states after a step; the first is the output."""
        raise NotImplementedError(f"{type(self).__name__} has no step")

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"

    def _initial(self, input: Tensor, hx) -> tuple[Tensor, ...]:
        if hx is None:
            h = input.new_zeros(len(input), self.hidden_size)
            return (h,) * len(self.states)
        given = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        expected = (1, len(input), self.hidden_size)
        if len(given) != len(self.states) or any(tuple(s.shape) != expected for s in given):
            raise RuntimeError(
                f"{type(self).__name__}: hx must be {' and '.join(self.states)} of shape {expected}, "
                f"but got {' and '.join(str(tuple(s.shape)) for s in given)}"
            )
        return tuple(s.squeeze(0) for s in given)

    def _valid(self, input: Tensor, lengths: Tensor | Sequence[int]) -> Tensor:
        """(N, T), whether a step is before its example's end."""
        batch, steps = input.shape[:2]
        known = not isinstance(lengths, Tensor) or (
            lengths.device.type == "cpu" and not torch.compiler.is_compiling()
        )
        lengths = torch.as_tensor(lengths)
        if lengths.shape != (batch,) or (known and bool(((lengths < 1) | (lengths > steps)).any())):
            raise ValueError(
                f"{type(self).__name__}: lengths must be ({batch},) numbers from 1 to {steps}, "
                f"but they are {lengths.tolist() if known else tuple(lengths.shape)}"
            )
        return torch.arange(steps, device=input.device) < lengths.to(input.device)[:, None]


def _normed(norm: Norm | None, x: Tensor, t: int, valid: Tensor | None) -> Tensor:
    if norm is None:
        return x
    return norm(x, t, valid) if isinstance(norm, StepBatchNorm) else norm(x)


class _LSTM(_Recurrent):
    gates = 4
    states = ("h", "c")

    def step(self, x: Tensor, state: tuple[Tensor, ...], t: int, valid: Tensor | None) -> tuple[Tensor, ...]:
        return F.normalized_lstm_cell(
            x,
            state,
            self.weight_hh,
            self.bias,
            lambda a: _normed(self.norm_ih, a, t, valid),
            lambda a: _normed(self.norm_hh, a, t, valid),
            lambda c: _normed(self.norm_out, c, t, valid),
        )


class _GRU(_Recurrent):
    gates = 3
    states = ("h",)

    def step(self, x: Tensor, state: tuple[Tensor, ...], t: int, valid: Tensor | None) -> tuple[Tensor, ...]:
        (h,) = state
        h = F.normalized_gru_cell(
            x,
            h,
            self.weight_hh,
            self.bias,
            lambda a: _normed(self.norm_ih, a, t, valid),
            lambda a: _normed(self.norm_hh, a, t, valid),
        )
        return (h,)


class BatchNormLSTM(_LSTM):
    """LSTM with batch norm.

    With statistics per "step" (Cooijmans et al.), at each t with its own running averages:

        (f, i, o, g) = BN(W_h h_{t−1}) + BN(W_x x_t) + b
        c_t = σ(f) ⊙ c_{t−1} + σ(i) ⊙ tanh(g),        h_t = σ(o) ⊙ tanh(BN(c_t))
        S_tc = the examples valid at t

    With statistics per "sequence" (Laurent et al.), W_x x alone is normalized, over all examples and
    all of their valid steps together.

    >>> layer = nn.BatchNormLSTM(4, 3, max_steps=7)
    >>> y, (h, c) = layer(torch.randn(2, 7, 4))
    >>> y.shape, h.shape
    (torch.Size([2, 7, 3]), torch.Size([1, 2, 3]))

    Shape: (N, T, input_size) to (N, T, hidden_size), with the states (1, N, hidden_size).

    Args:
        input_size, hidden_size: of x_t and h_t.
        max_steps: per step, running averages are kept for so many steps: the longest training sequence.
            Per sequence there are none to keep.
        statistics: "step" or "sequence".

    Raises:
        ValueError: statistics that is neither; "step" without max_steps; a batch of one example in
            training.

    Source: Cooijmans et al. (2016), equations 6 to 8; Laurent et al. (2016).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        max_steps: int | None = None,
        statistics: str = "step",
        device=None,
        dtype=None,
    ) -> None:
        sizes = (4 * hidden_size, 4 * hidden_size, hidden_size)
        norms = _batch_norms(sizes, max_steps, statistics, device, dtype)
        super().__init__(input_size, hidden_size, *norms, device, dtype)


class BatchNormGRU(_GRU):
    """GRU with batch norm, as BatchNormLSTM.

        r = σ(BN(W_x x_t) + BN(W_h h_{t−1}) + b),  z likewise
        n = tanh(BN(W_x x_t) + b + r ⊙ BN(W_h h_{t−1})),        h_t = (1 − z) ⊙ n + z ⊙ h_{t−1}
        S_tc = the examples valid at t

    >>> layer = nn.BatchNormGRU(4, 3, max_steps=7)
    >>> y, h = layer(torch.randn(2, 7, 4))
    >>> y.shape, h.shape
    (torch.Size([2, 7, 3]), torch.Size([1, 2, 3]))

    Shape: (N, T, input_size) to (N, T, hidden_size), with the state (1, N, hidden_size).

    Arguments and errors: `BatchNormLSTM`.

    Source: the equations of Cooijmans et al. (2016) on torch.nn.GRU's cell.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        max_steps: int | None = None,
        statistics: str = "step",
        device=None,
        dtype=None,
    ) -> None:
        sizes = (3 * hidden_size, 3 * hidden_size, None)
        norms = _batch_norms(sizes, max_steps, statistics, device, dtype)
        super().__init__(input_size, hidden_size, *norms, device, dtype)


class LayerNormLSTM(_LSTM):
    """LSTM with layer norm; nothing depends on t or N.

        (f, i, o, g) = LN(W_h h_{t−1}) + LN(W_x x_t) + b
        c_t = σ(f) ⊙ c_{t−1} + σ(i) ⊙ tanh(g),        h_t = σ(o) ⊙ tanh(LN(c_t))
        S_n = the 4H of example n together, and the H of its cell

    >>> y, (h, c) = nn.LayerNormLSTM(4, 3)(torch.randn(2, 7, 4))
    >>> y.shape, h.shape
    (torch.Size([2, 7, 3]), torch.Size([1, 2, 3]))

    Shape: (N, T, input_size) to (N, T, hidden_size), with the states (1, N, hidden_size).

    Args:
        input_size, hidden_size: of x_t and h_t.

    Source: Ba, Kiros and Hinton (2016), equations 20 to 22.
    """

    def __init__(self, input_size: int, hidden_size: int, device=None, dtype=None) -> None:
        norm_ih = LayerNorm(4 * hidden_size, bias=False, device=device, dtype=dtype)
        norm_hh = LayerNorm(4 * hidden_size, bias=False, device=device, dtype=dtype)
        norm_out = LayerNorm(hidden_size, device=device, dtype=dtype)
        super().__init__(input_size, hidden_size, norm_ih, norm_hh, norm_out, None, device, dtype)


class LayerNormGRU(_GRU):
    """GRU with layer norm: the gates r, z and the candidate n have index sets, γ and β of their own.

        (r, z) = σ(LN(W_x x_t) + LN(W_h h_{t−1}) + b),        over the 2H of both gates together
        n = tanh(LN(U_x x_t) + b + r ⊙ LN(U_h h_{t−1})),      over the H of the candidate
        h_t = (1 − z) ⊙ n + z ⊙ h_{t−1}

    b stands for the offsets of both norms, which add up, but for the one inside r ⊙ (…).

    >>> y, h = nn.LayerNormGRU(4, 3)(torch.randn(2, 7, 4))
    >>> y.shape, h.shape
    (torch.Size([2, 7, 3]), torch.Size([1, 2, 3]))

    Shape: (N, T, input_size) to (N, T, hidden_size), with the state (1, N, hidden_size).

    Args:
        input_size, hidden_size: of x_t and h_t.

    Source: Ba, Kiros and Hinton (2016), equations 26 to 28; which of n and h_{t−1} z lets through as in
    the authors' code and torch.nn.GRU.
    """

    def __init__(self, input_size: int, hidden_size: int, device=None, dtype=None) -> None:
        norm_ih = _GatesAndCandidate(hidden_size, False, device, dtype)
        norm_hh = _GatesAndCandidate(hidden_size, True, device, dtype)
        super().__init__(input_size, hidden_size, norm_ih, norm_hh, None, None, device, dtype)


def _batch_norms(
    sizes: tuple[int, int, int | None], max_steps: int | None, statistics: str, device, dtype
) -> tuple[StepBatchNorm | None, StepBatchNorm | None, StepBatchNorm | None, StepBatchNorm | None]:
    """Of W_x x, of W_h h, of what leaves the cell, and of W_x x over the whole sequence."""
    if statistics not in ("step", "sequence"):
        raise ValueError(f"statistics must be 'step' or 'sequence', but got {statistics!r}")
    kwargs = {"device": device, "dtype": dtype}
    if statistics == "sequence":
        return None, None, None, StepBatchNorm(sizes[0], 1, bias=False, **kwargs)
    if max_steps is None:
        raise ValueError(
            "max_steps must be given with statistics='step': running averages are kept for so many steps"
        )
    of_input, of_hidden = (StepBatchNorm(n, max_steps, bias=False, **kwargs) for n in sizes[:2])
    # the gates' offset is the cell's b; what leaves an LSTM has one of its own
    out = None if sizes[2] is None else StepBatchNorm(sizes[2], max_steps, **kwargs)
    return of_input, of_hidden, out, None
