"""What runs in place of a formula computes the formula: each class, in value, derivatives and transforms."""

import pkgutil
from importlib import import_module

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from normcore import functional as F
from normcore import kernels
from normcore.kernels import parts
from normcore.kernels.by_hand import ByHand
from tests.layers import random_input

# formulas are bound to the classes where functional says so
NAMES = [m.name for m in pkgutil.iter_modules(kernels.__path__) if not m.name.startswith("triton_")]
MODULES = [import_module(f"normcore.kernels.{name}") for name in NAMES]


def classes(base=ByHand):
    return [c for sub in base.__subclasses__() for c in (sub, *classes(sub))]


X, V, SMALL = random_input((3, 4, 2, 3)), random_input((4, 1, 1), seed=1), random_input((3, 4, 1, 1), seed=2)
ABOVE, FLOOR = SMALL.abs() + 5, V.abs().view(1, 4, 1, 1) + 0.5
# class → argument lists; tensors are differentiated
CASES = {
    "Standardize": [
        (X, dim, weight, bias, 0.1, torch.float64)
        for dim in ((2, 3), (0, 2, 3), -1, (), (3, 1))
        for weight, bias in (
            (None, None),
            (V, -V),
            (V, None),
            (None, V),
            (X[0], X[1]),
            (X[0], V),
            (V, X[0]),
            (X, -X),
        )
    ],
    "StandardizeRMS": [
        (X, dim, weight, 0.1, torch.float64)
        for dim in ((1, 2, 3), -1, (), 0)
        for weight in (None, V, X[0], X)
    ],
    "_Moments": [(X, (2, 3)), (X, ()), (X, (0, 3))],
    "_MeanSquare": [(X, (2, 3)), (X, ()), (X, 0)],
    "CentredMoments": [(X, (2, 3)), (X, ())],
    "Quotient": [
        (X, V, -V, ABOVE, FLOOR),
        (X[..., 0, 0], V[:, 0, 0], -V[:, 0, 0], ABOVE[..., 0, 0], FLOOR[..., 0, 0]),
    ],
    "Thresholded": [(X, SMALL, V, -V), (X[..., 0, 0], SMALL[..., 0, 0], V[:, 0, 0], -V[:, 0, 0])],
}
ALL = [(name, i) for name, cases in CASES.items() for i in range(len(cases))]
each = pytest.mark.parametrize("name, case", ALL, ids=[f"{n}-{i}" for n, i in ALL])


def find(name, case):
    arguments = CASES[name][case]
    places = [i for i, a in enumerate(arguments) if isinstance(a, torch.Tensor)]

    def with_tensors(function):
        def run(*tensors):
            filled = list(arguments)
            for place, tensor in zip(places, tensors, strict=True):
                filled[place] = tensor
            out = function(*filled)
            return out if isinstance(out, tuple) else (out,)

        return run

    (cls,) = (c for c in classes() if c.__name__ == name)
    tensors = [arguments[i].clone().requires_grad_() for i in places]
    return with_tensors(cls.apply), with_tensors(cls.formula), tensors


def test_every_class_is_here():
    ours = {c.__name__ for c in classes() if c.__module__.startswith("normcore.kernels")}
    assert ours and ours <= set(CASES)


@each
@pytest.mark.parametrize("size, layout", [(2**19, "contiguous"), (30, "contiguous"), (10, "channels last")])
def test_equals_its_formula_under_autograd(name, case, size, layout, monkeypatch):
    monkeypatch.setattr(parts, "SIZE", size)
    by_hand, formula, tensors = find(name, case)
    if layout == "channels last" and tensors[0].dim() == 4:
        last = tensors[0].detach().to(memory_format=torch.channels_last)
        tensors[0] = last.requires_grad_()
    results, expected = by_hand(*tensors), formula(*tensors)
    for i, (result, other) in enumerate(zip(results, expected, strict=True)):
        torch.testing.assert_close(result, other, rtol=1e-12, atol=1e-12)
        upstream = random_input(result.shape, seed=3 + i)
        gradients = torch.autograd.grad(result, tensors, upstream, retain_graph=True, allow_unused=True)
        others = torch.autograd.grad(other, tensors, upstream, retain_graph=True, allow_unused=True)
        for a, b, t in zip(gradients, others, tensors, strict=True):
            a, b = (torch.zeros_like(t) if g is None else g for g in (a, b))
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


