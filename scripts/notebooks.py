"""Writes what is derived: problem sets' notebooks, from solutions/psNN/psNN.md, and for each page of the book
with code one that Colab can open. The repository's address comes from _config.yml, its one place; README has
it from there, too.

    python -m scripts.notebooks            write
    python -m scripts.notebooks --check    say what is out of date, exit 1 if anything is
"""

import argparse
import json
import re
import sys
from pathlib import Path

import jupytext
import nbformat
import yaml

from normcore.checks.catalogue import find_problem_set, names
from normcore.checks.model_answers import seal
from normcore.grading.course import Course
from scripts.problem_set_text import SourceError, Text, read, same_tasks
from scripts.problem_sets import model_answer, notebook
from scripts.release import release

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
    try:
        files = derived()
    except SourceError as error:
        print(error, file=sys.stderr)
        return 1
    stale = [path for path, text in files if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'out of date: run `make exercises`' if check else 'written'}")
    if not check:
        for path, text in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    return 1 if check and stale else 0


def derived() -> list[tuple[Path, str]]:
    """Each derived file and what it must contain.

    Raises:
        SourceError: a problem set's text is not as it must be.
    """
    setup = SETUP.format(url=repository_url())
    pages = [path for path in sorted(ROOT.glob("book/**/*.md")) if "jupytext:" in path.read_text("utf-8")]
    readme = ROOT / "README.md"
    return [
        *_problem_sets(setup),
        *((page.with_suffix(".ipynb"), colab_notebook(page, setup)) for page in pages),
        (readme, addressed(readme.read_text("utf-8"))),
    ]


def addressed(text: str) -> str:
    """README with the addresses of repository, Colab and site as they are now."""
    owner, name = repository_url().rstrip("/").split("/")[-2:]
    name_of = r"[\w-]+/[\w.-]+?(?=/(?:blob|actions)/)"
    text = re.sub(
        rf"(https://github\.com/|https://colab\.[\w.]+/github/){name_of}", rf"\g<1>{owner}/{name}", text
    )
    return re.sub(r"https://[\w-]+\.github\.io/[\w.-]+/", f"https://{owner}.github.io/{name}/", text)


def repository_url() -> str:
    """The public repository's address."""
    return _config()["repository"]["url"]


def in_the_repository(path: str) -> str:
    """The address of a file: a relative one leads nowhere once a notebook is saved elsewhere."""
    return f"{repository_url()}/blob/{_config()['repository']['branch']}/{path}"


def _config() -> dict:
    return yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))


def _problem_sets(setup: str) -> list[tuple[Path, str]]:
    """Of each problem set the notebook that nbgrader takes and the one for learners; all model answers."""
    if not (ROOT / "solutions").is_dir():
        return []  # the students' copy of the course
    config, files, answers = Course(ROOT).config, [], {}
    for name in names():
        path = ROOT / "solutions" / name / f"{name}.md"
        if not path.is_file():
            raise SourceError(path, 1, f"it is missing, but there is normcore/checks/{name}.py")
        text = read(path)
        same_tasks(text, find_problem_set(name).checks)
        answers[name] = {s.name: seal(model_answer(s)) for s in text.questions}
        source = notebook(text, setup, _chapter(text))
        files += [
            (path.with_suffix(".ipynb"), _text(source)),
            (ROOT / "exercises" / name / f"{name}.ipynb", release(source, config)),
        ]
    for path in sorted(ROOT.glob("solutions/*/")):
        if path.name not in names():
            raise SourceError(
                path / f"{path.name}.md", 1, f"its checks are missing: normcore/checks/{path.name}.py"
            )
    return [
        *files,
        (ROOT / "normcore" / "checks" / "model_answers.json", json.dumps(answers, indent=1) + "\n"),
    ]


def _chapter(text: Text) -> str:
    """A link to a problem set's chapter, as a notebook: there it is shown with its formulas."""
    page = ROOT / "book" / f"{text.chapter}.md"
    if not page.is_file():
        raise SourceError(text.path, 1, f"there is no chapter book/{text.chapter}.md")
    title = re.search("^# (.+)$", page.read_text("utf-8"), flags=re.M)[1]
    return f"[*{title}*]({in_the_repository(f'book/{page.stem}.ipynb')})"


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
    text = re.sub(r":::\{claims\} ([\w/ -]+)\n:::", lambda m: claims_table(m[1].split()), text)
    text = re.sub(r"\{py:\w+\}`([^`<]+) <[^`>]+>`", r"\1", text)
    text = re.sub(r"\{py:\w+\}`~?([\w.]+)`", r"`\1`", text)
    played = r"The published page has a figure here to play with: \1"
    text = re.sub(r":::\{widget\} [\w-]+\n(.*?)\n:::", played, text, flags=re.S)
    text = re.sub(r"\]\((?!https?:)([\w./-]+)\.md(#[\w-]+)?\)", lambda m: f"]({_of_page(m[1])})", text)
    return _directives(text)


def problem_set_link(name: str) -> str:
    return f"**Problem set**: [{name}.ipynb]({in_the_repository(f'exercises/{name}/{name}.ipynb')})"


def _of_page(name: str) -> str:
    """A page as a notebook, if it has one."""
    ending = "ipynb" if (ROOT / "book" / f"{name}.ipynb").is_file() else "md"
    return in_the_repository(f"book/{name}.{ending}")


def claims_table(names: list[str]) -> str:
    """Claims of chapters, or single ones, with their verdicts; what shows them is in the notebook."""
    claims = yaml.load((ROOT / "book" / "claims.yml").read_text("utf-8"), yaml.BaseLoader)
    rows = ["| Claim | Verdict | Scope |", "|---|---|---|"]
    for name in names:
        chapter, _, one = name.partition("/")
        for claim in [claims[chapter][one]] if one else claims[chapter].values():
            rows.append(f"| {claim['claim']} | **{claim['verdict']}** | {claim['scope']} |")
    return "\n".join(rows)


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
