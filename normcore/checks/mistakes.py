"""Mistakes that learners make wherever a line of batch norm stands, and the hints for them.

Each is declared once, for every task.

A task's plain solution has these lines; a mistake is an edit of one of them:

    mean, var = x.mean(0, keepdim=True), x.var(0, correction=0, keepdim=True)
    x_hat = (x - mean) / (var + eps).sqrt()
    y = gamma * x_hat + beta
    new_mean = (1 - momentum) * running_mean + momentum * x.mean(0)
    new_var = (1 - momentum) * running_var + momentum * x.var(0)
    dgamma, dbeta = (dy * x_hat).sum(0), dy.sum(0)
"""

from normcore.checks.slips import Slip

__all__ = [
    "AFFINE",
    "AVERAGES",
    "AXES",
    "BATCH",
    "COMMONEST",
    "DETACHED",
    "GAMMA_BETA_SWAPPED",
    "GRADIENTS",
    "STATISTICS",
    "WRONG_AXIS",
]

NO_EPS = (
    "eps is missing, or a number of your own stands in its place. Add the argument eps to the variance, "
    "under the root: √(σ² + ε)."
)

# The six commonest wrong batch norms.
COMMONEST = (
    Slip("eps left out", "(var + eps) → (var)", NO_EPS),
    Slip("divided by the variance", "(var + eps).sqrt() → (var + eps)",
         "You divided by the variance. Divide by its square root, √(σ² + ε)."),
    Slip("deviation plus eps", "correction=0 → correction=1; (var + eps).sqrt() → (var.sqrt() + eps)",
         "Two things at once: x.std() divides by m − 1, and you added eps to the deviation. Batch norm "
         "divides by √(σ² + ε), with the σ² that divides by m (in torch: correction=0)."),
    Slip("not centred", "(x - mean) / → x /", "You divided by the deviation but did not subtract the mean."),
    Slip("wrong axis", "x.mean(0, → x.mean(1,; x.var(0, → x.var(1,",
         "You averaged over the features of each example (dimension 1). Batch norm averages each feature "
         "over the batch, dimension 0."),
    Slip("gamma and beta swapped", "gamma * x_hat + beta → beta * x_hat + gamma",
         "You swapped gamma and beta: gamma multiplies, beta is added."),
)  # fmt: skip
EPS_LEFT_OUT, BY_THE_VARIANCE, DEVIATION_PLUS_EPS, NOT_CENTRED, WRONG_AXIS, GAMMA_BETA_SWAPPED = COMMONEST

STATISTICS = (
    Slip("unbiased variance", "correction=0 → correction=1",
         "You divided by m − 1. A batch is normalized by its own variance, the mean of (x − μ)²: divide by "
         "m (in torch: correction=0)."),
    Slip("eps outside the root", "(var + eps).sqrt() → (var.sqrt() + eps)",
         "You added eps to the standard deviation. It belongs under the root, next to the variance: √(σ² + "
         "ε)."),
    DEVIATION_PLUS_EPS,
    Slip("deviation alone", "correction=0 → correction=1; (var + eps).sqrt() → var.sqrt()",
         "Two things at once: x.std() divides by m − 1, and eps is missing. Batch norm divides by √(σ² + "
         "ε), with the σ² that divides by m (in torch: correction=0)."),
    BY_THE_VARIANCE,
    EPS_LEFT_OUT,
    Slip("eps is 1e-5", "(var + eps) → (var + 1e-5)", NO_EPS),
    Slip("eps is 1e-3", "(var + eps) → (var + 1e-3)", NO_EPS),
    Slip("eps subtracted", "(var + eps) → (var - eps)",
         "You subtracted eps. It is added to the variance, under the root: √(σ² + ε)."),
    NOT_CENTRED,
    Slip("not scaled", " / (var + eps).sqrt() → ",
         "You subtracted the mean but did not divide by √(σ² + ε)."),
    Slip("multiplied by the deviation", "(x - mean) / → (x - mean) * ",
         "You multiplied by √(σ² + ε). Divide by it."),
)  # fmt: skip

AXES = (
    WRONG_AXIS,
    Slip("whole table", "x.mean(0, → x.mean((0, 1),; x.var(0, → x.var((0, 1),",
         "You used one mean and variance for the whole table. Each feature has its own: average over the "
         "batch, dimension 0."),
)  # fmt: skip

AFFINE = (
    Slip("no affine step", "gamma * x_hat + beta → x_hat",
         "You returned x̂. The last step is missing: multiply by gamma and add beta."),
    GAMMA_BETA_SWAPPED,
    Slip("shifted first", "gamma * x_hat + beta → gamma * (x_hat + beta)",
         "You added beta before you multiplied by gamma. The order is γ·x̂ + β."),
    Slip("gamma left out", "gamma * x_hat + beta → x_hat + beta", "You left gamma out: y = γ·x̂ + β."),
    Slip("beta left out", "gamma * x_hat + beta → gamma * x_hat", "You left beta out: y = γ·x̂ + β."),
    Slip("beta subtracted", "gamma * x_hat + beta → gamma * x_hat - beta",
         "You subtracted beta. It is added: y = γ·x̂ + β."),
    Slip("divided by gamma", "gamma * x_hat + beta → x_hat / gamma + beta",
         "You divided by gamma. It multiplies: y = γ·x̂ + β."),
)  # fmt: skip

CUT = (
    "The output is right, but the gradient to x is not: you cut the {} off from the graph (detach(), "
    "no_grad(), .data or a number). The statistics depend on x, and the gradient comes back through them."
)
DETACHED = (
    Slip("statistics detached", "(x - mean) / → (x - mean.detach()) /; (var + eps) → (var.detach() + eps)",
         CUT.format("mean and the variance")),
    Slip("mean detached", "(x - mean) / → (x - mean.detach()) /", CUT.format("mean")),
    Slip("variance detached", "(var + eps) → (var.detach() + eps)", CUT.format("variance")),
)  # fmt: skip

