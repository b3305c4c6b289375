"""What every layer owes its user: gradients to second order, dtypes, layouts, copies, state dicts, one graph."""

import copy
import pickle

import numpy as np
import pytest
import torch

from normcore import nn
from tests.layers import EVERY, inputs_of, make, outputs_of, random_input, randomize

IMAGE = (4, 4, 3, 3)
TABLE = (6, 4)
# name → (make, input shape); GPU, autocast and torch.nn's own layers are in test_edges.py
LAYERS = {
    "BatchInstanceNorm": (lambda: nn.BatchInstanceNorm(4), IMAGE),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(4), TABLE),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), IMAGE),
    "BatchNorm3d": (lambda: nn.BatchNorm3d(4), (2, 4, 2, 2, 2)),
    "BatchRenorm": (lambda: nn.BatchRenorm(4, limits=lambda step: (3.0, 5.0)), IMAGE),
    "BatchRenorm, on schedule": (lambda: nn.BatchRenorm(4), IMAGE),
    "DecorrelatedBatchNorm": (lambda: nn.DecorrelatedBatchNorm(4), IMAGE),
    "DecorrelatedBatchNorm, Newton": (lambda: nn.DecorrelatedBatchNorm(4, 2, newton_steps=5), IMAGE),
    "DynamicTanh": (lambda: nn.DynamicTanh(4), TABLE),
    "EvoNormB0": (lambda: nn.EvoNormB0(4), IMAGE),
    "EvoNormS0": (lambda: nn.EvoNormS0(2, 4), IMAGE),
    "FilterResponseNorm": (lambda: nn.FilterResponseNorm(4), IMAGE),
    "GhostBatchNorm": (lambda: nn.GhostBatchNorm(4, 2), IMAGE),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), IMAGE),
    "InstanceNorm1d": (lambda: nn.InstanceNorm1d(4, affine=True), (3, 4, 5)),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(4, affine=True), IMAGE),
    "InstanceNorm3d": (lambda: nn.InstanceNorm3d(4, affine=True), (2, 4, 2, 2, 2)),
    "LayerNorm": (lambda: nn.LayerNorm(4), TABLE),
    "LocalResponseNorm": (lambda: nn.LocalResponseNorm(3, alpha=0.5), IMAGE),
    "MeanOnlyBatchNorm": (lambda: nn.MeanOnlyBatchNorm(4), IMAGE),
    "PartialRMSNorm": (lambda: nn.PartialRMSNorm(4, 0.5), TABLE),
    "RMSNorm": (lambda: nn.RMSNorm(4), TABLE),
    "ScaleNorm": (lambda: nn.ScaleNorm(4), TABLE),
    "SwitchableNorm": (lambda: nn.SwitchableNorm(4), IMAGE),
    "SyncBatchNorm": (lambda: nn.SyncBatchNorm(4), IMAGE),
    "VirtualBatchNorm": (lambda: nn.VirtualBatchNorm(4, 2), IMAGE),
}
every = pytest.mark.parametrize("name", LAYERS)
# a layer that keeps no averages does the same in training and evaluation
MODES = [
    (n, mode) for n, (make_, _) in LAYERS.items() for mode in (True, False) if mode or [*make_().buffers()]
]
in_each_mode = pytest.mark.parametrize("name, training", MODES)


def build(name, dtype=torch.float64, training=True):
    make, shape = LAYERS[name]
    layer = make().to(dtype)
    randomize(layer)
    if hasattr(layer, "running_std"):
        layer.running_std.abs_().add_(0.5)
    if hasattr(layer, "running_whitening"):
        layer.running_whitening.copy_(torch.eye(layer.running_whitening.shape[-1]))
    return layer.train(training), random_input(shape, dtype)


def few(x):
    """Three examples, two positions each way: the time of derivatives grows with the square of the size."""
    return x[(slice(3), slice(None), *[slice(2)] * (x.dim() - 2))].clone()


LAYER_CLASSES = [name for name in nn.__all__ if isinstance(getattr(nn, name), type)]


def test_the_table_of_every_layer_holds_every_layer():
    assert sorted(EVERY) == LAYER_CLASSES


