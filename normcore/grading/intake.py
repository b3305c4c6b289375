"""What is taken from a submitted file, without running any of it: the sources of the solution cells."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import nbformat

__all__ = ["Intake", "hash_of", "read"]

MAX_BYTES = 10 * 2**20
MAX_SOURCE = 200_000


@dataclass(frozen=True)
class Intake:
    """What a submission contains.

    Attributes:
        sources: by grade id, the source of each solution cell; those missing or unusable are not here.
        refused: why the file cannot be graded at all, in words; empty where it can.
        notes: what else was odd, in words; none of it gains or costs points by itself.
        hash: SHA-256 of the file; empty where there is none.
    """

    sources: dict[str, str] = field(default_factory=dict)
    refused: str = ""
    notes: tuple[str, ...] = ()
    hash: str = ""


def read(path: Path, release: nbformat.NotebookNode) -> Intake:
    """Read one submitted notebook against the released one.

    Locked cells, outputs, metadata and cells of the learner's own are left behind: editing, deleting or
    doubling them changes nothing.

    Args:
        path: of the submitted file; anything at all may be in it.
        release: what learners were given.
    """
    if path.is_symlink():
        return Intake(refused=f"{path.name} is a link, not a file; hand in the notebook itself.")
    if not path.is_file():
        return Intake(refused=f"{path.name} is missing.")
    size = path.stat().st_size
    if size > MAX_BYTES:
        return Intake(refused=f"{path.name} has {size:,} bytes; at most {MAX_BYTES:,} are read.")
    data = path.read_bytes()
    return replace(_content(path.name, data, release), hash=hashlib.sha256(data).hexdigest())


def hash_of(path: Path) -> str:
    """SHA-256 of a submitted file, as `read` gives it; empty where `read` would not look into it."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_BYTES:
        return ""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _content(name: str, data: bytes, release: nbformat.NotebookNode) -> Intake:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return Intake(refused=f"{name} is not a notebook: it is not valid JSON.")
    if not isinstance(content, dict):
        return Intake(refused=f"{name} is not a notebook: it is JSON, but no object.")
    if content.get("nbformat") != 4:
        return Intake(
            refused=f"{name} has notebook format {content.get('nbformat')!r}; format 4 is read. "
            "Open it in Jupyter, save it, and hand it in again."
        )
    if not isinstance(content.get("cells"), list):
        return Intake(refused=f"{name} has no list of cells.")
    return _cells(content, release)


def _cells(content: dict, release: nbformat.NotebookNode) -> Intake:
    stubs = {c.id: c for c in release.cells if c.metadata.get("nbgrader", {}).get("solution")}
    found: dict[str, list[str]] = {name: [] for name in stubs}
    notes = []
    kernel = _get(content, "metadata", "kernelspec", "language") or "python"
    if kernel != "python":
        notes.append(f"The notebook names a kernel for {kernel!r}; its cells are run as Python all the same.")
    for cell in content["cells"]:
        if not isinstance(cell, dict):
            continue
        # Colab and others sometimes drop metadata; the cell's own id is the same name
        name = _get(cell, "metadata", "nbgrader", "grade_id") or cell.get("id")
        if not isinstance(name, str) or name not in stubs:
            continue
        if cell.get("cell_type") != stubs[name].cell_type:
            notes.append(f"The cell {name!r} was turned into another type, so it is not read.")
            continue
        source = cell.get("source")
        if isinstance(source, list) and all(isinstance(line, str) for line in source):
            source = "".join(source)
        if not isinstance(source, str):
            notes.append(f"The cell {name!r} has no text.")
        elif len(source) > MAX_SOURCE:
            notes.append(
                f"The cell {name!r} has {len(source):,} characters; at most {MAX_SOURCE:,} are read."
            )
        else:
            found[name].append(source)
    sources = {}
    for name, candidates in found.items():
        if not candidates:
            if not any(repr(name) in note for note in notes):
                notes.append(f"The cell {name!r} is missing.")
            continue
        changed = [s for s in candidates if s.strip() != stubs[name].source.strip()]
        sources[name] = (changed or candidates)[0]
        if len(set(changed)) > 1:
            notes.append(f"There are {len(changed)} versions of the cell {name!r}; the first is taken.")
    return Intake(sources, notes=tuple(notes))


def _get(value: object, *path: str) -> object:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
