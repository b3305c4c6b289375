"""Every layer equals torch.nn's: output, gradients, buffers, state dict, in training and evaluation."""

import copy
import inspect
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from normcore import nn
from tests.layers import layer_cases, pair, random_input

TOLERANCE = 1e-10


def distance(a, b):
    return (a - b).abs().max().item() if a.numel() else 0.0


@given(layer_cases(), st.sampled_from([torch.float64, torch.float32]), st.integers(0, 10**6))
def test_outputs_gradients_and_buffers_equal_torchs(case, dtype, seed):
    tolerance = TOLERANCE if dtype == torch.float64 else 5e-4
    ours, theirs = pair(case, dtype, seed)
    for step in range(4):  # the last in evaluation, on the running averages of three different batches
        if step == 3:
            ours.eval(), theirs.eval()
        x = random_input(case[-1], dtype, seed=seed + step)
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        y, expected = ours(a), theirs(b)
        assert y.shape == expected.shape and y.dtype == expected.dtype
        assert distance(y, expected) < tolerance

        upstream = random_input(y.shape, dtype, seed=seed + 7, offset=0)
        (y * upstream).sum().backward()
        (expected * upstream).sum().backward()
        assert distance(a.grad, b.grad) < tolerance
        for (name, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            assert distance(p.grad, q.grad) < tolerance, name
        for (name, p), (_, q) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
            assert distance(p, q) < tolerance, name


@given(layer_cases(), st.integers(0, 10**6))
def test_state_dicts_travel_both_ways(case, seed):
    ours, theirs = pair(case, seed=seed)  # theirs → ours, strict
    ours(random_input(case[-1], seed=seed))
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, ours.state_dict()[name]), name


def test_a_state_dict_from_before_num_batches_tracked_loads():
    theirs = torch.nn.BatchNorm1d(3)
    old = {k: v for k, v in theirs.state_dict().items() if k != "num_batches_tracked"}
    nn.BatchNorm1d(3).load_state_dict(old, strict=True)


@given(layer_cases())
def test_copies_and_pickles_compute_the_same(case):
    ours, _ = pair(case)
    ours.eval()
    x = random_input(case[-1])
    expected = ours(x)
    assert torch.equal(copy.deepcopy(ours)(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(ours))(x), expected)


DROP_IN = [name for name in nn.__all__ if hasattr(torch.nn, name)]


@pytest.mark.parametrize("name", DROP_IN)
def test_constructor_takes_torchs_arguments_with_torchs_defaults(name):
    ours = inspect.signature(getattr(nn, name)).parameters.values()
    theirs = inspect.signature(getattr(torch.nn, name)).parameters.values()
    assert [(p.name, p.default, p.kind) for p in ours] == [(p.name, p.default, p.kind) for p in theirs]


@pytest.mark.parametrize("name", DROP_IN)
def test_a_layer_that_torch_has_is_one_of_torchs(name):
    """What looks for torch's layers (isinstance) finds it; nothing but forward is its own."""
    ours, theirs = getattr(nn, name), getattr(torch.nn, name)
    assert issubclass(ours, theirs) and ours.forward is not theirs.forward
    parameters = [list(inspect.signature(layer.forward).parameters) for layer in (ours, theirs)]
    assert parameters[0] == parameters[1]


@pytest.mark.parametrize("name", ["batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"])
def test_function_takes_torchs_arguments_with_torchs_defaults(name):
    from normcore import functional

    ours = inspect.signature(getattr(functional, name)).parameters.values()
    theirs = inspect.signature(getattr(torch.nn.functional, name)).parameters.values()
    assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in theirs]


@pytest.mark.parametrize("name", nn.__all__)
def test_public_docstrings_name_their_source_or_their_base(name):
    doc = getattr(nn, name).__doc__
    assert "Source:" in doc or "Arguments and errors:" in doc


@given(layer_cases(("InstanceNorm",)))
def test_instance_norm_without_a_batch_dimension(case):
    ours, theirs = pair(case)
    x = random_input(case[-1][1:])
    assert distance(ours(x), theirs(x)) < TOLERANCE


def test_repr_shows_the_arguments():
    assert repr(nn.BatchNorm2d(7, eps=0.1, momentum=None)) == repr(
        torch.nn.BatchNorm2d(7, eps=0.1, momentum=None)
    )
    assert repr(nn.RMSNorm([2, 3])) == repr(torch.nn.RMSNorm([2, 3]))
