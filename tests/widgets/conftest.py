"""A figure to play with on an otherwise empty page, in the system's Chromium."""

import pytest
from playwright import sync_api

from scripts.stills import STATIC, chromium


def pytest_collection_modifyitems(items):
    if not chromium():
        for item in items:
            if "/widgets/" in item.nodeid:
                item.add_marker(pytest.mark.skip(reason="no Chromium: apt-get install chromium"))


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox"], ignore_default_args=["--hide-scrollbars"]
        )
        yield launched
        launched.close()


@pytest.fixture
def played(browser):
    """Opens a figure; what went wrong is asserted at the end."""
    contexts, wrong = [], []

    def open_(name, width=1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda m: m.type == "error" and wrong.append(m.text))
        page.on("request", lambda request: wrong.append(request.url))
        page.set_content(
            '<html lang="en"><title>a figure</title><meta name="viewport" content="width=device-width">'
            f'<main><h1>A figure</h1><div class="widget" data-widget="{name}"></div></main></html>'
        )
        page.add_style_tag(path=STATIC / "course.css")
        page.add_script_tag(path=STATIC / "widgets.js")
        page.add_script_tag(path=STATIC / "widgets" / f"{name}.js")
        page.locator(".widget-result").wait_for()
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not wrong, wrong
