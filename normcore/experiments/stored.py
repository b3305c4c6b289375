"""Results of experiments that take longer than a page: kept with what is needed to make them again."""

import json
import platform
import time
from pathlib import Path

import torch

__all__ = ["load", "save"]

FOLDER = Path(__file__).parent / "results"


def save(name: str, command: str, results: dict, seeds: list[int], seconds: float) -> Path:
    """Write results with their circumstances; `load` returns both.

    Args:
        name: of the experiment.
        command: that makes them again.
        results: anything that JSON holds.
        seeds: that they were made with.
        seconds: that it took.
    """
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    found = {
        "command": command,
        "seeds": seeds,
        "device": f"CPU, {platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(seconds),
        "results": results,
    }
    path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return path


def load(name: str) -> dict:
    """What `save` wrote.

    Raises:
        FileNotFoundError: no stored results of that name; says which there are.
    """
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in FOLDER.glob("*.json"))) or "none"
        raise FileNotFoundError(f"no stored results of {name!r}; there are: {there}")
    return json.loads(path.read_text("utf-8"))
