"""The explorer's sets, means and x̂ are those of torch's layers on the same tensor."""

import re

import pytest
import torch
from torch.nn import functional as F

METHODS = ["batch norm", "layer norm", "instance norm", "group norm"]


def tensor(page):
    """The shown values, (N, C, positions)."""
    values = page.evaluate("""[...document.querySelectorAll('.widget [role=group]')].map((group) =>
      [...group.querySelectorAll('button')].map((b) => Number(b.textContent.replace('−', '-'))))""")
    return torch.tensor(values, dtype=torch.float64).unflatten(1, (4, -1))


def normalized(method, x, groups):
    functions = {
        "batch norm": lambda: F.batch_norm(x, None, None, training=True),
        "layer norm": lambda: F.layer_norm(x, x.shape[1:]),
        "instance norm": lambda: F.instance_norm(x),
        "group norm": lambda: F.group_norm(x, groups),
    }
    return functions[method]()


def different(method, x, n, c, p, groups):
    """The values of the tensor that x̂ of one cell depends on, by autograd."""
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(normalized(method, x, groups)[n, c, p], x)
    return g != 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_each_cell(played, method, groups):
    if method != "group norm" and groups != 2:
        pytest.skip("groups are group norm's alone")
    page = played("index-sets")
    page.locator("#index-sets-method").select_option(method)
    if method == "group norm":
        page.locator("#index-sets-groups").select_option(str(groups))
    x = tensor(page)
    y = normalized(method, x, groups)
    sets = set()
    for n, c, p in ((n, c, p) for n in range(3) for c in range(4) for p in range(4)):
        page.locator(".widget [role=group]").nth(n).locator("button").nth(4 * c + p).click()
        inside = torch.tensor(page.evaluate(
            "[...document.querySelectorAll('.widget [role=group] button')].map((b) => b.classList.contains('inside'))"
        )).view(3, 4, 4)  # fmt: skip
        words = page.locator(".widget-result").inner_text().replace("−", "-")
        mean, variance, x_hat = map(
            float, re.search(r"mean (\S+), variance (\S+), so x̂ = (-?\d+\.\d+)", words).groups()
        )
        of_set = x[inside]
        assert (different(method, x, n, c, p, groups) <= inside).all()
        assert mean == pytest.approx(of_set.mean().item(), abs=0.00501)
        assert variance == pytest.approx(of_set.var(correction=0).item(), abs=0.00501)
        assert x_hat == pytest.approx(y[n, c, p].item(), abs=0.00501)
        sets.add(tuple(inside.flatten().tolist()))
    assert f"The tensor has {len(sets)} such set" in words
    assert all(sum(s) * len(sets) == x.numel() for s in sets)


def test_the_keyboard_goes_over_all_examples(played):
    """By arrows from cell to cell, by Home and End to the ends of a row."""
    page = played("index-sets")
    cell = page.locator(".widget [role=group] button:focus")
    page.locator(".widget [role=group] button[tabindex='0']").focus()
    for key, place in [
        ("ArrowDown", (1, 2, 1)), ("End", (3, 2, 4)), ("ArrowRight", (3, 2, 4)), ("ArrowLeft", (3, 2, 3)),
        ("Home", (1, 2, 1)), ("ArrowLeft", (1, 2, 1)), ("ArrowUp", (1, 1, 1)),
    ]:  # fmt: skip
        page.keyboard.press(key)
        said = "example {}, channel {}, position {}:".format(*place)
        assert cell.get_attribute("aria-label").startswith(said)
        assert cell.get_attribute("aria-pressed") == "true"


def test_ones_own_choice_leaves_the_groups(played):
    page = played("index-sets")
    page.locator("#index-sets-method").select_option("group norm")
    page.locator("#index-sets-method").select_option("your own choice")
    assert page.locator("#index-sets-method").input_value() == "your own choice"
    assert not page.locator("#index-sets-c").evaluate("(box) => box.indeterminate")
    assert page.locator("#index-sets-groups").is_hidden()
    page.locator("#index-sets-n").check()
    assert "has 48 cells" in page.locator(".widget-result").inner_text()