@pytest.mark.parametrize("name", EVERY)
def test_reset_parameters_is_a_new_layer(name):
    """Made without memory, given memory, reset: by its own method alone, and module by module as FSDP does."""
    torch.manual_seed(5)
    new = make(name, dtype=torch.float64)
    for each in (False, True):
        layer = make(name, device="meta", dtype=torch.float64).to_empty(device="cpu")
        for tensor in layer.state_dict().values():
            tensor.fill_(7)
        holders = [m for m in layer.modules() if [*m.parameters(recurse=False), *m.buffers(recurse=False)]]
        torch.manual_seed(5)
        if each or not hasattr(layer, "reset_parameters"):  # a residual block is made of others' layers
            for module in holders:
                module.reset_parameters()
        else:
            layer.reset_parameters()
        for (key, value), expected in zip(layer.state_dict().items(), new.state_dict().values(), strict=True):
            if "sublayer" not in key:  # theirs, random
                assert torch.equal(value, expected), key


@pytest.mark.parametrize("name", EVERY)
def test_every_layer_takes_half_precision_from_the_start(name):
    for dtype in (torch.bfloat16, torch.float64):
        layer = make(name, dtype=dtype)
        own = [t for k, t in layer.state_dict().items() if t.is_floating_point() and "sublayer" not in k]
        assert all(t.dtype == dtype for t in own)


# what says (N, C, *) and means that * may be nothing
FLAT = [name for name, (_, shapes) in EVERY.items() if shapes[0] == IMAGE and "2d" not in name]


@pytest.mark.parametrize("name", FLAT)
@pytest.mark.parametrize("training", [True, False])
def test_one_position_may_be_left_out(name, training):
    """(N, C) gives what (N, C, 1, 1) gives, and no example sees another's values by it."""
    layer = make(name).double().train(training)
    randomize(layer)
    for buffer_name, buffer in layer.named_buffers():
        if "running" in buffer_name:
            buffer.abs_().add_(0.5)
    # whitening needs more examples than channels; AdaIN takes two inputs, a class is no image
    x = random_input((9, 4))
    rest = [random_input((9, 4), seed=1)] if name == "AdaptiveInstanceNorm" else []
    rest = [torch.arange(9) % 3] if name == "ConditionalBatchNorm" else rest
    deep = [t[..., None, None] if t.is_floating_point() else t for t in (x, *rest)]
    other = copy.deepcopy(layer)
    try:
        expected = other(*deep)
    except ValueError as error:
        with pytest.raises(type(error)):
            layer(x, *rest)
        return
    if name == "LocalResponseNorm":  # torch's refuses two dimensions too
        with pytest.raises(ValueError, match=r"\(N, C, \*\)"):
            layer(x)
        return
    torch.testing.assert_close(layer(x, *rest), expected.flatten(1))
    for a, b in zip(layer.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(a, b)


TWINS = [name for name in EVERY if hasattr(torch.nn, name)]


@pytest.mark.parametrize("name", [n for n in TWINS if list(make(n).parameters())])
def test_a_dtype_other_than_the_parameters_is_taken_and_kept(name):
    """Decided so: the result has the input's dtype, and is what parameters of that dtype would give."""
    (x,) = inputs_of(name)
    for of_layer, of_input in ((torch.float32, torch.float64), (torch.bfloat16, torch.float32)):
        layer = make(name, dtype=of_layer)
        randomize(layer)
        y = layer(x.to(of_input))
        assert y.dtype == of_input
        torch.testing.assert_close(y, copy.deepcopy(layer).to(of_input)(x.to(of_input)))


def test_sizes_may_be_any_integers():
    three = np.int64(3)
    assert nn.LayerNorm(three).weight.shape == nn.RMSNorm(three).weight.shape == (3,)
    assert nn.PartialRMSNorm(three, 0.5).weight.shape == (3,)
    assert nn.QKNorm(10).scale.item() == 10 and nn.DynamicTanh(3, 1).alpha.item() == 1


@pytest.mark.parametrize("name", EVERY)
def test_fx_takes_every_layer_whole(name):
    """One node, whose mode can still be switched; as of torch.nn's layers."""
    layer = make(name).double()

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x)

    class OfTwo(Model):
        def forward(self, x, y):
            return self.layer(x, y)

    given = inputs_of(name)
    traced = torch.fx.symbolic_trace((Model if len(given) == 1 else OfTwo)())
    blocks = {"PreNorm", "PostNorm", "SandwichNorm", "DeepNorm", "SkipInit"}
    calls = [n for n in traced.graph.nodes if n.op not in ("placeholder", "output")]
    if name in blocks:
        assert all(n.op != "call_module" or n.target.startswith("layer.") for n in calls)
    else:
        assert [(n.op, n.target) for n in calls] == [("call_module", "layer")]
    for training in (True, False):
        traced.train(training), layer.train(training)
        before = copy.deepcopy(layer.state_dict())
        expected = layer(*given)
        layer.load_state_dict(before)
        for a, b in zip(outputs_of(traced(*given)), outputs_of(expected), strict=True):
            torch.testing.assert_close(a, b)


