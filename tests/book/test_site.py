"""The book builds with warnings as errors, and its pages are complete and ask no other host for anything."""

import html
import re
from datetime import datetime, timedelta
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from scripts import notebooks
from tests.book.pages import (
    CELL,
    CHAPTERS,
    NUMBERED,
    PAGES,
    REFERENCE,
    REFERENCES,
    TOC,
    WIDGETS,
    WITH_PROBLEM_SET,
    Elements,
    claims,
    elements,
)
from tests.commands import ROOT


@pytest.mark.parametrize("page", PAGES)
def test_the_repositorys_address_is_written_out(site, page):
    """In code blocks, too: a reader copies them."""
    text = re.sub("<[^>]+>", "", (site / f"{page}.html").read_text("utf-8"))
    assert "{{" not in text
    if "git clone" in text:
        address = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["repository"]["url"]
        assert f"git clone {address}" in text


@pytest.mark.parametrize("page", [*PAGES, *REFERENCE])
def test_a_page_asks_no_other_host(site, page):
    for tag, attributes in elements(site, page):
        loads = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
        if loads and attributes.get("rel") not in ("canonical", "search"):
            assert not urlsplit(loads).netloc, (tag, loads)
    for style in site.glob("_static/**/*.css"):
        assert not re.search(r"(?:url\(|@import )[\"']?https?:", style.read_text("utf-8")), style


@pytest.mark.parametrize("page", [*PAGES, *REFERENCE])
def test_links_inside_the_site_lead_somewhere(site, page):
    """To a file that is there, and to an element of it that is there."""
    ids = {}
    for tag, attributes in elements(site, page):
        target = urlsplit(attributes.get("href") or "")
        if tag != "a" or target.netloc or target.scheme or not (target.path or target.fragment):
            continue
        file = (
            ((site / page).parent / unquote(target.path)).resolve() if target.path else site / f"{page}.html"
        )
        assert file.exists(), attributes["href"]
        if target.fragment and file.suffix == ".html":
            if file not in ids:
                ids[file] = {a.get("id") for _, a in Elements(file.read_text("utf-8")).found}
            assert unquote(target.fragment) in ids[file], attributes["href"]


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_chapter_has_its_colab_notebook_problem_set_and_described_figures(site, page):
    found = elements(site, page)
    links = [attributes.get("href") or "" for tag, attributes in found if tag == "a"]
    assert any(link.endswith(f"/{page}.ipynb") and "colab." in link for link in links)
    if page in WITH_PROBLEM_SET:
        assert any("/exercises/ps" in link and "colab." in link for link in links)
        assert any("_downloads" in link and link.endswith(".ipynb") for link in links)
    # a figure to play with has a still picture, which is told in words beside it
    drawings = [a for tag, a in found if tag == "svg" and "aria-label" in a]
    text = (site / f"{page}.html").read_text("utf-8")
    assert len(drawings) == text.count('<figure class="plot"') >= 3
    assert all(a["role"] == "img" and len(a["aria-label"]) > 60 for a in drawings)


@pytest.mark.parametrize("page", CHAPTERS)
def test_ids_on_a_page_are_unique(site, page):
    """Several figures on one page each bring their clip paths and glyphs."""
    ids = [attributes["id"] for _, attributes in elements(site, page) if attributes.get("id")]
    assert len(ids) == len(set(ids)), sorted({i for i in ids if ids.count(i) > 1})


@pytest.mark.parametrize("page", CHAPTERS)
def test_what_follows_a_prediction_is_folded(site, page):
    """And nothing else: a heading stays in sight."""
    asked = (ROOT / f"{page}.md").read_text("utf-8").count(":::{predict}")
    answers = re.findall(r'<details class="answer"(.*?)</summary>(.*?)<!-- end of the answer -->',
                         (site / f"{page}.html").read_text("utf-8"), flags=re.S)  # fmt: skip
    assert len(answers) == asked > 0
    for _, answer in answers:
        assert "cell" in answer and "<h2" not in answer and "<h3" not in answer


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_reader_chooses_or_draws_and_a_curve_has_its_measurements(site, page):
    """The curve is compared with a column of a table in the answer; all of it must be there and in range."""
    text = (site / f"{page}.html").read_text("utf-8")
    answers = re.findall(r'<details class="answer"([^>]*)>(.*?)<!-- end of the answer -->', text, flags=re.S)
    asked = [Elements(f"<details{attributes}>").found[0][1] for attributes, _ in answers]
    assert all("data-answer" in a or "data-draw" in a for a in asked)
    for attributes, (_, answer) in zip(asked, answers, strict=True):
        if "data-draw" in attributes:
            header, (low, high, *_) = attributes["data-draw"], attributes["data-range"].split()
            tables = re.findall(r'<table class="result".*?</table>', answer, flags=re.S)
            found = next(t for t in tables if f'scope="col">{header}</th>' in t)
            cells = re.findall(rf'<td [^>]*data-label="{header}"[^>]*data-value="([^"]+)"', found)
            assert len(cells) == found.count("<tr") - 1 >= 4
            assert all(float(low) <= float(value) <= float(high) for value in cells)


