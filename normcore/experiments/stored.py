"""Results of experiments that take longer than a page: kept with what is needed to make them again."""

import json
import re
from pathlib import Path

import numpy as np

from normcore.experiments.grid import Grid

__all__ = ["load", "made", "save"]

FOLDER = Path(__file__).parent / "results"


def save(name: str, results: Grid, digits: int = 6) -> Path:
    """Write results with their axes, settings and circumstances, a row a line; `load` returns them.

    Args:
        name: of the experiment; `normcore experiment NAME` makes them again.
        results: axes and settings of what JSON holds.
        digits: that are kept of each value.
    """
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    found = {
        "made": {"command": f"normcore experiment {name}", **results.made},
        "settings": results.settings,
        "axes": results.axes,
        "array": np.vectorize(lambda value: float(f"{value:.{digits}g}"))(results.array).tolist(),
    }
    text = re.sub(r"\[[^][{}]*\]", lambda row: re.sub(r"\n\s*", "", row[0]), json.dumps(found, indent=1))
    path.write_text(text + "\n", "utf-8")
    return path


def made(results: Grid) -> str:
    """By which command, with what, when and in how many seconds stored results were made, for a caption."""
    found = results.made
    how = f"{found['device']}, torch {found['versions']['torch']}, {found['date']}, {found['seconds']} s"
    return f"stored results of `{found['command']}`, {how}"


def load(name: str) -> Grid:
    """What `save` wrote.

    Raises:
        FileNotFoundError: no stored results of that name; says which there are.
    """
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in FOLDER.glob("*.json"))) or "none"
        raise FileNotFoundError(f"no stored results of {name!r}; there are: {there}")
    found = json.loads(path.read_text("utf-8"))
    axes = {axis: tuple(values) for axis, values in found["axes"].items()}
    return Grid(np.array(found["array"]), axes, found["settings"], found["made"])
