"""The index set is the method: every method is `standardize` over its own axes."""

import inspect

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from normcore import functional as F
from tests.layers import random_input

images = st.tuples(
    st.integers(2, 4), st.integers(1, 3).map(lambda g: 2 * g), st.integers(2, 4), st.integers(1, 4)
)


def same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@given(images, st.integers(0, 10**6))
def test_each_method_is_its_axes(shape, seed):
    x = random_input(shape, seed=seed)
    n, c, h, w = shape
    same(F.standardize(x, (0, 2, 3)), torch.nn.functional.batch_norm(x, None, None, training=True))
    same(F.standardize(x, (1, 2, 3)), torch.nn.functional.layer_norm(x, (c, h, w)))
    same(F.standardize(x, (2, 3)), torch.nn.functional.instance_norm(x))
    grouped = F.standardize(x.view(n, 2, c // 2, h, w), (2, 3, 4)).view(shape)
    same(grouped, torch.nn.functional.group_norm(x, 2))
    same(F.standardize_rms(x, 3, eps=1e-5), torch.nn.functional.rms_norm(x, (w,), eps=1e-5))


@given(images, st.integers(0, 10**6))
def test_the_spectrum_from_layer_to_instance_norm(shape, seed):
    x = random_input(shape, seed=seed)
    same(F.group_norm(x, 1), F.layer_norm(x, shape[1:]))
    same(F.group_norm(x, shape[1]), F.instance_norm(x))
    same(F.batch_norm(x[:1], None, None, training=True), F.instance_norm(x[:1]))


def test_a_batch_of_two_keeps_only_the_order():
    x = torch.tensor([[1.0, -3.0], [1.5, -400.0]], dtype=torch.float64)
    same(F.standardize(x, 0, eps=0.0), torch.tensor([[-1.0, 1.0], [1.0, -1.0]], dtype=torch.float64))


def test_output_has_mean_beta_and_deviation_gamma():
    x = random_input((200, 3))
    gamma, beta = torch.tensor([0.5, 2.0, -1.0]).double(), torch.tensor([1.0, -4.0, 0.0]).double()
    y = F.batch_norm(x, None, None, gamma, beta, training=True, eps=1e-12)
    same(y.mean(0), beta)
    torch.testing.assert_close(y.std(0, correction=0), gamma.abs(), rtol=1e-9, atol=0)


def test_normalize_refuses_integers():
    with pytest.raises(NotImplementedError, match="int64"):
        F.standardize(torch.ones(3, 4, dtype=torch.int64), 0)
    with pytest.raises(NotImplementedError, match="int64"):
        F.standardize_rms(torch.ones(3, 4, dtype=torch.int64), 0)


def test_no_name_of_torch_with_another_meaning():
    """`from normcore import functional as F` stands where torch's does: what both have means the same."""
    import torch.nn.functional as theirs

    assert not hasattr(F, "normalize"), "torch's normalize divides by a vector norm"
    for name in F.__all__:
        if hasattr(theirs, name):
            ours, torchs = (inspect.signature(getattr(module, name)).parameters for module in (F, theirs))
            assert list(ours) == list(torchs), name


POSITIONLESS = {
    "standardize": lambda x, v: F.standardize(
        x, tuple(range(2, x.dim())), v.view(-1, *[1] * (x.dim() - 2)), eps=0.1
    ),
    "standardize_rms": lambda x, v: F.standardize_rms(x, tuple(range(2, x.dim())), eps=0.1),
    "filter_response_norm": lambda x, v: F.filter_response_norm(x, v, v, v),
    "adaptive_instance_norm": lambda x, v: F.adaptive_instance_norm(x, 2 * x + 1),
    "evonorm_s0": lambda x, v: F.evonorm_s0(x, 2, v, v),
    "evonorm_b0, training": lambda x, v: F.evonorm_b0(x, None, v, v, training=True),
    "evonorm_b0": lambda x, v: F.evonorm_b0(x, v.square(), v, v),
    "batch_norm": lambda x, v: F.batch_norm(x, None, None, v, training=True),
    "batch_instance_norm": lambda x, v: F.batch_instance_norm(x, None, None, v, training=True),
    "switchable_norm": lambda x, v: F.switchable_norm(x, None, None, v[:3], v[1:], training=True),
    "virtual_batch_norm": lambda x, v: F.virtual_batch_norm(x, 2, v),
    "group_norm": lambda x, v: F.group_norm(x, 2, v),
    "decorrelated_batch_norm": lambda x, v: F.decorrelated_batch_norm(x, None, None, training=True),
}


@pytest.mark.parametrize("name", POSITIONLESS)
def test_a_table_is_an_image_of_one_pixel(name):
    """(N, C) and (N, C, 1, 1) are the same numbers: no dimension to average over is not every dimension."""
    x, v = random_input((5, 4)), random_input((4,), seed=1)
    run = POSITIONLESS[name]
    results = []
    for shape in ((5, 4), (5, 4, 1, 1)):
        given = x.clone().view(shape).requires_grad_()
        y = run(given, v)
        (gradient,) = torch.autograd.grad(y.pow(3).sum(), given)
        results.append((y.detach().view(5, 4), gradient.view(5, 4)))
    for of_table, of_image in zip(*results, strict=True):
        same(of_table, of_image)


@pytest.mark.parametrize("shape", [(), (4,)])
def test_weights_without_an_input_have_nothing_to_average_over(shape):
    with pytest.raises(RuntimeError, match=r"weight must be \(out, in, \*\), but got of shape"):
        F.weight_standardization(torch.ones(shape))


class SaysGpu(torch.Tensor):
    """On the CPU, and says otherwise."""

    is_cuda = property(lambda self: True)


# what torch runs in float32 under autocast on a GPU, and what it leaves in the input's dtype
IN_FLOAT32 = {
    "layer_norm": lambda f, x: f.layer_norm(x, (4,)),
    "rms_norm": lambda f, x: f.rms_norm(x, (4,)),
    "group_norm": lambda f, x: f.group_norm(x, 2),
}
AS_GIVEN = {
    "batch_norm": lambda f, x: f.batch_norm(x, None, None, training=True),
    "instance_norm": lambda f, x: f.instance_norm(x),
}
HALVES = [torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32, torch.float64])
@pytest.mark.parametrize("name", [*IN_FLOAT32, *AS_GIVEN])
def test_autocast_on_a_gpu_gives_the_dtypes_of_torchs_list(name, dtype, monkeypatch):
    run = (IN_FLOAT32 | AS_GIVEN)[name]
    x = torch.randn(3, 4, 5, 4).to(dtype)
    for on in (True, False):
        monkeypatch.setattr(torch, "is_autocast_enabled", lambda device, on=on: on and device == "cuda")
        y = run(F, x.as_subclass(SaysGpu))
        assert y.dtype == (torch.float32 if on and name in IN_FLOAT32 and dtype in HALVES else dtype)
        assert run(F, x).dtype == dtype


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", [*IN_FLOAT32, *AS_GIVEN])
def test_autocast_on_a_gpu_is_torchs(name, dtype):
    run = (IN_FLOAT32 | AS_GIVEN)[name]
    x = torch.randn(3, 4, 5, 4, device="cuda", dtype=dtype)
    with torch.autocast("cuda", dtype=dtype):
        ours, torchs = run(F, x), run(torch.nn.functional, x)
    assert ours.dtype == torchs.dtype
    torch.testing.assert_close(ours, torchs, rtol=1e-2, atol=1e-2)


V = torch.ones(4)
# the vectors of each function of an (N, C, *) input: a wrong one is called by its own name
OF_CHANNELS = {
    "batch_norm": (
        lambda x, **v: F.batch_norm(x, **{"running_mean": V, "running_var": V} | v),
        "running_mean running_var weight bias",
    ),
    "batch_renorm": (
        lambda x, **v: F.batch_renorm(x, **{"running_mean": V, "running_std": V} | v),
        "running_mean running_std weight bias",
    ),
    "mean_only_batch_norm": (
        lambda x, **v: F.mean_only_batch_norm(x, **{"running_mean": V} | v),
        "running_mean bias",
    ),
    "virtual_batch_norm": (lambda x, **v: F.virtual_batch_norm(x, 1, **v), "weight bias"),
    "ghost_batch_norm": (
        lambda x, **v: F.ghost_batch_norm(x, 2, **{"running_mean": V, "running_var": V} | v),
        "running_mean running_var weight bias",
    ),
    "group_norm": (lambda x, **v: F.group_norm(x, 2, **v), "weight bias"),
    "instance_norm": (lambda x, **v: F.instance_norm(x, **v), "running_mean running_var weight bias"),
    "filter_response_norm": (lambda x, **v: F.filter_response_norm(x, **v), "weight bias threshold"),
    "evonorm_s0": (lambda x, **v: F.evonorm_s0(x, 2, **{"v": V} | v), "v weight bias"),
    "evonorm_b0": (
        lambda x, **v: F.evonorm_b0(x, **{"running_var": V, "v": V} | v),
        "running_var v weight bias",
    ),
    "batch_instance_norm": (
        lambda x, **v: F.batch_instance_norm(x, **{"running_mean": V, "running_var": V, "gate": V} | v),
        "running_mean running_var gate weight bias",
    ),
    "switchable_norm": (
        lambda x, **v: F.switchable_norm(
            x, **{"running_mean": V, "running_var": V, "mean_weight": V[:3], "var_weight": V[:3]} | v
        ),
        "running_mean running_var weight bias",
    ),
    "decorrelated_batch_norm": (
        lambda x, **v: F.decorrelated_batch_norm(
            x, **{"running_mean": V, "running_whitening": torch.eye(4)[None]} | v
        ),
        "running_mean running_whitening weight bias",
    ),
    "sync_batch_norm": (
        lambda x, **v: F.sync_batch_norm(x, **{"running_mean": V, "running_var": V} | v),
        "running_mean running_var weight bias",
    ),
    "adaptive_instance_norm": (lambda x, **v: F.adaptive_instance_norm(x, x), ""),
    "conditional_batch_norm": (lambda x, **v: F.conditional_batch_norm(x, V, V, V, V), ""),
}


def test_every_function_of_channels_is_here():
    vectors = {"running_mean", "running_var", "running_std", "weight", "v", "threshold"}
    elsewhere = {
        "standardize",
        "standardize_rms",
        "layer_norm",
        "rms_norm",
        "partial_rms_norm",
        "dynamic_tanh",
    }
    elsewhere |= {"weight_standardization", "spectral_norm", "weight_norm", "qk_norm", "scale_norm"}
    elsewhere |= {"normalized_lstm_cell", "normalized_gru_cell"}
    found = {n for n in F.__all__ if vectors & set(inspect.signature(getattr(F, n)).parameters)}
    assert found - elsewhere <= set(OF_CHANNELS)


@pytest.mark.parametrize("name", OF_CHANNELS)
def test_a_wrong_vector_is_called_by_its_name_and_a_wrong_input_by_its_shape(name):
    run, vectors = OF_CHANNELS[name]
    for argument in vectors.split():
        with pytest.raises(RuntimeError, match=rf"{argument} must (have shape|be)"):
            run(torch.randn(3, 4, 5), **{argument: torch.ones(7)})
    with pytest.raises((RuntimeError, ValueError), match=r"input|content|expected more than 1"):
        run(torch.randn(4))


def test_what_is_missing_or_too_long_is_named():
    with pytest.raises(RuntimeError, match="running_mean and running_std must be given"):
        F.batch_renorm(torch.ones(3, 4), None, torch.ones(4))
    with pytest.raises(RuntimeError, match=r"last dimensions of the input must be .*\(5,\).*\(4, 6\)"):
        F.dynamic_tanh(torch.ones(4, 6), torch.tensor(0.5), torch.ones(5))


@pytest.mark.parametrize("name", [n for n, (_, v) in OF_CHANNELS.items() if "running_" in v])
def test_half_of_the_running_averages_is_refused(name):
    signature = inspect.signature(getattr(F, name)).parameters
    both = [n for n in signature if n.startswith("running_")]
    if len(both) < 2 or name == "batch_renorm":
        pytest.skip("it has no two that may be left out")
    if name == "sync_batch_norm":
        pytest.skip("it trains only, and passes over a missing one")
    training = {"training": True} if "training" in signature else {}
    with pytest.raises(ValueError, match=f"give both {both[0]} and {both[1]}, or neither"):
        OF_CHANNELS[name][0](
            torch.randn(3, 4, 5),
            **{both[0]: torch.eye(4)[None] if "whitening" in both[0] else V, both[1]: None},
            **training,
        )


def test_nested_tensors_are_refused_in_words():
    nested = torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(3, 4)])
    for run in (
        lambda: F.layer_norm(nested, (4,)),
        lambda: F.standardize(nested, -1),
        lambda: F.rms_norm(nested, (4,)),
    ):
        with pytest.raises(NotImplementedError, match="nested"):
            run()


