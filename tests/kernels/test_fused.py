"""Where a Triton kernel stands in for a formula, and where it must not."""

import pytest
import torch
from torch.nn import functional as torchs

pytest.importorskip("triton", reason="needs triton")

from normcore import functional as F
from normcore.kernels import fused, triton_rows
from tests.layers import random_input

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
IMAGES, TABLE = (3, 6, 5, 4), (7, 6)


def parameters(*shape, dtype=torch.float32):
    return tuple(random_input(shape, dtype, seed).to(DEVICE).requires_grad_() for seed in (1, 2))


CASES = {
    "layer_norm": (IMAGES, (4,), lambda f, x, w, b: f.layer_norm(x, (4,), w, b), "rows"),
    "layer_norm of images": (IMAGES, (6, 5, 4), lambda f, x, w, b: f.layer_norm(x, (6, 5, 4), w, b), "rows"),
    "rms_norm": (TABLE, (6,), lambda f, x, w, b: f.rms_norm(x, (6,), w) + 0 * b, "rows"),
    "group_norm": (IMAGES, (6,), lambda f, x, w, b: f.group_norm(x, 2, w, b), "groups"),
    "group_norm of a table": (TABLE, (6,), lambda f, x, w, b: f.group_norm(x, 2, w, b), "groups"),
    "instance_norm": (IMAGES, (6,), lambda f, x, w, b: f.instance_norm(x, weight=w, bias=b), "groups"),
    "batch_norm": (IMAGES, (6,), lambda f, x, w, b: f.batch_norm(x, None, None, w, b, True), "batch"),
    "batch_norm of a table": (
        TABLE,
        (6,),
        lambda f, x, w, b: f.batch_norm(x, None, None, w, b, True),
        "batch",
    ),
}
each = pytest.mark.parametrize("case", CASES)


@pytest.fixture
def calls(monkeypatch):
    """The kernels' methods, in order of their use; on a CPU they are interpreted."""
    used = []
    for name in ("_forward", "_backward"):
        real = getattr(fused, name)
        monkeypatch.setattr(fused, name, lambda *a, real=real: used.append(a[0].method) or real(*a))
    monkeypatch.setattr(fused, "DEVICES", (DEVICE,))
    monkeypatch.setattr(fused, "_works", lambda method, device: True)
    return used


@each
def test_values_and_two_derivatives(case, calls):
    shape, features, run, method = CASES[case]
    x, dy = (random_input(shape, torch.float32, seed).to(DEVICE) for seed in (0, 3))
    leaves = x.requires_grad_(), *parameters(*features)
    doubles = [t.detach().double().requires_grad_() for t in leaves]
    y, exact = run(F, *leaves), run(torchs, *doubles)
    torch.testing.assert_close(y.double(), exact, rtol=1e-5, atol=1e-5)
    first = torch.autograd.grad(y, leaves, dy, retain_graph=True)
    assert calls == [method] * 2
    ours = torch.autograd.grad(y, leaves, dy, create_graph=True)
    theirs = torch.autograd.grad(exact, doubles, dy.double(), create_graph=True)
    for a, b, c in zip(first, ours, theirs, strict=True):
        torch.testing.assert_close(a.double(), c, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(b.double(), c, rtol=1e-4, atol=1e-4)
    pairs = ((ours, leaves), (theirs, doubles))
    seconds = [torch.autograd.grad(g[0].square().sum(), t[:2]) for g, t in pairs]  # β has none
    for a, b in zip(*seconds, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-3)
    assert calls == [method] * 2, "a second derivative goes through the formula"


@each
def test_transforms_see_the_formula(case, calls):
    shape, features, run, _ = CASES[case]
    x, tangent = (random_input((2, *shape), torch.float32, seed).to(DEVICE) for seed in (0, 1))
    weight, bias = (p.detach() for p in parameters(*features))

    def of(x):
        return run(F, x, weight, bias)

    rows = torch.func.vmap(of)(x)
    torch.testing.assert_close(rows[1], run(torchs, x[1], weight, bias), rtol=1e-4, atol=1e-4)
    _, forward = torch.func.jvp(of, (x[0],), (tangent[0],))
    _, exact = torch.func.jvp(
        lambda x: run(torchs, x, weight.double(), bias.double()), (x[0].double(),), (tangent[0].double(),)
    )
    torch.testing.assert_close(forward.double(), exact, rtol=1e-4, atol=1e-4)
    compiled = torch.compile(of, fullgraph=True, backend="aot_eager")(x[0])
    torch.testing.assert_close(compiled, run(torchs, x[0], weight, bias), rtol=1e-4, atol=1e-4)
    assert calls == []


@each
def test_a_batch_of_gradients(case, calls):
    """Forward by the kernel, and a backward pass that it cannot do."""
    shape, features, run, method = CASES[case]
    x = random_input(shape, torch.float32).to(DEVICE).requires_grad_()
    y = run(F, x, *parameters(*features))
    dy = torch.stack([random_input(shape, torch.float32, seed).to(DEVICE) for seed in (4, 5)])
    (together,) = torch.autograd.grad(y, x, dy, is_grads_batched=True, retain_graph=True)
    assert calls == [method]
    for i in range(2):
        (alone,) = torch.autograd.grad(y, x, dy[i], retain_graph=True)
        torch.testing.assert_close(together[i], alone, rtol=1e-4, atol=1e-4)


@each
@pytest.mark.parametrize("why", ["switched off", "float64", "float64 parameters", "empty", "subclass"])
def test_the_formula_runs_where_a_kernel_does_not_fit(case, why, calls, monkeypatch):
    shape, features, run, _ = CASES[case]
    dtype = torch.float64 if why.startswith("float64") else torch.float32
    x = random_input(shape, torch.float64 if why == "float64" else torch.float32).to(DEVICE)
    if why == "switched off":
        monkeypatch.setenv("NORMCORE_TRITON", "0")
    elif why == "empty":
        x = x[:0]
    elif why == "subclass":

        class Own(torch.Tensor):
            pass

        x = x.as_subclass(Own)
    run(F, x, *parameters(*features, dtype=dtype))
    assert calls == []


@each
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_dtypes_are_the_inputs_and_layouts_as_torchs(case, dtype, calls):
    shape, features, run, method = CASES[case]
    x = random_input(shape, dtype).to(DEVICE)
    if x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    x = x.requires_grad_()
    weight, bias = parameters(*features)
    y = run(F, x, weight, bias)
    if case != "rms_norm":  # its bias is this test's
        assert y.dtype == dtype and y.stride() == run(torchs, x.float(), weight, bias).stride()
    y.sum().backward()
    assert x.grad.dtype == dtype and weight.grad.dtype == torch.float32 and calls == [method] * 2


@each
def test_parameters_that_are_left_out(case, calls):
    shape, _, run, _ = CASES[case]
    if case == "rms_norm":
        shape, run = TABLE, lambda f, x, w, b: f.rms_norm(x, (6,))
    x = random_input(shape, torch.float32).to(DEVICE).requires_grad_()
    y, exact = run(F, x, None, None), run(torchs, x.detach().double(), None, None)
    torch.testing.assert_close(y.double(), exact, rtol=1e-5, atol=1e-5)
    y.square().sum().backward()
    assert len(calls) == 2


@pytest.mark.parametrize("shape", [IMAGES, TABLE], ids=str)
def test_running_averages_and_evaluation(shape, calls, monkeypatch):
    evaluated = []
    real = fused._plan
    monkeypatch.setattr(fused, "_plan", lambda *a: evaluated.append(real(*a)) or evaluated[-1])
    x = random_input(shape, torch.float32).to(DEVICE)
    weight, bias = (p.detach() for p in parameters(6))
    ours, theirs = ([torch.zeros(6, device=DEVICE), torch.ones(6, device=DEVICE)] for _ in range(2))
    for training in (True, False):
        y = F.batch_norm(x, *ours, weight, bias, training)
        expected = torchs.batch_norm(x, *theirs, weight, bias, training)
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b)
    assert [plan.method for plan in evaluated] == ["batch", "batch"] and calls == ["batch"]
    weight.requires_grad_()
    y = F.batch_norm(x, *ours, weight, bias, False)
    y.sum().backward()
    assert weight.grad is not None and len(evaluated) == 2, "a gradient in evaluation is the formula's"


