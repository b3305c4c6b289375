"""The built pages in a real browser: nothing scrolls sideways, nothing fails, nothing is asked of another host."""

import gzip
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.book.pages import CHAPTERS, PAGES, REFERENCE
from tests.chromium import opener

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


# Answers are folded; what is in them has to be right as well.
OPEN = "document.querySelectorAll('details').forEach((details) => { details.open = true; })"


@pytest.fixture(scope="module")
def address(site):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def opened(watched, address):
    """Opens a page of the site."""

    def open_(path, width=1280, theme="light", **options):
        page = watched(
            width, own=(address, "data:", "blob:"), color_scheme=theme, reduced_motion="reduce", **options
        )
        page.goto(f"{address}/{path}", wait_until="load")
        page.evaluate("window.MathJax?.startup?.promise")
        return page

    return open_


# What scrolls by itself though it should not: more content than room, and a bar or a cut to show for it. What is one
# pixel wide is there for screen readers alone.
SIDEWAYS = """(phone) => {
  const named = (e) => e.tagName.toLowerCase() + "." + [...e.classList].join(".") + " " + e.textContent.trim().slice(0, 50);
  const found = [];
  const page = document.scrollingElement;
  if (page.scrollWidth > page.clientWidth) found.push("the page itself: " + page.scrollWidth);
  for (const e of document.querySelectorAll("article.bd-article *")) {
    const { overflowX, overflowY } = getComputedStyle(e);
    const bars = e.offsetHeight - e.clientHeight > 8 && ["auto", "scroll"].includes(overflowX) && e.tagName !== "SELECT";
    if (e.closest("mjx-assistive-mml, mjx-stretchy-h, mjx-stretchy-v")) continue;
    if (e.scrollWidth > e.clientWidth && overflowX !== "visible" && e.clientWidth > 1 && !(phone && e.closest("pre, table:not(.result), div.math, .mjx-container, mjx-container")))
      found.push(named(e) + " " + e.scrollWidth + " > " + e.clientWidth);
    else if (e.closest("mjx-container, div.math") && (bars && !phone)) found.push("bar: " + named(e));
  }
  return found;
}"""


# Words of code are coloured by their kind, thousands of them; of each kind in one place one is looked at, and the others
# are made plain.
ONE_OF_A_KIND = """() => {
  const seen = new Set();
  for (const word of document.querySelectorAll("article.bd-article :is(pre, dt) span")) {
    if (word.childElementCount) continue;
    let kind = "";
    for (let up = word; up; up = up.parentElement) kind += "/" + up.className;
    if (seen.has(kind)) word.replaceWith(...word.childNodes);
    seen.add(kind);
  }
}"""


@pytest.fixture(scope="module", params=[*PAGES, *REFERENCE])
def shown(request, browser, address):
    """Each page, loaded once for all that is only looked at, with its answers unfolded."""
    with opener(browser) as open_:
        page = open_(WIDTHS["desktop"], own=(address, "data:", "blob:"), reduced_motion="reduce")
        page.goto(f"{address}/{request.param}.html", wait_until="load")
        page.evaluate("window.MathJax?.startup?.promise")
        page.evaluate(OPEN)
        page.evaluate(ONE_OF_A_KIND)
        yield page


@pytest.fixture
def turned(shown):
    """The page at another width, in another theme, or on paper."""

    def turn(width=WIDTHS["desktop"], theme="light", media="screen"):
        shown.set_viewport_size({"width": width, "height": 900})
        shown.emulate_media(color_scheme=theme, media=media)
        shown.evaluate(SETTLED)
        return shown

    return turn


def test_nothing_scrolls_sideways(turned):
    """As it is turned from a phone to a desktop."""
    for name, width in WIDTHS.items():
        assert not turned(width).evaluate(SIDEWAYS, name == "phone"), (name, width)


# What begins a line though it ends the sentence of the formula before it.
PARTED = """() => {
  const found = [];
  for (const formula of document.querySelectorAll("article.bd-article mjx-container:not([display=true])")) {
    const holder = formula.closest(".math");
    let after = holder.nextSibling;
    if (after?.nodeType !== Node.TEXT_NODE || !/^[.,;:?!)]/.test(after.data) || !formula.offsetParent) continue;
    const range = document.createRange();
    range.setStart(after, 0);
    range.setEnd(after, 1);
    const stop = range.getBoundingClientRect(), box = formula.getBoundingClientRect();
    if (stop.left < box.right - 3) found.push(holder.parentElement.closest("p, li, td").textContent.slice(0, 60));
  }
  return found;
}"""


