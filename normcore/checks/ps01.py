"""PS01, Scaling inputs: the checks of its tasks."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from normcore.checks.catalogue import ProblemSet
from normcore.checks.check import Check, Inputs, Mistake
from normcore.checks.forbidden import SCALERS
from normcore.checks.notebook import HiddenCheck, VisibleCheck

# --- min_max_scale ------------------------------------------------------------------------------------


def _table(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Columns whose locations and ranges lie orders of magnitude apart, as in real tables."""
    scale = 10 ** rng.uniform(-1, 3, columns)
    return (rng.normal(size=(rows, columns)) + rng.uniform(-3, 3, columns)) * scale


def _draw_min_max(rng: np.random.Generator, number: int) -> Inputs:
    x = _table(rng, int(rng.integers(4, 30)), int(rng.integers(2, 6)))
    x[:, rng.integers(x.shape[1])] = rng.integers(2, 9) * rng.choice([-1, 1])  # a constant feature
    return {"x": x, "low": rng.uniform(-3, -0.5), "high": rng.uniform(0.5, 3)}


def _min_max(x: Tensor, low: float, high: float, dim: int | None = 0, constant: bool = True) -> Tensor:
    dims = (0, 1) if dim is None else dim
    smallest, largest = x.amin(dims, keepdim=True), x.amax(dims, keepdim=True)
    extent = largest - smallest
    if constant:
        extent = torch.where(extent == 0, torch.ones_like(extent), extent)
    return low + (x - smallest) / extent * (high - low)


def _min_max_unshifted(x: Tensor, low: float, high: float) -> Tensor:
    return _min_max(x, 0.0, high - low)


def _min_max_mean(x: Tensor, low: float, high: float) -> Tensor:
    extent = x.amax(0) - x.amin(0)
    extent = torch.where(extent == 0, torch.ones_like(extent), extent)
    return low + (x - x.mean(0)) / extent * (high - low)


def _min_max_by_maximum(x: Tensor, low: float, high: float) -> Tensor:
    largest = x.amax(0)
    return low + (x - x.amin(0)) / torch.where(largest == 0, torch.ones_like(largest), largest) * (high - low)


def _min_max_unsubtracted(x: Tensor, low: float, high: float) -> Tensor:
    extent = x.amax(0) - x.amin(0)
    return low + x / torch.where(extent == 0, torch.ones_like(extent), extent) * (high - low)


def _min_max_by_deviation(x: Tensor, low: float, high: float) -> Tensor:
    std = x.std(0)
    return low + (x - x.amin(0)) / torch.where(std == 0, torch.ones_like(std), std) * (high - low)


def _min_max_constant(x: Tensor, low: float, high: float, value: str) -> Tensor:
    values = {"high": torch.full_like(x, high), "x": x, "middle": torch.full_like(x, (low + high) / 2)}
    return torch.where(x.amax(0) == x.amin(0), values[value], _min_max(x, low, high))


