"""What batch norm takes from a gradient, as torch's autograd has it."""

import math
import random
import re

import pytest
import torch

from tests.widgets.test_batch_norm import put as put_into


def put(page, name, value):
    put_into(page, name, value, "gradient")


def said(page):
    """The numbers of the sentence, in its order: what stands before the brackets, and what in them."""
    text = page.locator(".widget-result").inner_text().replace("−", "-")
    lists = {
        name.strip(" :.,"): [float(v) for v in inside.split(",")]
        for name, inside in re.findall(r"([^().]*?)[ =]*\(([-\d., ]+)\)", text)
    }
    mean, deviation = (float(re.search(rf"{word} (-?[\d.]+\d)", text)[1]) for word in ("mean", "deviation"))
    share = re.search(r"([\d.]+) of \|dy\|²", text)
    return lists, mean, deviation, share and float(share[1]), text


def expected(x, dy):
    """By autograd through torch's batch norm, and by projecting onto 1 and x̂ with least squares."""
    x, dy = torch.tensor(x, dtype=torch.float64)[:, None], torch.tensor(dy, dtype=torch.float64)[:, None]
    x.requires_grad_()
    x_hat = torch.nn.functional.batch_norm(x, None, None, training=True, eps=1e-13)
    (dx,) = torch.autograd.grad((x_hat * dy).sum(), x)
    x_hat, one = x_hat.detach(), torch.ones_like(dy)
    along = [v @ torch.linalg.lstsq(v, dy).solution for v in (one, x_hat)]
    deviation = x.detach().std(correction=0)
    left = dx * deviation
    share = (left.square().sum() / dy.square().sum()).item()
    vectors = {"x̂": x_hat, "along 1": along[0], "along x̂": along[1], "Left": left, "left / σ": dx}
    return {n: v.flatten().tolist() for n, v in vectors.items()}, x.mean().item(), deviation.item(), share


def compare(page, x, dy):
    lists, mean, deviation, share, text = said(page)
    vectors, exact_mean, exact_deviation, exact_share = expected(x, dy)
    found = [next(v for n, v in lists.items() if n.endswith(name)) for name in vectors]
    for shown, exact in zip(found, vectors.values(), strict=True):
        assert shown == pytest.approx(exact, abs=0.00501)
    assert (mean, deviation) == pytest.approx((exact_mean, exact_deviation), abs=0.00501)
    assert share == pytest.approx(exact_share, abs=0.00501)
    assert ("nothing is left" in text) == (len(x) == 2) == ("one line" not in text)


@pytest.mark.parametrize("seed", range(12))
def test_numbers_are_torchs(played, seed):
    draw = random.Random(seed)
    page = played("gradient")
    for _ in range(5):
        m = draw.choice((2, 3, 3))
        x = [v / 2 for v in draw.sample(range(21), m)]
        dy = [draw.choice((-1, 1)) * draw.randint(1, 20) / 10 for _ in range(m)]
        page.locator(f"#gradient-m-{3 - m}").check()
        for i in range(m):
            put(page, f"x{i + 1}", x[i])
            put(page, f"dy{i + 1}", dy[i])
        compare(page, x, dy)


@pytest.mark.parametrize("along", ["1", "x̂"])
def test_along_1_and_along_x_hat_nothing_is_left(played, along):
    page = played("gradient")
    page.get_by_role("button", name=f"dy along {along}").click()
    lists, _, _, share, _ = said(page)
    assert share == 0 and lists["Left"] == [0, 0, 0]


def test_the_ring_is_dragged(played):
    """By as much as the pointer moves, in the plane of the page; what is said follows."""
    page = played("gradient")
    ring = page.locator("circle.handle")
    box = ring.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 20, y - 10, steps=4)
    page.mouse.up()
    after = ring.bounding_box()
    # the three values move in steps of 0.1: up to 0.05 each
    step = (
        0.05
        * 3
        * page.evaluate("""() => {
      const svg = document.querySelector(".widget svg");
      return svg.getBoundingClientRect().width / svg.viewBox.baseVal.width * 400 / 6.2;
    }""")
    )
    assert after["x"] - box["x"] == pytest.approx(20, abs=step)
    assert after["y"] - box["y"] == pytest.approx(-10, abs=step)
    dy = [float(page.locator(f"#gradient-dy{i}").input_value()) for i in (1, 2, 3)]
    compare(page, [8, 3, 1], dy)
    page.mouse.move(x, y)  # let go, it stays
    assert [float(page.locator(f"#gradient-dy{i}").input_value()) for i in (1, 2, 3)] == dy


def test_equal_values_have_no_direction(played):
    page = played("gradient")
    for i in (1, 2, 3):
        put(page, f"x{i}", 4)
    words = page.locator(".widget-result").inner_text()
    assert "deviation 0.00" in words and "no x̂ without ε" in words


def test_the_parts_are_drawn_where_they_are(played):
    """Head to tail: along 1 and then along x̂ leads to the shadow, from which what is left leads to dy."""
    page = played("gradient")
    ends = page.evaluate("""() => Object.fromEntries([...document.querySelectorAll(".widget svg path.head")].map(
      (p) => [p.getAttribute("class"), p.getAttribute("d").match(/M([-\\d.]+) ([-\\d.]+)/).slice(1).map(Number)]))""")
    hat, left, whole = (ends[f"part {kind} head"] for kind in ("hat", "left", "whole"))
    view = page.evaluate("document.querySelector('.widget svg').viewBox.baseVal.width")
    origin = (view / 2 + 60, 200)
    assert [w - o for w, o in zip(whole, origin, strict=True)] == pytest.approx(
        [a - o + b - o for a, b, o in zip(hat, left, origin, strict=True)], abs=0.3
    )
    turn, tilt, dy = math.radians(110), math.radians(22), (1.6, -0.8, 0.8)
    right = -math.sin(turn) * dy[0] + math.cos(turn) * dy[1]
    up = -math.sin(tilt) * (math.cos(turn) * dy[0] + math.sin(turn) * dy[1]) + math.cos(tilt) * dy[2]
    scale = 400 / 6.2
    assert whole == pytest.approx([origin[0] + scale * right, origin[1] - scale * up], abs=0.1)
