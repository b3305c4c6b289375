"""Dtypes, layouts, sizes and transforms at the edges of what a layer meets."""

import copy

import pytest
import torch
from hypothesis import given

from normcore import functional as F
from normcore import nn
from normcore.kernels import parts
from tests.layers import TORCH, layer_cases, pair, random_input, randomize

IMAGES = [
    ("BatchNorm2d", (4,), {}),
    ("InstanceNorm2d", (4,), {"affine": True}),
    ("GroupNorm", (2, 4), {}),
    ("LayerNorm", ((4, 5, 6),), {}),
    ("RMSNorm", ((4, 5, 6),), {}),
]
SHAPE = (3, 4, 5, 6)
images = pytest.mark.parametrize("case", [(*c, SHAPE) for c in IMAGES], ids=[c[0] for c in IMAGES])


@images
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("parameters", ["same", "float32"])
def test_half_precision_is_as_exact_as_torchs(case, dtype, parameters):
    x = random_input((16, *SHAPE[1:]), dtype)
    reference, _ = pair(case, torch.float64)
    exact = reference(x.double())
    ours, theirs = pair(case, dtype if parameters == "same" else torch.float32)
    # the same rounded parameters for the reference
    reference.load_state_dict({k: v.double() for k, v in theirs.state_dict().items()})
    exact = reference(x.double())
    y, expected = ours(x), theirs(x)
    assert y.dtype == expected.dtype == dtype
    our_error, their_error = (y.double() - exact).abs().max(), (expected.double() - exact).abs().max()
    # one rounding to the dtype at the end, of values up to |y|
    assert our_error <= max(their_error * 1.01, torch.finfo(dtype).eps / 2 * exact.abs().max())


@images
def test_half_precision_gradients_keep_their_dtype(case):
    ours, _ = pair(case, torch.float32)
    x = random_input(SHAPE, torch.bfloat16).requires_grad_()
    ours(x).square().sum().backward()
    assert x.grad.dtype == torch.bfloat16
    assert all(p.grad.dtype == torch.float32 for p in ours.parameters())


@images
def test_values_too_large_to_square_in_float16(case):
    ours, _ = pair(case, torch.float16)
    x = random_input(SHAPE, torch.float16, scale=1000.0, offset=2000.0)  # squares exceed 65504
    assert torch.isfinite(ours(x)).all()


def layouts(shape):
    """The same shape in every order that a model makes: name → tensor."""
    n, x = len(shape), random_input(shape)
    yield "contiguous", x
    yield "reversed", random_input(shape[::-1]).permute(*reversed(range(n)))
    yield "last two swapped", x.mT.contiguous().mT
    yield "expanded", random_input((*shape[:-1], 1)).expand(shape)
    yield "every other value", random_input((*shape[:-1], 2 * shape[-1]))[..., ::2]
    yield "some channels", random_input((shape[0], 2 * shape[1], *shape[2:]))[:, : shape[1]]
    if n > 2:
        yield "channels second to last", x.transpose(1, 2).contiguous().transpose(1, 2)
    if n > 3:
        last = {4: torch.channels_last, 5: torch.channels_last_3d}[n]
        yield "channels last", x.to(memory_format=last)
        wide = random_input((shape[0], 2 * shape[1], *shape[2:])).to(memory_format=last)
        yield "some channels, channels last", wide[:, ::2]


LAYOUTS = [
    ("BatchNorm1d", (4,), (6, 4)),
    ("BatchNorm1d", (4,), (3, 4, 5)),
    ("BatchNorm2d", (4,), (3, 4, 5, 6)),
    ("BatchNorm3d", (4,), (3, 4, 2, 5, 6)),
    ("InstanceNorm1d", (4,), (3, 4, 5)),
    ("InstanceNorm2d", (4,), (3, 4, 5, 6)),
    ("InstanceNorm3d", (4,), (3, 4, 2, 5, 6)),
    ("GroupNorm", (2, 4), (3, 4)),
    ("GroupNorm", (2, 4), (3, 4, 5)),
    ("GroupNorm", (2, 4), (3, 4, 5, 6)),
    ("LayerNorm", (6,), (3, 5, 6)),
    ("LayerNorm", (6,), (3, 4, 5, 6)),
    ("LayerNorm", ((5, 6),), (3, 4, 5, 6)),
    ("RMSNorm", (6,), (3, 5, 6)),
    ("RMSNorm", (6,), (3, 4, 5, 6)),
    ("RMSNorm", ((5, 6),), (3, 4, 5, 6)),
    ("LocalResponseNorm", (3,), (3, 4, 5, 6)),
]


def test_every_layer_that_torch_has_is_tried_in_every_layout():
    twins = {name for name in nn.__all__ if hasattr(torch.nn, name)}
    assert twins == {name for name, _, _ in LAYOUTS} | {"SyncBatchNorm"}  # torch's does not run on a CPU


@pytest.mark.parametrize(("name", "arguments", "shape"), LAYOUTS, ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_values_and_layout_are_torchs(name, arguments, shape, training):
    """The strides too: `view` works after ours where it works after torch's."""
    options = [{}]
    if name.startswith("Instance"):
        options += [{"affine": True}, {"track_running_stats": True}]
    elif name in ("LayerNorm", "RMSNorm"):
        options += [{"elementwise_affine": False}]
    elif name != "LocalResponseNorm":
        options += [{"affine": False}]
    for keywords in options:
        ours, theirs = (getattr(space, name)(*arguments, **keywords) for space in (nn, torch.nn))
        theirs.double(), randomize(theirs)
        ours.double().load_state_dict(theirs.state_dict())
        ours.train(training), theirs.train(training)
        for layout, x in layouts(shape):
            for with_graph in (True, False):
                given = x.detach().requires_grad_(with_graph)
                y, expected = ours(given), theirs(given)
                torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10, msg=layout)
                if name != "RMSNorm" or TORCH >= (2, 10):  # torch's own gave another layout before
                    assert y.stride() == expected.stride(), (layout, keywords, with_graph)


@given(layer_cases())
def test_empty_batches(case):
    name, arguments, keywords, shape = case
    if name in ("LayerNorm", "RMSNorm"):
        shape = (0, *arguments[0])
    ours, theirs = pair((name, arguments, keywords, shape))
    x = torch.empty(0, *shape[1:], dtype=torch.float64, requires_grad=True)
    before = {k: v.clone() for k, v in ours.state_dict().items()}
    for mode in (True, False):
        y = ours.train(mode)(x)
        assert y.shape == theirs.train(mode)(x.detach()).shape
        y.sum().backward()
        assert x.grad.shape == x.shape
    for key, value in ours.state_dict().items():
        if key != "num_batches_tracked":
            assert torch.equal(value, before[key]), f"an empty batch moved {key}"


@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
@pytest.mark.parametrize("case", [(*c, SHAPE) for c in IMAGES[:-1]], ids=[c[0] for c in IMAGES[:-1]])
def test_large_means_in_float32(case, offset):
    """Deviation 1 at a large mean: float32 must be as good as float64 on the same rounded input."""
    shape = (16, *SHAPE[1:])
    x = random_input(shape, torch.float32, offset=offset, scale=1.0)
    ours, _ = pair(case, torch.float32)
    exact, _ = pair(case, torch.float64)
    exact.load_state_dict({k: v.double() for k, v in ours.state_dict().items()})
    assert (ours(x).double() - exact(x.double())).abs().max() < 2e-5


@pytest.mark.parametrize("case", [(*c, SHAPE) for c in IMAGES[:-1]], ids=[c[0] for c in IMAGES[:-1]])
def test_means_of_1e8_deviations_in_float64(case):
    """x keeps 8 digits behind the point at 1e8; so must what becomes of it, gradients too."""
    offset = 2.0**27  # about 1.3e8; a power of two, so that adding it rounds to a known grid
    x = (random_input(SHAPE, offset=0, scale=1.0) * 2**20).round() / 2**20  # and 2^-20 is on that grid
    ours, _ = pair(case)
    upstream, results = random_input(SHAPE, seed=1), []
    for shift in (0.0, offset):
        shifted = (x + shift).requires_grad_()
        y = ours(shifted)
        results += [(y.detach(), *torch.autograd.grad((y * upstream).sum(), shifted))]
    for near, far in zip(*results, strict=True):
        torch.testing.assert_close(far, near, rtol=0, atol=1e-10)


@pytest.mark.parametrize("case", [(*c, SHAPE) for c in IMAGES[:-1]], ids=[c[0] for c in IMAGES[:-1]])
def test_constants_give_the_bias(case):
    ours, _ = pair(case)
    y = ours(torch.full(SHAPE, 7.25, dtype=torch.float64))
    shape = (1, -1, 1, 1) if case[0] != "LayerNorm" else (1, *SHAPE[1:])
    torch.testing.assert_close(y, ours.bias.view(shape).expand(SHAPE), rtol=0, atol=1e-10)


@images
def test_nan_stays_in_its_own_index_set(case):
    ours, theirs = pair(case)
    x = random_input(SHAPE)
    x[1, 2, 3, 4] = float("nan")
    assert torch.equal(ours(x).isnan(), theirs(x).isnan())