CONSTANT = "Your values are right but for the feature that never changes. Return low for it."
MIN_MAX_SCALE = Check(
    name="min_max_scale",
    run="y = min_max_scale(x, low, high)",
    outputs=("y",),
    draw=_draw_min_max,
    reference=_min_max,
    forbidden=SCALERS,
    equivalent={
        "extent = torch.where(extent == 0, 1, extent) → extent = torch.where(extent == 0, 2, extent)": (
            "a constant feature's numerator is 0, so any divisor but 0 gives low"
        ),
    },
    mistakes=(
        Mistake(
            "whole table",
            "You took one minimum and one maximum for the whole table. Each feature (column) has its own.",
            partial(_min_max, dim=None),
        ),
        Mistake(
            "rows",
            "You took the minimum and maximum of each row. A row is one example; its entries have different "
            "units. Reduce over the examples, dimension 0.",
            partial(_min_max, dim=1),
        ),
        Mistake(
            "unit range",
            "Your values lie in [0, 1]. Stretch that by (high − low) and move it to start at low.",
            lambda x, low, high: _min_max(x, 0.0, 1.0),
        ),
        Mistake(
            "low not added",
            "You stretched to the width (high − low) but did not add low, so the range starts at 0.",
            _min_max_unshifted,
        ),
        Mistake(
            "width is high",
            "You multiplied by high. The width of the new range is (high − low).",
            lambda x, low, high: low + _min_max(x, 0.0, 1.0) * high,
        ),
        Mistake(
            "constant feature",
            "A feature that never changes gives 0/0. Return low for it: replace a range of 0 by 1.",
            partial(_min_max, constant=False),
        ),
        Mistake(
            "constant feature is 0",
            CONSTANT,
            lambda x, low, high: _min_max(x, low, high, constant=False).nan_to_num(),
        ),
        Mistake("constant feature is high", CONSTANT, partial(_min_max_constant, value="high")),
        Mistake("constant feature as it is", CONSTANT, partial(_min_max_constant, value="x")),
        Mistake(
            "constant feature in the middle",
            CONSTANT,
            partial(_min_max_constant, value="middle"),
        ),
        Mistake(
            "upside down",
            "You measured from the maximum: your largest value becomes low. Subtract the minimum.",
            lambda x, low, high: low + high - _min_max(x, low, high, constant=False).nan_to_num(nan=0.0),
        ),
        Mistake(
            "low and high swapped",
            "You swapped low and high: the smallest value becomes low, the largest high.",
            lambda x, low, high: _min_max(x, high, low),
        ),
        Mistake(
            "minimum not subtracted",
            "You divided by the range but did not subtract the minimum first.",
            _min_max_unsubtracted,
        ),
        Mistake(
            "width is the sum",
            "You multiplied by (high + low). The width of the new range is (high − low).",
            lambda x, low, high: low + _min_max(x, 0.0, 1.0) * (high + low),
        ),
        Mistake(
            "standardized",
            "You divided by the standard deviation. Min–max scaling divides by the range, maximum minus "
            "minimum.",
            _min_max_by_deviation,
        ),
        Mistake(
            "mean normalization",
            "You subtracted the mean. That is mean normalization; min–max scaling subtracts the minimum.",
            _min_max_mean,
        ),
        Mistake(
            "divided by the maximum",
            "You divided by the maximum. Divide by the range, the maximum minus the minimum.",
            _min_max_by_maximum,
        ),
    ),
)

# --- Standardizer -------------------------------------------------------------------------------------


def _draw_standardizer(rng: np.random.Generator, number: int) -> Inputs:
    columns = int(rng.integers(3, 6))
    train = _table(rng, int(rng.integers(5, 20)), columns)
    shift = train.std(0) * rng.uniform(0.5, 2, columns)  # the new data comes from somewhere else
    test = rng.normal(size=(int(rng.integers(3, 8)), columns)) * train.std(0) * 0.6 + train.mean(0) + shift
    constant = rng.integers(columns)
    train[:, constant] = rng.integers(2, 9) * rng.choice([-1, 1])
    test[:, constant] = train[0, constant] + rng.normal(size=len(test))
    return {"train": train, "test": test, "z_new": rng.normal(size=(int(rng.integers(2, 5)), columns))}


