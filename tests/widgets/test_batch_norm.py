"""The playground shows what torch computes on the same batches."""

import math
import random
import re

import pytest
import torch

LARGEST = 32


def normals(seed):
    """The figure's random numbers: a linear congruential generator, by Box and Muller's way."""
    state = seed

    def uniform():
        nonlocal state
        state = (state * 1664525 + 1013904223) % 2**32
        return (state + 0.5) / 2**32

    while True:
        radius = math.sqrt(-2 * math.log(uniform()))
        yield radius * math.cos(2 * math.pi * uniform())


def drafts():
    normal = normals(1)
    while True:
        yield torch.tensor([1.0] + [next(normal) for _ in range(LARGEST - 1)], dtype=torch.float64)


def put(page, name, value, figure="batch-norm"):
    page.locator(f"#{figure}-{name}").evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", str(value)
    )


def said(page):
    """The numbers of the sentence, in its order."""
    text = page.locator(".widget-result").inner_text().replace("−", "-")
    numbers = r"-?\d+\.\d+(?:e\+\d+)?"
    batch, running, out, diamond = (
        re.search(pattern, text).groups()
        for pattern in (
            rf"Batch: mean ({numbers}), variance ({numbers})",
            rf"batch(?:es)?: mean ({numbers}), variance ({numbers})",
            rf"Output: mean ({numbers}), deviation ({numbers})",
            rf"x = ({numbers}), y = ({numbers})",
        )
    )
    return [float(number) for number in (*batch, *running, *out, *diamond)]


@pytest.mark.parametrize("seed", range(12))
def test_numbers_are_torchs(played, seed):
    draw = random.Random(seed)
    m, unbiased = draw.randint(2, LARGEST), draw.random() < 0.5
    chosen = {
        "shift": draw.randint(-12, 12) / 2, "scale": draw.randint(0, 40) / 10, "m": m,
        "gamma": draw.randint(-30, 30) / 10, "beta": draw.randint(-40, 40) / 10,
        "eps": draw.randint(-10, 2) / 2, "alpha": draw.randint(0, 20) / 20,
    }  # fmt: skip
    page = played("batch-norm")
    for name, value in chosen.items():
        put(page, name, value)
    page.locator(f"#batch-norm-divisor-{0 if unbiased else 1}").check()
    layer = torch.nn.BatchNorm1d(1, eps=10 ** chosen["eps"], momentum=chosen["alpha"], dtype=torch.float64)
    with torch.no_grad():
        layer.weight.fill_(chosen["gamma"])
        layer.bias.fill_(chosen["beta"])
    batches = drafts()

    def compare(x, y):
        var, mean = torch.var_mean(x, correction=0)
        out_var, out_mean = torch.var_mean(y, correction=0)
        expected = [mean, var, layer.running_mean, layer.running_var, out_mean, out_var.sqrt(), x[0], y[0]]
        for shown, exact in zip(said(page), map(float, expected), strict=True):
            assert shown == pytest.approx(exact, rel=0.05 if abs(exact) >= 1000 else 1e-9, abs=0.00501)

    def step(x):
        mean, var = layer.running_mean.clone(), layer.running_var.clone()
        y = layer(x[:, None])[:, 0].detach()
        if not unbiased:  # torch keeps the unbiased one only
            layer.running_var = var + chosen["alpha"] * (torch.var(x, correction=0) - var)
        return mean, var, y

    for _ in range(5):
        x = chosen["shift"] + chosen["scale"] * next(batches)[:m]
        layer.train()
        before = (layer.running_mean.clone(), layer.running_var.clone())
        *_, y = step(x)
        after = (layer.running_mean, layer.running_var)
        layer.running_mean, layer.running_var = before  # what the figure shows before the batch is used
        compare(x, y)
        layer.running_mean, layer.running_var = after
        page.get_by_role("button", name="next batch").click()
    x = chosen["shift"] + chosen["scale"] * next(batches)[:m]
    page.locator("#batch-norm-mode-1").check()
    layer.eval()
    compare(x, layer(x[:, None])[:, 0].detach())
    running = said(page)[2:4]
    page.get_by_role("button", name="next 20 batches").click()
    assert said(page)[2:4] == running  # evaluation keeps what training has left


def test_points_stand_where_their_values_are(played):
    """And what lies outside the drawing stands at its edge, as an arrow."""
    page = played("batch-norm")
    put(page, "shift", 6)
    put(page, "scale", 3)
    x = 6 + 3 * next(drafts())[:16]
    width = page.evaluate("document.querySelector('.widget svg').viewBox.baseVal.width")
    circles = page.evaluate(
        "[...document.querySelectorAll('.widget svg circle.example')].map((c) => +c.getAttribute('cx'))"
    )
    inside = [v.item() for v in x[1:] if abs(v) <= 10]
    assert len(inside) < 15
    for cx, v in zip(circles, inside, strict=False):
        assert cx == pytest.approx(width / 2 + v / 10 * (width / 2 - 16), abs=0.02)
    arrows = page.locator(".widget svg path.outside").count()
    assert arrows == (x.abs() > 10).sum() and f"{arrows} value" in page.locator(".widget-result").inner_text()


def test_one_value_is_refused_where_its_variance_is_not_defined(played):
    page = played("batch-norm")
    put(page, "m", 1)
    page.get_by_role("button", name="next batch").click()
    words = page.locator(".widget-result").inner_text()
    assert "after 0 batches" in words and "PyTorch refuses such a batch" in words
    with pytest.raises(ValueError, match="Expected more than 1 value"):
        torch.nn.BatchNorm1d(1)(torch.ones(1, 1))
    page.locator("#batch-norm-divisor-1").check()
    page.get_by_role("button", name="next batch").click()
    words = page.locator(".widget-result").inner_text()
    assert "after 1 batch:" in words and "Output: mean 0.00, deviation 0.00" in words


def test_the_history_is_what_was(played):
    """Scattered in training, and standing still in evaluation."""
    page = played("batch-norm")
    page.get_by_role("button", name="next 20 batches").click()
    page.locator("#batch-norm-mode-1").check()
    page.get_by_role("button", name="next 20 batches").click()
    assert page.locator("rect.evaluated").count() == 2 * 20
    heights = page.evaluate("""[...document.querySelectorAll('.widget svg path.own')].slice(1)
      .map((p) => p.getAttribute('d').match(/M[\\d.]+ ([\\d.]+)/)[1])""")
    assert len(heights) == 41 - 1 + 1  # beside the strip of inputs stands that of outputs
    assert len(set(heights[-20:])) == 1 and len(set(heights[1:21])) > 15
