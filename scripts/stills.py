"""Writes what stands in for the figures to play with where there is no script: their drawings, from Chromium.

python -m scripts.stills            write
python -m scripts.stills --check    say what is out of date, exit 1 if anything is
"""

import argparse
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

STATIC = Path(__file__).resolve().parent.parent / "book" / "_static"
WIDTH = 640
# by figure, what is done with it before it is drawn, where its start says little
DONE: dict[str, Callable[[Page], None]] = {
    "ahead": lambda page: page.get_by_label("steps taken").press("End"),
    "batch-norm": lambda page: page.get_by_role("button", name="next 20 batches").click(),
    "signals": lambda page: page.get_by_label("batch norm").check(),
}


def chromium() -> str | None:
    """The system's own, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


# A figure that is made of buttons, as boxes with their words.
BOXES = """(root) => {
  const tensor = root.querySelector("[role=group]").closest(".widget > *");
  const place = tensor.getBoundingClientRect(), parts = [];
  let [right, bottom] = [0, 0];
  for (const cell of tensor.querySelectorAll("button, figcaption")) {
    const box = cell.getBoundingClientRect(), x = box.x - place.x, y = box.y - place.y;
    const kind = cell.className && cell.matches("button") ? ` class="${cell.className}"` : "";
    [right, bottom] = [Math.max(right, x + box.width), Math.max(bottom, y + box.height)];
    if (cell.matches("button"))
      parts.push(`<rect x="${x}" y="${y}" width="${box.width}" height="${box.height}"${kind}/>`);
    parts.push(`<text x="${x + box.width / 2}" y="${y + box.height / 2 + 5}" text-anchor="middle"${kind}>` +
      `${cell.textContent}</text>`);
  }
  const size = `-1 -1 ${Math.ceil(right) + 2} ${Math.ceil(bottom) + 2}`;
  const title = "<title>The cells of the tensor; in words below.</title>";
  return `<svg role="img" viewBox="${size}">${title}${parts.join("")}</svg>`;
}"""


def names() -> list[str]:
    """Of all figures to play with."""
    return sorted(path.stem for path in STATIC.glob("widgets/*.js"))


def drawn(browser: Browser, name: str) -> str:
    """The figure's drawing, as SVG that takes its colours from the page around it."""
    page = browser.new_page(viewport={"width": 900, "height": 900})
    page.set_content(f'<div class="widget" data-widget="{name}" style="width: {WIDTH}px"></div>')
    page.add_style_tag(path=STATIC / "course.css")
    page.add_script_tag(path=STATIC / "widgets.js")
    page.add_script_tag(path=STATIC / "widgets" / f"{name}.js")
    page.locator(".widget > :last-child").wait_for(state="attached")
    DONE.get(name, lambda page: None)(page)
    svg = page.locator(".widget svg")
    if svg.count():
        svg.locator("> *").first.wait_for(state="attached")
        text = svg.evaluate("(svg) => svg.outerHTML")
    else:
        text = page.locator(".widget").evaluate(BOXES)
    page.close()
    text = re.sub(r"\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}", text)
    return re.sub(r"<(\w+)([^>]*)></\1>", r"<\1\2/>", text) + "\n"


def main() -> int:
    """Write the pictures; with --check, compare instead."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check, stale = parser.parse_args().check, 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for name in names():
            path, text = STATIC / "widgets" / f"{name}.svg", drawn(browser, name)
            if not path.is_file() or path.read_text("utf-8") != text:
                stale += 1
                print(f"{path.name}: {'out of date: run `python -m scripts.stills`' if check else 'written'}")
                if not check:
                    path.write_text(text, "utf-8")
        browser.close()
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
