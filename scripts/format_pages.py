"""Formats the code cells of the book's pages, all alike and narrow enough for a laptop beside the contents,
and the solutions of problem sets.

python -m scripts.format_pages            write
python -m scripts.format_pages --check    say what is not so, exit 1 if anything is
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 76  # characters; what fits beside the contents at 1280 pixels
WIDTHS = {"book/*.md": WIDTH, "solutions/*/*.md": 110}
HEAD = r"(?<=\n)(```\{code-cell\}[^\n]*\n(?:(?::[\w-]+:|---)[^\n]*\n)*\n*)"
CELL = re.compile(HEAD + r"(.*?)(\n```\n)", flags=re.S)


def formatted(page: str, width: int = WIDTH) -> str:
    """A page with its code cells as ruff formats a notebook's: a last semicolon stays."""
    cells = [nbformat.v4.new_code_cell(match[2].strip("\n")) for match in CELL.finditer(page)]
    if not cells:
        return page
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        ruff = [Path(sys.executable).parent / "ruff", "format", "--quiet", "--isolated"]
        subprocess.run([*ruff, "--line-length", str(width), path], check=True)
        sources = iter([cell.source for cell in nbformat.read(path, as_version=4).cells])
    return CELL.sub(lambda match: match[1] + next(sources) + match[3], page)


def too_long(page: str, width: int = WIDTH) -> list[str]:
    """Lines of code that no formatter can break."""
    return [line for match in CELL.finditer(page) for line in match[2].splitlines() if len(line) > width]


def main() -> int:
    """Format every page; with --check, compare instead."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    wrong = 0
    for path, width in [(path, w) for place, w in WIDTHS.items() for path in sorted(ROOT.glob(place))]:
        before = path.read_text("utf-8")
        after = formatted(before, width)
        if after != before:
            print(f"{path.relative_to(ROOT)}: {'run `make lint`' if check else 'formatted'}")
            wrong += check
            if not check:
                path.write_text(after, "utf-8")
        for line in too_long(after, width):
            print(f"{path.relative_to(ROOT)}: over {width} characters: {line.strip()}")
            wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
