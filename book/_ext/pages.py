"""Sphinx extension: what every page gets, derived and not typed.

Under the title of a page with code: its time, Colab, and the notebook to download. Figures are numbered by
chapter. A description for those who find the page elsewhere. The downloaded notebook is the one that Colab
opens. What a page does not need is not loaded.
"""

import html
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[2]

WORDS_A_MINUTE = 130  # of technical prose, with its formulas
CODE_LINES_A_MINUTE = 12
NAMED = 'aria-label="Show the pages below"'


def minutes(source: str) -> int:
    """To read a page: its words, its lines of code, in steps of five."""
    cells = re.findall(r"```\{code-cell\}.*?```", source, flags=re.S)
    code = sum(cell.count("\n") for cell in cells)
    words = len(re.sub(r"```\{code-cell\}.*?```", "", source, flags=re.S).split())
    return max(5, 5 * round((words / WORDS_A_MINUTE + code / CODE_LINES_A_MINUTE) / 5))


def description(body: str) -> str:
    """The first paragraph of the section "The question", or of the page, as plain text."""
    start = body.find('<section id="the-question">')
    found = re.search(r"<p>(.*?)</p>", body[max(start, 0) :], flags=re.S)
    text = html.unescape(re.sub(r"<[^>]+>", "", found[1])) if found else ""
    return " ".join(text.split())[:200]


def colab_url(options: dict, path: str) -> str:
    """Where Colab opens a notebook of the repository."""
    repository = options["repository_url"].removeprefix("https://github.com/").rstrip("/")
    return f"https://colab.research.google.com/github/{repository}/blob/{options['repository_branch']}/{path}"


def under_the_title(options: dict, name: str, source: str) -> str:
    """Buttons and time of a page that is a notebook."""
    served = f"../_sources/{quote(name)}.ipynb"
    return (
        f'<p class="run"><a class="button" href="{colab_url(options, name + ".ipynb")}">Open in Colab</a>'
        f'<a class="button" href="{served}" download>Download the notebook</a>'
        f"<span>{minutes(source)} minutes to read</span></p>"
    )


def number_figures(body: str, chapter: str) -> str:
    """Captions begin with "Figure 3.2", and each figure can be linked to."""
    parts = body.split('<figure class="plot">')
    for number, part in enumerate(parts[1:], 1):
        name = f"{chapter}.{number}" if chapter else str(number)
        part = part.replace("<figcaption>", f"<figcaption><b>Figure {name}.</b> ", 1)
        parts[number] = f'<figure class="plot" id="figure-{name.replace(".", "-")}">{part}'
    return "".join(parts)


def complete(app, name, template, context, doctree) -> None:
    """Everything that is derived from a page's own text."""
    body = context.get("body")
    if not body or doctree is None:
        return
    numbers = app.env.toc_secnumbers.get(name, {}).get("", ())
    body = number_figures(body, ".".join(map(str, numbers[:1])))
    source = Path(app.env.doc2path(name)).read_text("utf-8")
    if "\njupytext:" in source:
        buttons = under_the_title(app.config.html_theme_options, name, source)
        body = body.replace("</h1>", f"</h1>{buttons}", 1)
    # the search leads to a heading that has a name; Sphinx names the section around it
    named = r'(<section id="([^"]+)">\s*(?:<span id="[^"]+"></span>\s*)*)<(h[23])>'
    body = re.sub(named, r'\1<\3 id="\2-heading">', body)
    # a screen reader is told what the folded cell is
    body = body.replace("Show code cell source", "Code of this figure")
    body = body.replace("Hide code cell source", "Code of this figure")
    context["body"] = body
    said = html.escape(description(body), quote=True)
    title = html.escape(re.sub(r"<[^>]+>", "", context.get("title", "")), quote=True)
    context["metatags"] = context.get("metatags", "") + (
        f'<meta name="description" content="{said}"/><meta property="og:title" content="{title}"/>'
        f'<meta property="og:description" content="{said}"/><meta property="og:type" content="article"/>'
    )
    if "math notranslate" not in body:
        context["script_files"] = [s for s in context["script_files"] if "mathjax" not in str(s).lower()]


def drop_thebe(app, name, template, context, doctree) -> None:
    """Jupyter Book loads Thebe on every page, twice, though it is switched off: an error in the console."""
    context["script_files"] = [
        script
        for script in context.get("script_files", [])
        if "thebe" not in f"{script} {getattr(script, 'attributes', {}).get('body', '')}".lower()
    ]


def finish(app, exception) -> None:
    """Serve the clean notebooks, load less, and make the search's index."""
    if exception or app.builder.format != "html":
        return
    out = Path(app.outdir)
    for notebook in ROOT.glob("book/*.ipynb"):
        if (raw := out / "_sources" / "book" / notebook.name).is_file():
            shutil.copyfile(notebook, raw)
    for page in out.rglob("*.html"):
        text = page.read_text("utf-8")
        # half a megabyte of script for icons that the style sheets draw already
        mended = re.sub(r'\s*<script src="[^"]*scripts/fontawesome\.js[^"]*"></script>', "", text)
        # a screen reader is told what the arrow in the list of pages does
        arrow = '<span class="toctree-toggle"'
        mended = mended.replace(f"<summary>{arrow}", f"<summary {NAMED}>{arrow}")
        if mended != text:
            page.write_text(mended, "utf-8")
    command = [sys.executable, "-m", "pagefind", "--site", str(out), "--root-selector", "article.bd-article"]
    subprocess.run([*command, "--quiet"], check=True)


def setup(app) -> dict:
    """Sphinx calls this."""
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("html-page-context", complete, priority=910)
    app.connect("build-finished", finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
