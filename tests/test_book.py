"""The book builds with warnings as errors, and its pages are complete and ask no other host for anything."""

import re
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from scripts import format_pages
from tests.commands import ROOT, run

sys.path.insert(0, str(ROOT / "book" / "_ext"))

TOC = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
# of the reference, a page a module
REFERENCE = [s["file"] for p in TOC["parts"] for c in p["chapters"] for s in c.get("sections", ())]
CHAPTERS = [page for page in PAGES if "code-cell" in (ROOT / f"{page}.md").read_text("utf-8")]
NUMBERED = [c["file"] for part in TOC["parts"] if part.get("numbered") for c in part["chapters"]]
WITH_PROBLEM_SET = [page for page in CHAPTERS if "{problem-set}" in (ROOT / f"{page}.md").read_text("utf-8")]


class Elements(HTMLParser):
    """Every element of a page, as (tag, attributes)."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    output = tmp_path_factory.mktemp("site")
    # a failing cell, a broken reference or any other warning makes this fail
    run("jupyter-book", "build", "-W", "-n", "--keep-going", "--path-output", output, ".")
    return output / "_build" / "html"


def elements(site, page):
    return Elements((site / f"{page}.html").read_text("utf-8")).found


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
    for tag, attributes in elements(site, page):
        target = urlsplit(attributes.get("href") or "")
        if tag == "a" and target.path and not target.netloc and not target.scheme:
            assert ((site / page).parent / unquote(target.path)).resolve().exists(), attributes["href"]


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_chapter_has_its_colab_notebook_problem_set_and_described_figures(site, page):
    found = elements(site, page)
    links = [attributes.get("href") or "" for tag, attributes in found if tag == "a"]
    assert any(link.endswith(f"/{page}.ipynb") and "colab." in link for link in links)
    if page in WITH_PROBLEM_SET:
        assert any("/exercises/ps" in link and "colab." in link for link in links)
        assert any("_downloads" in link and link.endswith(".ipynb") for link in links)
    drawings = [a for tag, a in found if tag == "svg" and a.get("role") == "img"]
    assert len(drawings) >= 3 and all(len(a["aria-label"]) > 60 for a in drawings)


@pytest.mark.parametrize("page", CHAPTERS)
def test_ids_on_a_page_are_unique(site, page):
    """Several figures on one page each bring their clip paths and glyphs."""
    ids = [attributes["id"] for _, attributes in elements(site, page) if attributes.get("id")]
    assert len(ids) == len(set(ids)), sorted({i for i in ids if ids.count(i) > 1})


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_chapter_has_its_shape(page):
    text = (ROOT / f"{page}.md").read_text("utf-8")
    for part in ("After this chapter you can", "## The question", "## The idea in a picture", "} Predict",
                 "assert ", "## Summary", "| Verdict |", "## Further reading"):  # fmt: skip
        assert part in text, part
    assert page in WITH_PROBLEM_SET or "There is no problem set for this chapter" in text


@pytest.mark.parametrize("page", PAGES)
def test_code_is_formatted_and_fits(page):
    text = (ROOT / f"{page}.md").read_text("utf-8")
    assert format_pages.formatted(text) == text, "run `make lint`"
    assert not format_pages.too_long(text)


@pytest.mark.parametrize("page", CHAPTERS)
def test_what_follows_a_prediction_is_folded(site, page):
    """And nothing else: a heading stays in sight."""
    asked = (ROOT / f"{page}.md").read_text("utf-8").count("} Predict")
    answers = re.findall(r'<details class="answer"(.*?)</summary>(.*?)<!-- end of the answer -->',
                         (site / f"{page}.html").read_text("utf-8"), flags=re.S)  # fmt: skip
    assert len(answers) == asked > 0
    for _, answer in answers:
        assert "cell" in answer and "<h2" not in answer and "<h3" not in answer


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


WIDGETS = {"index-sets": "book/transform", "batch-norm": "book/inference"}


@pytest.mark.parametrize("name, page", WIDGETS.items())
def test_a_figure_to_play_with_is_on_its_page_and_says_so_without_a_script(site, name, page):
    found = elements(site, page)
    assert ("div", {"class": "widget", "data-widget": name}) in found
    scripts = [a["src"] for tag, a in found if tag == "script" and name in (a.get("src") or "")]
    assert len(scripts) == 1
    script = ((site / page).parent / scripts[0]).resolve()
    assert script.read_text("utf-8") == (ROOT / f"book/_static/widgets/{name}.js").read_text("utf-8")
    text = (site / f"{page}.html").read_text("utf-8")
    assert re.search(r"<noscript>[^<]{60,}</noscript>", text)
    notebook = (ROOT / f"{page}.ipynb").read_text("utf-8")
    assert "{widget}" not in notebook and "has a figure here to play with" in notebook


def test_every_widget_has_its_page():
    assert {path.stem for path in (ROOT / "book/_static/widgets").iterdir()} == set(WIDGETS)
