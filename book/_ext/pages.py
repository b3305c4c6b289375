"""Sphinx extension: what every page gets, derived and not typed.

Under the title of a page with code: its time, Colab, and the notebook to download. Figures are numbered by
chapter. A title, a description and a picture for those who find the page elsewhere. The downloaded notebook
is the one that Colab opens. A formula and the full stop after it stay on one line. What a page does not need
is not loaded. The site's own address leads to its first page; one that leads nowhere says so, at any depth.
"""

import html
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, urlsplit

import yaml
from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parents[2]

WORDS_A_MINUTE = 130  # of technical prose, with its formulas
CODE_LINES_A_MINUTE = 12
NAMED = 'aria-label="Show the pages below"'
PREVIEW = "preview.png"
FORMULA = r'<span class="math notranslate nohighlight">[^<]*</span>'


def minutes(source: str) -> int:
    """To read a page: its words, its lines of code, in steps of five."""
    cells = re.findall(r"```\{code-cell\}.*?```", source, flags=re.S)
    code = sum(cell.count("\n") for cell in cells)
    words = len(re.sub(r"```\{code-cell\}.*?```", "", source, flags=re.S).split())
    return max(5, 5 * round((words / WORDS_A_MINUTE + code / CODE_LINES_A_MINUTE) / 5))


def published(options: dict) -> str:
    """Where GitHub Pages shows the repository's site."""
    owner, name = options["repository_url"].rstrip("/").split("/")[-2:]
    return f"https://{owner}.github.io/" + ("" if name == f"{owner}.github.io" else f"{name}/")


def full_title(name: str, title: str, site: str) -> str:
    """As it stands on a tab and among a search's results: the chapter, its part, the book."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    if name == toc["root"]:
        return title
    title = re.sub(r"^[0-9]+\. ", "", title)
    parts = [part["caption"] for part in toc["parts"] if part.get("numbered")
             and any(chapter["file"] == name for chapter in part["chapters"])]  # fmt: skip
    return " · ".join([title, *parts, site])


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
    # a line does not begin with the full stop or comma after a formula
    body = re.sub(FORMULA + r"[.,;:?!)]+", r'<span class="unbroken">\g<0></span>', body)
    context["body"] = body
    plain = html.unescape(re.sub(r"<[^>]+>", "", context.get("title", "")))
    context["tab"] = full_title(name, plain, app.config.html_title)
    context["metatags"] = context.get("metatags", "") + about(
        context["tab"], description(body), app.config.html_baseurl, f"{name}.html"
    )
    if "math notranslate" not in body:
        context["script_files"] = [s for s in context["script_files"] if "mathjax" not in str(s).lower()]


def about(title: str, said: str, site: str, path: str) -> str:
    """What others show of a page, as elements of its head."""
    properties = {
        "title": title, "description": said, "type": "article", "url": site + path,
        "image": f"{site}_static/{PREVIEW}", "image:alt": "The cells that four methods average over",
    }  # fmt: skip
    text = f'<meta name="description" content="{html.escape(said)}"/>'
    for name, content in properties.items():
        text += f'<meta property="og:{name}" content="{html.escape(content)}"/>'
    return text + '<meta name="twitter:card" content="summary_large_image"/>'


def place(app, config) -> None:
    """The site's address, unless _config.yml names another."""
    config.html_baseurl = config.html_baseurl or published(config.html_theme_options)


def drop_thebe(app, name, template, context, doctree) -> None:
    """Jupyter Book loads Thebe on every page, twice, though it is switched off: an error in the console."""
    context["script_files"] = [
        script
        for script in context.get("script_files", [])
        if "thebe" not in f"{script} {getattr(script, 'attributes', {}).get('body', '')}".lower()
    ]


def draw_preview(path: Path, title: str) -> None:
    """The picture that others show beside a link to the site."""
    from normcore.plotting import STYLE, index_sets

    with plt.rc_context(STYLE):
        fig = index_sets()
        fig.set_size_inches(6, 3.15)
        fig.suptitle(title)
        fig.savefig(path, dpi=200, facecolor="white")


def from_anywhere(page: str, root: str) -> str:
    """A page at the site's root whose links lead to the same places when it is shown for another address."""
    links = r'((?:href|src|data-content_root)=")(?![a-z]+:|/|#)(?:\./)?'
    return re.sub(links, rf"\g<1>{root}", page)


def entrance(home: str, title: str, head: str) -> str:
    """The page at the site's address: it leads to the first page, and says what the site is."""
    title = html.escape(title)
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"/><title>{title}</title>{head}'
        f'<meta http-equiv="refresh" content="0; url={home}"/></head>'
        f'<body><p><a href="{home}">{title}</a></p></body></html>\n'
    )


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
    draw_preview(out / "_static" / PREVIEW, app.config.html_title)
    nowhere = out / "404.html"
    root = urlsplit(app.config.html_baseurl).path
    nowhere.write_text(from_anywhere(nowhere.read_text("utf-8"), root), "utf-8")
    home = f"{app.config.root_doc}.html"
    first = (out / home).read_text("utf-8")
    head = "".join(re.findall(r'<meta (?:name="description"|property="og:|name="twitter:)[^>]*>', first))
    title = html.unescape(re.search("<title>(.*?)</title>", first)[1])
    (out / "index.html").write_text(entrance(home, title, head), "utf-8")
    command = [sys.executable, "-m", "pagefind", "--site", str(out), "--root-selector", "article.bd-article"]
    subprocess.run([*command, "--quiet"], check=True)


def setup(app) -> dict:
    """Sphinx calls this."""
    app.connect("config-inited", place, priority=900)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("html-page-context", complete, priority=910)
    app.connect("build-finished", finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
