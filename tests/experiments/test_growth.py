import numpy as np
import pytest

from normcore.experiments import growth, stored

STORED = stored.load("growth")


@pytest.mark.parametrize("activation", growth.REFERENCE)
def test_stored_results_agree_with_an_earlier_run(activation):
    results = STORED["results"]
    for size, expected in growth.REFERENCE[activation].items():
        measured = np.median(results["factors"][activation][results["batch_sizes"].index(size)])
        assert measured == pytest.approx(expected, rel=0.03)


def test_stored_results_say_how_they_were_made():
    assert STORED["command"] == "normcore experiment growth"
    assert {"device", "versions", "date", "seconds"} <= STORED.keys()
    factors = STORED["results"]["factors"]["ReLU"]
    assert all(len(by_seed) == len(STORED["seeds"]) for by_seed in factors)
    assert len(factors) == len(STORED["results"]["batch_sizes"])


@pytest.mark.parametrize("activation", growth.REFERENCE)
def test_a_small_run_agrees_with_the_stored_one(activation):
    sizes = (16, 64)
    small = growth.measure(sizes, [activation], seeds=range(3), width=300, depth=20)[activation]
    for size, factors in zip(sizes, small, strict=True):
        kept = STORED["results"]["factors"][activation][STORED["results"]["batch_sizes"].index(size)]
        assert np.median(factors) == pytest.approx(np.median(kept), rel=0.04)


def test_the_backward_pass_by_hand_is_autograds():
    import torch

    rng = torch.Generator().manual_seed(5)

    def normal(*shape):
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    h = normal(6, 10).requires_grad_()
    x, inputs = h, []
    for _ in range(3):
        w = normal(10, 10) / 10**0.5
        inputs.append(x)
        a = x @ w.T
        x = x + torch.relu((a - a.mean(0)) / a.std(0, correction=0))
    gradients = torch.autograd.grad((x * normal(6, 10)).sum(), inputs)
    expected = [g.square().mean().item() for g in gradients]
    np.testing.assert_allclose(growth.profile(6, "ReLU", 10, 3, 5, skip=True), expected)


def test_a_name_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match="no stored results of 'nothing'; there are: .*growth"):
        stored.load("nothing")


def test_stored_results_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "FOLDER", tmp_path / "results")
    stored.save("try", "command", {"a": [1.5]}, [0, 1], 2.4)
    kept = stored.load("try")
    assert kept["results"] == {"a": [1.5]} and kept["seeds"] == [0, 1] and kept["seconds"] == 2