@pytest.mark.parametrize("page", CHAPTERS)
def test_results_stand_in_tables_and_not_in_printed_columns(site, page):
    text = (site / f"{page}.html").read_text("utf-8")
    assert text.count('<table class="result"') >= 4
    for printed in re.findall(r'<div class="output stream.*?<pre>(.*?)</pre>', text, flags=re.S):
        assert printed.strip().count("\n") < 2, printed


def experiments_drawn(page):
    """The files of the experiments that a page draws, one a cell."""
    text = (ROOT / f"{page}.md").read_text("utf-8")
    names = {path.stem for path in (ROOT / "normcore/experiments").glob("*.py")}
    cells = [set(re.findall(r"\b(\w+)\.draw\w*\(", source)) & names for _, source in CELL.findall(text)]
    drawn = [name for cell in cells for name in sorted(cell)]
    return [f"normcore/experiments/{name}.py" for name in drawn]


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_drawn_experiment_leads_to_its_source(site, page):
    text = (site / f"{page}.html").read_text("utf-8")
    linked = re.findall(r'<p class="experiment">[^<]*<a [^>]*href="[^"]*/blob/main/([^"]+)"', text)
    assert linked == experiments_drawn(page)
    assert all((ROOT / path).is_file() for path in linked)


def test_every_chapter_has_claims_and_every_claim_a_chapter(site):
    assert [f"book/{chapter}" for chapter in claims.load()] == NUMBERED
    text = (site / "book/claims.html").read_text("utf-8")
    assert text.count('<span class="verdict ') == sum(map(len, claims.load().values())) + len(claims.VERDICTS)


@pytest.mark.parametrize("page", CHAPTERS)
def test_the_downloaded_notebook_is_the_one_that_colab_opens(site, page):
    found = elements(site, page)
    links = [a["href"] for tag, a in found if tag == "a" and "_sources/" in (a.get("href") or "")]
    served = {((site / page).parent / link).resolve() for link in links}
    assert {path.suffix for path in served} >= {".ipynb"}
    for path in served:
        if path.suffix == ".ipynb":
            assert path.read_bytes() == (ROOT / f"{page}.ipynb").read_bytes()


@pytest.mark.parametrize("page", [*PAGES, *REFERENCE])
def test_a_page_describes_itself_to_those_who_find_it_elsewhere(site, page):
    said = [a for tag, a in elements(site, page) if tag == "meta" and a.get("name") == "description"]
    assert len(said) == 1 and len(said[0]["content"]) > 40


@pytest.mark.parametrize("page", CHAPTERS)
def test_figures_are_numbered_by_chapter(site, page):
    text = (site / f"{page}.html").read_text("utf-8")
    numbers = re.findall(r'<figure class="plot" id="figure-(\d+)-(\d+)">', text)
    chapter = NUMBERED.index(page) + 1
    assert numbers == [(str(chapter), str(n)) for n in range(1, text.count('<figure class="plot"') + 1)]


def test_the_map_has_every_chapter_with_its_question_and_minutes(site):
    text = (site / f"{TOC['root']}.html").read_text("utf-8")
    rows = re.findall(r"<tr.*?</tr>", text.split('class="course-map')[1].split("</table>")[0], flags=re.S)[1:]
    assert len(rows) == len(NUMBERED)
    for row, page in zip(rows, NUMBERED, strict=True):
        cells = [re.sub("<[^>]+>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", row, flags=re.S)]
        assert f"{page.split('/')[1]}.html" in row and cells[2].endswith("?") and int(cells[3]) >= 10