class _Standardizer:
    correction = 0
    dim: int | None = 0
    constant = True

    def fit(self, x: Tensor) -> None:
        if self.dim is None:
            self.mean, std = x.mean(), x.std(correction=self.correction)
        else:
            self.mean, std = x.mean(self.dim), x.std(self.dim, correction=self.correction)
        self.std = torch.where(std == 0, torch.ones_like(std), std) if self.constant else std

    def transform(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def inverse_transform(self, z: Tensor) -> Tensor:
        return z * self.std + self.mean


class _Unbiased(_Standardizer):
    correction = 1


class _WholeTable(_Standardizer):
    dim = None


class _ConstantIgnored(_Standardizer):
    constant = False


class _Refitted(_Standardizer):
    def transform(self, x: Tensor) -> Tensor:
        self.fit(x)
        return super().transform(x)


class _Variance(_Standardizer):
    def fit(self, x: Tensor) -> None:
        super().fit(x)
        self.std = self.std.square()


class _NotCentred(_Standardizer):
    def transform(self, x: Tensor) -> Tensor:
        return x / self.std


class _SmallAdded(_Standardizer):
    """Instead of looking for a deviation of 0."""

    added = 1e-8
    constant = False

    def fit(self, x: Tensor) -> None:
        super().fit(x)
        self.std = self.std + self.added


class _ConstantIs(_Standardizer):
    """Values of a constant feature, whatever the new data are."""

    value = 0.0

    def fit(self, x: Tensor) -> None:
        super().fit(x)
        self.flat = x.amax(0) == x.amin(0)

    def transform(self, x: Tensor) -> Tensor:
        return torch.where(self.flat, torch.full_like(x, self.value), super().transform(x))


class _Rows(_Standardizer):
    def fit(self, x: Tensor) -> None:
        self.mean, self.std = x.mean(1, keepdim=True), x.std(1, correction=0, keepdim=True)


class _InverseSwapped(_Standardizer):
    def inverse_transform(self, z: Tensor) -> Tensor:
        return z / self.std + self.mean


class _InverseMinus(_Standardizer):
    def inverse_transform(self, z: Tensor) -> Tensor:
        return z * self.std - self.mean


class _InverseForward(_Standardizer):
    def inverse_transform(self, z: Tensor) -> Tensor:
        return self.transform(z)


class _InverseUnscaled(_Standardizer):
    def inverse_transform(self, z: Tensor) -> Tensor:
        return z + self.mean


class _NotDivided(_Standardizer):
    def transform(self, x: Tensor) -> Tensor:
        return x - self.mean


class _InverseOrder(_Standardizer):
    def inverse_transform(self, z: Tensor) -> Tensor:
        return (z + self.mean) * self.std


class _InverseNoMean(_Standardizer):
    def inverse_transform(self, z: Tensor) -> Tensor:
        return z * self.std


STANDARDIZER = Check(
    name="Standardizer",
    run="""
scaler = Standardizer()
scaler.fit(train)
z_train = scaler.transform(train)
z_test = scaler.transform(test)
x_new = scaler.inverse_transform(z_new)
""",
    outputs=("z_train", "z_test", "x_new"),
    draw=_draw_standardizer,
    reference=_Standardizer,
    forbidden=SCALERS,
    mistakes=(
        Mistake(
            "fitted to new data",
            "transform computed its own mean and deviation from the data it was given. It must use those "
            "that fit stored: otherwise new data is scaled differently from the training data, and a shift "
            "between them is hidden from the model.",
            _Refitted,
        ),
        Mistake(
            "divided by m − 1",
            "You divided by m − 1. Here the deviation is that of the data at hand, so divide by m "
            "(in torch: correction=0).",
            _Unbiased,
        ),
        Mistake(
            "whole table",
            "You took one mean and deviation for the whole table. Each feature (column) has its own.",
            _WholeTable,
        ),
        Mistake(
            "divided by the variance",
            "You divided by the variance. Divide by the standard deviation, its square root.",
            _Variance,
        ),
        Mistake(
            "constant feature",
            "A feature that never changes has deviation 0, and you divided by it. Replace a deviation of 0 "
            "by 1.",
            _ConstantIgnored,
        ),
        *(
            Mistake(
                f"{added:g} added to the deviation",
                "A feature that never changes has deviation 0. A small number added to it, or in its place, "
                "makes huge values of new data in that feature. Replace a deviation of 0 by 1.",
                type("_Added", (_SmallAdded,), {"added": added}),
            )
            for added in (1e-12, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5)
        ),
        Mistake(
            "constant feature is 0",
            "For a feature that never changed you return 0, whatever the new data are. Store a deviation of "
            "1 for it, and subtract the mean as elsewhere.",
            _ConstantIs,
        ),
        Mistake(
            "not divided",
            "transform subtracts the mean but does not divide by the deviation.",
            _NotDivided,
        ),
        Mistake(
            "inverse divides",
            "inverse_transform divided by the deviation. It undoes a division: multiply.",
            _InverseSwapped,
        ),
        Mistake(
            "inverse subtracts",
            "inverse_transform subtracted the mean. It undoes a subtraction: add.",
            _InverseMinus,
        ),
        Mistake(
            "inverse is transform",
            "inverse_transform does what transform does. Undo it: multiply by the deviation, then add the "
            "mean.",
            _InverseForward,
        ),
        Mistake(
            "inverse without the deviation",
            "inverse_transform added the mean but did not multiply by the deviation.",
            _InverseUnscaled,
        ),
        Mistake(
            "mean not subtracted", "You divided by the deviation but did not subtract the mean.", _NotCentred
        ),
        Mistake(
            "inverse in the wrong order",
            "inverse_transform added the mean before it multiplied by the deviation. Undo the last step "
            "first: multiply, then add.",
            _InverseOrder,
        ),
        Mistake("inverse without the mean", "inverse_transform did not add the mean back.", _InverseNoMean),
    ),
)

# --- condition_number and largest_learning_rate -------------------------------------------------------


def _draw_design(rng: np.random.Generator, number: int) -> Inputs:
    columns = int(rng.integers(2, 5))
    x = rng.normal(size=(int(rng.integers(20, 50)), columns)) * rng.uniform(0.5, 3, columns)
    x += rng.uniform(0.2, 0.8, columns)
    return {"x": x @ (np.eye(columns) + 0.2 * rng.uniform(-1, 1, (columns, columns)))}


def _eigenvalues(x: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(x.mT @ x / len(x))


def _condition(x: Tensor) -> Tensor:
    values = _eigenvalues(x)
    return values[-1] / values[0]


def _condition_of_diagonal(x: Tensor) -> Tensor:
    diagonal = x.square().mean(0)
    return diagonal.max() / diagonal.min()


CONDITION_NUMBER = Check(
    name="condition_number",
    run="kappa = condition_number(x)",
    outputs=("kappa",),
    draw=_draw_design,
    reference=_condition,
    forbidden=SCALERS,
    equivalent={
        "eigenvalues = torch.linalg.eigvalsh(x.T @ x / len(x)) → "
        "eigenvalues = torch.linalg.eigvalsh(x.T @ x * len(x))": (
            "a factor common to all eigenvalues cancels in their ratio"
        ),
    },
    mistakes=(
        Mistake(
            "of x, not of H",
            "That is the ratio of the singular values of x. The loss curves as H = xᵀx/m, whose eigenvalues "
            "are their squares over m.",
            lambda x: _condition(x).sqrt(),
        ),
        Mistake(
            "upside down", "You divided the smallest eigenvalue by the largest.", lambda x: 1 / _condition(x)
        ),
        Mistake(
            "diagonal only",
            "You compared the diagonal entries of H. They are its eigenvalues only where the features are "
            "uncorrelated; compute the eigenvalues.",
            _condition_of_diagonal,
        ),
        Mistake(
            "singular values of H squared",
            "You squared the ratio. The eigenvalues of H are the squares of x's singular values already.",
            lambda x: _condition(x).square(),
        ),
        Mistake(
            "largest alone",
            "That is the largest eigenvalue. The condition number is its ratio to the smallest.",
            lambda x: _eigenvalues(x)[-1],
        ),
        Mistake(
            "of the correlation matrix",
            "That is the condition number after standardizing. H is xᵀx/m for x as it is given.",
            lambda x: _condition((x - x.mean(0)) / x.std(0)),
        ),
        Mistake(
            "scaled",
            "You divided by each feature's deviation first. H is xᵀx/m for x as it is given.",
            lambda x: _condition(x / x.std(0)),
        ),
        Mistake(
            "difference",
            "You subtracted the smallest eigenvalue from the largest. Divide.",
            lambda x: _eigenvalues(x)[-1] - _eigenvalues(x)[0],
        ),
        Mistake(
            "second smallest",
            "You divided by the second eigenvalue. The first is the smallest.",
            lambda x: _eigenvalues(x)[-1] / _eigenvalues(x)[1] if x.shape[1] > 2 else 1 / _condition(x),
        ),
        Mistake(
            "centred",
            "You subtracted the mean of each feature first. H is xᵀx/m for x as it is given.",
            lambda x: _condition(x - x.mean(0)),
        ),
    ),
)

LARGEST_LEARNING_RATE = Check(
    name="largest_learning_rate",
    run="bound = largest_learning_rate(x)",
    outputs=("bound",),
    draw=_draw_design,
    reference=lambda x: 2 / _eigenvalues(x)[-1],
    forbidden=SCALERS,
    mistakes=(
        Mistake(
            "half of it",
            "1/λ_max is safe, but not the bound: |1 − ηλ| < 1 holds up to η = 2/λ_max.",
            lambda x: 1 / _eigenvalues(x)[-1],
        ),
        Mistake(
            "smallest eigenvalue",
            "You used the smallest eigenvalue. The steepest direction diverges first: use the largest.",
            lambda x: 2 / _eigenvalues(x)[0],
        ),
        Mistake(
            "sum, not mean",
            "You left out the 1/m of H = xᵀx/m: the loss is a mean over the examples.",
            lambda x: 2 / (_eigenvalues(x)[-1] * len(x)),
        ),
        Mistake(
            "from singular values of x",
            "You used the largest singular value of x (or the root of λ_max). η is bounded by 2/λ_max of H "
            "= xᵀx/m.",
            lambda x: 2 / _eigenvalues(x)[-1].sqrt(),
        ),
        Mistake(
            "singular value of x",
            "You used the largest singular value of x. η is bounded by 2/λ_max of H = xᵀx/m.",
            lambda x: 2 / torch.linalg.matrix_norm(x, 2),
        ),
        Mistake(
            "upside down",
            "You returned λ_max/2. The bound is its inverse, 2/λ_max.",
            lambda x: _eigenvalues(x)[-1] / 2,
        ),
        Mistake(
            "λ_max",
            "You returned λ_max. |1 − ηλ| < 1 holds up to η = 2/λ_max.",
            lambda x: _eigenvalues(x)[-1],
        ),
        Mistake(
            "smallest eigenvalue, half",
            "You used the smallest eigenvalue. The steepest direction diverges first: use the largest.",
            lambda x: 1 / _eigenvalues(x)[0],
        ),
        Mistake(
            "centred",
            "You subtracted the mean of each feature first. H is xᵀx/m for x as it is given.",
            lambda x: 2 / _eigenvalues(x - x.mean(0))[-1],
        ),
        Mistake(
            "m − 1",
            "You divided xᵀx by m − 1. The loss is a mean over the m examples.",
            lambda x: 2 / _eigenvalues(x)[-1] * (len(x) - 1) / len(x),
        ),
        Mistake(
            "diagonal",
            "You took the largest diagonal entry of H. It is an eigenvalue only where features are "
            "uncorrelated.",
            lambda x: 2 / x.square().mean(0).max(),
        ),
        Mistake(
            "trace",
            "You divided by the sum of the eigenvalues (the trace). The bound is set by the largest alone.",
            lambda x: 2 / _eigenvalues(x).sum(),
        ),
        Mistake(
            "sum of both ends",
            "2/(λ_max + λ_min) is the fastest fixed step, not the largest stable one.",
            lambda x: 2 / (_eigenvalues(x)[-1] + _eigenvalues(x)[0]),
        ),
    ),
)

# --- weights_in_original_units ------------------------------------------------------------------------


def _draw_weights(rng: np.random.Generator, number: int) -> Inputs:
    columns = int(rng.integers(2, 6))
    return {
        # of one size: who finds the weights by trying the function subtracts numbers of the bias's size
        "weight": rng.uniform(0.5, 2, columns) * rng.choice([-1, 1], columns),
        "bias": np.asarray(rng.normal()),
        "mean": rng.normal(size=columns),
        "std": rng.uniform(0.4, 2, columns),
    }


def _original_units(weight: Tensor, bias: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    return weight / std, bias - (weight * mean / std).sum()


WEIGHTS_IN_ORIGINAL_UNITS = Check(
    name="weights_in_original_units",
    run="raw_weight, raw_bias = weights_in_original_units(weight, bias, mean, std)",
    outputs=("raw_weight", "raw_bias"),
    draw=_draw_weights,
    reference=_original_units,
    forbidden=SCALERS,
    mistakes=(
        Mistake(
            "bias unchanged",
            "The weights are right for x. But subtracting the means also moves the bias, by −Σ w·μ/σ.",
            lambda weight, bias, mean, std: (weight / std, bias),
        ),
        Mistake(
            "multiplied",
            "You multiplied the weights by σ. With z = (x − μ)/σ, w·z = (w/σ)·(x − μ): divide.",
            lambda weight, bias, mean, std: (weight * std, bias - (weight * mean * std).sum()),
        ),
        Mistake(
            "sign of the bias",
            "You added Σ w·μ/σ to the bias. The mean is subtracted from x, so the term is subtracted.",
            lambda weight, bias, mean, std: (weight / std, bias + (weight * mean / std).sum()),
        ),
        Mistake(
            "bias not scaled",
            "In the bias you used Σ w·μ. The mean is divided by σ too: Σ w·μ/σ.",
            lambda weight, bias, mean, std: (weight / std, bias - (weight * mean).sum()),
        ),
        Mistake(
            "bias multiplied",
            "The weights are right. In the bias you multiplied by σ: it is b − Σ w·μ/σ.",
            lambda weight, bias, mean, std: (weight / std, bias - (weight * mean * std).sum()),
        ),
        Mistake(
            "weights multiplied alone",
            "You multiplied the weights by σ. With z = (x − μ)/σ, w·z = (w/σ)·(x − μ): divide. The bias is "
            "right.",
            lambda weight, bias, mean, std: (weight * std, bias - (weight * mean / std).sum()),
        ),
        Mistake(
            "weights unchanged",
            "You did not divide the weights by σ. The bias is right.",
            lambda weight, bias, mean, std: (weight, bias - (weight * mean / std).sum()),
        ),
        Mistake(
            "not scaled at all",
            "You did not divide by σ, neither the weights nor, in the bias, the mean.",
            lambda weight, bias, mean, std: (weight, bias - (weight * mean).sum()),
        ),
        Mistake(
            "nothing changed",
            "You changed nothing. x is (m, d) in its own units: divide the weights by σ, and move the bias.",
            lambda weight, bias, mean, std: (weight, bias),
        ),
        Mistake(
            "bias by the plain means",
            "In the bias you left the weights out: it is b − Σ w·μ/σ.",
            lambda weight, bias, mean, std: (weight / std, bias - (mean / std).sum()),
        ),
        Mistake(
            "bias is a mean",
            "In the bias you averaged. It is the sum over the features: b − Σ w·μ/σ.",
            lambda weight, bias, mean, std: (weight / std, bias - (weight * mean / std).mean()),
        ),
        Mistake(
            "bias not summed",
            "You did not sum over the features: the bias is one number, b − Σ w·μ/σ.",
            lambda weight, bias, mean, std: (weight / std, bias - weight * mean / std),
        ),
        Mistake(
            "bias dropped",
            "You dropped the bias itself: it is b − Σ w·μ/σ.",
            lambda weight, bias, mean, std: (weight / std, -(weight * mean / std).sum()),
        ),
        Mistake(
            "bias scaled twice",
            "You used weights that were already divided by σ and divided by σ again.",
            lambda weight, bias, mean, std: (weight / std, bias - (weight * mean / std**2).sum()),
        ),
    ),
)

PROBLEM_SET = ProblemSet(
    "ps01",
    [MIN_MAX_SCALE, STANDARDIZER, CONDITION_NUMBER, LARGEST_LEARNING_RATE, WEIGHTS_IN_ORIGINAL_UNITS],
)
check, hidden_check = VisibleCheck(PROBLEM_SET), HiddenCheck(PROBLEM_SET)