def test_a_line_does_not_begin_with_the_full_stop_after_a_formula(turned):
    for width in (360, 390, 420):
        assert not turned(width).evaluate(PARTED), width


@pytest.fixture(scope="module")
def elsewhere(site):
    """The site in a folder, as GitHub Pages serves it: 404.html for what is not there."""
    first = (site / "book/intro.html").read_text("utf-8")
    folder = urlsplit(re.search(r'<link rel="canonical" href="([^"]+)/book/', first)[1]).path + "/"
    nowhere = (site / "404.html").read_bytes()

    class Pages(Quiet):
        def translate_path(self, path):
            path = urlsplit(path).path
            return str(site / (path.removeprefix(folder) if path.startswith(folder) else "no such file"))

        def send_error(self, code, message=None, explain=None):
            self.send_response(404)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(nowhere)))
            self.end_headers()
            self.wfile.write(nowhere)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Pages, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}{folder.rstrip('/')}"
    server.shutdown()


@pytest.mark.parametrize("path", ["gone.html", "book/gone.html", "a/b/c/gone"])
def test_an_address_that_leads_nowhere_says_so_at_any_depth(browser, elsewhere, path):
    page = browser.new_page()
    failed = []
    page.on("response", lambda r: r.status < 400 or failed.append(r.url))
    page.goto(f"{elsewhere}/{path}")
    assert failed == [f"{elsewhere}/{path}"]  # itself; its style sheets and scripts are there
    expect(page.locator("h1", has_text="No such page")).to_be_visible()
    links = page.evaluate("[...document.querySelectorAll('a[href]')].map((a) => a.href)")
    inside = {link.partition("#")[0] for link in links if link.startswith(elsewhere)} - {
        f"{elsewhere}/{path}"
    }
    assert len(inside) > 10 and all(page.request.get(link).ok for link in inside)
    assert not [link for link in links if "127.0.0.1" in link and not link.startswith(elsewhere)]
    page.get_by_role("link", name="the first page").click()
    page.wait_for_url(f"{elsewhere}/book/intro.html")
    page.close()


def test_code_that_goes_on_beside_a_phones_edge_shows_it(opened):
    """By a shadow that its own ground covers where the code ends."""
    shown = opened(f"{CHAPTERS[0]}.html", WIDTHS["phone"])
    ground = "(e) => getComputedStyle(e).backgroundAttachment"
    assert "local" in shown.locator("div.cell_input pre").first.evaluate(ground)
    shown.set_viewport_size({"width": WIDTHS["laptop"], "height": 900})
    assert "local" not in shown.locator("div.cell_input pre").first.evaluate(ground)


@pytest.mark.parametrize("shown", PAGES, indirect=True)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_of_ours_and_paper_is_dark_on_white(turned, theme):
    page = turned(theme=theme)
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    options = {"resultTypes": ["violations"], "preload": False}
    found = Axe().run(page, options=options).response["violations"]
    ours = {v["id"]: v["nodes"][0]["html"][:200] for v in found if v["impact"] in ("serious", "critical")}
    assert not {rule: node for rule, node in ours.items() if rule not in THEIRS}
    pale = turned(theme=theme, media="print").evaluate(PALE)
    assert not pale, pale[:5]


PALE = """() => {
  const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const found = [];
  for (const e of document.querySelectorAll("article.bd-article :is(h1, h2, p, li, td, pre, span)")) {
    if (e.offsetParent && e.textContent.trim() && light(getComputedStyle(e).color) > 140) found.push(e.outerHTML.slice(0, 80));
  }
  return found;
}"""
# Colours that move to their place are measured there: what was opened or styled last is drawn, and at rest.
SETTLED = """async () => {
  await document.fonts.ready;
  for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
  const ends = document.getAnimations().filter((a) => a.effect.getComputedTiming().endTime < Infinity);
  await Promise.all(ends.map((a) => a.finished.catch(() => null)));
}"""


