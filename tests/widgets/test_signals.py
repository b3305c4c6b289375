"""What goes through the network of "Signals through depth" is what torch and autograd compute with its weights."""

import functools
import math
import random
import re
from itertools import islice

import numpy as np
import pytest
import torch

from normcore.experiments import signals
from tests.widgets.test_batch_norm import normals

EXAMPLES, UNITS, DEEPEST = 64, 100, 60
PHI = {"ReLU": torch.relu, "tanh": torch.tanh, "linear": lambda a: a}
DIGITS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹−", "-0123456789-")


@functools.cache
def drawn(seed):
    """Inputs, the gradient that enters at the end, weights of variance 1 over the width."""
    normal = normals(seed)

    def array(*shape):
        return torch.tensor(list(islice(normal, math.prod(shape))), dtype=torch.float64).view(shape)

    inputs, sent = array(EXAMPLES, UNITS), array(EXAMPLES, UNITS)
    return inputs, sent, [array(UNITS, UNITS) / UNITS**0.5 for _ in range(DEEPEST)]


def passed(seed, variance, depth, activation, normed):
    """a and δ of each layer."""
    h, sent, weights = drawn(seed)
    layers = []
    for w in weights[:depth]:
        a = h @ (variance**0.5 * w).T
        if normed:
            a = (a - a.mean(0)) / a.std(0, correction=0)
        layers.append(a.requires_grad_())
        h = PHI[activation](a)
    return layers, torch.autograd.grad((layers[-1] * sent).sum(), layers)


