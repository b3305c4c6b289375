"""Statistics re-estimated, batch norms folded and replaced, in whole models."""

import copy

import pytest
import torch
from torch import nn as tnn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from normcore import nn
from normcore.adaptation import adapt_to_domain, convert, fold, fold_pair, reestimate
from normcore.data import digits
from normcore.models import mlp
from normcore.training import accuracy, train
from tests.layers import random_input, randomize


def test_reestimated_statistics_are_those_of_the_whole_data():
    norm = nn.BatchNorm2d(3).double()
    x = random_input((13, 3, 2, 2))
    reestimate(tnn.Sequential(norm), x.split(5))  # the last batch is smaller
    torch.testing.assert_close(norm.running_mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, x.movedim(1, 0).flatten(1).var(1))


def test_reestimation_normalizes_each_batch_by_itself_and_leaves_the_rest_alone():
    torch.manual_seed(0)
    model = tnn.Sequential(
        tnn.Linear(4, 5), nn.BatchNorm1d(5), tnn.Dropout(0.9), tnn.Linear(5, 3), tnn.BatchNorm1d(3)
    )
    model.double().train()
    model[1].eval()
    before = copy.deepcopy(model.state_dict())
    batches = random_input((20, 4)).split(10)
    reestimate(model, batches)
    # the second norm sees the first one's output on each batch's own statistics, and no dropout
    with torch.no_grad():
        seen = [
            model[3](tnn.functional.batch_norm(model[0](b), None, None, model[1].weight, model[1].bias, True))
            for b in batches
        ]
    torch.testing.assert_close(model[4].running_mean, torch.cat(seen).mean(0))
    torch.testing.assert_close(model[4].running_var, torch.cat(seen).var(0))
    assert [m.training for m in model] == [True, False, True, True, True]
    for key, value in model.state_dict().items():
        if "running" not in key:
            assert torch.equal(value, before[key]), key


def test_reestimation_refuses_and_survives_errors():
    with pytest.raises(ValueError, match="no layer with running_mean"):
        reestimate(tnn.Linear(3, 3), [torch.randn(2, 3)])
    model = tnn.Sequential(nn.BatchNorm1d(3))
    with pytest.raises(ValueError, match="no batch was given"):
        reestimate(model, [])
    model.eval()
    with pytest.raises(RuntimeError):
        reestimate(model, [torch.randn(4, 3), torch.randn(4, 5)])
    assert (
        not model[0].training
        and torch.equal(model[0].running_mean, torch.zeros(3))
        and model[0].num_batches_tracked == 0
    )


def test_adabn_repairs_a_shifted_domain():
    """facts: contrast × 0.3 + 0.4 ruins a trained net, new statistics mend it, without a label."""
    before, after = [], []
    for seed in range(3):
        torch.manual_seed(seed)
        data = digits(seed)
        model = mlp((64, 64, 64, 10), nn.BatchNorm1d)
        train(model, data, lr=0.1, epochs=5, batch_size=32, seed=seed)
        shifted = data.__class__(data.x_train, data.y_train, data.x_test * 0.3 + 0.4, data.y_test)
        before.append(accuracy(model, shifted))
        source = copy.deepcopy(model.state_dict())
        adapted = adapt_to_domain(model, [shifted.x_test])
        after.append(accuracy(adapted, shifted))
        assert all(torch.equal(source[k], v) for k, v in model.state_dict().items())
    assert max(before) < 0.7 < 0.85 < min(after)


FOLDABLE = {
    "linear": (lambda **o: tnn.Linear(6, 4, **o), (7, 6), nn.BatchNorm1d),
    "conv1d": (lambda **o: tnn.Conv1d(6, 4, 3, **o), (7, 6, 5), nn.BatchNorm1d),
    "conv2d, groups": (lambda **o: tnn.Conv2d(6, 4, 3, groups=2, **o), (2, 6, 5, 5), nn.BatchNorm2d),
    "conv3d": (lambda **o: tnn.Conv3d(6, 4, 2, **o), (2, 6, 3, 3, 3), nn.BatchNorm3d),
    "transposed": (lambda **o: tnn.ConvTranspose2d(6, 4, 3, **o), (2, 6, 5, 5), nn.BatchNorm2d),
    "transposed, groups": (
        lambda **o: tnn.ConvTranspose2d(6, 4, 3, groups=2, **o),
        (2, 6, 5, 5),
        nn.BatchNorm2d,
    ),
}


