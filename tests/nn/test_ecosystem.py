"""Tools that find, trace, fuse, export and shard torch.nn's layers do the same to ours, with the same numbers."""

import copy
import warnings

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn as tnn

from normcore import nn
from normcore.adaptation import as_torch, convert
from tests.layers import WITH_BIAS, random_input, randomize
from tests.networks import resnet, transformer
from tests.nn.test_sync import free_port, start

NETWORKS = {"resnet": (resnet, (4, 3, 32, 32)), "transformer": (transformer, (4, 5, 8))}
both = pytest.mark.parametrize("network", NETWORKS)
modes = pytest.mark.parametrize("training", [True, False])


def pair(network, dtype=torch.float64):
    """Ours and torch's network with the same random numbers in them, and an input."""
    build, shape = NETWORKS[network]
    ours, theirs = build(nn).to(dtype), build(tnn).to(dtype)
    randomize(theirs)
    with torch.no_grad():
        for parameter in theirs.parameters():  # so that nothing grows through the layers
            parameter.div_(parameter[0].numel() ** 0.5) if parameter.dim() > 1 else parameter.abs_().add_(0.1)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs, random_input(shape, dtype)


def same(ours, theirs, **tolerance):
    a, b = ours.state_dict(), theirs.state_dict()
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        torch.testing.assert_close(tensor, b[name], msg=lambda m, name=name: f"{name}: {m}", **tolerance)


@both
@modes
def test_a_network_computes_and_learns_as_torchs(network, training):
    ours, theirs, x = pair(network)
    for model in (ours, theirs):
        optimizer = torch.optim.SGD(model.train(training).parameters(), lr=1e-4)
        for _ in range(3):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    same(ours, theirs, rtol=1e-8, atol=1e-8)


@both
def test_what_looks_for_norms_finds_ours(network):
    """To freeze their statistics, to spare them weight decay: by isinstance, as such code does."""
    ours, theirs, _ = pair(network)
    kinds = (tnn.modules.batchnorm._NormBase, tnn.GroupNorm, tnn.LayerNorm, tnn.RMSNorm)
    found = [[name for name, m in model.named_modules() if isinstance(m, kinds)] for model in (ours, theirs)]
    assert found[0] == found[1] and len(found[0]) > 8


@pytest.mark.parametrize("momentum", [0.1, None])
def test_update_bn(momentum):
    ours, theirs, _ = pair("resnet")
    loader = [(random_input((4, 3, 32, 32), seed=s), torch.zeros(4)) for s in range(3)]
    for model in (ours, theirs):
        for m in model.modules():
            if isinstance(m, tnn.BatchNorm2d):
                m.momentum = momentum
        torch.optim.swa_utils.update_bn(loader, model)
    same(ours, theirs)
    ghost = tnn.Sequential(nn.GhostBatchNorm(3, 2)).double()
    torch.optim.swa_utils.update_bn(loader, ghost)
    parts = torch.cat([x for x, _ in loader]).split(2)
    torch.testing.assert_close(ghost[0].running_mean, torch.stack([p.mean((0, 2, 3)) for p in parts]).mean(0))


def test_convert_sync_batchnorm_torchs_and_ours():
    ours, theirs, x = pair("resnet")
    ours.layer1.add_module("ghost", nn.GhostBatchNorm(4, 2).double())
    theirs.layer1.add_module("ghost", tnn.Identity())
    ours.layer1.ghost.weight = ours.bn1.weight  # shared
    before = dict(ours.named_parameters(remove_duplicate=False))
    count = sum(isinstance(m, tnn.BatchNorm2d) for m in theirs.modules())
    found = tnn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(ours))
    assert sum(isinstance(m, tnn.SyncBatchNorm) for m in found.modules()) == count + 1  # the ghost too
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(ours)
    assert sum(type(m) is nn.SyncBatchNorm for m in converted.modules()) == count == 20
    assert type(converted.layer1.ghost) is nn.GhostBatchNorm
    after = dict(converted.named_parameters(remove_duplicate=False))
    assert before.keys() == after.keys() and all(after[k] is p for k, p in before.items())
    converted.layer1.ghost = tnn.Identity()
    for training in (True, False):
        torch.testing.assert_close(converted.train(training)(x), theirs.train(training)(x))
    same(converted, theirs)
    alone = nn.SyncBatchNorm.convert_sync_batchnorm(tnn.BatchNorm1d(3, affine=False, momentum=None).eval())
    assert type(alone) is nn.SyncBatchNorm and alone.momentum is None and not alone.training
    if WITH_BIAS:
        without = nn.SyncBatchNorm.convert_sync_batchnorm(nn.BatchNorm1d(3, bias=False))
        assert without.bias is None and nn.SyncBatchNorm(3, bias=False).bias is None


