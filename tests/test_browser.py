"""The built pages in a real browser: nothing scrolls sideways, nothing fails, nothing is asked of another host.

Chromium of the system is driven with its scroll bars shown: hidden ones hide what they would cover.
"""

import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright import sync_api

from tests.test_book import PAGES, site  # noqa: F401 a fixture

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium: apt-get install chromium")

WIDTHS = {"phone": 390, "laptop": 1280, "desktop": 1440}
# The theme's own, on every page; ours are none.
THEIRS = {
    "label-content-name-mismatch",
    "region",
    "aria-required-children",
    "aria-deprecated-role",
    "aria-allowed-role",
    "empty-table-header",
}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(site):  # noqa: F811
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], ignore_default_args=["--hide-scrollbars"]
        )
        yield launched
        launched.close()


@pytest.fixture
def opened(browser, address):
    """Opens a page; what went wrong on it is asserted at the end."""
    contexts, wrong = [], []

    def open_(path, width=1280, theme="light", **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(f"{path}: {error}"))
        page.on("console", lambda m: m.type == "error" and wrong.append(f"{path}: {m.text}"))
        page.on("response", lambda r: r.status < 400 or wrong.append(f"{r.status}: {r.url}"))
        page.on("request", lambda r: r.url.startswith((address, "data:", "blob:")) or wrong.append(r.url))
        page.goto(f"{address}/{path}", wait_until="load")
        page.evaluate("window.MathJax?.startup?.promise")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not wrong, wrong


# What scrolls by itself though it should not: more content than room, and a bar or a cut to show for it.
SIDEWAYS = """(phone) => {
  const named = (e) => e.tagName.toLowerCase() + "." + [...e.classList].join(".") + " " + e.textContent.trim().slice(0, 50);
  const found = [];
  const page = document.scrollingElement;
  if (page.scrollWidth > page.clientWidth) found.push("the page itself: " + page.scrollWidth);
  for (const e of document.querySelectorAll("article.bd-article *")) {
    const { overflowX, overflowY } = getComputedStyle(e);
    const bars = e.offsetHeight - e.clientHeight > 8 && ["auto", "scroll"].includes(overflowX) && e.tagName !== "SELECT";
    if (e.closest("mjx-assistive-mml, mjx-stretchy-h, mjx-stretchy-v")) continue;
    if (e.scrollWidth > e.clientWidth && overflowX !== "visible" && e.clientWidth && !(phone && e.closest("pre, table, div.math, .mjx-container, mjx-container")))
      found.push(named(e) + " " + e.scrollWidth + " > " + e.clientWidth);
    else if (e.closest("mjx-container, div.math") && (bars && !phone)) found.push("bar: " + named(e));
  }
  return found;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_nothing_scrolls_sideways_and_axe_finds_nothing_of_ours(opened, page, theme):
    for name, width in WIDTHS.items():
        shown = opened(f"{page}.html", width, theme)
        assert not shown.evaluate(SIDEWAYS, name == "phone"), (name, width)
    found = Axe().run(shown, options={"resultTypes": ["violations"], "preload": False}).response["violations"]
    ours = {v["id"]: v["nodes"][0]["html"][:200] for v in found if v["impact"] in ("serious", "critical")}
    assert not {rule: node for rule, node in ours.items() if rule not in THEIRS}


@pytest.mark.parametrize("page", PAGES)
def test_print_from_dark_is_dark_on_white(opened, page):
    shown = opened(f"{page}.html", theme="dark")
    shown.emulate_media(media="print", color_scheme="dark")
    pale = shown.evaluate("""() => {
      const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const found = [];
      for (const e of document.querySelectorAll("article.bd-article :is(h1, h2, p, li, td, pre, span)")) {
        if (e.offsetParent && e.textContent.trim() && light(getComputedStyle(e).color) > 140) found.push(e.outerHTML.slice(0, 80));
      }
      return found;
    }""")
    assert not pale, pale[:5]


@pytest.mark.parametrize("asked, section", [
    ("unbiased", "inference"), ("momentum", "inference"), ("eval", "inference"),
])  # fmt: skip
def test_the_search_leads_to_a_section(opened, asked, section):
    shown = opened(f"search.html?q={asked}")
    results = shown.locator(".pagefind-ui__result-link")
    shown.locator(".pagefind-ui__result-link[href*='#']").first.wait_for()
    targets = [results.nth(n).get_attribute("href") for n in range(results.count())]
    assert any(f"{section}.html#" in target for target in targets), targets


def test_pages_are_light(opened, browser, address):
    """No script for icons that style sheets draw; no mathematics where there is no formula."""
    for page in PAGES:
        context = browser.new_context()
        asked = []
        shown = context.new_page()
        shown.on("request", lambda r, asked=asked: asked.append(r.url))
        shown.goto(f"{address}/{page}.html")
        assert not [url for url in asked if "fontawesome.js" in url]
        formulas = shown.locator(".math, mjx-container").count()
        assert formulas or not [url for url in asked if "mathjax" in url], page
        context.close()
