"""Synchronised batch norm over real processes (gloo): the joint batch, uneven and empty shards, a rank that fails."""

import datetime
import os
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from normcore import nn
from tests.layers import random_input, randomize


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(rank, world, port):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world, timeout=datetime.timedelta(seconds=30))


def shard(sizes, rank):
    """This rank's examples of the joint batch and of the joint upstream gradient."""
    x, upstream = random_input((sum(sizes), 3, 2, 2)), random_input((sum(sizes), 3, 2, 2), seed=1)
    first = sum(sizes[:rank])
    return x[first : first + sizes[rank]].clone(), upstream[first : first + sizes[rank]]


# examples of each process; a process takes seconds to start, so the same four go through all cases
CASES = [
    (sizes, momentum)
    for sizes in ((3, 3), (1, 5), (4, 1, 2, 3), (3, 0, 2, 0), (1, 0))
    for momentum in (0.3, None)
]


def work(rank, world, port, folder):
    start(rank, world, port)
    for case, (sizes, momentum) in enumerate(CASES):
        # all processes must make each group, and those in it use it; None is the group of all
        group = None if len(sizes) == world else dist.new_group(range(len(sizes)))
        if rank >= len(sizes):
            continue
        layer = nn.SyncBatchNorm(3, eps=0.01, momentum=momentum, process_group=group).double()
        randomize(layer)
        x, upstream = shard(sizes, rank)
        x.requires_grad_()
        for _ in range(2):
            y = layer(x)
        (y * upstream).sum().backward()
        results = {"y": y.detach(), "dx": x.grad, "dgamma": layer.weight.grad, "dbeta": layer.bias.grad}
        torch.save({**results, **dict(layer.named_buffers())}, f"{folder}/{case}-{rank}.pt")
    pair = dist.new_group(range(2))
    if rank < 2:
        one_value(rank, pair)
        Path(folder, f"one value, {rank}").touch()
    dist.destroy_process_group()


def one_value(rank, group):
    with pytest.raises(ValueError, match="more than 1 value per channel in the joint batch"):
        nn.SyncBatchNorm(3, process_group=group)(torch.randn(1 - rank, 3))
    assert nn.SyncBatchNorm(3, process_group=group)(torch.randn(0, 3)).shape == (0, 3)
    with pytest.raises(RuntimeError, match="num_features=3"):
        nn.SyncBatchNorm(3, process_group=group)(torch.randn(4, 5))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Where the four processes left what they computed; an error where one failed."""
    folder = tmp_path_factory.mktemp("sync")
    mp.spawn(work, (4, free_port(), str(folder)), nprocs=4)
    return folder


@pytest.mark.parametrize("case", range(len(CASES)), ids=map(str, CASES))
def test_the_joint_batch(case, results):
    sizes, momentum = CASES[case]
    parts = [torch.load(results / f"{case}-{rank}.pt") for rank in range(len(sizes))]

    reference = torch.nn.BatchNorm2d(3, eps=0.01, momentum=momentum).double()
    randomize(reference)
    x, upstream = random_input((sum(sizes), 3, 2, 2)), random_input((sum(sizes), 3, 2, 2), seed=1)
    x.requires_grad_()
    for _ in range(2):
        y = reference(x)
    (y * upstream).sum().backward()

    exact = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(torch.cat([p["y"] for p in parts]), y.detach(), **exact)
    torch.testing.assert_close(torch.cat([p["dx"] for p in parts]), x.grad, **exact)
    torch.testing.assert_close(sum(p["dgamma"] for p in parts), reference.weight.grad, **exact)
    torch.testing.assert_close(sum(p["dbeta"] for p in parts), reference.bias.grad, **exact)
    for part in parts:  # every process keeps the same averages
        for name, buffer in reference.named_buffers():
            torch.testing.assert_close(part[name], buffer, **exact)


def test_one_value_and_none_in_the_joint_batch(results):
    assert all((results / f"one value, {rank}").exists() for rank in range(2))


def one_fails(rank, world, port, folder):
    start(rank, world, port)
    layer = nn.SyncBatchNorm(3)
    layer(torch.randn(4, 3))
    if rank == 1:
        os._exit(3)  # dies between two steps, without a word
    try:
        layer(torch.randn(4, 3))
    except RuntimeError as error:
        Path(folder, str(rank)).write_text(str(error))
        os._exit(0)


def test_a_process_that_dies_ends_the_others_with_an_error(tmp_path):
    context = mp.spawn(one_fails, (3, free_port(), str(tmp_path)), nprocs=3, join=False)
    for process in context.processes:
        process.join(25)
        assert not process.is_alive(), "a process hangs"
    assert (tmp_path / "0").exists() and (tmp_path / "2").exists()


def test_without_distributed_and_in_evaluation_it_is_batch_norm():
    sync, plain = nn.SyncBatchNorm(3), torch.nn.BatchNorm1d(3)
    x = torch.randn(5, 3)
    torch.testing.assert_close(sync(x), plain(x))
    torch.testing.assert_close(sync.eval()(x), plain.eval()(x))
    assert list(sync.state_dict()) == list(torch.nn.SyncBatchNorm(3).state_dict())
