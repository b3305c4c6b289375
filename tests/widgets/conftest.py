"""A figure to play with on an otherwise empty page."""

import pytest

from scripts.stills import STATIC
from tests.chromium import browser, watched  # noqa: F401 fixtures


@pytest.fixture
def played(watched):  # noqa: F811
    """Opens a figure, which asks nobody for anything."""

    def open_(name, width=1280, **options):
        page = watched(width, **options)
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

    return open_
