"""Command lines that tests run, as a person would."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(*command: object, cwd: Path = ROOT, **environment: str) -> str:
    """What the command printed; an AssertionError with all of it where it fails."""
    # the environment's own commands; nbgrader itself runs `alembic` by name
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        [str(Path(sys.executable).parent / str(command[0])), *map(str, command[1:])],
        cwd=cwd,
        env={**os.environ, "PATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout
