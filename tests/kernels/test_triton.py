"""The Triton kernels against torch's operators in float64: on a GPU where there is one, else interpreted."""

import pytest
import torch
from torch.nn import functional

pytest.importorskip("triton", reason="needs triton")

from normcore.kernels import triton_batch, triton_groups, triton_rows
from tests.layers import random_input

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
affine = pytest.mark.parametrize("parameters", ["weight and bias", "weight", "bias", "none"])


@pytest.fixture(autouse=True)
def poisoned():
    """What a kernel does not write is not a number."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def inputs(shape, features, dtype, parameters="weight and bias", offset=1.5):
    """x, γ, β and dy, rounded to `dtype`, and their float64 copies."""
    x, dy = (random_input(shape, dtype, seed, offset * (1 - seed)).to(DEVICE) for seed in (0, 1))
    weight, bias = (random_input((features,), dtype, seed).to(DEVICE) for seed in (2, 3))
    given = x, weight if "weight" in parameters else None, bias if "bias" in parameters else None, dy
    return given, [None if t is None else t.double().requires_grad_() for t in given]


def compare(exact, expected, dy, results, dtype):
    """y, dx, dγ, dβ, each against float64; dγ and dβ are wanted only for the parameters there are."""
    x, weight, bias = exact
    y, dx, dw, db = results
    assert y.dtype == dx.dtype == dtype
    wanted = [(x, dx, dtype), (weight, dw, torch.float32), (bias, db, torch.float32)]
    wanted = [(leaf, ours, width) for leaf, ours, width in wanted if leaf is not None]
    gradients = torch.autograd.grad(expected, [leaf for leaf, _, _ in wanted], dy.double())
    pairs = [(y, expected, dtype), *((ours, g, w) for (_, ours, w), g in zip(wanted, gradients, strict=True))]
    for ours, theirs, width in pairs:
        assert ours.shape == theirs.shape
        error = (ours.double() - theirs).norm() / torch.maximum(theirs.norm(), 3 * dy.norm())
        assert error < torch.finfo(width).eps * (8 if width == torch.float32 else 1)


def rows(given, eps, centre, dtype):
    x, weight, bias, dy = given
    y, mean, var = triton_rows.forward(x, weight, bias, eps, centre, dtype)
    return y, *triton_rows.backward(dy, x, weight, mean, var, eps, bias is not None)


@dtypes
@pytest.mark.parametrize("centre", [True, False], ids=["layer norm", "RMS norm"])
@pytest.mark.parametrize("shape", [(3, 2, 7), (5, 1), (33, 16), (2, 300), (3, 1025), (1, 17000)], ids=str)
def test_rows(shape, centre, dtype):
    parameters = "weight and bias" if centre else "weight"
    given, (*exact, dy) = inputs(shape, shape[-1], dtype, parameters)
    if centre:
        expected = functional.layer_norm(exact[0], shape[-1:], *exact[1:], 1e-3)
    else:
        expected = functional.rms_norm(exact[0], shape[-1:], exact[1], 1e-3)
    compare(exact, expected, dy, rows(given, 1e-3, centre, dtype), dtype)


@affine
@pytest.mark.parametrize("longest", [64, 8], ids=["in registers", "in a loop"])
def test_rows_without_parameters(parameters, longest, monkeypatch):
    monkeypatch.setattr(triton_rows, "LONGEST", longest)
    monkeypatch.setattr(triton_rows, "LONGEST_SUM", longest // 2)
    given, (*exact, dy) = inputs((19, 40), 40, torch.float32, parameters)
    expected = functional.layer_norm(exact[0], (40,), *exact[1:], 1e-3)
    compare(exact, expected, dy, rows(given, 1e-3, True, torch.float32), torch.float32)


GROUPS = [
    ((2, 4, 3), 2),
    ((3, 6), 2),
    ((3, 6, 7, 7), 3),
    ((3, 6, 7, 7), 6),
    ((2, 5, 2, 3, 2), 1),
    ((1, 3, 5000), 3),
]
GROUPS += [((2, 6, 20, 25), 2), ((1, 1, 9), 1), ((1, 40, 64), 1)]


@dtypes
@pytest.mark.parametrize(("shape", "groups"), GROUPS, ids=str)
def test_groups(shape, groups, dtype):
    given, (*exact, dy) = inputs(shape, shape[1], dtype)
    expected = functional.group_norm(exact[0], groups, *exact[1:], 1e-3)
    compare(exact, expected, dy, grouped(given, groups, 1e-3, dtype), dtype)


def grouped(given, groups, eps, dtype):
    x, weight, bias, dy = given
    y, mean, var = triton_groups.forward(x, groups, weight, bias, eps, dtype)
    return y, *triton_groups.backward(dy, x, groups, weight, mean, var, eps)


@affine
@pytest.mark.parametrize("groups", [2, 6])
def test_groups_in_tiles_of_any_size(parameters, groups, monkeypatch):
    monkeypatch.setattr(triton_groups, "TILE", 16)
    given, (*exact, dy) = inputs((2, 6, 19), 6, torch.float32, parameters)
    weight = torch.ones_like(dy[0, :, 0]) if exact[1] is None else exact[1]  # torch fails with a bias alone
    expected = functional.group_norm(exact[0], groups, weight, exact[2], 1e-3)
    compare(exact, expected, dy, grouped(given, groups, 1e-3, torch.float32), torch.float32)


@affine
@pytest.mark.parametrize(("groups", "shape"), [(2, (1, 6, 19)), (6, (2, 6, 19)), (1, (3, 4, 5, 5))], ids=str)
def test_few_large_groups_are_split(parameters, groups, shape, monkeypatch):
    monkeypatch.setattr(triton_groups, "LARGE", 1)
    monkeypatch.setattr(triton_groups, "multiprocessors", lambda device: 1000)
    given, (*exact, dy) = inputs(shape, shape[1], torch.float32, parameters)
    weight = torch.ones(shape[1], dtype=torch.float64, device=DEVICE) if exact[1] is None else exact[1]
    expected = functional.group_norm(exact[0], groups, weight, exact[2], 1e-3)
    compare(exact, expected, dy, grouped(given, groups, 1e-3, torch.float32), torch.float32)


def batched(given, eps, dtype):
    x, weight, bias, dy = given
    y, mean, var = triton_batch.forward(x, weight, bias, eps, dtype)
    return y, *triton_batch.backward(dy, x, weight, mean, var, eps)


BATCHES = [(7, 3), (2, 1), (33, 130), (3, 6, 7, 7), (2, 1, 2500), (3, 5, 2, 2, 2), (1, 4, 9)]


@dtypes
@pytest.mark.parametrize("shape", BATCHES, ids=str)
def test_batch(shape, dtype):
    given, (*exact, dy) = inputs(shape, shape[1], dtype)
    expected = functional.batch_norm(exact[0], None, None, *exact[1:], True, eps=1e-3)
    compare(exact, expected, dy, batched(given, 1e-3, dtype), dtype)


@affine
@pytest.mark.parametrize("shape", [(67, 5), (3, 5, 19)], ids=str)
def test_batch_in_tiles_of_any_size(parameters, shape, monkeypatch):
    monkeypatch.setattr(triton_batch, "TILE", 16)
    monkeypatch.setattr(triton_batch, "MOST_SPLITS", 3)
    given, (*exact, dy) = inputs(shape, 5, torch.float32, parameters)
    expected = functional.batch_norm(exact[0], None, None, *exact[1:], True, eps=1e-3)
    compare(exact, expected, dy, batched(given, 1e-3, torch.float32), torch.float32)


def test_batch_statistics_and_given_ones():
    (x, weight, bias, _), _ = inputs((5, 3, 14), 3, torch.float32)
    _, mean, var = triton_batch.forward(x, weight, bias, 1e-3, torch.float32)
    by_channel = x.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean, by_channel.mean(1))
    torch.testing.assert_close(var.double(), by_channel.var(1, correction=0), rtol=1e-6, atol=0)
    y = triton_batch.normalize(x, mean + 1, var * 2, weight, bias, 1e-3, torch.float32)
    given = (mean + 1).float(), var * 2
    torch.testing.assert_close(y, functional.batch_norm(x, *given, weight, bias, eps=1e-3))


CASES = {
    "layer norm": ((4, 60), lambda g, w: rows(g, 1e-3, True, w)),
    "RMS norm": ((4, 60), lambda g, w: rows(g, 1e-3, False, w)),
    "group norm": ((2, 60, 5), lambda g, w: grouped(g, 6, 1e-3, w)),
    "instance norm": ((2, 60, 5), lambda g, w: grouped(g, 60, 1e-3, w)),
    "batch norm": ((6, 60), lambda g, w: batched(g, 1e-3, w)),
    "batch norm of images": ((3, 60, 4, 5), lambda g, w: batched(g, 1e-3, w)),
}
each = pytest.mark.parametrize("case", CASES)


@each
@pytest.mark.parametrize("layout", ["transposed", "sliced", "expanded", "channels last"])
def test_layouts(case, layout):
    shape, run = CASES[case]
    (x, weight, bias, dy), _ = inputs(shape, 60, torch.float32)
    expected = run((x, weight, bias, dy), torch.float32)
    if layout == "transposed":
        x, dy = (t.transpose(0, -1).contiguous().transpose(0, -1) for t in (x, dy))
    elif layout == "sliced":
        x, dy = (t.repeat_interleave(2, -1)[..., ::2] for t in (x, dy))
    elif layout == "expanded":
        dy = torch.ones((), device=DEVICE).expand(shape)
        expected = run((x, weight, bias, dy.contiguous()), torch.float32)
    elif x.dim() == 4:
        x, dy = (t.contiguous(memory_format=torch.channels_last) for t in (x, dy))
    results = run((x, weight, bias, dy), torch.float32)
    for ours, theirs in zip(results, expected, strict=True):
        if theirs is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    if layout == "channels last" and case == "batch norm of images":
        assert all(t.is_contiguous(memory_format=torch.channels_last) for t in results[:2])


@pytest.mark.parametrize("case", [case for case in CASES if case != "RMS norm"])
@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
def test_large_means(case, offset):
    """A mean of a million deviations costs nothing: the same x̂ and gradients as of the input without it."""
    shape, run = CASES[case]
    (x, weight, bias, dy), _ = inputs(shape, 60, torch.float32)
    x = (x * 16).round() / 16  # exact beside any of these offsets
    near, far = (run((v, weight, bias, dy), torch.float32) for v in (x, x + offset))
    for ours, theirs in zip(far, near, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-5)


@each
def test_mixed_dtypes(case):
    """Parameters in float32 beside a half input, and a result wider than the input, as under autocast."""
    shape, run = CASES[case]
    (x, weight, bias, dy), _ = inputs(shape, 60, torch.bfloat16)
    weight, bias, dy = weight.float(), bias.float(), dy.float()
    y, dx, *_ = run((x, weight, bias, dy), torch.float32)
    assert y.dtype == torch.float32 and dx.dtype == torch.bfloat16
    expected, *_ = run((x.float(), weight, bias, dy), torch.float32)
    torch.testing.assert_close(y, expected)


@each
def test_one_nan_stays_in_its_index_set(case):
    shape, run = CASES[case]
    (x, weight, bias, dy), _ = inputs(shape, 60, torch.float32)
    x[1, 7] = float("nan")
    spoilt = run((x, weight, bias, dy), torch.float32)[0].isnan()
    sets = {"batch norm": spoilt[:, 7], "batch norm of images": spoilt[:, 7], "group norm": spoilt[1, :10]}
    sets |= {"instance norm": spoilt[1, 7]}
    own = sets.get(case, spoilt[1])
    assert own.all() and spoilt.sum() == own.numel()


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
@each
def test_the_same_bits_on_every_run(case):
    shape, run = CASES[case]
    shape = (64 * shape[0], *shape[1:])
    given, _ = inputs(shape, 60, torch.float32)
    first = run(given, torch.float32)
    for _ in range(5):
        assert all(a is b or torch.equal(a, b) for a, b in zip(run(given, torch.float32), first, strict=True))
