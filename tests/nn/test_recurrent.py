"""Recurrent layers against their equations, step by step, with torch.nn's own norms."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as TF

from normcore import functional as F
from normcore import nn
from tests.layers import random_input

N, T, D, H = 5, 4, 3, 6
LENGTHS = [4, 2, 3, 4, 2]


def made(name, **options):
    layer = getattr(nn, name)(D, H, **options).double()
    weights = {k: v for k, v in layer.state_dict().items() if not k.endswith("steps_seen")}
    for seed, (key, tensor) in enumerate(weights.items()):
        if "running" not in key:
            tensor.copy_(random_input(tensor.shape, seed=seed, offset=0.2, scale=0.5))
    return layer


def states(layer, n=N):
    """Random states before the first step, in the layer's form and as a tuple."""
    given = tuple(random_input((1, n, H), seed=s, offset=0, scale=0.5) for s in range(len(layer.states)))
    return (given if len(given) > 1 else given[0]), tuple(s[0] for s in given)


def norm_like(module, x, t, training):
    """A step's norm, by torch.nn.functional."""
    if isinstance(module, nn.StepBatchNorm):
        mean, var = module.running_mean[t].clone(), module.running_var[t].clone()
        return TF.batch_norm(x, mean, var, module.weight, module.bias, training, module.momentum, module.eps)
    return TF.layer_norm(x, x.shape[-1:], module.weight, module.bias)


def lstm(layer, x, training, h, c):
    outputs = []
    for t in range(x.shape[1]):
        a = norm_like(layer.norm_ih, x[:, t] @ layer.weight_ih.T, t, training)
        a = a + norm_like(layer.norm_hh, h @ layer.weight_hh.T, t, training) + layer.bias
        f, i, o, g = a.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * norm_like(layer.norm_out, c, t, training).tanh()
        outputs.append(h)
    return torch.stack(outputs, 1), (h[None], c[None])


def gru(layer, x, training, h):
    outputs = []
    for t in range(x.shape[1]):
        a = norm_like(layer.norm_ih, x[:, t] @ layer.weight_ih.T, t, training) + layer.bias
        b = norm_like(layer.norm_hh, h @ layer.weight_hh.T, t, training)
        (x_r, x_z, x_n), (h_r, h_z, h_n) = a.chunk(3, 1), b.chunk(3, 1)
        z = (x_z + h_z).sigmoid()
        h = (1 - z) * (x_n + (x_r + h_r).sigmoid() * h_n).tanh() + z * h
        outputs.append(h)
    return torch.stack(outputs, 1), h[None]


def layer_norm_gru(layer, x, training, h):
    """The code that Ba et al. published, in its own names, with its linear biases b and bx at 0."""

    def ln(x, b, s):
        return (x - x.mean(1)[:, None]) / torch.sqrt(x.var(1, correction=0)[:, None] + 1e-5) * s + b

    W, Wx = layer.weight_ih.T.split((2 * H, H), 1)
    U, Ux = layer.weight_hh.T.split((2 * H, H), 1)
    s1, s2 = layer.norm_ih.gates.weight, layer.norm_ih.candidate.weight
    s3, s4 = layer.norm_hh.gates.weight, layer.norm_hh.candidate.weight
    b1, b2 = layer.bias.split((2 * H, H))
    b3, b4 = 0.0, layer.norm_hh.candidate.bias
    outputs = []
    for t in range(x.shape[1]):
        x_, xx_ = ln(x[:, t] @ W, b1, s1), ln(x[:, t] @ Wx, b2, s2)
        preact = ln(h @ U, b3, s3) + x_
        r, u = preact.sigmoid().chunk(2, 1)
        preactx = ln(h @ Ux, b4, s4) * r + xx_
        h = u * h + (1.0 - u) * preactx.tanh()
        outputs.append(h)
    return torch.stack(outputs, 1), h[None]


