"""Statistics re-estimated, norms folded and replaced, in whole models."""

import copy
import warnings
from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from torch import nn as tnn
from torch.fx.experimental.optimization import fuse
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from normcore import nn
from normcore.adaptation import adapt_to_domain, as_torch, convert, fold, fold_pair, reestimate
from normcore.data import digits
from normcore.models import mlp
from normcore.training import accuracy, train
from tests.layers import EVERY, make, random_input, randomize
from tests.networks import resnet, transformer


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


class Classes(tnn.Module):
    """A conditional norm as a model of one input."""

    def __init__(self):
        super().__init__()
        self.norm = nn.ConditionalBatchNorm(4, 3)

    def forward(self, x):
        return self.norm(x, torch.arange(len(x)) % 3)


class Sequences(tnn.Module):
    """A norm per time step as a model of one input, (N, T, C), whose examples end at different steps."""

    def __init__(self, ragged=True):
        super().__init__()
        self.norm, self.ragged = nn.StepBatchNorm(4, 5), ragged

    def forward(self, x):
        lengths = 1 + torch.arange(len(x)) % 4
        for t in range(4):
            self.norm(x[:, t], t, lengths > t if self.ragged else None)
        return x


def _pooled(x):
    flat = x.movedim(1, 0).flatten(1)
    return flat.mean(1), flat.var(1), flat.var(1, correction=0)


IMAGES = random_input((13, 4, 3, 3))
MEAN, UNBIASED, BIASED = _pooled(IMAGES)
INSTANCES = {"running_mean": IMAGES.mean((0, 2, 3)), "running_var": IMAGES.var((2, 3)).mean(0)}
ALL = {"running_mean": MEAN, "running_var": UNBIASED}
# every layer that keeps running averages: a model around it, and what is right for IMAGES
KEPT = {
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), ALL),
    "torch.nn.BatchNorm2d": (lambda: tnn.BatchNorm2d(4), ALL),
    "SyncBatchNorm": (lambda: nn.SyncBatchNorm(4), ALL),
    "GhostBatchNorm": (lambda: nn.GhostBatchNorm(4, 2), ALL),
    "BatchInstanceNorm": (lambda: nn.BatchInstanceNorm(4), ALL),
    "ConditionalBatchNorm": (Classes, ALL),
    "SwitchableNorm": (lambda: nn.SwitchableNorm(4), {"running_mean": MEAN, "running_var": BIASED}),
    "BatchRenorm": (
        lambda: nn.BatchRenorm(4, eps=0.1),
        {"running_mean": MEAN, "running_std": (BIASED + 0.1).sqrt()},
    ),
    "MeanOnlyBatchNorm": (lambda: nn.MeanOnlyBatchNorm(4), {"running_mean": MEAN}),
    "EvoNormB0": (lambda: nn.EvoNormB0(4), {"running_var": UNBIASED}),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(4, track_running_stats=True), INSTANCES),
    "torch.nn.InstanceNorm2d": (lambda: tnn.InstanceNorm2d(4, track_running_stats=True), INSTANCES),
}
OTHERS = {"BatchNorm1d", "BatchNorm3d"}  # as in two dimensions
OTHERS |= {"StepBatchNorm", "DecorrelatedBatchNorm"}  # in tests of their own


def test_every_layer_with_running_averages_is_here():
    own = {name: dict(make(name).named_buffers(recurse=False)) for name in EVERY}
    kept = {name for name, buffers in own.items() if any(key.startswith("running_") for key in buffers)}
    assert kept <= {n for n in KEPT if "." not in n} | OTHERS


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("labels", [False, True])
def test_every_layer_is_reestimated_as_it_keeps_its_averages(name, labels):
    build, expected = KEPT[name]
    model = build().double()
    buffers = {key.rpartition(".")[2]: b for key, b in model.named_buffers()}
    for buffer in buffers.values():
        buffer.fill_(3)  # what was there before is of no account
    batches = IMAGES.split(5)
    reestimate(model, [(x, torch.zeros(len(x))) for x in batches] if labels else batches)
    for key, value in expected.items():
        torch.testing.assert_close(buffers[key], value)
    if "num_batches_tracked" in buffers:
        assert buffers["num_batches_tracked"] == 3
    assert model.training


