"""Methods that torch.nn does not have (and some that it has), against formulas written anew in numpy, float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from normcore import functional as F
from normcore import nn
from normcore.nn.renorm import renorm_limits
from tests.layers import random_input, randomize

seeds = st.integers(0, 10**6)
images = st.tuples(st.integers(2, 5), st.sampled_from([2, 4, 6]), st.integers(1, 4), st.integers(2, 4))


def close(actual, expected, tolerance=1e-10):
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=tolerance, atol=tolerance)


def channel(vector):
    return vector.detach().numpy()[None, :, None, None]


def made(layer, seed=0):
    layer = layer.double()
    randomize(layer, seed)
    return layer


@given(images, seeds, st.floats(1, 4), st.floats(0, 5))
def test_batch_renorm(shape, seed, r_max, d_max):
    layer = made(nn.BatchRenorm(shape[1], eps=0.02, momentum=0.3, limits=lambda step: (r_max, d_max)), seed)
    with torch.no_grad():
        layer.running_std.abs_().add_(0.5)
    x = random_input(shape, seed=seed)
    a, run_mean, run_std = x.numpy(), channel(layer.running_mean).copy(), channel(layer.running_std).copy()
    mean, std = a.mean((0, 2, 3), keepdims=True), np.sqrt(a.var((0, 2, 3), keepdims=True) + 0.02)
    r = np.clip(std / run_std, 1 / r_max, r_max)
    d = np.clip((mean - run_mean) / run_std, -d_max, d_max)
    close(layer(x), ((a - mean) / std * r + d) * channel(layer.weight) + channel(layer.bias))
    close(layer.running_mean, (0.7 * run_mean + 0.3 * mean).ravel())
    close(layer.running_std, (0.7 * run_std + 0.3 * std).ravel())
    layer.eval()
    x_hat = (a - channel(layer.running_mean)) / channel(layer.running_std)
    close(layer(x), x_hat * channel(layer.weight) + channel(layer.bias))


def test_batch_renorm_unclipped_is_evaluation_and_with_tight_limits_batch_norm():
    x = random_input((8, 3))
    mean, std = random_input((3,), seed=1), random_input((3,), seed=2).abs() + 0.5
    y = F.batch_renorm(x, mean.clone(), std.clone(), training=True, r_max=1e9, d_max=1e9)
    torch.testing.assert_close(y, (x - mean) / std)
    y = F.batch_renorm(x, mean.clone(), std.clone(), training=True, r_max=1, d_max=0, eps=0.01)
    torch.testing.assert_close(y, F.batch_norm(x, None, None, training=True, eps=0.01))


def test_batch_renorms_schedule_is_the_papers():
    def limits(step):
        return tuple(limit.item() for limit in renorm_limits(torch.tensor(step)))

    assert limits(0) == limits(5_000) == (1.0, 0.0)
    assert limits(25_000)[1] == limits(10**6)[1] == 5.0
    assert limits(40_000)[0] == limits(10**6)[0] == 3.0
    assert limits(15_000) == pytest.approx((1 + 2 * 10 / 35, 2.5))
    with pytest.raises(ValueError, match="r_max must be at least 1 and d_max at least 0, but got 0.5 and 1"):
        F.batch_renorm(torch.randn(4, 3), torch.zeros(3), torch.ones(3), r_max=0.5, d_max=1)
    layer = nn.BatchRenorm(3)
    layer.num_batches_tracked.fill_(15_000)
    layer(torch.randn(4, 3))
    assert layer.num_batches_tracked == 15_001


@given(st.integers(2, 17), st.integers(2, 6), seeds)
def test_ghost_batch_norm(batch, size, seed):
    layer = made(nn.GhostBatchNorm(3, size, eps=0.02, momentum=0.3), seed)
    x = random_input((batch, 3, 2, 2), seed=seed)
    mean, var = layer.running_mean.numpy().copy(), layer.running_var.numpy().copy()
    expected = []
    for part in np.array_split(x.numpy(), math.ceil(batch / size)):
        m, v, n = part.mean((0, 2, 3)), part.var((0, 2, 3)), part.size // 3
        x_hat = (part - m[None, :, None, None]) / np.sqrt(v + 0.02)[None, :, None, None]
        expected.append(x_hat * channel(layer.weight) + channel(layer.bias))
        mean, var = 0.7 * mean + 0.3 * m, 0.7 * var + 0.3 * v * n / (n - 1)
    close(layer(x), np.concatenate(expected))
    close(layer.running_mean, mean), close(layer.running_var, var)
    layer.eval()
    close(
        layer(x),
        F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=0.02)
        .detach()
        .numpy(),
    )


@given(images, st.integers(1, 3), seeds)
def test_virtual_batch_norm(shape, reference, seed):
    layer = made(nn.VirtualBatchNorm(shape[1], reference, eps=0.02), seed)
    x = random_input((reference + shape[0], *shape[1:]), seed=seed)
    a, expected = x.numpy(), []
    for n in range(len(a)):
        # the reference batch, and the example if it is none of it
        group = a[:reference] if n < reference else np.concatenate([a[:reference], a[n : n + 1]])
        mean, var = group.mean((0, 2, 3)), group.var((0, 2, 3))
        x_hat = (a[n] - mean[:, None, None]) / np.sqrt(var + 0.02)[:, None, None]
        expected.append(x_hat * channel(layer.weight)[0] + channel(layer.bias)[0])
    close(layer(x), np.stack(expected))


def test_virtual_batch_norm_of_vectors_and_errors():
    x = random_input((5, 3))
    y = F.virtual_batch_norm(x, 4, eps=0.0)
    group = x.numpy()
    close(y[4], (group[4] - group.mean(0)) / group.std(0))
    with pytest.raises(ValueError, match="reference_size must be between 1 and the batch size, but got 6"):
        F.virtual_batch_norm(x, 6)


@given(images, seeds)
def test_mean_only_batch_norm(shape, seed):
    layer = made(nn.MeanOnlyBatchNorm(shape[1], momentum=0.3), seed)
    x, before = random_input(shape, seed=seed), layer.running_mean.numpy().copy()
    mean = x.numpy().mean((0, 2, 3))
    close(layer(x), x.numpy() - mean[None, :, None, None] + channel(layer.bias))
    close(layer.running_mean, 0.7 * before + 0.3 * mean)
    layer.eval()
    close(layer(x), x.numpy() - channel(layer.running_mean) + channel(layer.bias))
    with pytest.raises(RuntimeError, match="running_mean must be given"):
        F.mean_only_batch_norm(x, None)


@given(st.integers(8, 12), st.sampled_from([1, 2]), seeds)
def test_decorrelated_batch_norm_whitens_each_group(batch, groups, seed):
    x = random_input((batch, 4, 3, 3), seed=seed)
    x = torch.einsum("nchw,dc->ndhw", x, random_input((4, 4), seed=seed + 1, offset=0))
    layer = nn.DecorrelatedBatchNorm(4, groups, eps=1e-12, momentum=1.0, affine=False).double()
    y = layer(x).movedim(1, 0).flatten(1).numpy()
    size = 4 // groups
    for g in range(groups):
        rows = slice(g * size, (g + 1) * size)
        np.testing.assert_allclose(y[rows] @ y[rows].T / y.shape[1], np.eye(size), atol=1e-5)
        # ZCA: the whitening matrix is symmetric, and it is Σ^(−1/2)
        a = x.movedim(1, 0).flatten(1).numpy()[rows]
        values, vectors = np.linalg.eigh(np.cov(a, bias=True).reshape(size, size))
        expected = vectors @ np.diag(values**-0.5) @ vectors.T
        np.testing.assert_allclose(layer.running_whitening[g].numpy(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.eval()(x), layer.train()(x))  # momentum 1


def test_iterative_whitening_approaches_the_exact_one():
    mixing = torch.eye(4).double() + 0.3 * random_input((4, 4), seed=3, offset=0, scale=1.0)
    x = random_input((64, 4), scale=1.0) @ mixing
    exact = F.decorrelated_batch_norm(x, None, None, training=True, eps=1e-3)
    errors = [
        (F.decorrelated_batch_norm(x, None, None, training=True, eps=1e-3, newton_steps=t) - exact)
        .abs()
        .max()
        for t in (3, 6, 12)
    ]
    assert errors[0] > errors[1] > errors[2] < 1e-8


def test_decorrelated_batch_norm_refuses():
    with pytest.raises(ValueError, match="num_features=5 and num_groups=2"):
        nn.DecorrelatedBatchNorm(5, 2)
    with pytest.raises(RuntimeError, match="running_whitening must be given"):
        F.decorrelated_batch_norm(torch.randn(4, 2), None, None)


@given(images, seeds)
def test_adaptive_instance_norm(shape, seed):
    content, style = random_input(shape, seed=seed), random_input((*shape[:2], 5), seed=seed + 1)
    a, s = content.numpy(), style.numpy()
    x_hat = (a - a.mean((2, 3), keepdims=True)) / np.sqrt(a.var((2, 3), keepdims=True) + 0.01)
    expected = x_hat * np.sqrt(s.var(2) + 0.01)[..., None, None] + s.mean(2)[..., None, None]
    close(nn.AdaptiveInstanceNorm(0.01)(content, style), expected)
    with pytest.raises(ValueError, match="must agree in"):
        F.adaptive_instance_norm(content, style[:1])


@given(seeds)
def test_adaptive_layer_norm(seed):
    layer = nn.AdaptiveLayerNorm(6, 3, eps=0.01).double()
    x, c = random_input((4, 5, 6), seed=seed), random_input((4, 3), seed=seed + 1)
    a = x.numpy()
    x_hat = (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 0.01)
    close(layer(x, c), x_hat)  # starts without a condition
    randomize(layer, seed)
    beta, gamma = np.split(  # the order of the authors' code: shift, scale
        c.numpy() @ layer.linear.weight.detach().numpy().T + layer.linear.bias.detach().numpy(), 2, 1
    )
    close(layer(x, c), x_hat * (1 + gamma[:, None]) + beta[:, None])


@given(images, seeds)
def test_conditional_batch_norm(shape, seed):
    layer = nn.ConditionalBatchNorm(shape[1], 3, eps=0.01).double()
    randomize(layer, seed)
    x, classes = random_input(shape, seed=seed), torch.arange(shape[0]) % 3
    a = x.numpy()
    x_hat = (a - a.mean((0, 2, 3), keepdims=True)) / np.sqrt(a.var((0, 2, 3), keepdims=True) + 0.01)
    gamma, beta = (e.weight.detach().numpy()[classes][..., None, None] for e in (layer.weights, layer.biases))
    close(layer(x, classes), x_hat * gamma + beta)
    layer.eval()
    a = (a - channel(layer.running_mean)) / np.sqrt(channel(layer.running_var) + 0.01)
    close(layer(x, classes), a * gamma + beta)
    assert torch.autograd.gradcheck(lambda x: layer(x, classes), x.requires_grad_(), fast_mode=True)


def test_conditions_of_the_wrong_shape_are_named():
    x = torch.randn(4, 3)
    with pytest.raises(ValueError, match=r"weight must have shape \(4, 3\).*but it is of shape \(4, 2\)"):
        F.conditional_batch_norm(x, None, None, torch.ones(4, 2), torch.ones(4, 3), True)
    with pytest.raises(ValueError, match=r"scale must have shape \(4, 3\).*but it is of shape \(3,\)"):
        F.adaptive_layer_norm(x, torch.ones(4, 3), torch.ones(3))


@given(images, seeds)
def test_batch_instance_norm(shape, seed):
    layer = made(nn.BatchInstanceNorm(shape[1], eps=0.02, momentum=0.3), seed)
    x = random_input(shape, seed=seed)
    for training in (True, False):
        layer.train(training)
        a = x.numpy()
        mean, var = a.mean((0, 2, 3), keepdims=True), a.var((0, 2, 3), keepdims=True)
        if not training:
            mean, var = channel(layer.running_mean), channel(layer.running_var)
        by_batch = (a - mean) / np.sqrt(var + 0.02)
        by_instance = (a - a.mean((2, 3), keepdims=True)) / np.sqrt(a.var((2, 3), keepdims=True) + 0.02)
        rho = channel(layer.gate)
        expected = (rho * by_batch + (1 - rho) * by_instance) * channel(layer.weight) + channel(layer.bias)
        close(layer(x), expected)
    layer.clamp_gates()
    assert layer.gate.min() >= 0 and layer.gate.max() <= 1


@given(images, seeds)
def test_switchable_norm(shape, seed):
    layer = made(nn.SwitchableNorm(shape[1], eps=0.02, momentum=0.3), seed)
    x = random_input(shape, seed=seed)
    before = layer.running_var.numpy().copy()
    a = x.numpy()
    axes = ((2, 3), (1, 2, 3), (0, 2, 3))
    for training in (True, False):
        layer.train(training)
        means = [a.mean(s, keepdims=True) for s in axes]
        variances = [a.var(s, keepdims=True) for s in axes]
        if not training:
            means[2], variances[2] = channel(layer.running_mean), channel(layer.running_var)
        w, v = (np.exp(p.detach().numpy()) for p in (layer.mean_weight, layer.var_weight))
        mean = sum(p * q for p, q in zip(w / w.sum(), means, strict=True))
        var = sum(p * q for p, q in zip(v / v.sum(), variances, strict=True))
        close(layer(x), (a - mean) / np.sqrt(var + 0.02) * channel(layer.weight) + channel(layer.bias))
        if training:
            close(layer.running_var, 0.7 * before + 0.3 * a.var((0, 2, 3)))


def test_switchable_norm_at_one_pixel_is_finite():
    """The published code takes the unbiased instance variance, 0/0 at H = W = 1."""
    x = random_input((4, 3, 1, 1))
    assert torch.isfinite(nn.SwitchableNorm(3).double()(x)).all()
    assert torch.isnan(x.var((2, 3))).all()


def test_the_ends_of_the_mixtures():
    x, three = random_input((4, 6, 3, 3)), {"weight": None, "bias": None, "training": True}
    batch, instance = F.batch_norm(x, None, None, training=True), F.instance_norm(x)
    one, zero = torch.ones(6).double(), torch.zeros(6).double()
    torch.testing.assert_close(F.batch_instance_norm(x, None, None, one, **three), batch)
    torch.testing.assert_close(F.batch_instance_norm(x, None, None, zero, **three), instance)
    for k, expected in enumerate((instance, F.layer_norm(x, x.shape[1:]), batch)):
        only = torch.full((3,), -1e3).double()
        only[k] = 1e3
        torch.testing.assert_close(F.switchable_norm(x, None, None, only, only, **three), expected)


@given(images, seeds)
def test_filter_response_norm(shape, seed):
    layer = made(nn.FilterResponseNorm(shape[1], eps=0.02), seed)
    x = random_input(shape, seed=seed)
    a = x.numpy()
    y = a / np.sqrt((a**2).mean((2, 3), keepdims=True) + 0.02) * channel(layer.weight) + channel(layer.bias)
    close(layer(x), np.maximum(y, channel(layer.threshold)))


@given(images, st.integers(1, 5), seeds)
def test_local_response_norm_equals_torchs(shape, size, seed):
    x = random_input(shape, seed=seed)
    ours, theirs = nn.LocalResponseNorm(size, 0.3, 0.6, 1.5), torch.nn.LocalResponseNorm(size, 0.3, 0.6, 1.5)
    close(ours(x), theirs(x).numpy())


@given(images, st.sampled_from([1, 2]), seeds)
def test_evonorm_s0(shape, groups, seed):
    layer = made(nn.EvoNormS0(groups, shape[1], eps=0.02), seed)
    x = random_input(shape, seed=seed)
    a = x.numpy()
    var = a.reshape(shape[0], groups, -1).var(2)
    std = np.sqrt(np.repeat(var, shape[1] // groups, 1) + 0.02)[..., None, None]
    swish = a / (1 + np.exp(-channel(layer.v) * a))
    close(layer(x), swish / std * channel(layer.weight) + channel(layer.bias))


@given(images, seeds)
def test_evonorm_b0(shape, seed):
    layer = made(nn.EvoNormB0(shape[1], eps=0.02, momentum=0.3), seed)
    x = random_input(shape, seed=seed)
    a = x.numpy()
    for training in (True, False):
        layer.train(training)
        batch = a.var((0, 2, 3), keepdims=True) if training else channel(layer.running_var)
        line = channel(layer.v) * a + np.sqrt(a.var((2, 3), keepdims=True) + 0.02)
        expected = a / np.maximum(np.sqrt(batch + 0.02), line) * channel(layer.weight) + channel(layer.bias)
        close(layer(x), expected)


@given(st.integers(1, 9), st.floats(0.01, 1), seeds)
def test_partial_rms_norm(features, fraction, seed):
    layer = made(nn.PartialRMSNorm(features, fraction, eps=0.02), seed)
    x = random_input((4, features), seed=seed)
    a, k = x.numpy(), math.ceil(features * fraction)
    rms = np.sqrt((a[:, :k] ** 2).mean(1, keepdims=True) + 0.02)
    close(layer(x), a / rms * layer.weight.detach().numpy())


def test_partial_rms_norm_of_everything_is_rms_norm_and_fractions_are_checked():
    x = random_input((4, 3, 5))
    torch.testing.assert_close(F.partial_rms_norm(x, (3, 5), 1.0, eps=0.1), F.rms_norm(x, (3, 5), eps=0.1))
    for fraction in (0.0, 1.5):
        with pytest.raises(ValueError, match="fraction must be above 0 and at most 1"):
            F.partial_rms_norm(x, (5,), fraction)


@given(st.integers(1, 9), seeds)
def test_scale_norm(features, seed):
    layer = nn.ScaleNorm(features, dtype=torch.float64)
    assert layer.scale.item() == pytest.approx(math.sqrt(features))
    x = random_input((4, features), seed=seed)
    close(layer(x), math.sqrt(features) * x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True))
    torch.testing.assert_close(layer(x), F.rms_norm(x, (features,), eps=0.0))  # at its start
    assert torch.equal(layer(torch.zeros(2, features).double()), torch.zeros(2, features).double())


@given(seeds)
def test_dynamic_tanh(seed):
    layer = made(nn.DynamicTanh(5), seed)
    x = random_input((4, 3, 5), seed=seed)
    y = np.tanh(layer.alpha.item() * x.numpy())
    close(layer(x), y * layer.weight.detach().numpy() + layer.bias.detach().numpy())
    assert nn.DynamicTanh(5).alpha.item() == 0.5


@given(seeds)
def test_qk_norm_makes_products_scaled_cosines(seed):
    q, k = random_input((2, 3, 7, 4), seed=seed), random_input((2, 3, 7, 4), seed=seed + 1)
    layer = nn.QKNorm(3.5).double()
    a, b = layer(q, k)
    cosine = torch.nn.functional.cosine_similarity(q.unsqueeze(-2), k.unsqueeze(-3), dim=-1)
    torch.testing.assert_close(a @ b.mT, 3.5 * cosine)


def test_residual_blocks():
    x, f, norm, other = (
        random_input((4, 6)),
        torch.nn.Linear(6, 6).double(),
        nn.LayerNorm(6).double(),
        nn.RMSNorm(6).double(),
    )
    for module, seed in ((norm, 1), (other, 2)):
        randomize(module, seed)
    torch.testing.assert_close(nn.PreNorm(norm, f)(x), x + f(norm(x)))
    torch.testing.assert_close(nn.PostNorm(norm, f)(x), norm(x + f(x)))
    torch.testing.assert_close(nn.SandwichNorm(norm, f, other)(x), x + other(f(norm(x))))
    torch.testing.assert_close(nn.DeepNorm(norm, f, 2.5)(x), norm(2.5 * x + f(x)))
    block = nn.SkipInit(f).double()
    assert torch.equal(block(x), x)
    block.alpha.data.fill_(0.5)
    torch.testing.assert_close(block(x), x + 0.5 * f(x))


def test_deepnorms_constants_are_the_papers():
    from normcore.nn.residual import deepnorm_constants

    alpha, beta = deepnorm_constants(18)
    assert alpha == pytest.approx(36**0.25) and beta == pytest.approx(144**-0.25)
    with pytest.raises(ValueError, match="layers must be at least 1, but got 0"):
        deepnorm_constants(0)


def test_second_derivatives_of_what_takes_two_inputs():
    x, other = random_input((3, 4, 2, 2)).requires_grad_(), random_input((3, 4, 3), seed=1).requires_grad_()
    assert torch.autograd.gradgradcheck(F.adaptive_instance_norm, (x, other))
    x, shift, scale = (random_input((3, 4), seed=s).requires_grad_() for s in range(3))
    assert torch.autograd.gradgradcheck(F.adaptive_layer_norm, (x, shift, scale))
    assert torch.autograd.gradgradcheck(
        lambda *t: F.conditional_batch_norm(t[0], None, None, *t[1:], training=True), (x, shift, scale)
    )
    g = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(F.qk_norm, (x, shift, g))


@pytest.mark.parametrize("block", ["PreNorm", "PostNorm", "SandwichNorm", "DeepNorm", "SkipInit"])
def test_second_derivatives_of_residual_blocks(block):
    norm, f = nn.LayerNorm(4), torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh())
    extra = {"SandwichNorm": (nn.RMSNorm(4),), "DeepNorm": (1.7,)}.get(block, ())
    made = nn.SkipInit(f) if block == "SkipInit" else getattr(nn, block)(norm, f, *extra)
    made = made.double()
    if block == "SkipInit":
        made.alpha.data.fill_(0.7)
    assert torch.autograd.gradgradcheck(made, random_input((3, 4)).requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("parameters", ["same", "float32"])
def test_what_mixes_or_is_conditioned_rounds_once(dtype, parameters):
    """The result of float64 on the same rounded inputs, rounded once to the input's dtype."""
    x = random_input((5, 4, 3, 3), dtype)
    of = dtype if parameters == "same" else torch.float32
    vectors = [random_input((4,), seed=s).to(of) for s in range(3)]
    rows = [random_input((5, 4), seed=s).to(of) for s in range(2)]
    last = random_input((5, 3, 4), dtype)
    calls = (
        lambda x, last, v, r: F.batch_instance_norm(x, None, None, *v, training=True),
        lambda x, last, v, r: F.conditional_batch_norm(x, None, None, *r, training=True),
        lambda x, last, v, r: F.adaptive_layer_norm(last, *r),
    )
    for call in calls:
        y = call(x, last, vectors, rows)
        exact = call(x.double(), last.double(), [v.double() for v in vectors], [r.double() for r in rows])
        assert y.dtype == dtype
        assert ((y.double() - exact).abs() <= torch.finfo(dtype).eps / 2 * exact.abs() + 1e-5).all()
