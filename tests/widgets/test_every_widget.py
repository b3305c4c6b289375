"""What holds for every figure to play with, found by name."""

import gzip
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from scripts import stills
from scripts.stills import STATIC

NAMES = stills.names()
# what is seen and said: the drawing, the cells, a control's own value, the result in words
SHOWN = """() => [...document.querySelectorAll(".widget :is(svg, button, input, .widget-result)")]
  .map((e) => e.matches("button") ? e.className + e.getAttribute("aria-pressed")
    : e.matches("input") ? e.value + e.checked : e.outerHTML).join()"""


def test_each_has_a_test_of_its_numbers():
    """Against an independent calculation: what is drawn could be beautiful and wrong."""
    tested = {
        path.stem.removeprefix("test_").replace("_", "-") for path in Path(__file__).parent.glob("test_*.py")
    }
    assert set(NAMES) <= tested


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small(name):
    shared = (STATIC / "widgets.js").stat().st_size
    script, still = (STATIC / "widgets" / f"{name}.{kind}" for kind in ("js", "svg"))
    data = STATIC / "widgets" / f"{name}.json"
    assert script.stat().st_size + shared < 40_000 and still.stat().st_size < 40_000
    assert not data.exists() or len(gzip.compress(data.read_bytes())) < 40_000


@pytest.mark.parametrize("name", NAMES)
def test_its_still_picture_is_what_it_draws(browser, name):
    stored = (STATIC / "widgets" / f"{name}.svg").read_text("utf-8")
    assert stills.drawn(browser, name) == stored, "run `python -m scripts.stills`"


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("name", NAMES)
def test_it_fits_and_its_lettering_keeps_its_size_when_the_page_is_turned(played, name, width):
    page = played(name, width=700)
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.evaluate("document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth")
    scales = page.evaluate("""() => [...document.querySelectorAll(".widget svg")].map(
      (svg) => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width)""")
    assert all(0.85 < scale < 1.7 for scale in scales), scales
    beyond = page.evaluate("""() => [...document.querySelectorAll(".widget svg text")].filter((text) => {
      const svg = text.ownerSVGElement.getBoundingClientRect(), box = text.getBoundingClientRect();
      return box.left < svg.left - 3 || box.right > svg.right + 3;
    }).map((text) => text.textContent)""")
    assert not beyond


@pytest.mark.parametrize("name", NAMES)
def test_every_control_is_reached_and_moved_by_keys(played, name):
    page = played(name)
    controls = page.locator(".widget :is(input, select, button, [role=slider]):visible")
    waiting = {
        controls.nth(n).evaluate("(e) => e.id || e.getAttribute('aria-label') || e.textContent")
        for n in range(controls.count())
    }
    cells = page.locator(".widget [role=group] button").count()  # arrow keys lead from one to the next
    reached, before = set(), page.evaluate(SHOWN)
    for _ in range(len(waiting) + 3):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "document.activeElement.matches('.widget *') && (document.activeElement.id || document.activeElement.getAttribute('aria-label') || document.activeElement.textContent)"
        )
        if not focused or focused in reached:
            continue
        reached.add(focused)
        kind = page.evaluate("document.activeElement.type || document.activeElement.getAttribute('role')")
        followed = False
        for key in {"range": ["ArrowLeft", "ArrowRight", "ArrowRight"], "slider": ["ArrowUp"], "checkbox": ["Space"],
                    "radio": ["ArrowRight"] * 2, "select-one": ["ArrowDown"]}.get(kind, ["Enter", "ArrowRight"]):  # fmt: skip
            page.keyboard.press(key)
            reached.add(
                page.evaluate(
                    "document.activeElement.id || document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
                )
            )
            after = page.evaluate(SHOWN)
            followed = followed or after != before
            before = after
        assert followed or kind == "submit", f"nothing follows {focused}"
    assert len(reached) >= len(waiting) - cells and reached


@pytest.mark.parametrize("name", NAMES)
def test_it_answers_to_a_finger(played, name):
    page = played(name, width=390, has_touch=True, is_mobile=True)
    before = page.evaluate(SHOWN)
    page.locator(".widget button:visible").last.tap()
    first = page.evaluate(SHOWN)
    slider = page.locator(".widget input[type=range]:visible")
    if slider.count():
        box = slider.first.bounding_box()
        page.touchscreen.tap(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    else:
        page.locator(".widget button:visible").nth(1).tap()
    assert page.evaluate(SHOWN) not in (before, first)
    small = page.evaluate("""() => [...document.querySelectorAll(".widget :is(button, select, label)")]
      .filter((e) => e.getClientRects().length && Math.min(e.offsetHeight, 99) < 30).map((e) => e.outerHTML.slice(0, 80))""")
    assert not small


@pytest.mark.parametrize("name", NAMES)
def test_a_screen_reader_is_told_what_it_is(played, name):
    page = played(name)
    found = Axe().run(page, options={"resultTypes": ["violations"], "preload": False}).response["violations"]
    assert not {v["id"]: v["nodes"][0]["html"][:200] for v in found}
    assert len(page.locator(".widget-result[aria-live=polite]").inner_text()) > 60