@pytest.mark.parametrize("ragged", [False, True])
def test_each_time_step_is_reestimated_by_itself(ragged):
    model = Sequences(ragged).double()
    x = random_input((12, 4, 4))
    reestimate(model, x.split(6))
    for t in range(4):
        valid = (torch.arange(6) % 4 >= t).repeat(2) if ragged else slice(None)
        torch.testing.assert_close(model.norm.running_mean[t], x[valid, t].mean(0))
        torch.testing.assert_close(model.norm.running_var[t], x[valid, t].var(0))
    assert model.norm.steps_seen == 4 and (model.norm.running_mean[4] == 0).all()
    recurrent = nn.BatchNormLSTM(4, 3, 5).double()
    reestimate(recurrent, x.split(6))
    a = x[:, 2] @ recurrent.weight_ih.T
    torch.testing.assert_close(recurrent.norm_ih.running_mean[2], a.mean(0))
    torch.testing.assert_close(recurrent.norm_ih.running_var[2], a.var(0))


def test_whitening_and_unequal_batches_are_averaged_over_the_examples():
    model = nn.DecorrelatedBatchNorm(4).double()
    batches = IMAGES.split((8, 5))
    reestimate(model, batches)
    each = []
    for x in batches:
        one = nn.DecorrelatedBatchNorm(4, momentum=1.0).double()
        one(x)
        each.append(one.running_whitening)
    torch.testing.assert_close(model.running_whitening, (8 * each[0] + 5 * each[1]) / 13)
    torch.testing.assert_close(model.running_mean, MEAN)
    assert model.momentum == 0.1