def test_every_layer_is_here():
    elsewhere = {
        "QKNorm",
        "StepBatchNorm",
        "AdaptiveInstanceNorm",
        "AdaptiveLayerNorm",
        "ConditionalBatchNorm",
    }
    elsewhere |= {f"{n}Norm" for n in ("Pre", "Post", "Sandwich", "Deep")} | {"SkipInit"}
    elsewhere |= {f"{n}Norm{cell}" for n in ("Batch", "Layer") for cell in ("LSTM", "GRU")}
    layers = {n for n in nn.__all__ if isinstance(getattr(nn, n), type)}
    assert layers == {n.partition(",")[0] for n in LAYERS} | elsewhere


def test_modes_differ_only_where_there_are_averages():
    without = set(LAYERS) - {n for n, mode in MODES if not mode}
    assert 8 < len(without) < len(LAYERS) - 8
    for name in without:
        layer, x = build(name)
        torch.testing.assert_close(layer.eval()(x), layer.train()(x), rtol=0, atol=0)


@in_each_mode
def test_gradcheck_and_gradgradcheck(name, training):
    layer, x = build(name, training=training)
    x = few(x).requires_grad_()
    if training and name == "BatchRenorm":
        # r and d are constants in the backward pass, so the numerical gradient is another one
        layer.limits = lambda step: (1.0, 0.0)

    def function(x):
        return copy.deepcopy(layer)(x)  # running averages must not move between evaluations

    # along random directions; value by value the derivatives are looked at in test_edges and test_by_hand
    assert torch.autograd.gradcheck(function, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, x, fast_mode=True)


@in_each_mode
def test_jacobians_row_by_row_batched_and_forward(name, training):
    layer, x = build(name, training=training)
    x = few(x)

    def function(x):
        return copy.deepcopy(layer)(x)

    expected = torch.autograd.functional.jacobian(function, x)
    batched = torch.autograd.functional.jacobian(function, x, vectorize=True)
    torch.testing.assert_close(batched, expected)
    torch.testing.assert_close(torch.func.jacrev(function)(x), expected)
    torch.testing.assert_close(torch.func.jacfwd(function)(x), expected)


@every
def test_an_ensemble_of_parameters_over_one_input(name):
    layer, x = build(name, training=False)
    if not list(layer.parameters()):
        pytest.skip("it has no parameters")
    more = {n: torch.stack([p, p + 0.1, p * 0.9]) for n, p in layer.named_parameters()}
    together = torch.func.vmap(lambda p: torch.func.functional_call(layer, p, (x,)))(more)
    for i, y in enumerate(together):
        alone = torch.func.functional_call(layer, {n: p[i] for n, p in more.items()}, (x,))
        torch.testing.assert_close(y, alone)


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(name, dtype):
    layer, x = build(name, torch.float32)
    exact = copy.deepcopy(layer).double()
    y = layer(x.to(dtype))
    assert y.dtype == dtype
    expected = exact(x.to(dtype).double())
    # one rounding of the result, and what float32 leaves
    error = (y.double() - expected).abs().max()
    assert error <= torch.finfo(dtype).eps * expected.abs().max() + 1e-4


