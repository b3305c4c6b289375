"""Writes the numbers of "The loss ahead" into its script, from the stored results of the experiment.

python -m scripts.slices            write
python -m scripts.slices --check    say if they are out of date, exit 1 if so
"""

import argparse
import json
import re
import sys

import numpy as np

from normcore.experiments import ahead, stored
from scripts.stills import STATIC

PATH = STATIC / "widgets" / "ahead.js"
LINE = re.compile(r"^  const RUN = .*;$", flags=re.M)


def slices() -> dict:
    """Over the seeds: medians, and of the loss over that at 0 also the least and the largest.

    `found` is by network, rate and step.
    """
    run = stored.load("ahead")
    ratio = run.array[..., 1:] / run.array[..., :1]
    over_seeds = {  # axis 1
        "loss": np.median(run.array[..., 0], 1),
        "rises": np.median(ahead.rises(run).array, 1),
        "median": np.median(ratio, 1),
        "least": ratio.min(1),
        "largest": ratio.max(1),
    }
    shape = next(iter(over_seeds.values())).shape
    found = np.empty(shape, object)
    for place in np.ndindex(shape):
        found[place] = {name: _short(values[place]) for name, values in over_seeds.items()}
    axes = run.axes
    return {
        "seeds": len(axes["seed"]),
        "networks": axes["network"],
        "rates": axes["lr"],
        "steps": axes["step"],
        "lengths": axes["length"][1:],
        "found": found.tolist(),
    }


def _short(values: np.ndarray) -> float | list[float]:
    """Lines to four digits, what is told to six; without the .0 of whole numbers."""
    if np.ndim(values):
        return [_short(float(f"{value:.4g}")) for value in values]
    short = float(f"{values:.6g}")
    return int(short) if short.is_integer() else short


def written() -> str:
    """The script as it should stand."""
    line = f"  const RUN = {json.dumps(slices(), separators=(',', ':'))};"
    return LINE.sub(lambda _: line, PATH.read_text("utf-8"), count=1)


def main() -> int:
    """Write the numbers; with --check, compare instead."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check, text = parser.parse_args().check, written()
    if PATH.read_text("utf-8") == text:
        return 0
    print(f"{PATH.name}: {'out of date: run `python -m scripts.slices`' if check else 'written'}")
    if not check:
        PATH.write_text(text, "utf-8")
    return int(check)


if __name__ == "__main__":
    sys.exit(main())