@modes
def test_replace_all_batch_norm_modules(training):
    ours, theirs, x = pair("resnet")
    for model in (ours, theirs):
        torch.func.replace_all_batch_norm_modules_(model)
    torch.testing.assert_close(ours.train(training)(x), theirs.train(training)(x))
    assert len(list(ours.buffers())) == 0


def test_fuse_conv_bn_eval():
    ours, theirs, _ = pair("resnet")
    for block, other in zip(ours.layer2.eval(), theirs.layer2.eval(), strict=True):
        a = tnn.utils.fusion.fuse_conv_bn_eval(block.conv1, block.bn1)
        b = tnn.utils.fusion.fuse_conv_bn_eval(other.conv1, other.bn1)
        same(a, b)


@pytest.mark.filterwarnings("ignore")  # torch.ao.quantization is deprecated, and used
def test_fuse_modules_in_evaluation_and_for_training():
    from torch.ao.quantization import fuse_modules, fuse_modules_qat

    ours, theirs, x = pair("resnet")
    names = ["conv1", "bn1", "relu"]
    for fuse, training in ((fuse_modules, False), (fuse_modules_qat, True)):
        a, b = fuse(as_torch(ours).train(training), names), fuse(copy.deepcopy(theirs).train(training), names)
        assert type(a.conv1) is type(b.conv1) and type(a.bn1) is tnn.Identity
        torch.testing.assert_close(a(x), b(x))


@both
def test_symbolic_trace(network):
    """One graph for both modes, with the same nodes as torch's."""
    ours, theirs, x = pair(network)
    traced, expected = torch.fx.symbolic_trace(ours), torch.fx.symbolic_trace(theirs)
    nodes = [[(n.op, str(n.target)) for n in t.graph.nodes] for t in (traced, expected)]
    assert nodes[0] == nodes[1]
    for training in (True, False):
        torch.testing.assert_close(traced.train(training)(x), theirs.train(training)(x))
    same(traced, theirs)


@both
@modes
def test_features_from_a_part_of_the_graph(network, training):
    """As torchvision's create_feature_extractor: the graph up to the nodes that are asked for."""

    def features(model):
        traced = torch.fx.symbolic_trace(model)
        wanted = [n for n in traced.graph.nodes if n.op == "call_module" and "norm" in str(n.target).lower()]
        wanted = wanted or [n for n in traced.graph.nodes if n.op == "call_module" and "bn" in str(n.target)]
        (output,) = (n for n in traced.graph.nodes if n.op == "output")
        traced.graph.erase_node(output)
        traced.graph.output(tuple(wanted[:3]))
        traced.graph.eliminate_dead_code()
        traced.recompile()
        return traced.train(training)

    ours, theirs, x = pair(network)
    for a, b in zip(features(ours)(x), features(theirs)(x), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.filterwarnings("ignore")
@both
def test_prepare_fx_and_the_quantized_network(network):
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    ours, theirs, x = pair(network, torch.float32)
    mapping, example = get_default_qconfig_mapping("x86"), (x,)
    prepared = [prepare_fx(copy.deepcopy(m).eval(), mapping, example) for m in (ours, theirs)]
    outputs = [p(x) for p in prepared]
    torch.testing.assert_close(*outputs, rtol=1e-3, atol=1e-3)
    if torch.backends.quantized.engine in ("x86", "fbgemm", "onednn"):
        whole = prepare_fx(as_torch(ours).eval(), mapping, example)
        torch.testing.assert_close(whole(x), outputs[1])
        torch.testing.assert_close(convert_fx(whole)(x), convert_fx(prepared[1])(x))


@pytest.mark.filterwarnings("ignore")
@both
def test_jit_script_and_trace(network):
    ours, theirs, x = pair(network)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(torch.jit.script(as_torch(ours))(x), theirs(x))
    torch.testing.assert_close(torch.jit.trace(ours, x)(x), theirs(x))


# the network with running averages in training, the other in evaluation: each export takes seconds
@pytest.mark.parametrize(("network", "training"), [("resnet", True), ("transformer", False)])
def test_export_with_any_number_of_examples(network, training):
    ours, theirs, x = pair(network)
    ours.train(training), theirs.train(training)
    exported = torch.export.export(ours, (x,), dynamic_shapes=({0: torch.export.Dim("n", min=2)},)).module()
    for given in (x, torch.cat([x, 2 * x])):
        torch.testing.assert_close(exported(given), theirs(given))
    same(exported, theirs)


@pytest.mark.filterwarnings("ignore")
@both
@pytest.mark.parametrize("dynamo", [False, True])
def test_onnx_by_both_exporters(network, dynamo, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    ours, theirs, x = pair(network, torch.float32)
    path = tmp_path / "network.onnx"
    torch.onnx.export(ours.eval(), (x,), str(path), dynamo=dynamo, input_names=["x"], verbose=False)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(y), theirs.eval()(x).detach(), rtol=1e-3, atol=1e-4)


def test_torchs_transformer_layers_fast_path():
    layer = tnn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=False).double()
    theirs = tnn.TransformerEncoder(layer, 2)
    ours = convert(theirs, tnn.LayerNorm, lambda old: nn.LayerNorm(old.normalized_shape, old.eps))
    x = random_input((3, 5, 8))
    padding = torch.arange(5) >= torch.tensor([5, 2, 3])[:, None]
    for training in (True, False):
        with torch.set_grad_enabled(training), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            y, expected = (m.train(training)(x, src_key_padding_mask=padding) for m in (ours, theirs))
        torch.testing.assert_close(y[~padding], expected[~padding])