@pytest.mark.parametrize("name", [name for name, (_, shape) in LAYERS.items() if len(shape) == 4])
def test_channels_last_is_kept(name):
    layer, x = build(name, training=False)
    y = layer(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(y, layer(x))
    if name.partition(",")[0] not in (
        "InstanceNorm2d",  # torch's is contiguous
        "LocalResponseNorm",
    ):
        assert y.is_contiguous(memory_format=torch.channels_last)


PURE = {
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4, affine=False), IMAGE),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(4), IMAGE),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4, affine=False), IMAGE),
    "LayerNorm": (lambda: nn.LayerNorm(4, elementwise_affine=False), TABLE),
    "RMSNorm": (lambda: nn.RMSNorm(4, elementwise_affine=False), TABLE),
}


@pytest.mark.parametrize(
    "make, shape", [*LAYERS.values(), *PURE.values()], ids=[*LAYERS, *(f"{n}, pure" for n in PURE)]
)
def test_the_output_may_be_written_to(make, shape):
    """As ReLU(inplace=True) does: what autograd keeps must be another tensor."""
    layer = make().double()
    gradients = []
    for relu in (torch.relu, torch.relu_):
        x = random_input(shape).requires_grad_()
        relu(copy.deepcopy(layer)(x)).pow(2).sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients)


@every
def test_strided_inputs(name):
    layer, x = build(name, training=False)
    wide = torch.stack([x, -x], -1)[..., 0]
    assert not wide.is_contiguous()
    torch.testing.assert_close(layer(wide), layer(x))


@every
def test_copies_pickles_and_state_dicts(name):
    layer, x = build(name, training=False)
    expected = layer(x)
    assert torch.equal(copy.deepcopy(layer)(x), expected)
    if not hasattr(layer, "limits"):  # a lambda of this file
        assert torch.equal(pickle.loads(pickle.dumps(layer))(x), expected)
    other = LAYERS[name][0]().double().eval()
    other.load_state_dict(layer.state_dict(), strict=True)
    assert torch.equal(other(x), expected)


@in_each_mode
def test_one_graph(name, training):
    layer, x = build(name, torch.float32, training)
    expected = copy.deepcopy(layer)(x)
    # that what it records can be differentiated and made functional is tried in test_edges.py
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), expected, rtol=1e-5, atol=1e-5)


@every
def test_meta_device(name):
    layer, x = build(name, torch.float32, training=False)
    assert layer.to("meta")(x.to("meta")).shape == x.shape


@in_each_mode
def test_an_empty_batch_gives_an_empty_output_and_moves_no_average(name, training):
    if name == "VirtualBatchNorm":
        pytest.skip("its input holds a reference batch")
    layer, x = build(name, training=training)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    empty = x[:0].clone().requires_grad_()
    y = layer(empty)
    assert y.shape == empty.shape
    y.sum().backward()
    for key, value in layer.state_dict().items():
        if key != "num_batches_tracked":
            assert torch.equal(value, before[key]), key


@every
def test_vmap_of_grad(name):
    layer, x = build(name, training=False)
    state = {**dict(layer.named_parameters()), **dict(layer.named_buffers())}

    def loss(x):
        return torch.func.functional_call(layer, state, (x,)).pow(3).sum()

    batch = torch.stack([x, 2 * x, x - 1])
    gradients = torch.func.vmap(torch.func.grad(loss))(batch)
    for one, gradient in zip(batch, gradients, strict=True):
        one = one.clone().requires_grad_()
        loss(one).backward()
        torch.testing.assert_close(gradient, one.grad)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_keeps_the_inputs_dtype_and_computes_in_float32(name, dtype):
    layer, x = build(name, torch.float32, training=False)
    expected = layer(x.to(dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x.to(dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)


@every
def test_integers_are_refused(name):
    layer, x = build(name)
    with pytest.raises(NotImplementedError, match="floating point"):
        layer(x.long())


@every
def test_repr_names_the_sizes(name):
    layer, _ = build(name)
    if list(layer.parameters()):
        assert "4" in repr(layer)