def test_partial_rms_norm_takes_the_fraction_that_was_meant():
    """⌈0.07 · 100⌉ is 7, though 0.07 · 100 is above 7 in floating point."""
    from fractions import Fraction

    x = torch.randn(1, 100).double()
    for percent in range(1, 101):
        for size in (7, 50, 100):
            k = -(-Fraction(percent, 100) * size // 1)
            y = F.partial_rms_norm(x[:, :size], (size,), percent / 100, eps=0.0)
            same(y, x[:, :size] / x[:, : int(k)].square().mean().sqrt())


def test_lengths_of_millions_of_values_and_of_zeros():
    x, g = torch.randn(2, 2**22), torch.tensor(2.0)
    y = F.scale_norm(x, g)
    torch.testing.assert_close(y.double(), F.scale_norm(x.double(), g.double()), rtol=4e-7, atol=0)
    for eps in (1e-5, 0.0):
        zeros = torch.zeros(3, 4, requires_grad=True)
        y = F.scale_norm(zeros, g, eps)
        (gradient,) = torch.autograd.grad(y.sum(), zeros)
        assert torch.equal(y, torch.zeros(3, 4)) and torch.isfinite(gradient).all()


@pytest.mark.parametrize("momentum", [0.1, 1.0])
def test_infinite_inputs_leave_torchs_running_averages(momentum):
    x = torch.randn(6, 3)
    x[1, 0], x[2, 1] = float("inf"), -float("inf")
    averages = []
    for f in (F, torch.nn.functional):
        mean, var = torch.zeros(3), torch.ones(3)
        f.batch_norm(x, mean, var, training=True, momentum=momentum)
        averages.append((mean, var))
    for ours, torchs in zip(*averages, strict=True):
        torch.testing.assert_close(ours, torchs, equal_nan=True)