def test_a_layer_that_is_not_known_is_refused_by_name():
    class Foreign(tnn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("running_median", torch.zeros(3))

    with pytest.raises(TypeError, match=r"how Foreign \(inner\) keeps its running averages"):
        reestimate(tnn.Sequential(OrderedDict(inner=Foreign())), [torch.randn(2, 3)])


def test_adabn_repairs_a_shifted_domain():
    """facts: contrast × 0.3 + 0.4 ruins a trained net, new statistics mend it, without a label."""
    before, after = [], []
    for seed in range(3):
        torch.manual_seed(seed)
        data = digits(seed)
        model = mlp((64, 64, 64, 10), nn.BatchNorm1d)
        train(model, data, lr=0.1, epochs=5, batch_size=32, seed=seed)
        shifted = replace(data, x_test=data.x_test * 0.3 + 0.4)
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
    build, shape, norm_type = FOLDABLE[kind]
    layer, norm = build(bias=bias).double(), norm_type(4, eps=0.01, affine=affine).double().eval()
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


@pytest.mark.parametrize("wrap", [nn.weight_norm, nn.spectral_norm, nn.weight_standardization])
def test_folding_a_weight_that_is_computed(wrap):
    layer, norm = wrap(tnn.Conv2d(3, 4, 3).double()).eval(), nn.BatchNorm2d(4).double().eval()
    randomize(norm)
    x = random_input((2, 3, 5, 5))
    folded = fold_pair(layer, norm)
    torch.testing.assert_close(folded(x), norm(layer(x)))
    assert set(folded.state_dict()) == {"weight", "bias"}


NOT_LINES = [
    nn.SwitchableNorm(4),
    nn.BatchInstanceNorm(4),
    nn.ConditionalBatchNorm(4, 2),
    nn.BatchRenorm(4),
    nn.DecorrelatedBatchNorm(4),
    nn.EvoNormB0(4),
    nn.MeanOnlyBatchNorm(4),
    nn.LayerNorm(4),
    nn.GroupNorm(2, 4),
    nn.InstanceNorm2d(4),
    nn.BatchNorm2d(4, track_running_stats=False),
    tnn.ReLU(),
]


@pytest.mark.parametrize("norm", NOT_LINES, ids=lambda n: type(n).__name__)
def test_what_is_no_batch_norm_is_neither_folded_nor_taken_for_one(norm):
    with pytest.raises(TypeError, match=f"running averages.*but it is {type(norm).__name__}"):
        fold_pair(tnn.Conv2d(3, 4, 1), norm)
    if isinstance(norm, nn.ConditionalBatchNorm):
        return  # takes classes
    model = tnn.Sequential(tnn.Conv2d(3, 4, 1), norm).double()
    randomize(model)
    x = random_input((2, 3, 3, 3)).abs()
    if not isinstance(norm, nn.LayerNorm):
        torch.testing.assert_close(fold(model)(x), model.eval()(x))
    assert type(fold(model)[1]) is type(norm)


LINES = [
    lambda: nn.GhostBatchNorm(4, 2),
    lambda: nn.SyncBatchNorm(4),
    lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
    lambda: tnn.InstanceNorm2d(4, track_running_stats=True),
]


@pytest.mark.parametrize("build", LINES)
def test_what_is_batch_norm_in_evaluation_is_folded(build):
    model = tnn.Sequential(tnn.Conv2d(3, 4, 1), build()).double()
    randomize(model)
    x = random_input((2, 3, 3, 3))
    folded = fold(model)
    torch.testing.assert_close(folded(x), model.eval()(x))
    assert isinstance(folded[1], tnn.Identity)


def test_folding_a_residual_network_folds_what_torch_fx_does_and_keeps_its_names():
    model = resnet(nn).double()
    randomize(model)
    x = random_input((2, 3, 16, 16))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folded = fold(model)
    torch.testing.assert_close(folded(x), model.eval()(x))
    norms = [name for name, m in model.named_modules() if isinstance(m, tnn.BatchNorm2d)]
    assert len(norms) == 20
    assert all(isinstance(folded.get_submodule(name), tnn.Identity) for name in norms)
    theirs = fuse(as_torch(model).eval())
    for name, module in theirs.named_modules():
        if isinstance(module, tnn.Conv2d):
            torch.testing.assert_close(folded.get_submodule(name).weight, module.weight)
            torch.testing.assert_close(folded.get_submodule(name).bias, module.bias)


class Shared(tnn.Module):
    """One layer read twice, one called twice, one whose weight is read, one norm called twice."""

    def __init__(self):
        super().__init__()
        for name in ("twice_read", "twice_called", "weight_read", "plain"):
            setattr(self, name, tnn.Linear(4, 4))
        for name in ("a", "b", "c", "norm_twice", "d"):
            setattr(self, name, nn.BatchNorm1d(4))

    def forward(self, x):
        y = self.twice_read(x)
        y = y + self.a(y)
        y = self.twice_called(y) + self.b(self.twice_called(2 * y))
        y = self.c(self.weight_read(y)) @ self.weight_read.weight
        y = self.norm_twice(self.norm_twice(y))
        return self.d(self.plain(y))


def test_a_layer_that_something_else_reads_is_not_folded_and_it_is_said():
    model = Shared().double()
    randomize(model)
    x = random_input((5, 4))
    with pytest.warns(UserWarning, match=r"a \(BatchNorm1d\), b .*, c .*, norm_twice \(BatchNorm1d\)$"):
        folded = fold(model)
    torch.testing.assert_close(folded(x), model.eval()(x))
    assert isinstance(folded.d, tnn.Identity) and isinstance(folded.a, nn.BatchNorm1d)


class Looks(tnn.Module):
    """Control flow that the tracer cannot follow, around a block that it can."""

    def __init__(self):
        super().__init__()
        self.block = tnn.Sequential(tnn.Linear(4, 4), nn.BatchNorm1d(4), tnn.Linear(4, 6), nn.BatchNorm1d(3))

    def forward(self, x):
        linear, norm, *_ = self.block
        return self.block[:2](x) if x.sum() > 0 else norm(linear(-x))


def test_where_a_model_cannot_be_traced_its_children_are():
    model = Looks().double()
    randomize(model)
    with pytest.warns(UserWarning, match=r"block.3 \(BatchNorm1d\)$"):  # 6 outputs, 3 channels: no pair
        folded = fold(model)
    for x in (random_input((5, 4)), -random_input((5, 4))):
        torch.testing.assert_close(folded(x), model.eval()(x))
    assert isinstance(folded.block[1], tnn.Identity)


def test_folding_a_model_leaves_only_norms_that_follow_no_layer():
    block = tnn.Sequential(tnn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), tnn.ReLU(), tnn.BatchNorm2d(4))
    model = tnn.Sequential(block, tnn.Flatten(), tnn.Linear(36, 5), nn.BatchNorm1d(5)).double()
    for module in model.modules():
        if hasattr(module, "running_mean"):
            randomize(module)
    x, before = random_input((2, 3, 5, 5)), copy.deepcopy(model.state_dict())
    with pytest.warns(UserWarning, match=r"left as they are.*: 0.3 \(BatchNorm2d\)$"):
        folded = fold(model)
    torch.testing.assert_close(folded(x), model.eval()(x))
    assert [type(m).__name__ for m in folded[0]] == ["Conv2d", "Identity", "ReLU", "BatchNorm2d"]
    assert [type(m).__name__ for m in folded] == ["Sequential", "Flatten", "Linear", "Identity"]
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_folding_refuses():
    with pytest.raises(TypeError, match="linear or convolutional, but it is ReLU"):
        fold_pair(tnn.ReLU(), nn.BatchNorm1d(3))
    with pytest.raises(TypeError, match="running averages.*but it is LayerNorm"):
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


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_converted_layers_have_the_old_ones_dtype_gradients_and_sharing(dtype):
    shared = tnn.BatchNorm1d(6)
    model = tnn.ModuleDict({"a": shared, "b": shared, "c": tnn.LayerNorm(6)}).to(dtype)
    shared.weight.requires_grad_(False)
    randomize(model)
    new = convert(model, tnn.BatchNorm1d, lambda old: nn.GroupNorm(2, old.num_features))
    assert new["a"] is new["b"] and new["a"].weight.dtype == dtype
    assert torch.equal(new["a"].weight, shared.weight) and not new["a"].weight.requires_grad
    assert new["a"].bias.requires_grad and type(new["c"]) is tnn.LayerNorm
    assert isinstance(model["a"], tnn.BatchNorm1d)