CELLS = {
    "BatchNormLSTM": (lstm, {"max_steps": T}),
    "BatchNormGRU": (gru, {"max_steps": T}),
    "LayerNormLSTM": (lstm, {}),
    "LayerNormGRU": (layer_norm_gru, {}),
}
PER_SEQUENCE = [(name, {"statistics": "sequence"}) for name in CELLS if name.startswith("Batch")]
every = pytest.mark.parametrize("name", CELLS)
every_kind = pytest.mark.parametrize(
    ("name", "options"), [(name, options) for name, (_, options) in CELLS.items()] + PER_SEQUENCE
)


@every
def test_equations_in_training_and_evaluation_from_any_state(name):
    equations, options = CELLS[name]
    layer = made(name, **options)
    x = random_input((N, T, D))
    before, state = states(layer)
    for training in (True, False):
        layer.train(training)
        torch.testing.assert_close(layer(x, before), equations(layer, x, training, *state))
        zeros = [torch.zeros_like(s) for s in state]
        torch.testing.assert_close(layer(x), equations(layer, x, training, *zeros))


def test_the_gates_of_a_layer_norm_gru_are_as_in_equations_26_to_28():
    """Gates and candidate have index sets of their own: what scales W_x x of one leaves the other alone."""
    layer = made("LayerNormGRU")
    a = random_input((N, 3 * H))
    scaled = torch.cat([a[:, : 2 * H], 5 * a[:, 2 * H :] + 3], 1)
    torch.testing.assert_close(layer.norm_hh(a), layer.norm_hh(scaled), rtol=1e-4, atol=1e-4)


