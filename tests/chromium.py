"""The system's Chromium, driven with its scroll bars shown: hidden ones hide what they would cover."""

import contextlib

import pytest
from playwright import sync_api

from scripts.stills import chromium

CHROMIUM = chromium()


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        pytest.skip("no Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], ignore_default_args=["--hide-scrollbars"]
        )
        yield launched
        launched.close()


@contextlib.contextmanager
def opener(browser):
    """Opens empty pages; what goes wrong on them, or is asked of others than their own addresses, is asserted at the end."""
    contexts, wrong = [], []

    def open_(width, own=(), **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(f"{page.url}: {error}"))
        page.on("console", lambda m: m.type == "error" and wrong.append(f"{page.url}: {m.text}"))
        page.on("response", lambda r: r.status < 400 or wrong.append(f"{r.status}: {r.url}"))
        page.on("request", lambda r: r.url.startswith(tuple(own)) or wrong.append(r.url))
        return page

    try:
        yield open_
    finally:
        for context in contexts:
            context.close()
    assert not wrong, wrong


@pytest.fixture
def watched(browser):
    with opener(browser) as open_:
        yield open_
