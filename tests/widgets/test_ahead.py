"""The loss ahead shows what the stored runs hold: its numbers, its lines and where its marks stand."""

import json
import random
import re

import numpy as np
import pytest

from normcore.experiments import stored
from scripts import slices

RUN = json.loads((stored.FOLDER / "ahead.json").read_text("utf-8"))
AXES, LOSSES = RUN["axes"], np.array(RUN["array"])  # network, seed, lr, step, length
T = np.array(AXES["length"][1:])


def put(page, name, value):
    page.locator(f"#ahead-{name}").evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", str(value)
    )


def crossing(run):
    """Where a run is first above its start, by bisection on straight lines in logarithms."""
    above = np.flatnonzero(run[1:] > run[0])[0]
    if above == 0:
        return T[0]
    low, high = np.log(T[above - 1 : above + 1])
    for _ in range(60):
        middle = (low + high) / 2
        if np.interp(middle, np.log(T), np.log(run[1:])) > np.log(run[0]):
            high = middle
        else:
            low = middle
    return np.exp(low)


def scales(page):
    """From places on the drawing to lengths and to losses over that at 0: by the labels of the axes."""
    found = page.locator(".widget svg").evaluate("""(svg) => {
      const grid = [...svg.querySelectorAll("line.grid, line.axis")].map((l) =>
        ["x1", "x2", "y1", "y2"].map((name) => +l.getAttribute(name)));
      return grid.filter(([x1, x2, y1, y2]) => x1 === x2 || (y1 === y2 && x2 - x1 > 100));
    }""")
    x = sorted(place[0] for place in found if place[0] == place[1])
    y = sorted(place[2] for place in found if place[2] == place[3])
    words = page.locator(".widget svg text").all_text_contents()
    assert {"0.01", "0.1", "1", "10", "0.3", "3"} <= set(words)
    return (
        lambda at: 10 ** (-2 + 3 * (np.asarray(at) - x[0]) / (x[-1] - x[0])),
        lambda at: 10 ** (1 - 2 * (np.asarray(at) - y[0]) / (y[-1] - y[0])),
    )


def test_its_numbers_are_those_that_are_stored():
    assert slices.written() == slices.PATH.read_text("utf-8"), "run `python -m scripts.slices`"


@pytest.mark.parametrize("seed", range(8))
def test_words_lines_and_marks_are_of_the_stored_runs(played, seed):
    draw = random.Random(seed)
    step, rate = draw.randrange(len(AXES["step"])), draw.randrange(len(AXES["lr"]))
    page = played("ahead", width=draw.choice([390, 1280]))
    put(page, "step", step)
    put(page, "rate", rate)
    eta = AXES["lr"][rate]
    text = page.locator(".widget-result").inner_text().replace("\u00a0", " ")
    taken, seeds = AXES["step"][step], len(AXES["seed"])
    assert text.startswith(
        f"After {taken} step{'s' * (taken != 1)} at a rate of {eta}; medians of {seeds} seeds, bands over all."
    )
    number = r"(\d+(?:\.\d+)?)"
    said = re.findall(
        rf"(With|Without) batch norm: the batch’s loss is {number}, lowest near t = {number},"
        rf" and above its value at t = 0 from t = {number}, which is {number} times the rate\.",
        text,
    )
    to_t, to_loss = scales(page)
    assert [name.lower() for name, *_ in said] == AXES["network"]
    for n, (network, *numbers) in enumerate(said):
        runs = LOSSES[n, :, rate, step]
        ratios = runs[:, 1:] / runs[:, :1]
        median = np.median(ratios, 0)
        rises = np.median([crossing(run) for run in runs])
        expected = np.median(runs[:, 0]), T[median.argmin()], rises, rises / eta
        units = *(0.001 if value < 0.1 else 0.01 for value in expected[:3]), 0.1 if expected[3] < 10 else 1
        for told, exact, unit in zip(map(float, numbers), expected, units, strict=True):
            assert told == pytest.approx(exact, rel=1e-3, abs=0.51 * unit)

        kind = network.lower()

        def points(kind, tag):
            shape = page.locator(f".widget svg {tag}.{kind}").get_attribute("points")
            return np.array([point.split(",") for point in shape.split()], float).T

        x, y = points(f"{kind}.curve", "polyline")
        inside = np.interp(np.log(to_t(x)), np.log(T), np.log(median))
        np.testing.assert_allclose(np.log(to_loss(y)), inside, atol=0.02)
        reached = T[median <= 10].max()
        assert x[0] < 40 and (to_t(x[-1]) > 0.8 * reached)
        x, y = points(f"{kind}.band", "polygon")
        half = len(x) // 2
        for part, values in ((slice(0, half), ratios.max(0)), (slice(half, None), ratios.min(0))):
            exact = np.exp(np.interp(np.log(to_t(x[part])), np.log(T), np.log(values))).clip(0.1, 10)
            np.testing.assert_allclose(np.log(to_loss(y[part])), np.log(exact), atol=0.03)
        circle = page.locator(f".widget svg circle.{kind}")
        assert to_t(float(circle.get_attribute("cx"))) == pytest.approx(rises, rel=0.01)
        assert to_loss(float(circle.get_attribute("cy"))) == pytest.approx(1, rel=0.01)
        tip = page.locator(f".widget svg path.{kind}.dot").get_attribute("d")
        left, top = map(float, re.match(r"M([\d.]+) ([\d.]+)l", tip).groups())
        assert to_t(left) == pytest.approx(T[median.argmin()], rel=0.01)
        assert to_loss(top - 1) == pytest.approx(median.min(), rel=0.02)
    mark = page.locator(".widget svg line.direction").get_attribute("x1")
    assert to_t(float(mark)) == pytest.approx(eta, rel=0.01)
    assert f"rate {eta}" in page.locator(".widget svg text").all_text_contents()


def test_start_again(played):
    page = played("ahead")
    before = page.locator(".widget-result").inner_text()
    put(page, "step", 5)
    put(page, "rate", 2)
    assert page.locator(".widget-result").inner_text() != before
    page.get_by_role("button", name="start again").click()
    assert page.locator(".widget-result").inner_text() == before