def test_a_layer_norm_gru_is_equations_26_to_28():
    """Ba et al.'s z lets the candidate through where the code's lets the state: γ and b of that half negated."""
    layer = made("LayerNormGRU")
    x, (before, (h,)) = random_input((N, T, D)), states(layer)

    def ln(a, weight, bias=0.0):
        mean, var = a.mean(1, keepdim=True), a.var(1, keepdim=True, correction=0)
        return weight * (a - mean) / (var + 1e-5).sqrt() + bias

    sign = torch.cat([torch.ones(H), -torch.ones(H)])  # r as it is, z negated
    gates, candidate = slice(0, 2 * H), slice(2 * H, 3 * H)
    outputs = []
    for t in range(T):
        x_t = x[:, t]
        from_h = ln(h @ layer.weight_hh[gates].T, sign * layer.norm_hh.gates.weight)
        from_x = ln(x_t @ layer.weight_ih[gates].T, sign * layer.norm_ih.gates.weight)
        r, z = (from_h + from_x + sign * layer.bias[gates]).chunk(2, 1)
        norm = layer.norm_hh.candidate
        u = ln(h @ layer.weight_hh[candidate].T, norm.weight, norm.bias)
        w = ln(x_t @ layer.weight_ih[candidate].T, layer.norm_ih.candidate.weight, layer.bias[candidate])
        new = (w + r.sigmoid() * u).tanh()
        h = (1 - z.sigmoid()) * h + z.sigmoid() * new
        outputs.append(h)
    torch.testing.assert_close(layer(x, before)[0], torch.stack(outputs, 1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_kind
def test_nothing_waits_for_a_gpu(name, options):
    layer, x = made(name, **options).cuda(), random_input((N, T, D)).cuda()
    lengths = torch.tensor(LENGTHS).cuda()
    for training in (True, False):  # what libraries do once
        layer.train(training)(x, lengths=lengths)
        layer(x)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for training in (True, False):
            layer.train(training)(x, lengths=lengths)
            layer(x)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@every_kind
def test_in_two_parts_with_the_state_carried_over(name, options):
    layer = made(name, **options)
    for t in range(3):
        layer(random_input((N, T, D), seed=t))
    layer.eval()
    for norm in layer.modules():  # the second part counts its steps from 0 again
        if isinstance(norm, nn.StepBatchNorm):
            norm.steps_seen.fill_(1)
    x = random_input((N, T, D))
    whole, last = layer(x)
    first, state = layer(x[:, :2])
    second, end = layer(x[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(end, last)


@every
def test_gradients(name):
    layer = made(name, **CELLS[name][1]).eval()
    x = random_input((3, 2, D)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: layer(x)[0], x)
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], x, fast_mode=True)


@every
def test_without_norms_the_gru_and_lstm_are_torchs(name):
    """With the norms taken out, the cells are torch.nn's: same gates, same order of operations, same states."""
    layer = made(name, **CELLS[name][1])
    layer.norm_ih = layer.norm_hh = layer.norm_out = None
    lstm_like = "LSTM" in name
    theirs = (torch.nn.LSTM if lstm_like else torch.nn.GRU)(D, H, batch_first=True).double()
    order = (1, 0, 3, 2) if lstm_like else (0, 1, 2)  # ours f, i, o, g; torch's i, f, g, o
    pick = lambda t: torch.cat([t.chunk(len(order))[k] for k in order])  # noqa: E731
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(pick(layer.weight_ih)), theirs.weight_hh_l0.copy_(pick(layer.weight_hh))
        theirs.bias_ih_l0.copy_(pick(layer.bias)), theirs.bias_hh_l0.zero_()
    x, (before, _) = random_input((N, T, D)), states(layer)
    torch.testing.assert_close(layer(x), theirs(x))
    torch.testing.assert_close(layer(x, before), theirs(x, before))
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    expected, last = theirs(packed, before)
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(expected, batch_first=True)
    torch.testing.assert_close(layer(x, before, LENGTHS), (expected, last))


@every_kind
def test_padding_changes_nothing(name, options):
    """What stands behind an example's end must not reach any statistic, output or gradient."""
    x = random_input((N, T, D))
    padding = torch.arange(T) >= torch.tensor(LENGTHS)[:, None]
    results = []
    for fill, lengths in ((0.0, LENGTHS), (1e6, torch.tensor(LENGTHS)), (float("nan"), tuple(LENGTHS))):
        layer = made(name, **options)
        outputs, last = layer(x.masked_fill(padding[..., None], fill), lengths=lengths)
        outputs.square().sum().backward()
        results.append((outputs, *last, *layer.buffers(), *(p.grad for p in layer.parameters())))
        assert (outputs[padding] == 0).all()
        h = last[0] if "LSTM" in name else last
        for i, length in enumerate(LENGTHS):
            assert torch.equal(h[0, i], outputs[i, length - 1])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


@every_kind
@pytest.mark.parametrize("lengths", [[7, 2, 1, 4, 4], [1, 1, 1, 1, 7], [5] * 5, [1] * 5], ids=str)
def test_ragged_batches_train(name, options, lengths):
    """However few are left at the end: one by itself goes by the averages of the last step seen."""
    layer = made(name, **{**options, **({"max_steps": 7} if "max_steps" in options else {})})
    x = random_input((N, 7, D))
    outputs, _ = layer(x, lengths=lengths)
    outputs.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters())
    seen = sum(sum(length > t for length in lengths) >= 2 for t in range(7))
    for norm in layer.modules():
        if isinstance(norm, nn.StepBatchNorm) and norm is not layer.norm_sequence:
            assert norm.steps_seen == seen
            assert (norm.running_mean[seen:] == 0).all() and (norm.running_var[seen:] == 1).all()
            assert (norm.running_var[:seen] != 1).all()
    layer.eval()
    shorter = min(seen, 6) or 1
    for norm in layer.modules():  # the steps that nobody was at take the averages of the last that was seen
        if isinstance(norm, nn.StepBatchNorm) and norm is not layer.norm_sequence:
            y = random_input((2, norm.num_features))
            torch.testing.assert_close(norm(y, 6), norm(y, shorter - 1 if seen < 7 else 6))


def test_one_example_left_is_normalized_by_the_last_step_seen():
    norm = nn.StepBatchNorm(3, 4, momentum=1.0).double()
    x = random_input((5, 3))
    norm(x, 0, torch.ones(5, dtype=torch.bool))
    alone = torch.tensor([False, False, True, False, False])
    y = norm(2 * x, 1, alone)
    expected = TF.batch_norm(2 * x, x.mean(0), x.var(0), norm.weight, norm.bias)
    torch.testing.assert_close(y[alone], expected[alone])
    assert (y[~alone] == 0).all() and norm.steps_seen == 1
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm(x[:1], 0, torch.tensor([True]))


@given(st.integers(0, 10**6), st.sampled_from([1.0, 1e6]))
def test_valid_examples_are_normalized_as_a_batch_of_their_own(seed, offset):
    valid = torch.rand(7, generator=torch.Generator().manual_seed(seed)) < 0.6
    valid[:2] = True
    x = random_input((7, 3), seed=seed, offset=offset)
    ours, theirs = (
        nn.StepBatchNorm(3, 1, momentum=0.3).double(),
        torch.nn.BatchNorm1d(3, momentum=0.3).double(),
    )
    with torch.no_grad():
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.copy_(random_input((3,), seed=seed)), q.copy_(p)
    a, b = x.clone().requires_grad_(), x[valid].clone().requires_grad_()
    y, expected = ours(a, 0, valid), theirs(b)
    upstream = random_input((7, 3), seed=seed + 1)
    (y * upstream).sum().backward(), (expected * upstream[valid]).sum().backward()
    torch.testing.assert_close(y[valid], expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(a.grad[valid], b.grad, rtol=0, atol=1e-7)
    torch.testing.assert_close(ours.running_mean[0], theirs.running_mean)
    torch.testing.assert_close(ours.running_var[0], theirs.running_var)
    other = random_input((7, 3)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ours(x, 0, valid), other, fast_mode=True)


@every_kind
@pytest.mark.parametrize("ragged", [False, True])
def test_exports_without_waiting_for_the_device(name, options, ragged):
    """A number asked of a tensor (int, bool, item) would stop the export, and on a GPU the queue."""
    layer = made(name, **options)
    for t in range(2):
        layer(random_input((N, 2, D), seed=t))
    layer.eval()
    lengths = torch.tensor(LENGTHS).clamp_max(2)  # the export writes every step out; one is as another
    inputs = (random_input((N, 2, D)), None, lengths if ragged else None)
    exported = torch.export.export(layer, inputs).module()
    torch.testing.assert_close(exported(*inputs), layer(*inputs))


def test_statistics_of_a_step_are_those_of_its_valid_examples():
    norm = nn.StepBatchNorm(3, 4, momentum=1.0).double()
    x, valid = random_input((6, 3)), torch.tensor([True, False, True, True, False, True])
    y = norm(x, 2, valid)
    torch.testing.assert_close(norm.running_mean[2], x[valid].mean(0))
    torch.testing.assert_close(norm.running_var[2], x[valid].var(0))
    assert (y[~valid] == 0).all() and torch.equal(norm.running_mean[1], torch.zeros(3).double())


def test_longer_sequences_than_in_training_use_the_last_steps_averages():
    norm = nn.StepBatchNorm(3, 8, momentum=1.0).double()
    for t in range(5):
        norm(random_input((6, 3), seed=t), t)
    norm.eval()
    x = random_input((2, 3), seed=9)
    for t in (5, 7, 100):
        assert torch.equal(norm(x, t), norm(x, 4))
    assert not torch.equal(norm(x, 3), norm(x, 4))


def test_gamma_starts_at_a_tenth():
    layer = nn.BatchNormLSTM(D, H, T)
    for norm in (layer.norm_ih, layer.norm_hh, layer.norm_out):
        assert (norm.weight == 0.1).all()
    assert layer.norm_ih.bias is layer.norm_hh.bias is None and (layer.norm_out.bias == 0).all()


def test_why_gamma_starts_at_a_tenth():
    """E[tanh′(γz)], z standard normal, by Gauss–Hermite quadrature: 0.606 at γ = 1, 0.990 at γ = 0.1."""
    import numpy as np

    z, w = np.polynomial.hermite_e.hermegauss(120)
    for gamma, expected in ((1.0, 0.606), (0.1, 0.990)):
        value = (w * (1 - np.tanh(gamma * z) ** 2)).sum() / w.sum()
        assert abs(value - expected) < 0.0005


@pytest.mark.parametrize("name", ["BatchNormLSTM", "BatchNormGRU"])
def test_per_sequence_one_statistic_over_examples_and_valid_steps(name):
    layer = made(name, statistics="sequence")
    x = random_input((N, T, D))
    layer(x, lengths=LENGTHS)
    valid = torch.arange(T) < torch.tensor(LENGTHS)[:, None]
    a = (x @ layer.weight_ih.T)[valid]
    norm = layer.norm_sequence
    torch.testing.assert_close(norm.running_mean[0], 0.1 * a.mean(0))
    torch.testing.assert_close(norm.running_var[0], 0.9 + 0.1 * a.var(0))


def test_bad_input_is_named():
    layer = nn.LayerNormGRU(D, H)
    with pytest.raises(ValueError, match=rf"\(N, T, {D}\) with T at least 1, but it is of shape \(5, 4, 7\)"):
        layer(torch.randn(5, 4, 7))
    for lengths in ([0, 4, 4, 4, 4], [5, 4, 4, 4, 4], [4]):
        with pytest.raises(ValueError, match="numbers from 1 to 4"):
            layer(torch.randn(N, T, D), lengths=lengths)
    with pytest.raises(ValueError, match="T at least 1"):
        layer(torch.randn(N, 0, D))
    with pytest.raises(RuntimeError, match=r"hx must be h of shape \(1, 5, 6\), but got \(5, 6\)"):
        layer(torch.randn(N, T, D), torch.zeros(N, H))
    with pytest.raises(RuntimeError, match=r"hx must be h and c of shape \(1, 5, 6\), but got \(1, 5, 6\)"):
        nn.LayerNormLSTM(D, H)(torch.randn(N, T, D), torch.zeros(1, N, H))
    with pytest.raises(ValueError, match="max_steps must be given with statistics='step'"):
        nn.BatchNormGRU(D, H)
    with pytest.raises(ValueError, match="'step' or 'sequence', but got 'batch'"):
        nn.BatchNormLSTM(D, H, statistics="batch")


def test_state_dicts_are_strict():
    layer = made("BatchNormLSTM", max_steps=T)
    layer(random_input((N, T, D)))
    other = nn.BatchNormLSTM(D, H, T).double()
    other.load_state_dict(layer.state_dict(), strict=True)
    x = random_input((N, T + 3, D), seed=3)
    assert torch.equal(other.eval()(x)[0], layer.eval()(x)[0])


def test_without_norms_a_cell_is_torchs():
    """torch's order of gates is i, f, g, o; its GRU has two biases, of which ours stands with the input."""
    x, h, c = (random_input((N, size), seed=size) for size in (D, H, H + 1))
    c = c[:, :H]
    lstm_cell = torch.nn.LSTMCell(D, H).double()
    order = torch.cat([torch.arange(H) + k * H for k in (1, 0, 3, 2)])
    bias = (lstm_cell.bias_ih + lstm_cell.bias_hh)[order]
    ours = F.normalized_lstm_cell(x @ lstm_cell.weight_ih[order].T, (h, c), lstm_cell.weight_hh[order], bias)
    for a, b in zip(ours, lstm_cell(x, (h, c)), strict=True):
        torch.testing.assert_close(a, b)
    gru_cell = torch.nn.GRUCell(D, H).double()
    torch.nn.init.zeros_(gru_cell.bias_hh)
    ours = F.normalized_gru_cell(x @ gru_cell.weight_ih.T, h, gru_cell.weight_hh, gru_cell.bias_ih)
    torch.testing.assert_close(ours, gru_cell(x, h))


def test_a_cell_names_shapes_that_do_not_fit():
    h = torch.zeros(N, H)
    with pytest.raises(RuntimeError, match=rf"input must be \({N}, {4 * H}\).*they are \({N}, 7\)"):
        F.normalized_lstm_cell(torch.zeros(N, 7), (h, h), torch.zeros(4 * H, H))
    with pytest.raises(RuntimeError, match=rf"weight_hh \({3 * H}, {H}\)"):
        F.normalized_gru_cell(torch.zeros(N, 3 * H), h, torch.zeros(4 * H, H))
