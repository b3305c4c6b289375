"""What does the task is seen by any road; what does not is let through."""

import pytest
import torch
from torch.autograd import forward_ad

from normcore.checks.catalogue import HIDDEN_CASES
from normcore.checks.notebook import attempt
from tests.checks.problem_sets import check_of


def _forward(x, gamma, beta, eps):
    c = x - x.mean(0)
    return gamma * c / (c.square().mean(0) + eps).sqrt() + beta


def _dual(dy, x, gamma, eps):
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones_like(x))
        return forward_ad.unpack_dual(_forward(dual, gamma, 0, eps)).tangent, gamma, gamma


def _backward(dy, x, gamma, eps):
    x.requires_grad_()
    _forward(x, gamma, 0, eps).backward(dy)
    return x.grad, gamma, gamma


DERIVATIVES = {
    "backward": _backward,
    "grad": lambda dy, x, gamma, eps: (
        *torch.autograd.grad(_forward(x.requires_grad_(), gamma, 0, eps), x, dy),
        gamma,
        gamma,
    ),
    "forward mode": _dual,
    "vjp": lambda dy, x, gamma, eps: (
        *torch.func.vjp(lambda x: _forward(x, gamma, 0, eps), x)[1](dy),
        gamma,
        gamma,
    ),
    "jacfwd": lambda dy, x, gamma, eps: (
        torch.func.jacfwd(lambda x: _forward(x, gamma, 0, eps))(x),
        gamma,
        gamma,
    ),
    "func.grad": lambda dy, x, gamma, eps: (
        torch.func.grad(lambda x: (_forward(x, gamma, 0, eps) * dy).sum())(x),
        gamma,
        gamma,
    ),
}


@pytest.mark.parametrize("road", DERIVATIVES)
def test_a_derivative_of_torchs_is_named_as_the_learner_knows_it(road):
    message = attempt(check_of("ps03", "batch_norm_backward"), DERIVATIVES[road], 0, 2).message
    assert "it calls autograd (backward(), torch.autograd or torch.func), which does the task" in message
    assert "torch._functorch" not in message and "torch.autograd.graph" not in message


def test_vmap_is_no_derivative():
    def affine_backward(dy, x_hat, gamma):
        dgamma = torch.func.vmap(lambda a, b: (a * b).sum(), in_dims=1)(dy, x_hat)
        dx_hat = torch.vmap(torch.mul, in_dims=(1, 0), out_dims=1)(dy, gamma)
        return dx_hat, dgamma, torch.vmap(torch.sum, in_dims=1)(dy)

    assert attempt(check_of("ps03", "affine_backward"), affine_backward, 0, HIDDEN_CASES).passed


def test_a_layer_folded_by_torch_is_seen():
    def fold(weight, bias, gamma, beta, running_mean, running_var, eps):
        from torch.nn.utils.fusion import fuse_linear_bn_weights

        return fuse_linear_bn_weights(weight, bias, running_mean, running_var, eps, gamma, beta)

    assert "torch.nn.utils.fusion" in attempt(check_of("ps04", "fold"), fold, 0, 2).message


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("step", [10.0**-k for k in range(1, 11)])
def test_central_differences_are_not_the_gradient(step, seed):
    """No step that is the same for all features will do: neither in the closed form nor at the root."""

    def batch_norm_backward(dy, x, gamma, eps):
        x, gamma, dy = x.double(), gamma.double(), dy.double()
        dx = torch.empty_like(x)
        for i in range(len(x)):  # features do not mix: all of an example's at once
            moved = torch.zeros_like(x)
            moved[i] = step
            change = _forward(x + moved, gamma, 0, eps) - _forward(x - moved, gamma, 0, eps)
            dx[i] = (change * dy).sum(0) / (2 * step)
        x_hat = _forward(x, 1, 0, eps)
        return dx, (dy * x_hat).sum(0), dy.sum(0)

    def deviation_backward(dx_hat, c, r):
        def loss(r):
            return (dx_hat.double() * c.double() / r).sum(0)

        r = r.double()
        return (loss(r + step) - loss(r - step)) / (2 * step)

    for function in (batch_norm_backward, deviation_backward):
        verdict = attempt(check_of("ps03", function.__name__), function, seed, HIDDEN_CASES, diagnose=False)
        assert not verdict.passed


def test_no_check_imports_a_compiler():
    """It would take seconds in a learner's first check, under a profiler."""
    import subprocess
    import sys

    code = (
        "import sys, torch\n"
        "from normcore.checks.catalogue import find_problem_set, names\n"
        "from normcore.checks.judge import Judge\n"
        "from normcore.checks.ps02 import check\n"
        "def normalize(x, dim, eps):\n"
        "    return (x - x.mean(dim, True)) / (x.var(dim, correction=0, keepdim=True) + eps).sqrt()\n"
        "check(normalize)\n"
        "for name in names():\n"
        "    for one in find_problem_set(name).checks.values():\n"
        "        Judge(one, one.cases(0, 1)).expected\n"
        "        assert 'torch._dynamo' not in sys.modules and 'sympy' not in sys.modules, one.name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
