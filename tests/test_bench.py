"""The benchmark measures what it says; how fast anything is, no test says."""

import pytest
import torch

from normcore import bench
from normcore.__main__ import main


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    shapes = {"table": (6, 16), "image": (16, 16, 3, 3)}
    monkeypatch.setattr(
        bench,
        "SHAPES",
        {kind: dict.fromkeys(("small", "middle", "large", "huge"), s) for kind, s in shapes.items()},
    )


@pytest.mark.parametrize("name", bench.METHODS)
def test_every_method_is_measured_beside_its_peers(name):
    row = bench.measure(name, "small", compiled=False, repeats=2)
    method = bench.METHODS[name]
    assert ("torch" in row.times) == (method.peer is not None)
    assert ("plain" in row.times) == (method.plain is not None)
    assert all(0 < forward < 10 and 0 < both < 10 for forward, both in row.times.values())
    forward, backward = method.moves
    ratio = row.floor[1] / row.floor[0]
    assert ratio == pytest.approx((forward + backward) / forward) if method.operator is None else ratio > 1


@pytest.mark.parametrize("name", [n for n, m in bench.METHODS.items() if m.plain and m.peer])
def test_the_contestants_compute_the_same(name):
    method = bench.METHODS[name]
    shape = bench.SHAPES[method.kind]["small"]
    x = torch.randn(shape)
    ours, theirs = method.make(shape[1]), method.peer(shape[1])
    weight, bias = torch.ones(shape[1]), torch.zeros(shape[1])
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(method.plain(x, weight, bias), theirs(x), rtol=1e-4, atol=1e-4)


def test_saved_bytes_counts_each_storage_once_and_no_parameter():
    x = torch.randn(8, 4, requires_grad=True)
    size = x.numel() * 4
    assert bench.saved_bytes(lambda x: x.exp(), x) == size  # its output
    assert bench.saved_bytes(lambda x: x * x, x) == size  # one storage, twice
    assert bench.saved_bytes(lambda x: x + 1, x) == 0
    linear = torch.nn.Linear(4, 4)
    assert bench.saved_bytes(linear, x) == size


def row(name, shape, ours, torch_time=None, floor=(1.0, 1.0)):
    times = {"ours": (ours, ours)}
    if torch_time:
        times["torch"] = (torch_time, torch_time)
    return bench.Row(name, shape, times, {"ours": 1.0}, floor)


def test_the_limit_is_six_times_torch_or_six_times_the_floor_by_batch_norms_ratio():
    batch = row("batch norm on images", (2, 3), 5.0, 2.0)  # torch is at 2 floors
    rows = [batch, row("layer norm", (2, 3), 13.0, 2.0), row("x", (2, 3), 11.9), row("y", (2, 3), 12.1)]
    lines, over = bench.compare(rows)
    assert len(lines) == 5
    assert [sentence.split()[0] for sentence in over] == ["layer", "y"]


def test_a_list_of_names_can_be_read_back():
    """They stand in a list with commas between them."""
    assert not any("," in name for name in bench.METHODS)


def test_the_least_time_counts_so_that_a_busy_machine_changes_nothing(monkeypatch):
    waits = iter([7, 1, 9, 2, 8, 3])  # of two contestants in turn
    now = [0.0]

    def run():
        now[0] += next(waits, 5)

    monkeypatch.setattr(bench.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(bench, "WARM_UP", 0)
    assert bench._interleaved({"a": run, "b": run}, 3, bench._on_cpu) == {"a": 7, "b": 1}


def test_the_command(capsys):
    assert main(["bench", "layer norm", "--sizes", "small", "--no-compile", "--repeats", "2"]) in (0, 1)
    printed = capsys.readouterr().out
    assert printed.startswith("torch ") and "layer norm" in printed
    assert main(["bench", "layer nrom"]) == 2
    assert (
        "no method named 'layer nrom'; there are: batch norm on tables, batch norm on images, layer norm"
        in capsys.readouterr().err
    )
    assert main(["bench", "layer norm", "--sizes", "tiny"]) == 2
    assert "size must be one of small, middle, large" in capsys.readouterr().err


def test_a_gradient_is_not_added_to_the_last_ones():
    x = torch.ones(3, requires_grad=True)
    for _ in range(2):
        bench._both(lambda x: 2 * x, x, torch.ones(3))
    assert torch.equal(x.grad, torch.full((3,), 2.0))


def test_half_precision():
    row = bench.measure("layer norm", "small", compiled=False, repeats=2, dtype=torch.bfloat16)
    assert row.saved["torch"] >= 1 and all(t > 0 for times in row.times.values() for t in times)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(capsys):
    assert main(["bench", "layer norm", "--device", "cuda"]) == 2
    assert "--device cuda: torch sees no GPU here" in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", [n for n, m in bench.METHODS.items() if m.plain])
def test_on_a_gpu(name):
    row = bench.measure(name, "small", compiled=False, repeats=2, device="cuda")
    assert all(0 < forward < both for forward, both in row.times.values())