@images
def test_gradcheck_and_gradgradcheck(case):
    ours, _ = pair(case)
    x = random_input((2, *SHAPE[1:]))[:, :, :2, :2].clone().requires_grad_()
    if case[0] in ("LayerNorm", "RMSNorm"):
        ours = getattr(nn, case[0])((4, 2, 2), dtype=torch.float64)
    assert torch.autograd.gradcheck(ours, x)
    assert torch.autograd.gradgradcheck(ours, x)


@images
@pytest.mark.parametrize("training", [True, False])
def test_compiles_as_one_graph(case, training):
    ours, theirs = pair(case, torch.float32)
    ours.train(training), theirs.train(training)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    x = random_input(SHAPE, torch.float32)
    torch.testing.assert_close(compiled(x), theirs(x), rtol=1e-5, atol=1e-5)
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_compiles_with_momentum_none():
    ours, theirs = nn.BatchNorm1d(3, momentum=None), torch.nn.BatchNorm1d(3, momentum=None)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    for seed in range(3):
        x = random_input((8, 3), torch.float32, seed=seed)
        compiled(x), theirs(x)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)


@images
def test_torch_func_grad_and_vmap(case):
    ours, _ = pair(case)
    ours.eval()
    x = random_input((7, *SHAPE))
    parameters = {**dict(ours.named_parameters()), **dict(ours.named_buffers())}

    def loss(parameters, x):
        return torch.func.functional_call(ours, parameters, (x,)).square().sum()

    batched = torch.func.vmap(torch.func.grad(loss, argnums=1), (None, 0))(parameters, x)
    for i in range(len(x)):
        one = x[i].clone().requires_grad_()
        loss(parameters, one).backward()
        torch.testing.assert_close(batched[i], one.grad)


def test_torch_func_through_the_batchs_own_statistics():
    x, weight = random_input((5, 6, 3)), random_input((3,), seed=1)

    def loss(x):
        return F.batch_norm(x, None, None, weight, training=True).pow(3).sum()

    batched = torch.func.vmap(torch.func.grad(loss))(x)
    for i in range(len(x)):
        one = x[i].clone().requires_grad_()
        loss(one).backward()
        torch.testing.assert_close(batched[i], one.grad)
    _, tangent = torch.func.jvp(loss, (x[0],), (x[1],))
    torch.testing.assert_close(tangent, (torch.func.grad(loss)(x[0]) * x[1]).sum())


@images
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_gives_torchs_dtype_and_values(case, dtype):
    ours, theirs = pair(case, torch.float32)
    x = random_input(SHAPE, dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, expected = ours(x), theirs(x)
    assert y.dtype == expected.dtype
    torch.testing.assert_close(y, expected, rtol=2e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-5)


@images
def test_meta_device(case):
    name, arguments, keywords, shape = case
    layer = getattr(nn, name)(*arguments, **keywords, device="meta")
    assert layer(torch.empty(shape, device="meta")).shape == shape


def test_running_averages_stay_out_of_the_graph():
    layer = nn.BatchNorm1d(3)
    for seed in range(3):
        layer(random_input((4, 3), torch.float32, seed=seed).requires_grad_())
    assert not layer.running_mean.requires_grad and layer.running_mean.grad_fn is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@images
def test_cuda_equals_cpu(case):
    ours, _ = pair(case, torch.float32)
    x = random_input(SHAPE, torch.float32)
    expected = ours(x)
    torch.testing.assert_close(ours.cuda()(x.cuda()).cpu(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
@pytest.mark.parametrize("row", [0, 50, 99])
def test_an_infinite_value_anywhere_in_a_table_that_is_cut(value, row, monkeypatch):
    monkeypatch.setattr(parts, "SIZE", 40)
    ours, theirs = nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    x = random_input((100, 3), torch.float32)
    x[row, 1] = value
    torch.testing.assert_close(ours(x), theirs(x), equal_nan=True)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean, equal_nan=True)
    torch.testing.assert_close(ours.running_var, theirs.running_var, equal_nan=True)


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
@pytest.mark.parametrize("drift", [0.0, 100.0])
def test_large_means_in_a_table_that_is_cut(offset, drift, monkeypatch):
    """Pieces whose means lie apart, and the first of them far from the others."""
    monkeypatch.setattr(parts, "SIZE", 100)
    x = random_input((401, 3), torch.float32, offset=offset, scale=1.0)
    x[:40] += drift
    layer = nn.BatchNorm1d(3, affine=False)
    results = []
    for dtype in (torch.float32, torch.float64):
        given = x.to(dtype).requires_grad_()
        y = copy.deepcopy(layer).to(dtype)(given)
        upstream = random_input(y.shape, dtype, seed=5, offset=0.0)
        results.append((y, *torch.autograd.grad(y, given, upstream)))
    for ours, exact in zip(*results, strict=True):
        assert (ours - exact).abs().max() <= 4e-6 * exact.abs().max()