@pytest.mark.parametrize("of", ["old", "new"])
def test_models_without_values_are_converted(of):
    model = tnn.Sequential(tnn.Linear(4, 6), tnn.BatchNorm1d(6)).to("meta" if of == "old" else "cpu")
    device = "meta" if of == "new" else "cpu"
    new = convert(model, tnn.BatchNorm1d, lambda old: nn.BatchNorm1d(6, affine=False, device=device))
    assert all(t.is_meta == (of == "old") for t in new.state_dict().values())
    if of == "new":
        assert torch.equal(new[1].running_var, torch.ones(6))


def test_a_layer_that_stands_twice_in_one_parent_is_replaced_twice():
    norm = tnn.BatchNorm1d(3)
    new = convert(tnn.Sequential(norm, tnn.ReLU(), norm), tnn.BatchNorm1d, lambda old: nn.BatchNorm1d(3))
    assert new[0] is new[2] and isinstance(new[0], nn.BatchNorm1d)


def test_as_torch_gives_torchs_own_types_and_numbers():
    for ours, x in ((resnet(nn), random_input((2, 3, 16, 16))), (transformer(nn), random_input((2, 5, 8)))):
        ours = ours.double()
        randomize(ours)
        theirs = as_torch(ours)
        assert not any(type(m).__module__.startswith("normcore") for m in theirs.modules())
        assert any(type(m).__module__.startswith("normcore") for m in ours.modules())
        torch.testing.assert_close(theirs(x), ours(x))
        torch.testing.assert_close(theirs.eval()(x), ours.eval()(x))
        assert list(theirs.state_dict()) == list(ours.state_dict())