def predicted(variance, depth, activation, normed):
    """The factors per layer, forward and backward, by other ways than the figure's."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    of_tanh = weights @ (1 - np.tanh(nodes) ** 2) ** 2 / (weights @ np.tanh(nodes) ** 2)
    of_norm = {"ReLU": math.pi / (math.pi - 1), "linear": 1.0, "tanh": of_tanh}
    if normed:
        return 1.0, of_norm[activation]
    if activation == "linear":
        return variance, variance
    q, chi = signals.predict(variance, activation, depth)
    return (q[-1] / q[0]) ** (1 / (depth - 1)), math.exp(np.log(chi[:-1]).mean())


def put(page, name, value):
    page.locator(f"#signals-{name}").evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", str(value)
    )


def read(text):
    digits, _, power = text.partition("·10")
    return float(digits) * 10.0 ** int(power.translate(DIGITS) or 0)


def said(page):
    text = page.locator(".widget-result").inner_text().replace("−", "-")
    number = r"(\d+\.\d+(?:·10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)?)"
    (forward,) = re.findall(
        rf"a is {number} at layer 1 and {number} at layer \d+, a factor of {number} per layer; theory: {number}\.",
        text,
    )
    (backward,) = re.findall(
        rf"δ is {number} at layer \d+ and {number} at layer 1, a factor of {number} per layer; theory: {number}[.,]",
        text,
    )
    (alike,) = re.findall(r"(\d+) % of it is the same for all examples", text)
    return [read(value) for value in (*forward, *backward, alike)]


def curves(page):
    """The values of the five lines, read off the drawing; layers go downwards."""
    place = page.locator(".widget svg line.grid").evaluate_all(
        "(lines) => lines.map((l) => +l.getAttribute('x1'))"
    )
    labels = page.locator(".widget svg text").all_text_contents()
    decades = max(int(label[2:].translate(DIGITS)) for label in labels if re.match("10[⁰¹²³⁴⁵⁶⁷⁸⁹]+$", label))
    found = {}
    for name, points in page.locator(".widget svg polyline").evaluate_all(
        "(lines) => lines.map((l) => [l.getAttribute('class'), l.getAttribute('points')])"
    ):
        x, y = np.array([point.split(",") for point in points.split()], float).T
        assert np.allclose(np.diff(y), np.diff(y).mean(), atol=0.11) and np.diff(y).mean() > 0
        found.setdefault(name, []).append((x - place[0]) / (place[-1] - place[0]) * 2 * decades - decades)
    return found, 2 * decades / (place[-1] - place[0])


@pytest.mark.parametrize("seed", range(10))
def test_numbers_and_curves_are_autograds(played, seed):
    draw = random.Random(seed)
    variance, depth = draw.randint(5, 40) / 10, draw.randint(10, DEEPEST)
    activation, normed, changes = draw.choice(list(PHI)), draw.random() < 0.4, draw.randint(0, 2)
    page = played("signals", width=draw.choice([390, 1280]))
    for _ in range(changes):
        page.get_by_role("button", name="other weights").click()
    put(page, "variance", variance)
    put(page, "depth", depth)
    page.locator(f"#signals-activation-{list(PHI).index(activation)}").check()
    page.locator(f"#signals-norm-{int(normed)}").check()
    layers, deltas = passed(1 + changes, variance, depth, activation, normed)
    with torch.no_grad():
        forward, backward, varying = (
            np.array(values)
            for values in (
                [a.square().mean().item() for a in layers],
                [d.square().mean().item() for d in deltas],
                [a.var(0, correction=0).mean().item() for a in layers],
            )
        )
    mean = (forward[-1] / forward[0]) ** (1 / (depth - 1)), (backward[0] / backward[-1]) ** (1 / (depth - 1))
    theory = predicted(variance, depth, activation, normed)
    expected = [forward[0], forward[-1], mean[0], theory[0], backward[-1], backward[0], mean[1], theory[1]]
    *numbers, alike = said(page)
    for shown, exact, n in zip(numbers, expected, range(8), strict=True):
        near = 0.00501 if n % 4 < 2 else 0.00151
        assert shown == pytest.approx(exact, rel=0.051 if not 0.01 <= exact < 1000 else 1e-9, abs=near)
    assert alike == pytest.approx(100 * (1 - varying[-1] / forward[-1]), abs=0.51)
    found, pixel = curves(page)
    for name, values in {
        "forward curve": forward,
        "backward curve": backward,
        "forward varying": varying,
    }.items():
        np.testing.assert_allclose(found[name][0], np.log10(values), atol=0.11 * pixel)
    down = np.log10(1.0 if normed else variance) + np.arange(depth) * math.log10(theory[0])
    up = np.arange(depth)[::-1] * math.log10(theory[1])
    for line, expected in zip(found["theory"], (down, up), strict=True):
        assert line[[0, -1]] == pytest.approx(expected[[0, -1]], abs=0.11 * pixel + 0.01)


def test_heights_are_counts(played):
    """Each row is a histogram of its layer, no higher than a standard normal distribution's; more is marked."""
    page = played("signals")
    put(page, "depth", 12)
    put(page, "variance", 2.8)
    layers, deltas = passed(1, 2.8, 12, "ReLU", False)
    for name, values in {"forward": layers, "backward": deltas}.items():
        paths = page.locator(f".widget svg path.{name}.ridge").evaluate_all(
            "(p) => p.map((p) => p.getAttribute('d'))"
        )
        assert len(paths) == 12
        tips = 0
        for path, of_layer in zip(paths, values, strict=True):
            x, y = np.array([point.split(",") for point in re.split("[ML ]", path)[1:]], float).T
            counts, _ = np.histogram(of_layer.detach().numpy(), bins=40, range=(-4, 4))
            full = 0.4 * 0.2 * of_layer.numel()
            heights = np.minimum(counts / full, 1) * 400 / 12 * 1.15
            np.testing.assert_allclose(y[0] - y[1:-1], heights, atol=0.11)
            assert (np.diff(x) > 0).all()
            tips += 2 * ((of_layer.abs() >= 4).double().mean().item() > 0.1)
        assert page.locator(f".widget svg path.{name}.tip").count() == tips
    assert tips > 0


def test_with_batch_norm_the_weights_scale_changes_nothing(played):
    page = played("signals")
    page.locator("#signals-norm-1").check()
    before, _ = curves(page)
    put(page, "variance", 0.7)
    after, _ = curves(page)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_start_again(played):
    page = played("signals")
    before = page.locator(".widget-result").inner_text()
    page.get_by_role("button", name="other weights").click()
    put(page, "depth", 20)
    assert page.locator(".widget-result").inner_text() != before
    page.get_by_role("button", name="start again").click()
    assert page.locator(".widget-result").inner_text() == before
