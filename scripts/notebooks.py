"""Writes what is derived: the setup cell of every notebook, and for each page of the book with code a
notebook that Colab can open. The repository's address comes from _config.yml, its one place.

    python -m scripts.notebooks            write
    python -m scripts.notebooks --check    say what is out of date, exit 1 if anything is
"""

import argparse
import re
import sys
from pathlib import Path

import jupytext
import nbformat
import yaml

ROOT = Path(__file__).resolve().parent.parent

SETUP = """\
# On Colab this cell installs the course's package; elsewhere it says how to.
try:
    import normcore.checks
except ModuleNotFoundError as missing:
    import subprocess
    import sys

    package = "normcore-dl[course] @ git+{url}"
    steps = [["install", "-q", package]]
    # PyPI's normcore is another project, which has no checks
    stranger = missing.name == "normcore.checks" and sys.modules.get("normcore") is not None
    if stranger:
        steps.insert(0, ["uninstall", "-q", "-y", "normcore"])
        del sys.modules["normcore"]
    if "google.colab" not in sys.modules:
        raise ModuleNotFoundError(
            "This notebook needs the course's package normcore. "
            + ("The normcore that is installed is another project of that name. " * stranger)
            + "Run\\n\\n"
            + ("    pip uninstall normcore\\n" * stranger)
            + "    pip install torch --index-url https://download.pytorch.org/whl/cpu\\n"
            + f'    pip install "{{package}}"\\n\\n'
            "in the environment of this kernel, restart the kernel, and run this cell again. (Leave "
            "the line with the index out to use a GPU: without it pip fetches gigabytes of CUDA on Linux.)"
        ) from None
    for step in steps:
        if subprocess.run([sys.executable, "-m", "pip", *step]).returncode:
            raise RuntimeError(
                f"Could not install {{package}}. Is there a network, and is the address right? What pip "
                "says is above; run this cell again to try once more."
            ) from None"""


def main() -> int:
    """Write every derived file; with --check, compare instead."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    stale = [path for path, text in derived() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'out of date: run `make exercises`' if check else 'written'}")
    if not check:
        for path, text in derived():
            path.write_text(text, "utf-8")
    return 1 if check and stale else 0


def derived() -> list[tuple[Path, str]]:
    """Each derived file and what it must contain."""
    setup = SETUP.format(url=repository_url())
    sources = [(path, _problem_set(path, setup)) for path in sorted(ROOT.glob("solutions/ps*/ps*.ipynb"))]
    pages = [path for path in sorted(ROOT.glob("book/**/*.md")) if "jupytext:" in path.read_text("utf-8")]
    return sources + [(page.with_suffix(".ipynb"), colab_notebook(page, setup)) for page in pages]


def repository_url() -> str:
    """The public repository's address."""
    return _config()["repository"]["url"]


def _config() -> dict:
    return yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))


def _problem_set(path: Path, setup: str) -> str:
    """With its setup cell, and a link to its chapter."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell["id"] == "setup":
            cell["source"] = setup
        if cell["id"] == "title":
            chapter = r"Chapter: \[?\*(.+?)\*(\]\(.+?\))?\."
            cell["source"] = re.sub(chapter, lambda m: f"Chapter: {_chapter(m[1])}.", cell["source"])
    return _text(notebook)


def _chapter(title: str) -> str:
    """A link to the page of that title, as a notebook: there it is shown with its formulas."""
    page = next(p for p in ROOT.glob("book/*.md") if f"\n# {title}\n" in p.read_text("utf-8"))
    branch = _config()["repository"]["branch"]
    return f"[*{title}*]({repository_url()}/blob/{branch}/book/{page.stem}.ipynb)"


def colab_notebook(page: Path, setup: str) -> str:
    """A page as a notebook whose Markdown needs no MyST."""
    notebook = jupytext.read(page, fmt="md:myst")
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        if cell.cell_type == "markdown":
            cell.source = plain_markdown(cell.source)
    if any(cell.cell_type == "code" for cell in notebook.cells):
        cell = nbformat.v4.new_code_cell(setup)
        cell["id"] = "setup"
        notebook.cells.insert(1, cell)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return _text(notebook)


def plain_markdown(text: str) -> str:
    """MyST as the Markdown that Colab shows: no roles, no directives, no labels."""
    text = re.sub(r"^\([\w-]+\)=\n", "", text, flags=re.M)
    text = re.sub(r"^\$\$ \([\w-]+\)$", "$$", text, flags=re.M)
    text = re.sub(r"\{cite:([tp])\}`([^`]+)`", lambda m: _citations(m[2], in_brackets=m[1] == "p"), text)
    text = re.sub(r"\{eq\}`[\w-]+`", "the equation above", text)
    text = re.sub(r"\{(?:ref|doc|term)\}`([^`<]+?)(?: <[^`>]+>)?`", r"\1", text)
    text = re.sub(r":::\{problem-set\} (\w+)\n:::", lambda m: problem_set_link(m[1]), text)
    text = re.sub(r":::\{widget\} [\w-]+\n(.*?)\n:::", r"\1", text, flags=re.S)
    text = re.sub(r"\]\((?!https?:)([\w./-]+)\.md(#[\w-]+)?\)", r"](\1.ipynb)", text)
    return _directives(text)


def problem_set_link(name: str) -> str:
    """Beside the page's notebook, in the repository."""
    return f"**Problem set**: [{name}.ipynb](../exercises/{name}/{name}.ipynb)"


def _directives(text: str) -> str:
    """:::{note} blocks as quotes, their titles in bold; options and grids dropped."""
    lines, inside = [], 0
    for line in text.splitlines():
        opened = re.match(r"^(:{3,}|`{3,})\{([\w-]+)\}\s*(.*)$", line)
        if opened:
            inside += 1
            title = opened[3] or opened[2].capitalize()
            lines += [f"> **{title}**", ">"]
        elif inside and re.fullmatch(r":{3,}|`{3,}", line):
            inside -= 1
        elif inside and re.match(r"^:[\w-]+:", line):
            continue
        else:
            lines.append(f"> {line}".rstrip() if inside else line)
    return "\n".join(lines)


def _citations(keys: str, in_brackets: bool) -> str:
    cited = [_authors()[key.strip()] for key in keys.split(",")]
    if in_brackets:
        return "(" + "; ".join(f"{names}, {year}" for names, year in cited) + ")"
    return "; ".join(f"{names} ({year})" for names, year in cited)


def _authors() -> dict[str, tuple[str, str]]:
    """'ioffe2015' → 'Ioffe and Szegedy', '2015'."""
    bibliography = (ROOT / "book" / "references.bib").read_text("utf-8")
    found = {}
    for key, entry in re.findall(r"@\w+\{([\w:-]+),(.*?)\n\}", bibliography, flags=re.S):
        names = [
            a.split(",")[0].strip() for a in re.search(r"author\s*=\s*\{(.+?)\},\n", entry)[1].split(" and ")
        ]
        listed = (
            names[0] if len(names) == 1 else " and ".join(names) if len(names) == 2 else f"{names[0]} et al."
        )
        year = re.search(r"year\s*=\s*\{?(\d+)", entry)[1]
        found[key] = listed.replace("{", "").replace("}", ""), year
    return found


def _text(notebook: nbformat.NotebookNode) -> str:
    nbformat.validate(notebook)
    return nbformat.writes(notebook).rstrip("\n") + "\n"


if __name__ == "__main__":
    sys.exit(main())
