"""What torch refuses is refused with the same kind of error, and the message says what would be right."""

import pytest
import torch

from normcore import functional as F
from normcore import nn
from tests.layers import TORCH

INTEGERS = torch.arange(12).view(4, 3)
X = torch.randn(4, 3)

# (what, a call that takes a namespace of layers and one of functions, what the message must name)
REFUSED = [
    ("channels", lambda nn, F: nn.BatchNorm1d(5)(X), ["running_mean", "(3,)", "(5,)", "(4, 3)"]),
    ("channels, no averages", lambda nn, F: nn.BatchNorm1d(5, track_running_stats=False)(X), ["weight", "(5,)"]),
    ("dimensions", lambda nn, F: nn.BatchNorm1d(3)(torch.randn(2, 3, 4, 4)), ["2D or 3D", "4D"]),
    ("dimensions, 2d", lambda nn, F: nn.BatchNorm2d(3)(X), ["4D", "2D"]),
    ("one value", lambda nn, F: nn.BatchNorm1d(3)(X[:1]), ["more than 1 value per channel", "(1, 3)"]),
    ("one pixel", lambda nn, F: nn.BatchNorm2d(3)(torch.randn(1, 3, 1, 1)), ["(1, 3, 1, 1)", "eval()"]),
    ("integers, batch", lambda nn, F: nn.BatchNorm1d(3)(INTEGERS), ["floating point", "int64", "(4, 3)"]),
    ("integers, layer", lambda nn, F: nn.LayerNorm(3)(INTEGERS), ["floating point", "int64"]),
    ("integers, group", lambda nn, F: nn.GroupNorm(1, 3)(INTEGERS), ["floating point", "int64"]),
    ("integers, instance", lambda nn, F: nn.InstanceNorm1d(3)(INTEGERS.view(2, 3, 2)), ["floating point"]),
    ("integers, rms", lambda nn, F: nn.RMSNorm(3)(INTEGERS), ["floating point", "int64"]),
    ("complex", lambda nn, F: nn.BatchNorm1d(3)(X + 0j), ["floating point", "complex64"]),
    ("negative eps", lambda nn, F: nn.BatchNorm1d(3, eps=-1.0)(X), ["eps", "positive", "-1.0"]),
    ("negative eps, eval", lambda nn, F: nn.BatchNorm1d(3, eps=-1.0).eval()(X), ["eps", "non-negative"]),
    ("zero eps", lambda nn, F: nn.BatchNorm1d(3, eps=0.0)(X), ["eps", "positive", "0.0"]),
    ("layer shape", lambda nn, F: nn.LayerNorm(5)(X), ["normalized_shape=(5,)", "(4, 3)"]),
    ("layer weight", lambda nn, F: F.layer_norm(X, [3], torch.ones(5)), ["weight", "(3,)", "(5,)"]),
    ("layer bias", lambda nn, F: F.layer_norm(X, [3], torch.ones(3), torch.ones(4)), ["bias", "(3,)", "(4,)"]),
    ("layer, no shape", lambda nn, F: F.layer_norm(X, []), ["normalized_shape", "at least one"]),
    ("rms shape", lambda nn, F: nn.RMSNorm(5)(X), ["normalized_shape=(5,)", "(4, 3)"]),
    ("rms weight", lambda nn, F: F.rms_norm(X, [3], torch.ones(5)), ["weight", "(3,)", "(5,)"]),
    ("groups, layer", lambda nn, F: nn.GroupNorm(2, 3), ["num_channels", "num_groups", "divisible"]),
    ("groups, function", lambda nn, F: F.group_norm(X, 2), ["num_groups=2", "(4, 3)", "divisible"]),
    ("group channels", lambda nn, F: nn.GroupNorm(2, 4)(torch.randn(2, 6, 5)), ["weight", "(6,)", "(4,)"]),
    ("group, one value", lambda nn, F: F.group_norm(X[:1], 3), ["more than 1 value per group", "(1, 3)"]),
    ("group, one dimension", lambda nn, F: F.group_norm(X[0], 3), ["(N, C)", "(3,)"]),
    ("one spatial", lambda nn, F: nn.InstanceNorm2d(3)(torch.randn(2, 3, 1, 1)), ["spatial", "(2, 3, 1, 1)"]),
    ("instance, no space", lambda nn, F: F.instance_norm(X), ["spatial", "(4, 3)"]),
    ("instance channels", lambda nn, F: nn.InstanceNorm2d(3, affine=True)(torch.randn(2, 4, 2, 2)),
     ["dim=1", "num_features (3)", "got: 4"]),
    ("instance dimensions", lambda nn, F: nn.InstanceNorm2d(3)(X), ["3D or 4D", "2D"]),
    ("eval without averages", lambda nn, F: F.batch_norm(X, None, None), ["running_mean", "training=False"]),
    ("instance without averages", lambda nn, F: F.instance_norm(X.view(2, 3, 2), use_input_stats=False),
     ["running_mean", "use_input_stats=False"]),
    ("one average", lambda nn, F: F.batch_norm(X, torch.zeros(3), None, training=True), ["both"]),
    ("average's shape", lambda nn, F: F.batch_norm(X, torch.zeros(3), torch.ones(5), training=True),
     ["running_var", "(3,)", "(5,)"]),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # torch warns of the dtypes before it refuses them
@pytest.mark.parametrize(("call", "named"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused_as_torch_refuses(call, named):
    if TORCH < (2, 10) and "eps" in named:
        pytest.skip("torch did not look at eps")
    with pytest.raises(Exception) as theirs:
        call(torch.nn, torch.nn.functional)
    with pytest.raises(Exception) as ours:
        call(nn, F)
    assert isinstance(ours.value, theirs.type)
    for words in named:
        assert words in str(ours.value)


@pytest.mark.parametrize(
    "layer", [nn.LayerNorm(3, eps=-0.5), nn.GroupNorm(1, 3, eps=-0.5), nn.RMSNorm(3, eps=-0.5)]
)
def test_negative_eps_is_refused_where_torch_returns_nan(layer):
    with pytest.raises(ValueError, match=r"eps must be non-negative, but got -0.5"):
        layer(X)


def test_zero_groups_are_refused():
    with pytest.raises(ValueError, match="num_groups must be at least 1"):
        F.group_norm(X, 0)


def test_channels_that_do_not_match_warn_without_affine():
    with pytest.warns(UserWarning, match="does not match num_features"):
        nn.InstanceNorm2d(3)(torch.randn(2, 4, 2, 2))


def test_batch_norm_of_a_vector_is_refused():
    with pytest.raises(RuntimeError, match=r"\(N, C\)"):
        F.batch_norm(torch.randn(3), None, None, training=True)
    with pytest.raises(RuntimeError, match=r"\(N, C, \*\)"):
        F.instance_norm(torch.randn(4, 3), torch.zeros(3), torch.ones(3), use_input_stats=False)