@pytest.mark.parametrize("asked, section", [
    ("unbiased", "inference"), ("momentum", "inference"), ("eval", "inference"),
])  # fmt: skip
def test_the_search_leads_to_a_section(opened, asked, section):
    shown = opened(f"search.html?q={asked}")
    results = shown.locator(".pagefind-ui__result-link")
    shown.locator(".pagefind-ui__result-link[href*='#']").first.wait_for()
    targets = [results.nth(n).get_attribute("href") for n in range(results.count())]
    assert any(f"{section}.html#" in target for target in targets), targets


# What follows a key or a click comes in the page's own time: `expect` waits for it, an `assert` would not.
@pytest.mark.parametrize("page", CHAPTERS)
def test_a_guess_is_kept_and_what_happened_is_marked(opened, page):
    """Of every prediction of a chapter, by keyboard alone."""
    shown = opened(f"{page}.html")
    answers = shown.locator("details.answer")
    assert answers.count() == shown.locator("fieldset.choices, figure.drawn").count() > 0
    guesses = []
    for n in range(answers.count()):
        question = shown.locator("div.predict").nth(n)
        if question.locator("fieldset").count():
            first = question.locator("input").first
            first.focus()
            first.press("Space")
            first.press("ArrowDown")
            expect(question.locator("input").nth(1)).to_be_checked()
            expect(question.locator("label.right")).to_have_count(0)
        else:
            handle = question.locator("[role=slider]").first
            expect(question.locator(".truth")).to_be_hidden()
            before = float(handle.get_attribute("aria-valuenow"))
            handle.focus()
            handle.press("ArrowUp")
            handle.press("PageUp")
            expect(handle).to_have_attribute("aria-valuenow", re.compile(rf"^{before + 12:g}(\.0*)?$"))
            guesses.append((n, handle.get_attribute("aria-valuetext")))
        summary = answers.nth(n).locator("> summary")
        summary.focus()
        summary.press("Enter")
        if question.locator("fieldset").count():
            right = int(answers.nth(n).get_attribute("data-answer"))
            expect(question.locator("label").nth(right - 1)).to_have_class("right")
            said = "Your guess is what happened." if right == 2 else "You guessed otherwise"
            expect(question.locator("[role=status]")).to_contain_text(said)
        else:
            expect(question.locator(".truth")).to_be_visible()
    shown.reload()
    for n in range(answers.count()):
        expect(answers.nth(n)).to_have_attribute("open", "")
        question = shown.locator("div.predict").nth(n)
        if question.locator("fieldset").count():
            expect(question.locator("input").nth(1)).to_be_checked()
    for n, text in guesses:
        handle = shown.locator("div.predict").nth(n).locator("[role=slider]").first
        expect(handle).to_have_attribute("aria-valuetext", text)


@pytest.mark.parametrize("page", CHAPTERS)
def test_without_a_script_an_answer_is_a_plain_folded_detail(opened, page):
    shown = opened(f"{page}.html", java_script_enabled=False)
    first = shown.locator("details.answer").first
    expect(first.locator(".cell").first).to_be_hidden()
    assert shown.locator("div.predict").first.locator("input, svg").count() == 0
    first.locator("> summary").click()
    expect(first.locator(".cell").first).to_be_visible()


def test_a_link_to_a_cell_opens_the_answer_that_it_is_in(opened):
    shown = opened("book/claims.html")
    shown.locator("a[href$='why.html#cell-shift-put-back']").first.click()
    expect(shown.locator("#cell-shift-put-back")).to_be_visible()
    answer = shown.locator("details.answer", has=shown.locator("#cell-shift-put-back"))
    expect(answer).to_have_attribute("open", "")


# Bytes of what must be there before anything is seen, compressed, besides the page itself. At 1.6 Mbit/s a second is
# 200,000 of them, and connection, page and style sheets take three round trips.
BEFORE_FIRST_PAINT = 150_000


@pytest.mark.parametrize("page", [PAGES[0], "book/why", "book/api/nn"])
def test_what_stands_before_the_first_paint_is_small(opened, page, site):
    """Style sheets, and the scripts in the head that are not deferred."""
    shown = opened(f"{page}.html")
    blocking = shown.evaluate("""() => performance.getEntriesByType("resource")
      .filter((entry) => entry.renderBlockingStatus === "blocking").map((entry) => new URL(entry.name).pathname)""")
    assert any(path.endswith(".css") for path in blocking)
    sent = {path: len(gzip.compress((site / path.lstrip("/")).read_bytes())) for path in blocking}
    assert 10_000 < sum(sent.values()) < BEFORE_FIRST_PAINT, sent


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