def test_the_api_shows_no_address_in_memory_and_links_to_files_that_are_there(site):
    text = "".join((site / f"{page}.html").read_text("utf-8") for page in REFERENCE)
    assert not re.search(r"\b0x[0-9a-f]{6,}", text)
    linked = set(re.findall(r"/blob/main/([^#\"]+)#L\d+", text))
    assert len(linked) > 20 and all((ROOT / path).is_file() and ".venv" not in path for path in linked)


def test_every_public_name_is_a_target_and_a_heading_of_the_reference(site):
    """Pages link to `normcore.functional.batch_norm`; the search leads to headings that have a name."""
    import api

    for page in REFERENCE:
        text, module = (site / f"{page}.html").read_text("utf-8"), page.replace("book/api/", "normcore.")
        for name in api.public(module):
            assert f'id="{module}.{name}"' in text
            assert re.search(rf'<h2 id="[^"]+-heading"><code[^>]*><span class="pre">{name}</span>', text), (
                name
            )
    methods = (site / "book/api.html").read_text("utf-8").split('class="methods')[1].split("</table>")[0]
    assert methods.count("<tr") == len(api.public("normcore.functional")) + 1


@pytest.mark.parametrize("page, name", WIDGETS)
def test_a_figure_to_play_with_is_on_its_page_and_has_a_picture_without_a_script(site, page, name):
    found = elements(site, page)
    assert ("div", {"class": "widget", "data-widget": name}) in found
    for script in ("widgets", f"widgets/{name}"):
        (source,) = {
            a["src"] for tag, a in found if tag == "script" and f"_static/{script}.js" in (a.get("src") or "")
        }
        shown = ((site / page).parent / source).resolve().read_text("utf-8")
        assert shown == (ROOT / f"book/_static/{script}.js").read_text("utf-8")
    text = (site / f"{page}.html").read_text("utf-8")
    instead = re.findall(rf'data-widget="{name}"><noscript>(.*?)</noscript>', text, flags=re.S)
    still = (ROOT / f"book/_static/widgets/{name}.svg").read_text("utf-8")
    assert len(instead) == 1 and still in instead[0]
    assert re.search(r"<p>With JavaScript, this is a figure to play with: [^<]{60,}</p>", instead[0])
    if (notebook := ROOT / f"{page}.ipynb").is_file():
        told = notebook.read_text("utf-8")
        assert "{widget}" not in told and "has a figure here to play with" in told


@pytest.mark.parametrize("page", [*PAGES, *REFERENCE])
def test_a_title_says_what_the_page_is_about_and_once(site, page):
    text = (site / f"{page}.html").read_text("utf-8")
    parts = html.unescape(re.search("<title>(.*?)</title>", text)[1]).split(" · ")
    assert (
        len({part.lower() for part in parts})
        == len(parts)
        == (1 if page == TOC["root"] else 3 if page in NUMBERED else 2)
    )
    if NUMBERED.index(page) >= 2 if page in NUMBERED else False:
        assert parts[1] == "Batch normalization"
    assert parts[-1].lower().startswith("normalization in deep learning")


@pytest.mark.parametrize("page", [TOC["root"], "index", NUMBERED[-1]])
def test_what_others_show_of_a_page_is_there(site, page):
    """By absolute addresses, which lead to files of the site."""
    metas = {
        a.get("property"): a["content"] for tag, a in elements(site, page) if tag == "meta" and "content" in a
    }
    address = metas["og:url"].removesuffix(f"{TOC['root'] if page == 'index' else page}.html")
    assert re.fullmatch(r"https://.+/", address) and metas["og:image"].startswith(address)
    picture = (site / metas["og:image"].removeprefix(address)).read_bytes()
    width, height = (int.from_bytes(picture[n : n + 4]) for n in (16, 20))
    assert picture.startswith(b"\x89PNG") and (width, height) == (1200, 630) and len(picture) < 200_000
    assert metas["og:title"] and metas["og:description"]


def test_the_sites_address_leads_to_its_first_page(site):
    text = (site / "index.html").read_text("utf-8")
    target = f"{TOC['root']}.html"
    assert f'url={target}"' in text and f'<a href="{target}">' in text and (site / target).is_file()


def test_no_index_is_built_that_nothing_leads_to(site):
    assert not (site / "genindex.html").exists() and not (site / "py-modindex.html").exists()


