"""Writes the picture that README and landing page begin with, for light and for dark pages.

python -m scripts.pictures            write
python -m scripts.pictures --check    say what is out of date, exit 1 if anything is
"""

import argparse
import io
import re
import sys
from pathlib import Path

import matplotlib as mpl

from normcore.plotting import INK, STYLE, index_sets

FOLDER = Path(__file__).resolve().parent.parent / "book" / "_static"
INKS = {"light": "#222222", "dark": "#e6e6e6"}  # of text on GitHub's pages and on the book's


def drawn() -> str:
    """The index sets of four methods, as SVG in the book's ink."""
    buffer = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": "index sets"}):
        index_sets().savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", buffer.getvalue(), flags=re.S)
    text = re.sub(r"\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}", text)  # a hundredth of a point is enough
    return "\n".join(line.strip() for line in text[text.index("<svg") :].splitlines()) + "\n"


def main() -> int:
    """Write both pictures; with --check, compare instead."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    picture, stale = drawn(), 0
    for name, ink in INKS.items():
        path, text = FOLDER / f"index-sets-{name}.svg", picture.replace(INK, ink)
        if not path.is_file() or path.read_text("utf-8") != text:
            stale += 1
            print(f"{path.name}: {'out of date: run `python -m scripts.pictures`' if check else 'written'}")
            if not check:
                path.write_text(text, "utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
