"""Results of experiments: their axes' names and values, read by name."""

from itertools import count

import numpy as np
import pytest

from normcore.experiments.grid import Grid, grid


def number(network, seed, lr):
    return {"a": 100, "b": 200}[network] + 10 * seed + lr


AXES = {"lr": (1, 2, 3), "network": ("a", "b"), "seed": (5, 7)}


def test_axes_of_words_come_first_then_seeds_then_the_others():
    results = grid(number, AXES)
    assert list(results.axes) == ["network", "seed", "lr"]
    assert results.array.shape == (2, 2, 3)
    for i, network in enumerate(AXES["network"]):
        for j, seed in enumerate(AXES["seed"]):
            for k, lr in enumerate(AXES["lr"]):
                assert results.array[i, j, k] == number(network, seed, lr)


def test_a_dict_of_arrays_by_the_words():
    results = grid(number, AXES)
    assert list(results) == ["a", "b"] and len(results) == 2 and "c" not in results
    for name, runs in results.items():
        assert isinstance(runs, np.ndarray)
        np.testing.assert_array_equal(runs, results.array[list(results).index(name)])


def test_axes_along_one_measurement():
    along = {"step": count(0, 7), "quantity": ("loss", "accuracy")}
    results = grid(
        lambda seed, network: [[seed, len(network)]] * 4, {"seed": (5, 6, 7), "network": ["on"]}, along
    )
    assert list(results.axes) == ["network", "quantity", "seed", "step"]
    assert results.axes["step"] == (0, 7, 14, 21)
    assert isinstance(results["on"], Grid)
    np.testing.assert_array_equal(results["on"]["loss"], [[5] * 4, [6] * 4, [7] * 4])
    np.testing.assert_array_equal(results["on"]["accuracy"], np.full((3, 4), 2))


def test_by_value_of_any_axis():
    results = grid(number, AXES)
    part = results.at(seed=7, network="b")
    assert part.axes == {"lr": (1, 2, 3)}
    np.testing.assert_array_equal(part, [271, 272, 273])
    assert results.at(seed=5).at(lr=3)["a"] == 153
    assert np.median(part) == 272
    with pytest.raises(KeyError, match="no axis 'rate'; there are network, seed, lr"):
        results.at(rate=1)
    with pytest.raises(KeyError, match="seed has no 6; there are 5, 7"):
        results.at(seed=6)


def test_what_was_the_same_everywhere_and_how_it_was_made():
    results = grid(number, AXES, width=3)
    assert results.settings == results.at(network="a").settings == {"width": 3}
    assert {"device", "versions", "date", "seconds"} == results.made.keys()
    assert results.made["versions"].keys() >= {"python", "torch", "numpy"}


def test_axes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="axes must each have a value, but 'seed' has none"):
        grid(number, AXES | {"seed": ()})
    with pytest.raises(ValueError, match="along must name 1 axes, but names 0"):
        grid(lambda seed: [1, 2], {"seed": (0,)})
    with pytest.raises(ValueError, match="along: 'step' must have 2 values, but has 3"):
        grid(lambda seed: [1, 2], {"seed": (0,)}, {"step": (1, 2, 3)})
