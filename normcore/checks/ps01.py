"""PS01, Scaling inputs: the checks of its tasks."""

import numpy as np
import torch

from normcore.checks.answers import answer
from normcore.checks.catalogue import ProblemSet
from normcore.checks.check import Check, Inputs
from normcore.checks.forbidden import SCALERS
from normcore.checks.notebook import HiddenCheck, VisibleCheck
from normcore.checks.slips import Slip, slips
from normcore.scaling import MinMaxScaler, StandardScaler

# --- min_max_scale ------------------------------------------------------------------------------------


def _table(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Columns whose locations and ranges lie orders of magnitude apart, as in real tables."""
    scale = 10 ** rng.uniform(-1, 3, columns)
    return (rng.normal(size=(rows, columns)) + rng.uniform(-3, 3, columns)) * scale


def _draw_min_max(rng: np.random.Generator, number: int) -> Inputs:
    x = _table(rng, int(rng.integers(4, 30)), int(rng.integers(2, 6)))
    x[:, rng.integers(x.shape[1])] = rng.integers(2, 9) * rng.choice([-1, 1])  # a constant feature
    return {"x": x, "low": rng.uniform(-3, -0.5), "high": rng.uniform(0.5, 3)}


@answer
def _min_max_scale(x, low, high):
    smallest, largest = x.amin(0), x.amax(0)
    extent = largest - smallest
    extent = torch.where(extent == 0, torch.ones_like(extent), extent)
    return low + (x - smallest) / extent * (high - low)


def _min_max_reference(x, low, high):
    return low + MinMaxScaler().fit_transform(x) * (high - low)


CONSTANT = "Your values are right but for the feature that never changes. Return low for it."
MIN_MAX_SLIPS = (
    Slip("whole table", "x.amin(0), x.amax(0) → x.amin(), x.amax()",
         "You took one minimum and one maximum for the whole table. Each feature (column) has its own."),
    Slip("rows", "x.amin(0), x.amax(0) → x.amin(1, keepdim=True), x.amax(1, keepdim=True)",
         "You took the minimum and maximum of each row. A row is one example; its entries have different "
         "units. Reduce over the examples, dimension 0."),
    Slip("unit range", "return low + → return ;  * (high - low) → ",
         "Your values lie in [0, 1]. Stretch that by (high − low) and move it to start at low."),
    Slip("low not added", "return low + → return ",
         "You stretched to the width (high − low) but did not add low, so the range starts at 0."),
    Slip("width is high", "(high - low) → high",
         "You multiplied by high. The width of the new range is (high − low)."),
    Slip("constant feature", "torch.where(extent == 0, torch.ones_like(extent), extent) → extent",
         "A feature that never changes gives 0/0. Return low for it: replace a range of 0 by 1."),
    Slip("small number added", "torch.where(extent == 0, torch.ones_like(extent), extent) → extent + 1e-3",
         "You added a small number to every range, so no value is right. Replace a range of 0 by 1, and "
         "leave the others as they are."),
    Slip("half the width", "(high - low) → (high - low) / 2",
         "You stretched to half the width. The width of the new range is (high − low)."),
    Slip("constant feature is 0",
         "return low → y = low; "
         "(high - low)\n → "
         "(high - low)\n    return torch.where(largest == smallest, torch.zeros_like(x), y)\n",
         CONSTANT),
    Slip("constant feature is high",
         "return low → y = low; "
         "(high - low)\n → "
         "(high - low)\n    return torch.where(largest == smallest, torch.full_like(x, high), y)\n",
         CONSTANT),
    Slip("constant feature as it is",
         "return low → y = low; "
         "(high - low)\n → (high - low)\n    return torch.where(largest == smallest, x, y)\n",
         CONSTANT),
    Slip("constant feature in the middle",
         "return low → y = low; "
         "(high - low)\n → "
         "(high - low)\n    return torch.where(largest == smallest, 0 * x + (low + high) / 2, y)\n",
         CONSTANT),
    Slip("upside down", "(x - smallest) → (largest - x)",
         "You measured from the maximum: your largest value becomes low. Subtract the minimum."),
    Slip("low and high swapped", "return low + → return high +; (high - low) → (low - high)",
         "You swapped low and high: the smallest value becomes low, the largest high."),
    Slip("minimum not subtracted", "(x - smallest) → x",
         "You divided by the range but did not subtract the minimum first."),
    Slip("width is the sum", "(high - low) → (high + low)",
         "You multiplied by (high + low). The width of the new range is (high − low)."),
    Slip("standardized", "extent = largest - smallest → extent = x.std(0)",
         "You divided by the standard deviation. Min–max scaling divides by the range, maximum minus "
         "minimum."),
    Slip("mean normalization", "(x - smallest) → (x - x.mean(0))",
         "You subtracted the mean. That is mean normalization; min–max scaling subtracts the minimum."),
    Slip("divided by the maximum", "extent = largest - smallest → extent = largest",
         "You divided by the maximum. Divide by the range, the maximum minus the minimum."),
)  # fmt: skip
MIN_MAX_SCALE = Check(
    name="min_max_scale",
    run="y = min_max_scale(x, low, high)",
    outputs=("y",),
    draw=_draw_min_max,
    reference=_min_max_reference,
    forbidden=SCALERS,
    equivalent={
        "extent = torch.where(extent == 0, 1, extent) → extent = torch.where(extent == 0, 2, extent)": (
            "a constant feature's numerator is 0, so any divisor but 0 gives low"
        ),
        "extent = torch.where(extent == 0, 1, extent) → extent = torch.where(extent <= 0, 1, extent)": (
            "no range is below 0"
        ),
    },
    mistakes=slips(_min_max_scale, MIN_MAX_SLIPS),
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


@answer
class _Standardizer:
    def fit(self, x):
        self.mean, std = x.mean(0), x.std(0, correction=0)
        self.std = torch.where(std == 0, torch.ones_like(std), std)

    def transform(self, x):
        return (x - self.mean) / self.std

    def inverse_transform(self, z):
        return z * self.std + self.mean


STANDARDIZER_SLIPS = (
    Slip("fitted to new data", "return (x - → self.fit(x)\n        return (x -",
         "transform computed its own mean and deviation from the data it was given. It must use those that "
         "fit stored: otherwise new data is scaled differently from the training data, and a shift between "
         "them is hidden from the model."),
    Slip("divided by m − 1", "correction=0 → correction=1",
         "You divided by m − 1. Here the deviation is that of the data at hand, so divide by m (in torch: "
         "correction=0)."),
    Slip("whole table", "x.mean(0), x.std(0, → x.mean(), x.std(",
         "You took one mean and deviation for the whole table. Each feature (column) has its own."),
    Slip("divided by the variance", "x.std(0 → x.var(0",
         "You divided by the variance. Divide by the standard deviation, its square root."),
    Slip("constant feature", "torch.where(std == 0, torch.ones_like(std), std) → std",
         "A feature that never changes has deviation 0, and you divided by it. Replace a deviation of 0 by "
         "1."),
    Slip("constant feature is 0",
         "self.std = torch → self.flat = std == 0\n        self.std = torch; "
         "return (x - self.mean) / self.std → "
         "return torch.where(self.flat, torch.zeros_like(x), (x - self.mean) / self.std)",
         "For a feature that never changed you return 0, whatever the new data are. Store a deviation of 1 "
         "for it, and subtract the mean as elsewhere."),
    Slip("not divided", "(x - self.mean) / self.std → x - self.mean",
         "transform subtracts the mean but does not divide by the deviation."),
    Slip("inverse divides", "z * self.std → z / self.std",
         "inverse_transform divided by the deviation. It undoes a division: multiply."),
    Slip("inverse subtracts", "self.std + self.mean → self.std - self.mean",
         "inverse_transform subtracted the mean. It undoes a subtraction: add."),
    Slip("inverse is transform", "return z * self.std + self.mean → return self.transform(z)",
         "inverse_transform does what transform does. Undo it: multiply by the deviation, then add the "
         "mean."),
    Slip("inverse without the deviation", "z * self.std + → z +",
         "inverse_transform added the mean but did not multiply by the deviation."),
    Slip("mean not subtracted", "(x - self.mean) / → x /",
         "You divided by the deviation but did not subtract the mean."),
    Slip("inverse in the wrong order", "z * self.std + self.mean → (z + self.mean) * self.std",
         "inverse_transform added the mean before it multiplied by the deviation. Undo the last step "
         "first: multiply, then add."),
    Slip("inverse without the mean", "self.std + self.mean → self.std",
         "inverse_transform did not add the mean back."),
)  # fmt: skip
SMALL_ADDED = tuple(
    Slip(
        f"{small} added to the deviation",
        f"torch.where(std == 0, torch.ones_like(std), std) → std + {small}",
        "A feature that never changes has deviation 0. A small number added to it, or in its place, makes "
        "huge values of new data in that feature. Replace a deviation of 0 by 1.",
    )
    for small in ("1e-12", "1e-10", "1e-09", "1e-08", "1e-07", "1e-06", "1e-05")
)
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
    reference=StandardScaler,
    forbidden=SCALERS,
    equivalent={
        "self.std = torch.where(std == 0, 1, std) → self.std = torch.where(std <= 0, 1, std)": (
            "no deviation is below 0"
        ),
    },
    mistakes=slips(_Standardizer, (*STANDARDIZER_SLIPS, *SMALL_ADDED)),
)

# --- condition_number and largest_learning_rate -------------------------------------------------------


def _draw_design(rng: np.random.Generator, number: int) -> Inputs:
    columns = int(rng.integers(2, 5))
    x = rng.normal(size=(int(rng.integers(20, 50)), columns)) * rng.uniform(0.5, 3, columns)
    x += rng.uniform(0.2, 0.8, columns)
    return {"x": x @ (np.eye(columns) + 0.2 * rng.uniform(-1, 1, (columns, columns)))}


@answer
def _condition_number(x):
    values = torch.linalg.eigvalsh(x.mT @ x / len(x))
    return values[-1] / values[0]


@answer
def _condition_reference(x):
    values = torch.linalg.svdvals(x)
    return (values[0] / values[-1]).square()


AS_GIVEN = "H is xᵀx/m for x as it is given."
CONDITION_SLIPS = (
    Slip("of x, not of H", "values[-1] / values[0] → (values[-1] / values[0]).sqrt()",
         "That is the ratio of the singular values of x. The loss curves as H = xᵀx/m, whose eigenvalues "
         "are their squares over m."),
    Slip("upside down", "values[-1] / values[0] → values[0] / values[-1]",
         "You divided the smallest eigenvalue by the largest."),
    Slip("diagonal only", "torch.linalg.eigvalsh(x.mT @ x / len(x)) → x.square().mean(0).sort().values",
         "You compared the diagonal entries of H. They are its eigenvalues only where the features are "
         "uncorrelated; compute the eigenvalues."),
    Slip("singular values of H squared", "values[-1] / values[0] → (values[-1] / values[0]).square()",
         "You squared the ratio. The eigenvalues of H are the squares of x's singular values already."),
    Slip("largest alone", "values[-1] / values[0] → values[-1]",
         "That is the largest eigenvalue. The condition number is its ratio to the smallest."),
    Slip("of the correlation matrix", "values = → x = (x - x.mean(0)) / x.std(0)\n    values =",
         f"That is the condition number after standardizing. {AS_GIVEN}"),
    Slip("scaled", "values = → x = x / x.std(0)\n    values =",
         f"You divided by each feature's deviation first. {AS_GIVEN}"),
    Slip("difference", "values[-1] / values[0] → values[-1] - values[0]",
         "You subtracted the smallest eigenvalue from the largest. Divide."),
    Slip("second smallest", "values[0] → values[1]",
         "You divided by the second eigenvalue. The first is the smallest."),
    Slip("centred", "values = → x = x - x.mean(0)\n    values =",
         f"You subtracted the mean of each feature first. {AS_GIVEN}"),
)  # fmt: skip
CONDITION_NUMBER = Check(
    name="condition_number",
    run="kappa = condition_number(x)",
    outputs=("kappa",),
    draw=_draw_design,
    reference=_condition_reference,
    forbidden=SCALERS,
    equivalent={
        "eigenvalues = torch.linalg.eigvalsh(x.T @ x / len(x)) → "
        "eigenvalues = torch.linalg.eigvalsh(x.T @ x * len(x))": (
            "a factor common to all eigenvalues cancels in their ratio"
        ),
    },
    mistakes=slips(_condition_number, CONDITION_SLIPS),
)


@answer
def _largest_learning_rate(x):
    values = torch.linalg.eigvalsh(x.mT @ x / len(x))
    return 2 / values[-1]


@answer
def _rate_reference(x):
    return 2 * len(x) / torch.linalg.matrix_norm(x, 2).square()


SMALLEST = "You used the smallest eigenvalue. The steepest direction diverges first: use the largest."
LEARNING_RATE_SLIPS = (
    Slip("half of it", "2 / → 1 /",
         "1/λ_max is safe, but not the bound: |1 − ηλ| < 1 holds up to η = 2/λ_max."),
    Slip("smallest eigenvalue", "values[-1] → values[0]", SMALLEST),
    Slip("sum, not mean", "x / len(x) → x",
         "You left out the 1/m of H = xᵀx/m: the loss is a mean over the examples."),
    Slip("from singular values of x", "values[-1] → values[-1].sqrt()",
         "You used the largest singular value of x (or the root of λ_max). η is bounded by 2/λ_max of H = "
         "xᵀx/m."),
    Slip("singular value of x", "values[-1] → torch.linalg.matrix_norm(x, 2)",
         "You used the largest singular value of x. η is bounded by 2/λ_max of H = xᵀx/m."),
    Slip("upside down", "2 / values[-1] → values[-1] / 2",
         "You returned λ_max/2. The bound is its inverse, 2/λ_max."),
    Slip("λ_max", "2 / values[-1] → values[-1]", "You returned λ_max. |1 − ηλ| < 1 holds up to η = 2/λ_max."),
    Slip("smallest eigenvalue, half", "2 / values[-1] → 1 / values[0]", SMALLEST),
    Slip("centred", "values = → x = x - x.mean(0)\n    values =",
         f"You subtracted the mean of each feature first. {AS_GIVEN}"),
    Slip("m − 1", "len(x) → (len(x) - 1)",
         "You divided xᵀx by m − 1. The loss is a mean over the m examples."),
    Slip("diagonal", "values[-1] → x.square().mean(0).max()",
         "You took the largest diagonal entry of H. It is an eigenvalue only where features are "
         "uncorrelated."),
    Slip("matrix norm", "values[-1] → values.norm()",
         "You divided by the norm of H, which counts all eigenvalues. The bound is set by the largest "
         "alone."),
    Slip("number of features", "/ len(x) → / x.shape[1]",
         "You divided xᵀx by the number of features. The loss is a mean over the m examples."),
    Slip("trace", "values[-1] → values.sum()",
         "You divided by the sum of the eigenvalues (the trace). The bound is set by the largest alone."),
    Slip("sum of both ends", "values[-1] → (values[-1] + values[0])",
         "2/(λ_max + λ_min) is the fastest fixed step, not the largest stable one."),
)  # fmt: skip
LARGEST_LEARNING_RATE = Check(
    name="largest_learning_rate",
    run="bound = largest_learning_rate(x)",
    outputs=("bound",),
    draw=_draw_design,
    reference=_rate_reference,
    forbidden=SCALERS,
    mistakes=slips(_largest_learning_rate, LEARNING_RATE_SLIPS),
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


@answer
def _weights_in_original_units(weight, bias, mean, std):
    return weight / std, bias - (weight * mean / std).sum()


@answer
def _units_reference(weight, bias, mean, std):
    """z = D⁻¹ (x − μ), so w·z + b = (D⁻¹ w)·x + (b − (D⁻¹ w)·μ)."""
    raw_weight = torch.linalg.solve(torch.diag(std), weight)
    return raw_weight, bias - torch.dot(raw_weight, mean)


UNITS_SLIPS = (
    Slip("bias unchanged", "bias - (weight * mean / std).sum() → bias",
         "The weights are right for x. But subtracting the means also moves the bias, by −Σ w·μ/σ."),
    Slip("multiplied", "weight / std → weight * std; mean / std → mean * std",
         "You multiplied the weights by σ. With z = (x − μ)/σ, w·z = (w/σ)·(x − μ): divide."),
    Slip("sign of the bias", "bias - → bias +",
         "You added Σ w·μ/σ to the bias. The mean is subtracted from x, so the term is subtracted."),
    Slip("bias not scaled", "mean / std → mean",
         "In the bias you used Σ w·μ. The mean is divided by σ too: Σ w·μ/σ."),
    Slip("bias multiplied", "mean / std → mean * std",
         "The weights are right. In the bias you multiplied by σ: it is b − Σ w·μ/σ."),
    Slip("weights multiplied alone", "weight / std → weight * std",
         "You multiplied the weights by σ. With z = (x − μ)/σ, w·z = (w/σ)·(x − μ): divide. The bias is "
         "right."),
    Slip("weights unchanged", "weight / std → weight",
         "You did not divide the weights by σ. The bias is right."),
    Slip("not scaled at all", "weight / std → weight; mean / std → mean",
         "You did not divide by σ, neither the weights nor, in the bias, the mean."),
    Slip("nothing changed", "weight / std, bias - (weight * mean / std).sum() → weight, bias",
         "You changed nothing. x is (m, d) in its own units: divide the weights by σ, and move the bias."),
    Slip("bias by the plain means", "weight * mean → mean",
         "In the bias you left the weights out: it is b − Σ w·μ/σ."),
    Slip("bias is a mean", ".sum() → .mean()",
         "In the bias you averaged. It is the sum over the features: b − Σ w·μ/σ."),
    Slip("bias not summed", ".sum() → ",
         "You did not sum over the features: the bias is one number, b − Σ w·μ/σ."),
    Slip("bias dropped", "bias - → -", "You dropped the bias itself: it is b − Σ w·μ/σ."),
    Slip("bias scaled twice", "mean / std → mean / std**2",
         "You used weights that were already divided by σ and divided by σ again."),
)  # fmt: skip
WEIGHTS_IN_ORIGINAL_UNITS = Check(
    name="weights_in_original_units",
    run="raw_weight, raw_bias = weights_in_original_units(weight, bias, mean, std)",
    outputs=("raw_weight", "raw_bias"),
    draw=_draw_weights,
    reference=_units_reference,
    forbidden=SCALERS,
    mistakes=slips(_weights_in_original_units, UNITS_SLIPS),
)

PROBLEM_SET = ProblemSet(
    "ps01",
    [MIN_MAX_SCALE, STANDARDIZER, CONDITION_NUMBER, LARGEST_LEARNING_RATE, WEIGHTS_IN_ORIGINAL_UNITS],
)
check, hidden_check = VisibleCheck(PROBLEM_SET), HiddenCheck(PROBLEM_SET)