def sharded(rank, world, port):
    """Trained in shards, as torch's; and FSDP's route: made without memory, sharded, given memory, reset."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    start(rank, world, port)
    mesh = init_device_mesh("cpu", (world,))
    for network in NETWORKS:
        states = []
        *models, x = pair(network)
        for model in models:
            for child in model.children():
                if not isinstance(child, tnn.Sequential) and list(child.parameters()):
                    fully_shard(child, mesh=mesh)
            fully_shard(model, mesh=mesh)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
            for _ in range(2):
                optimizer.zero_grad()
                model(x[2 * rank : 2 * rank + 2]).square().mean().backward()
                optimizer.step()
            states.append(model.state_dict())
        for (key, a), b in zip(states[0].items(), states[1].values(), strict=True):
            torch.testing.assert_close(*(getattr(t, "_local_tensor", t) for t in (a, b)), msg=key)

    with torch.device("meta"):
        model = transformer(nn)
    fully_shard(model, mesh=mesh)
    model.to_empty(device="cpu")
    for module in model.modules():
        if list(module.parameters(recurse=False)):
            module.reset_parameters()
    norms = [m for m in model.modules() if isinstance(m, (nn.LayerNorm, nn.RMSNorm))]
    assert len(norms) == 9
    for norm in norms:
        assert (norm.weight.full_tensor() == 1).all()
    assert torch.isfinite(model(random_input((2, 5, 8), torch.float32))).all()
    dist.destroy_process_group()


def test_sharded_networks():
    mp.spawn(sharded, (2, free_port()), nprocs=2)


@pytest.fixture
def mesh():
    """Of this process alone."""
    from torch.distributed.device_mesh import init_device_mesh

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "name, arguments, shape",
    [("LayerNorm", (8,), (2, 4, 8)), ("RMSNorm", (8,), (2, 4, 8)), ("GroupNorm", (2, 8), (2, 8, 4))],
)
def test_distributed_tensors(mesh, name, arguments, shape):
    """As sequence parallelism gives them: they go in, and such come out, in the gradients too."""
    from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

    ours, theirs = (getattr(space, name)(*arguments).double() for space in (nn, tnn))
    randomize(theirs)
    ours.load_state_dict(theirs.state_dict())
    for key, parameter in list(ours.named_parameters()):
        spread = distribute_tensor(parameter.data, mesh, [Replicate()])
        ours.register_parameter(key, tnn.Parameter(spread))
    x = random_input(shape)
    given, plain = distribute_tensor(x, mesh, [Shard(0)]).requires_grad_(), x.clone().requires_grad_()
    y, expected = ours(given), theirs(plain)
    assert isinstance(y, DTensor)
    torch.testing.assert_close(y.full_tensor(), expected)
    upstream = random_input(shape, seed=1)
    y.backward(distribute_tensor(upstream, mesh, [Shard(0)])), expected.backward(upstream)
    torch.testing.assert_close(given.grad.full_tensor(), plain.grad)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad.full_tensor(), b.grad)