BATCHS_OWN = (
    "These are the batch's own statistics. A running average keeps part of its old value: "
    "(1 − momentum)·old + momentum·batch."
)
AVERAGES = (
    Slip("standard deviation in the running average", "momentum * x.var(0) → momentum * x.std(0)",
         "You averaged the standard deviation into running_var. It is an average of variances; the root is "
         "taken when it is used."),
    Slip("biased running variance", "momentum * x.var(0) → momentum * x.var(0, correction=0)",
         "You stored the variance that divides by m. The running variance estimates that of the data, so "
         "it stores m/(m−1) times it (in torch: correction=1)."),
    Slip("eps in the running variance", "momentum * x.var(0) → momentum * (x.var(0) + eps)",
         "You stored the variance with eps. eps is added when the variance is used, not when it is stored."),
    Slip("corrected twice", "momentum * x.var(0) → momentum * (x.var(0) * len(x) / (len(x) - 1))",
         "You corrected the running variance twice: torch's var() divides by m − 1 already, unless you "
         "give it correction=0."),
    Slip("momentum reversed",
         "(1 - momentum) * → momentum_ *; + momentum * → + (1 - momentum) *; momentum_ → momentum",
         "You used momentum as the weight of the old value. In PyTorch's convention it is the weight of "
         "the new one: (1 − momentum)·old + momentum·batch."),
    Slip("momentum reversed for the variance",
         "(1 - momentum) * running_var + momentum * → momentum * running_var + (1 - momentum) *",
         "In the running variance you used momentum as the weight of the old value. It is that of the new "
         "one."),
    Slip("momentum reversed for the mean",
         "(1 - momentum) * running_mean + momentum * → momentum * running_mean + (1 - momentum) *",
         "In the running mean you used momentum as the weight of the old value. It is that of the new one."),
    Slip("momentum is 0.1", "(1 - momentum) * → 0.9 *; + momentum * → + 0.1 *",
         "You took 0.1 for momentum, torch's default. It is given: use the argument."),
    Slip("averages do not move",
         "(1 - momentum) * running_mean + momentum * x.mean(0) → running_mean; "
         "(1 - momentum) * running_var + momentum * x.var(0) → running_var",
         "The running averages do not move. Each step moves them towards the batch's statistics."),
    Slip("running variance does not move", "(1 - momentum) * running_var + momentum * x.var(0) → running_var",
         "The running variance does not move. Each step moves it towards the batch's variance, as the mean."),
    Slip("running mean does not move", "(1 - momentum) * running_mean + momentum * x.mean(0) → running_mean",
         "The running mean does not move. Each step moves it towards the batch's mean."),
    Slip("batch statistics in place of the averages",
         "(1 - momentum) * running_mean + momentum * x.mean(0) → x.mean(0); "
         "(1 - momentum) * running_var + momentum * x.var(0) → x.var(0)",
         BATCHS_OWN),
    Slip("biased batch statistics in place of the averages",
         "(1 - momentum) * running_mean + momentum * x.mean(0) → x.mean(0); "
         "(1 - momentum) * running_var + momentum * x.var(0) → x.var(0, correction=0)",
         BATCHS_OWN),
    Slip("old value not scaled down",
         "(1 - momentum) * running_mean → running_mean; (1 - momentum) * running_var → running_var",
         "You added momentum times the batch's statistics to the whole of the old value. The old value is "
         "multiplied by 1 − momentum."),
)  # fmt: skip

# Of the parameters, in a backward pass.
SUM_NOT_MEAN = (
    "You took the mean over the batch for a parameter's gradient. Every example uses the parameter, so its "
    "gradient is the sum."
)
GRADIENTS = (
    Slip("mean instead of sum", "= (dy * x_hat).sum(0), dy.sum(0) → = (dy * x_hat).mean(0), dy.mean(0)",
         SUM_NOT_MEAN),
    Slip("mean for dgamma", "= (dy * x_hat).sum(0) → = (dy * x_hat).mean(0)", SUM_NOT_MEAN),
    Slip("mean for dbeta", ", dy.sum(0)\n → , dy.mean(0)\n", SUM_NOT_MEAN),
    Slip("over the features", "= (dy * x_hat).sum(0), dy.sum(0) → = (dy * x_hat).sum(1), dy.sum(1)",
         "You summed over the features (dimension 1). A parameter of a feature is shared by the batch."),
    Slip("dgamma without x̂", "= (dy * x_hat).sum(0) → = dy.sum(0)",
         "Your dgamma is the sum of dy. γ multiplies x̂, so its gradient is the sum of dy·x̂."),
    Slip("γ in dgamma", "= (dy * x_hat).sum(0) → = (dy * x_hat * gamma).sum(0)",
         "Your dgamma has γ in it. γ multiplies x̂, so its gradient is the sum of dy·x̂."),
    Slip("dgamma not summed", "= (dy * x_hat).sum(0) → = dy * x_hat",
         "You did not sum dgamma over the batch. γ has one entry a feature, and so has its gradient."),
    Slip("not summed", "= (dy * x_hat).sum(0), dy.sum(0) → = dy * x_hat, dy",
         "You did not sum over the batch. γ and β have one entry a feature, and so have their gradients."),
    Slip("swapped", ", dgamma, dbeta\n → , dbeta, dgamma\n",
         "You returned dgamma and dbeta in each other's place."),
)  # fmt: skip

# What holds in every task that normalizes a batch x of shape (m, features).
BATCH = (*STATISTICS, *AXES, *AFFINE, *DETACHED)
