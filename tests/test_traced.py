"""What records operators (torch.jit.trace, the older ONNX exporter) sees the formula, and records right numbers."""

import copy
import io

import pytest
import torch

from normcore import statistics
from tests.layers import random_input
from tests.nn.test_every_layer import LAYERS, build


@pytest.mark.filterwarnings("ignore")  # of shapes that are taken as constants
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_a_traced_layer_can_be_stored_and_computes_the_same(name, training, grad):
    layer, x = build(name, torch.float32, training)
    with torch.set_grad_enabled(grad):
        traced = torch.jit.trace(copy.deepcopy(layer), x, check_trace=False)
        assert "PythonOp" not in str(traced.inlined_graph)
        stored = io.BytesIO()
        torch.jit.save(traced, stored)
        stored.seek(0)
        loaded = torch.jit.load(stored)
        loaded.load_state_dict(layer.state_dict())  # tracing has run a step
        other = random_input(x.shape, torch.float32, seed=7)
        torch.testing.assert_close(loaded(other), layer(other), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "switch", ["torch.compiler.is_compiling", "torch.jit.is_tracing", "torch.onnx.is_in_onnx_export"]
)
def test_each_recorder_is_known(switch, monkeypatch):
    assert not statistics.traced()
    monkeypatch.setattr(switch, lambda: True)
    assert statistics.traced()
