"""What is taken from a submitted file, without running any of it: the sources of its cells of code."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import nbformat

from normcore.grading.pictures import Pictures, take

__all__ = ["Intake", "hash_of", "read"]

MAX_BYTES = 10 * 2**20
MAX_SOURCE = 200_000
MAX_OWN_CELLS = 200
MAX_OWN = 500_000  # characters, of a learner's own cells together
MAX_NOTES = 20


@dataclass(frozen=True)
class Intake:
    """What a submission contains.

    Attributes:
        sources: by grade id, the source of each solution cell; those missing or unusable are not here.
        pictures: by grade id, those of an answer in words, as nbformat has them.
        cells: of all cells of code, in the notebook's order, the name and the source; a learner's own cells
            are named by their place: "cell 7".
        refused: why the file cannot be graded at all, in words; empty where it can.
        notes: what else was odd, in words; none of it gains or costs points by itself.
        hash: SHA-256 of the file; empty where there is none.
    """

    sources: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, Pictures] = field(default_factory=dict)
    cells: tuple[tuple[str, str], ...] = ()
    refused: str = ""
    notes: tuple[str, ...] = ()
    hash: str = ""


def read(path: Path, release: nbformat.NotebookNode) -> Intake:
    """Read one submitted notebook against the released one.

    What a learner did to locked cells, outputs and metadata changes no mark: a cell's code is run in the
    sandbox, where a check does nothing. Cells of their own are run there, too.

    Args:
        path: of the submitted file; anything at all may be in it.
        release: what learners were given.
    """
    if path.is_symlink():
        return Intake(refused=f"{path.name} is a link, not a file; hand in the notebook itself.")
    if not path.is_file():
        return Intake(refused=f"{path.name} is missing.")
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        return Intake(refused=f"{path.name} cannot be read: {error.strerror}.")
    if size > MAX_BYTES:
        return Intake(refused=f"{path.name} has {size:,} bytes; at most {MAX_BYTES:,} are read.")
    return replace(_content(path.name, data, release), hash=hashlib.sha256(data).hexdigest())


def hash_of(path: Path) -> str:
    """SHA-256 of a submitted file, as `read` gives it; empty where `read` would not look into it."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_BYTES:
        return ""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _content(name: str, data: bytes, release: nbformat.NotebookNode) -> Intake:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return Intake(refused=f"{name} is not a notebook: it is not valid JSON.")
    if not isinstance(content, dict):
        return Intake(refused=f"{name} is not a notebook: it is JSON, but no object.")
    if content.get("nbformat") != 4:
        given = content.get("nbformat")
        what = f"format {given}" if type(given) is int and 0 < given < 100 else "no format that is known"
        return Intake(
            refused=f"{name} has {what}; notebook format 4 is read. Open it in Jupyter, save it, and hand it "
            "in again."
        )
    if not isinstance(content.get("cells"), list):
        return Intake(refused=f"{name} has no list of cells.")
    return _cells(content, release)


def _cells(content: dict, release: nbformat.NotebookNode) -> Intake:
    released = {c.id: c for c in release.cells}
    stubs = {c.id: c for c in release.cells if c.metadata.get("nbgrader", {}).get("solution")}
    found: dict[str, list[tuple[int, str]]] = {name: [] for name in stubs}
    others: list[tuple[int, str, str]] = []
    shown: dict[int, Pictures] = {}
    notes, own_text = [], False
    kernel = _get(content, "metadata", "kernelspec", "language") or "python"
    if kernel != "python":
        notes.append(
            "The notebook names a kernel for another language; its cells are run as Python all the same."
        )
    for number, cell in enumerate(content["cells"], 1):
        if not isinstance(cell, dict):
            continue
        # Colab and others sometimes drop metadata; the cell's own id is the same name
        name = _get(cell, "metadata", "nbgrader", "grade_id") or cell.get("id")
        if not isinstance(name, str) or name not in released:
            name = f"cell {number}"
        source = _text(cell.get("source"))
        if name in stubs and cell.get("cell_type") == stubs[name].cell_type == "markdown":
            source, shown[number], dropped = take(source, cell.get("attachments"))
            notes += [f"The cell {name!r}: {sentence}" for sentence in dropped]
        if name not in stubs:
            own_text |= name not in released and cell.get("cell_type") == "markdown" and bool(source.strip())
            # the setup cell only installs what is not here
            setup = name == "setup" and source.strip() == released[name].source.strip()
            if cell.get("cell_type") == "code" and source and not setup:
                others.append((number, name, source))
        elif cell.get("cell_type") != stubs[name].cell_type:
            notes.append(f"The cell {name!r} was turned into another type, so it is not read.")
        elif not source:
            notes.append(f"The cell {name!r} has no text.")
        elif len(source) > MAX_SOURCE:
            notes.append(
                f"The cell {name!r} has {len(source):,} characters; at most {MAX_SOURCE:,} are read."
            )
        else:
            found[name].append((number, source))
    sources, cells, kept_pictures = {}, [], {}
    for name, candidates in found.items():
        if not candidates:
            if not any(repr(name) in note for note in notes):
                notes.append(f"The cell {name!r} is missing.")
            continue
        changed = [c for c in candidates if c[1].strip() != stubs[name].source.strip()]
        number, sources[name] = (changed or candidates)[0]
        if stubs[name].cell_type == "code":
            cells.append((number, name, sources[name]))
        elif shown.get(number):
            kept_pictures[name] = shown[number]
        if own_text and not changed and stubs[name].cell_type == "markdown":
            notes.append(f"The cell {name!r} is as it was given. Text in cells of your own is not graded.")
        if len({source for _, source in changed}) > 1:
            notes.append(f"There are {len(changed)} versions of the cell {name!r}; the first is taken.")
    kept = _within_bounds(others)
    if len(kept) < len(others):
        notes.append(
            f"Of {len(others)} other cells {len(kept)} are run: at most {MAX_OWN_CELLS}, of at most "
            f"{MAX_OWN:,} characters together."
        )
    if len(notes) > MAX_NOTES:
        notes = [*notes[:MAX_NOTES], f"And {len(notes) - MAX_NOTES} more of this kind."]
    in_order = tuple((name, source) for _, name, source in sorted(cells + kept))
    return Intake(sources, kept_pictures, in_order, notes=tuple(notes))


def _within_bounds(cells: list[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
    kept, left = [], MAX_OWN
    for cell in cells:
        if len(kept) < MAX_OWN_CELLS and len(cell[2]) <= left:
            kept.append(cell)
            left -= len(cell[2])
    return kept


def _text(source: object) -> str:
    """A cell's text, in characters that can be written down; empty where it has none."""
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    return source.encode("utf-8", "replace").decode("utf-8") if isinstance(source, str) else ""


def _get(value: object, *path: str) -> object:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
