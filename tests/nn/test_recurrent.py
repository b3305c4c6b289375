"""Recurrent layers against their equations, step by step, with torch.nn's own norms."""

import pytest
import torch
from torch.nn import functional as TF

from normcore import functional as F
from normcore import nn
from tests.layers import random_input

N, T, D, H = 5, 4, 3, 6


def made(name, **options):
    layer = getattr(nn, name)(D, H, **options).double()
    weights = {k: v for k, v in layer.state_dict().items() if not k.endswith("steps_seen")}
    for seed, (key, tensor) in enumerate(weights.items()):
        if "running" not in key:
            tensor.copy_(random_input(tensor.shape, seed=seed, offset=0.2, scale=0.5))
    return layer


def norm_like(module, x, t, training):
    """A step's norm, by torch.nn.functional."""
    if isinstance(module, nn.StepBatchNorm):
        mean, var = module.running_mean[t].clone(), module.running_var[t].clone()
        return TF.batch_norm(x, mean, var, module.weight, module.bias, training, module.momentum, module.eps)
    if hasattr(module, "weight"):
        return TF.layer_norm(x, x.shape[-1:], module.weight, module.bias)
    return x


def lstm(layer, x, training):
    h = c = torch.zeros(len(x), H).double()
    outputs = []
    for t in range(x.shape[1]):
        a = norm_like(layer.norm_ih, x[:, t] @ layer.weight_ih.T, t, training)
        a = a + norm_like(layer.norm_hh, h @ layer.weight_hh.T, t, training) + layer.bias
        f, i, o, g = a.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * norm_like(layer.norm_out, c, t, training).tanh()
        outputs.append(h)
    return torch.stack(outputs, 1)


def gru(layer, x, training):
    h = torch.zeros(len(x), H).double()
    outputs = []
    for t in range(x.shape[1]):
        a = norm_like(layer.norm_ih, x[:, t] @ layer.weight_ih.T, t, training) + layer.bias
        b = norm_like(layer.norm_hh, h @ layer.weight_hh.T, t, training)
        (x_r, x_z, x_n), (h_r, h_z, h_n) = a.chunk(3, 1), b.chunk(3, 1)
        z = (x_z + h_z).sigmoid()
        h = (1 - z) * (x_n + (x_r + h_r).sigmoid() * h_n).tanh() + z * h
        outputs.append(h)
    return torch.stack(outputs, 1)


CELLS = {
    "BatchNormLSTM": (lstm, {"max_steps": T}),
    "BatchNormGRU": (gru, {"max_steps": T}),
    "LayerNormLSTM": (lstm, {}),
    "LayerNormGRU": (gru, {}),
}


@pytest.mark.parametrize("name", CELLS)
def test_equations_in_training_and_evaluation(name):
    equations, options = CELLS[name]
    layer = made(name, **options)
    x = random_input((N, T, D))
    torch.testing.assert_close(layer(x)[0], equations(layer, x, True))
    layer.eval()
    outputs, last = layer(x)
    torch.testing.assert_close(outputs, equations(layer, x, False))
    assert torch.equal(outputs[:, -1], last)


@pytest.mark.parametrize("name", CELLS)
def test_gradients(name):
    layer = made(name, **CELLS[name][1]).eval()
    x = random_input((3, 2, D)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: layer(x)[0], x)
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], x)


class Same(torch.nn.Module):
    def forward(self, x, step, valid=None):
        return x


@pytest.mark.parametrize("name", CELLS)
def test_without_norms_the_gru_and_lstm_are_torchs(name):
    """With the norms taken out, the cells are torch.nn's: same gates, same order of operations."""
    layer = made(name, **CELLS[name][1])
    for norm in ("norm_ih", "norm_hh", "norm_out"):
        setattr(layer, norm, Same())
    lstm_like = "LSTM" in name
    theirs = (torch.nn.LSTM if lstm_like else torch.nn.GRU)(D, H, batch_first=True).double()
    order = (1, 0, 3, 2) if lstm_like else (0, 1, 2)  # ours f, i, o, g; torch's i, f, g, o
    pick = lambda t: torch.cat([t.chunk(len(order))[k] for k in order])  # noqa: E731
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(pick(layer.weight_ih)), theirs.weight_hh_l0.copy_(pick(layer.weight_hh))
        theirs.bias_ih_l0.copy_(pick(layer.bias)), theirs.bias_hh_l0.zero_()
    x = random_input((N, T, D))
    torch.testing.assert_close(layer(x)[0], theirs(x)[0])


@pytest.mark.parametrize("name", CELLS)
def test_padding_changes_nothing(name):
    """What stands behind an example's end must not reach any statistic, output or gradient."""
    x, lengths = random_input((N, T, D)), torch.tensor([4, 2, 3, 4, 2])
    padding = torch.arange(T) >= lengths[:, None]
    results = []
    for fill in (0.0, 1e6):
        layer = made(name, **CELLS[name][1])
        outputs, last = layer(x.masked_fill(padding[..., None], fill), lengths)
        results.append((outputs, last, *layer.buffers()))
        assert (outputs[padding] == 0).all()
        for i, length in enumerate(lengths):
            assert torch.equal(last[i], outputs[i, length - 1])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


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
    x, lengths = random_input((N, T, D)), torch.tensor([4, 2, 3, 4, 2])
    layer(x, lengths)
    valid = torch.arange(T) < lengths[:, None]
    a = (x @ layer.weight_ih.T)[valid]
    norm = layer.norm_sequence.norm
    torch.testing.assert_close(norm.running_mean[0], 0.1 * a.mean(0))
    torch.testing.assert_close(norm.running_var[0], 0.9 + 0.1 * a.var(0))


def test_bad_input_is_named():
    layer = nn.LayerNormGRU(D, H)
    with pytest.raises(ValueError, match=rf"\(N, T, {D}\), but it is of shape \(5, 4, 7\)"):
        layer(torch.randn(5, 4, 7))
    for lengths in ([0, 4, 4, 4, 4], [5, 4, 4, 4, 4], [4]):
        with pytest.raises(ValueError, match="numbers from 1 to 4"):
            layer(torch.randn(N, T, D), torch.tensor(lengths))
    with pytest.raises(ValueError, match="'step' or 'sequence', but got 'batch'"):
        nn.BatchNormLSTM(D, H, statistics="batch")
    with pytest.raises(ValueError, match="more than 1 value"):
        nn.StepBatchNorm(3, 2)(torch.randn(4, 3), 0, torch.tensor([True, False, False, False]))


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
