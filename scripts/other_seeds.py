"""Runs the chapters under other seeds, and says which assertions fail: no claim may hang on a lucky seed.

python -m scripts.other_seeds                        all chapters under ten shifts
python -m scripts.other_seeds why signals --shifts 3

Every seed that a cell or an experiment sets is shifted. Stored results, which take minutes to make, are drawn
anew from their seeds, with replacement. Exit 1 if an assertion fails. Takes as long as the pages do, times
the shifts.
"""

import argparse
import ast
import contextlib
import io
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from types import CodeType
from unittest import mock

import matplotlib
import numpy as np
import torch
from matplotlib import pyplot

from normcore.experiments import stored
from normcore.experiments.grid import Grid
from scripts.format_pages import CELL, ROOT

# What a cell calls in which stored runs are made again, to be compared: those keep their seeds.
AGAIN = "again"


class Asserts(ast.NodeTransformer):
    """Each assertion becomes a call: the page goes on after one that fails."""

    def visit_Assert(self, node: ast.Assert) -> ast.Expr:
        said = ast.Constant(ast.unparse(node.test))
        call = ast.Call(ast.Name("_asserted", ast.Load()), [node.test, said], [])
        return ast.copy_location(ast.Expr(call), node)


def compiled(source: str, name: str) -> CodeType:
    """A cell without its magics."""
    lines = ("pass" if line.startswith("%") else line for line in source.splitlines())
    return compile(ast.fix_missing_locations(Asserts().visit(ast.parse("\n".join(lines)))), name, "exec")


class Shifted(torch.Generator):
    """A generator whose seeds are others."""

    by = 0

    def manual_seed(self, seed: int) -> torch.Generator:
        return super().manual_seed(seed + Shifted.by)


@contextlib.contextmanager
def shifted(by: int) -> Iterator[None]:
    """Every seed that is set is larger by so much."""
    draw, seed = np.random.default_rng, torch.manual_seed
    Shifted.by = by
    with (
        mock.patch("torch.Generator", Shifted),
        mock.patch("torch.manual_seed", lambda s: seed(s + by)),
        mock.patch("numpy.random.default_rng", lambda s=None: draw(s + by if isinstance(s, Integral) else s)),
    ):
        yield


def resampled(results: Grid, rng: np.random.Generator) -> Grid:
    """As many seeds, drawn from the stored ones with replacement."""
    if "seed" not in results.axes:
        return results
    axis = list(results.axes).index("seed")
    count = results.array.shape[axis]
    return replace(results, array=results.array.take(rng.integers(count, size=count), axis))


def run(page: Path, shift: int) -> tuple[int, list[str]]:
    """How many assertions were tried, and which failed."""
    tried, failed = 0, []

    def asserted(held: object, said: str) -> None:
        nonlocal tried
        tried += 1
        if not held:
            failed.append(said)

    rng, load, drawn, as_drawn = np.random.default_rng(shift), stored.load, [], True

    def load_drawn(name: str) -> Grid:
        found = load(name)
        drawn.append((found, resampled(found, rng) if shift else found))
        return drawn[-1][as_drawn]

    def swap(to_drawn: bool) -> None:
        for name, value in list(space.items()):
            for pair in drawn:
                if value is pair[not to_drawn]:
                    space[name] = pair[to_drawn]

    space = {"__name__": "__main__", "_asserted": asserted, "display": lambda *_: None}
    with mock.patch("normcore.experiments.stored.load", load_drawn):
        for number, cell in enumerate(CELL.finditer(page.read_text("utf-8"))):
            code = compiled(cell[2], f"{page.stem}, cell {number}")
            as_drawn = AGAIN not in code.co_names
            if not as_drawn:
                swap(to_drawn=False)
                exec(code, space)
                swap(to_drawn=True)
            else:
                with shifted(shift):
                    exec(code, space)
            pyplot.close("all")
    return tried, failed


def main() -> int:
    """Run them; say what failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="such as why; all by default")
    parser.add_argument("--shifts", type=int, default=10, help="how many; 10 by default")
    parser.add_argument("--by", type=int, default=1000, help="between two; 1000 by default")
    asked = parser.parse_args()
    matplotlib.use("agg")
    pages = [ROOT / "book" / f"{name}.md" for name in asked.chapters] or [
        page for page in sorted((ROOT / "book").glob("*.md")) if CELL.search(page.read_text("utf-8"))
    ]
    bad = 0
    for page in pages:
        for shift in range(asked.by, (asked.shifts + 1) * asked.by, asked.by):
            start = time.monotonic()
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tried, failed = run(page, shift)
            bad += len(failed)
            print(
                f"{page.stem} +{shift}: {len(failed)} of {tried} failed, {time.monotonic() - start:.0f} s",
                flush=True,
            )
            for said in failed:
                print(f"    {said}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