@each
def test_all_outputs_together_and_again(name, case):
    by_hand, formula, tensors = find(name, case)
    first, second = [], []
    for function in (by_hand, formula):
        loss = sum(out.pow(3).sum() for out in function(*tensors))
        gradients = torch.autograd.grad(loss, tensors, create_graph=True)
        first.append(gradients)
        again = sum(g.pow(2).sum() for g in gradients)
        second.append(torch.autograd.grad(again, tensors, allow_unused=True))
    for a, b in zip(*first, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    for a, b in zip(*second, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@each
def test_under_vmap_of_any_one_argument(name, case):
    by_hand, formula, tensors = find(name, case)
    tensors = [t.detach() for t in tensors]
    for i in range(len(tensors)):
        batch = [t if j != i else torch.stack([t, t + 0.5]) for j, t in enumerate(tensors)]
        dims = tuple(0 if j == i else None for j in range(len(tensors)))
        for a, b in zip(torch.vmap(by_hand, dims)(*batch), torch.vmap(formula, dims)(*batch), strict=True):
            torch.testing.assert_close(a, b)


@each
def test_forward_mode(name, case):
    by_hand, formula, tensors = find(name, case)
    tensors = tuple(t.detach() for t in tensors)
    moves = tuple(random_input(t.shape, seed=9 + i) for i, t in enumerate(tensors))
    for a, b in zip(
        torch.func.jvp(by_hand, tensors, moves), torch.func.jvp(formula, tensors, moves), strict=True
    ):
        torch.testing.assert_close(a, b)


CHANNELS = torch.randn(4)
# what torch has, ours and torch's, as functions of the input
TWINS = {
    "batch_norm": (
        lambda f, x: f.batch_norm(x, None, None, CHANNELS.to(x.dtype), CHANNELS.to(x.dtype), True)
    ),
    "layer_norm": (
        lambda f, x: f.layer_norm(x, x.shape[-1:], x.new_ones(x.shape[-1]), x.new_ones(x.shape[-1]))
    ),
    "rms_norm": (lambda f, x: f.rms_norm(x, x.shape[-1:], x.new_ones(x.shape[-1]))),
    "group_norm": (lambda f, x: f.group_norm(x, 2, CHANNELS.to(x.dtype), CHANNELS.to(x.dtype))),
    "instance_norm": (
        lambda f, x: f.instance_norm(x, weight=CHANNELS.to(x.dtype), bias=CHANNELS.to(x.dtype))
    ),
}


def test_every_twin_of_torchs_is_here():
    shared = {name for name in F.__all__ if hasattr(torch.nn.functional, name)}
    assert shared == set(TWINS) | {"local_response_norm"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("name", TWINS)
def test_no_more_is_kept_for_the_backward_pass_than_torch_keeps(name, affine, dtype):
    from normcore.bench import saved_bytes

    plain = {
        "batch_norm": lambda f, x: f.batch_norm(x, None, None, training=True),
        "layer_norm": lambda f, x: f.layer_norm(x, x.shape[-1:]),
        "rms_norm": lambda f, x: f.rms_norm(x, x.shape[-1:]),
        "group_norm": lambda f, x: f.group_norm(x, 2),
        "instance_norm": lambda f, x: f.instance_norm(x),
    }
    run = (TWINS if affine else plain)[name]
    x = torch.randn(16, 4, 32, 64).to(dtype).requires_grad_()
    ours, torchs = (saved_bytes(lambda x, f=f: run(f, x), x) for f in (F, torch.nn.functional))
    assert ours <= 1.05 * torchs


# the same functions of the input and γ, of one entry a channel, or of the last dimension's size
WITH_WEIGHT = {
    "batch_norm": lambda x, weight: F.batch_norm(x, None, None, weight, training=True),
    "layer_norm": lambda x, weight: F.layer_norm(x, weight.shape, weight),
    "rms_norm": lambda x, weight: F.rms_norm(x, weight.shape, weight, 1e-5),
    "group_norm": lambda x, weight: F.group_norm(x, 2, weight),
    "instance_norm": lambda x, weight: F.instance_norm(x, weight=weight),
}


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("name", TWINS)
def test_gradients_of_parameters_in_float32_are_those_of_float64(name, offset):
    """Many positions, and a mean that float32 rounds: x̂ is made again in the backward pass."""
    x = torch.randn(64, 4, 16, 16) + (0.0 if name == "rms_norm" else offset)
    upstream = torch.randn_like(x)
    shape = (16,) if name in ("layer_norm", "rms_norm") else (4,)
    call = WITH_WEIGHT[name]
    gradients = []
    for dtype in (torch.float32, torch.float64):
        given = x.to(dtype).requires_grad_()
        weight = torch.linspace(0.5, 2, shape[0], dtype=dtype).requires_grad_()
        gradients.append(torch.autograd.grad(call(given, weight), (given, weight), upstream.to(dtype)))
    for ours, exact in zip(*gradients, strict=True):
        assert (ours - exact).abs().max() <= 4e-6 * exact.abs().max().clamp_min(1)


@pytest.mark.parametrize("size", [2**19, 30])
@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float64", "float32"), ("bfloat16", "float32")])
@pytest.mark.parametrize("name", TWINS)
def test_parameters_of_another_dtype(name, dtypes, size, monkeypatch):
    monkeypatch.setattr(parts, "SIZE", size)
    of_input, of_weight = (getattr(torch, dtype) for dtype in dtypes)
    x = random_input((6, 4, 2, 4)).to(of_input).requires_grad_()
    weight = torch.linspace(0.5, 2, 4, dtype=of_weight).requires_grad_()
    y = WITH_WEIGHT[name](x, weight)
    y.square().sum().backward()
    assert y.dtype == x.grad.dtype == of_input and weight.grad.dtype == of_weight
    exact = WITH_WEIGHT[name](x.detach().double(), weight.detach().double())
    tolerance = 2 * torch.finfo(min(of_input, of_weight, key=lambda d: torch.finfo(d).bits)).eps
    assert (y - exact).abs().max() <= tolerance * exact.abs().max()


class Fresh(TorchDispatchMode):
    """Counts the tensors as large as half of x that operators give, each memory once, `known` ones not."""

    def __init__(self, x, *known):
        super().__init__()
        self.least = x.untyped_storage().nbytes() // 2
        self.known = {t.untyped_storage().data_ptr() for t in (x, *known)}
        self.found = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for t in tree_leaves(out):
            if isinstance(t, torch.Tensor) and t.untyped_storage().nbytes() >= self.least:
                self.found[t.untyped_storage().data_ptr()] = t  # held, so that its memory is not given again
        return out

    def count(self):
        return len(self.found.keys() - self.known)


@pytest.mark.parametrize("layout", ["contiguous", "channels last", "half precision"])
@pytest.mark.parametrize("name", TWINS)
def test_nothing_as_large_as_the_input_is_made_but_the_result(name, layout, monkeypatch):
    """Fresh memory takes longer than what is computed in it."""
    monkeypatch.setattr(parts, "SIZE", 2**12)
    x = torch.randn(8, 8, 32, 64)
    if layout == "channels last" and name == "batch_norm":  # the others make it contiguous, as torch's do
        x = x.to(memory_format=torch.channels_last)
    x = (x.bfloat16() if layout == "half precision" else x).requires_grad_()
    weight = torch.linspace(0.5, 2, 64 if name in ("layer_norm", "rms_norm") else 8, dtype=x.dtype)
    with Fresh(x) as forward:
        y = WITH_WEIGHT[name](x, weight.requires_grad_())
    assert forward.count() == 1
    upstream = torch.randn_like(y)
    with Fresh(x, y, upstream) as backward:
        torch.autograd.grad(y, (x, weight), upstream)
    assert backward.count() == 1