@pytest.mark.parametrize("page", [*PAGES, *REFERENCE])
def test_a_page_leads_to_where_it_is_edited(site, page):
    links = [a.get("href") or "" for tag, a in elements(site, page) if tag == "a"]
    (edited,) = {link.partition("/edit/main/")[2] for link in links if "/edit/main/" in link}
    assert edited == f"{page}.md" and (ROOT / edited).is_file()


def test_the_line_of_counts_is_what_the_pages_have(site):
    text = (site / f"{TOC['root']}.html").read_text("utf-8")
    line = re.sub("<[^>]+>", "", re.search(r'<p class="counts">(.*?)</p>', text, flags=re.S)[1])
    chapters, predictions, verdicts, assertions, sets = (int(n) for n in re.findall(r"[0-9]+", line))
    pages = [(site / f"{page}.html").read_text("utf-8") for page in NUMBERED]
    assert (chapters, sets) == (len(NUMBERED), len(list(ROOT.glob("exercises/ps*"))))
    assert predictions == sum(page.count('<details class="answer"') for page in pages)
    assert verdicts == sum(map(len, claims.load().values()))
    held = [re.findall(r'<p class="checked"[^>]*>([0-9]+) assertions? held', page) for page in pages]
    assert assertions == sum(int(n) for page in held for n in page) > 100


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_cell_that_asserts_says_that_it_held_and_when(site, page):
    asserting = [
        source for _, source in CELL.findall((ROOT / f"{page}.md").read_text("utf-8")) if "assert " in source
    ]
    text = (site / f"{page}.html").read_text("utf-8")
    marks = re.findall(
        r'<p class="checked" data-pagefind-ignore>[0-9]+ assertions? held on ([^<]+)</p>', text
    )
    assert len(marks) == len(asserting) > 5
    days = {datetime.strptime(day, "%d %B %Y") for day in marks}
    assert len(days) == 1 and days.pop() <= datetime.now() + timedelta(days=1)


def test_the_bibliography_names_an_entry_as_the_text_does_and_an_address_once(site):
    text = (site / "book/bibliography.html").read_text("utf-8")
    entries = re.findall(
        r'<div class="citation"[^>]* id="([^"]+)".*?(?=<div class="citation"|</section>)', text, flags=re.S
    )
    labels = re.findall(r'<span class="label">(.*?)</span>\n', text, flags=re.S)
    labels = [re.sub("<[^>]+>", "", label).strip("[] ") for label in labels]
    assert len(labels) == len(set(labels)) == len(entries) == len(REFERENCES)
    assert all(re.fullmatch(r"\D+, [12][0-9]{3}", label) for label in labels)
    cited = {html.unescape(re.sub("<[^>]+>", "", c)) for page in NUMBERED for c in re.findall(
        r'<a class="reference internal" href="bibliography.html#[^>]*>(.*?)</a>',
        (site / f"{page}.html").read_text("utf-8"))}  # fmt: skip
    assert len(cited) > 10
    known = (
        {label.rpartition(", ")[0] for label in labels}
        | {label.rpartition(", ")[2] for label in labels}
        | set(labels)
    )
    assert cited <= known
    addresses = re.findall(r'href="(https?://[^"]+)"', text.split("<article")[1].split("</article>")[0])
    assert len(addresses) == len(set(addresses)) > 10


def test_readme_has_the_addresses_of_the_repository_and_counts_what_is_there():
    text = (ROOT / "README.md").read_text("utf-8")
    for path in re.findall(r"(?:github\.com|/github)/[\w-]+/[\w-]+/blob/main/([^)#]+)", text):
        assert (ROOT / path).is_file(), path
    for page in re.findall(r"github\.io/[\w-]+/([\w/]+)\.html", text):
        assert (ROOT / f"{page}.md").is_file(), page
    said = re.search(r"There are ([0-9]+) chapters,.*? and ([0-9]+) problem sets", text, flags=re.S)
    assert [int(n) for n in said.groups()] == [len(NUMBERED), len(list(ROOT.glob("exercises/ps*")))]
    assert notebooks.addressed(text) == text
    moved = text.replace("normcore/normcore", "a-lab/course").replace(
        "normcore.github.io/normcore", "a-lab.github.io/course"
    )
    assert moved != text and notebooks.addressed(moved) == text