@pytest.mark.parametrize("kind", FOLDABLE)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_folding_computes_the_same(kind, bias, affine):
    make, shape, norm_type = FOLDABLE[kind]
    layer, norm = make(bias=bias).double(), norm_type(4, eps=0.01, affine=affine).double().eval()
    randomize(norm)
    x = random_input(shape)
    folded = fold_pair(layer, norm)
    torch.testing.assert_close(folded(x), norm(layer(x)), rtol=1e-10, atol=1e-10)


def test_folding_equals_torchs_fusion():
    norm = tnn.BatchNorm2d(4).eval()
    randomize(norm)
    conv, linear = tnn.Conv2d(3, 4, 3).eval(), tnn.Linear(3, 4).eval()
    theirs = fuse_conv_bn_eval(conv, norm)
    torch.testing.assert_close(fold_pair(conv, norm).weight, theirs.weight)
    torch.testing.assert_close(fold_pair(conv, norm).bias, theirs.bias)
    norm = tnn.BatchNorm1d(4).eval()
    randomize(norm)
    torch.testing.assert_close(fold_pair(linear, norm).weight, fuse_linear_bn_eval(linear, norm).weight)


def test_folding_a_model_leaves_only_norms_that_follow_no_layer():
    block = tnn.Sequential(tnn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), tnn.ReLU(), tnn.BatchNorm2d(4))
    model = tnn.Sequential(block, tnn.Flatten(), tnn.Linear(36, 5), nn.BatchNorm1d(5)).double()
    for module in model.modules():
        if hasattr(module, "running_mean"):
            randomize(module)
    x, before = random_input((2, 3, 5, 5)), copy.deepcopy(model.state_dict())
    folded = fold(model)
    torch.testing.assert_close(folded(x), model.eval()(x))
    assert [type(m).__name__ for m in folded[0]] == ["Conv2d", "ReLU", "BatchNorm2d"]
    assert [type(m).__name__ for m in folded] == ["Sequential", "Flatten", "Linear"]
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_folding_refuses():
    with pytest.raises(TypeError, match="linear or convolutional, but it is ReLU"):
        fold_pair(tnn.ReLU(), nn.BatchNorm1d(3))
    with pytest.raises(TypeError, match="running averages, but it is LayerNorm"):
        fold_pair(tnn.Linear(3, 3), nn.LayerNorm(3))
    with pytest.raises(ValueError, match="4 outputs, the norm 3 features"):
        fold_pair(tnn.Linear(3, 4), nn.BatchNorm1d(3))


def test_convert_replaces_and_carries_over():
    model = tnn.Sequential(tnn.Linear(4, 6), tnn.BatchNorm1d(6), tnn.Sequential(tnn.BatchNorm1d(6))).eval()
    for norm in (model[1], model[2][0]):
        randomize(norm)
    x = torch.randn(5, 4)
    ours = convert(
        model, tnn.BatchNorm1d, lambda old: nn.BatchNorm1d(old.num_features, old.eps, old.momentum)
    )
    assert isinstance(ours[2][0], nn.BatchNorm1d) and isinstance(model[1], tnn.BatchNorm1d)
    torch.testing.assert_close(ours(x), model(x))
    grouped = convert(model, tnn.BatchNorm1d, lambda old: nn.GroupNorm(2, old.num_features))
    assert torch.equal(grouped[1].weight, model[1].weight) and not grouped[1].training
    only = convert(tnn.BatchNorm1d(3), tnn.BatchNorm1d, lambda old: nn.LayerNorm(3))
    assert isinstance(only, nn.LayerNorm)
