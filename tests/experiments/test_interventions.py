"""Each intervention changes the one thing that it names."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from normcore.data import digits
from normcore.experiments import interventions
from normcore.training import steps


def lengths(model):
    return [m.weight.detach().norm(dim=1) for m in model.modules() if isinstance(m, nn.Linear)]


def test_lengths_are_held_and_nothing_else_is():
    torch.manual_seed(0)
    model, optimizer = interventions.build("batch norm, lengths held"), interventions.Held
    before = lengths(model)
    directions = [m.weight.detach().clone() for m in model.modules() if isinstance(m, nn.Linear)]
    list(steps(model, digits(0), lr=0.3, epochs=1, batch_size=128, seed=0, optimizer=optimizer))
    after = lengths(model)
    for old, new in zip(before[:-1], after[:-1], strict=True):
        torch.testing.assert_close(old, new)
    assert not torch.allclose(before[-1], after[-1], rtol=1e-3)
    moved = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    assert all(not torch.allclose(a, b, atol=1e-3) for a, b in zip(directions, moved, strict=True))


def test_a_held_step_is_the_plain_one_with_the_lengths_put_right():
    """The function is the same before and after the lengths are put right: batch norm follows."""
    torch.manual_seed(0)
    held, plain = interventions.build("batch norm").double(), interventions.build("batch norm").double()
    plain.load_state_dict(held.state_dict())
    data = digits(0)
    for model, maker in ((held, interventions.Held), (plain, torch.optim.SGD)):
        optimizer = maker(model.parameters(), lr=0.3)
        cross_entropy(model(data.x_train[:64].double()), data.y_train[:64]).backward()
        optimizer.step()
    x = data.x_train[64:128].double()
    torch.testing.assert_close(held(x), plain(x), atol=1e-3, rtol=1e-3)  # up to ε
    assert all((a > b).all() for a, b in zip(lengths(plain)[:-1], lengths(held)[:-1], strict=True))


def test_length_and_direction_apart_has_no_statistics_and_begins_as_the_plain_network():
    x = torch.randn(5, 64)
    found = {}
    for name in ("plain", "length and direction apart"):
        torch.manual_seed(0)
        model = interventions.build(name)
        found[name] = model(x)
        assert not any(isinstance(m, nn.BatchNorm1d) for m in model.modules())
    torch.testing.assert_close(*found.values())


@pytest.mark.parametrize("factor", [1.0, 100.0])
def test_branches_from_zero_are_a_linear_map_at_the_start(factor):
    model = interventions.build("residual, branches from 0")
    x = torch.randn(5, 64)
    torch.testing.assert_close(model(factor * x), factor * model(x), rtol=1e-4, atol=1e-4)
    assert model.scales.requires_grad and not model.scales.any()


def test_without_anything_the_blocks_explode():
    torch.manual_seed(0)
    x = torch.randn(200, 64)
    sizes = {
        name: interventions.build(name)(x).square().mean().item()
        for name in ("residual", "residual, batch norm", "residual, branches from 0")
    }
    assert sizes["residual"] > 1e4 > 1e2 > max(list(sizes.values())[1:])