def test_statistics_in_float64_do_not_widen_what_is_made_of_them(calls):
    widest = []
    x = random_input(IMAGES, torch.float32).to(DEVICE)
    mean, std = torch.zeros(6, device=DEVICE), torch.ones(6, device=DEVICE)

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, operator, types, arguments=(), keywords=None):
            result = operator(*arguments, **(keywords or {}))
            if isinstance(result, torch.Tensor) and result.numel() >= x.numel():
                widest.append(result.dtype)
            return result

    with Watch():
        y = F.batch_renorm(x, mean, std, *parameters(6), training=True)
    assert y.dtype == torch.float32 and torch.float64 not in widest and calls == ["batch"]


# the interpreter takes a millisecond a row
SMALL = {"rows": ((9, 40), 1), "groups": ((2, 3, 2, 20), (2, 3)), "batch": ((5, 6, 20), (0, 2))}


@pytest.fixture
def trials(monkeypatch):
    if DEVICE == "cpu":
        monkeypatch.setattr(fused, "TRIALS", SMALL)


@pytest.mark.parametrize("method", ["rows", "groups", "batch"])
def test_a_kernel_is_tried_before_it_is_used(method, trials):
    assert fused._works.__wrapped__(method, torch.device(DEVICE))


@pytest.mark.parametrize("how", ["fails", "is wrong"])
def test_a_kernel_that_does_not_run_is_named_once_and_the_formula_runs(how, trials, monkeypatch):
    real = triton_rows.forward

    def broken(*arguments):
        if how == "fails":
            raise RuntimeError("no C compiler")
        y, mean, var = real(*arguments)
        return y + 1e-2, mean, var

    monkeypatch.setattr(fused, "DEVICES", (DEVICE,))
    monkeypatch.setattr(triton_rows, "forward", broken)
    fused._works.cache_clear()
    x = random_input(TABLE, torch.float32).to(DEVICE)
    try:
        with pytest.warns(UserWarning, match="no C compiler" if how == "fails" else "results off by 0.01"):
            y = F.layer_norm(x, (6,))
        torch.testing.assert_close(y, torchs.layer_norm(x, (6,)), rtol=1e-5, atol=1e-5)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.warn", lambda *a, **k: pytest.fail("warned twice"))
            F.layer_norm(x, (6,))
    finally:
        fused._works.cache_clear()
