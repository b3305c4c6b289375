"""The data that experiments share. All of it is simulated or comes with a package: nothing is fetched."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

__all__ = ["Split", "car_rentals", "digits", "motorbike_rentals"]


@dataclass(frozen=True)
class Split:
    """Three parts of the data: inputs of shape (N, ...), targets of shape (N,).

    Learning rates, stopping and whatever else is chosen are chosen on the validation data; what is reported
    is of the test data.
    """

    x_train: Tensor
    y_train: Tensor
    x_validation: Tensor
    y_validation: Tensor
    x_test: Tensor
    y_test: Tensor


def car_rentals(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Simulated rental cars: age and distance driven, and the price that competitors ask.

    The price falls with age and with distance, and two cars alike differ by 3 € (standard deviation):

        price = 90 − 1.6·age − 12·distance/100 000 + noise

    Args:
        count: number of cars.
        seed: of the draw.

    Returns:
        x, (count, 2): age in years, 0 to 30, and distance in kilometres, mostly up to a few hundred thousand;
        price, (count,): euros a day. Both float64.
    """
    return _rentals(count, seed, km_a_year=10_000, base=90.0)


def motorbike_rentals(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Simulated rental motorbikes, as `car_rentals`: driven a quarter as far, and 35 € a day cheaper."""
    return _rentals(count, seed + 1_000_003, km_a_year=2_500, base=55.0)


def _rentals(count: int, seed: int, km_a_year: float, base: float) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    age = rng.uniform(0, 30, count)
    distance = age * km_a_year * rng.lognormal(0, 0.5, count)
    price = base - 1.6 * age - 12.0 * distance / 100_000 + rng.normal(0, 3, count)
    return torch.from_numpy(np.stack([age, distance], 1)), torch.from_numpy(price)


def digits(seed: int) -> Split:
    """scikit-learn's 1,797 handwritten digits of 8×8 pixels, as vectors of 64, split at random.

    1,348 are for training, 224 for validation and 225 for testing.

    Inputs are float32 and divided by 16, so that pixels lie in [0, 1]; targets are class numbers.

    Source: Alpaydin and Kaynak (1998), the test part of the UCI set "Optical recognition of handwritten
    digits", as packaged with scikit-learn.
    """
    images, labels = _digits()
    order = np.random.default_rng(seed).permutation(len(images))
    x = torch.from_numpy(images[order] / 16).float()
    y = torch.from_numpy(labels[order])
    return Split(x[449:], y[449:], x[225:449], y[225:449], x[:225], y[:225])


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return np.asarray(images), np.asarray(labels)
