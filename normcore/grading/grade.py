"""One submission, from its file to a verdict on each task."""

import datetime
import hashlib
import hmac
import importlib
import importlib.metadata
import io
import json
import platform
import struct
import zipfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import nbformat
import numpy as np
import torch

from normcore.checks.catalogue import HIDDEN_CASES, ProblemSet, find_problem_set
from normcore.checks.check import Check
from normcore.checks.judge import Judge
from normcore.grading import intake, sandbox
from normcore.grading.limits import Limits
from normcore.grading.mentions import mentions

__all__ = ["Graded", "TaskVerdict", "environment", "grade", "hash_of_checks", "seed_of"]

MAX_ARRAY_BYTES = 2**24

# Why a task has no points: the answer is wrong; it misbehaved; or we failed, and it is to be tried again.
RIGHT, WRONG, MISBEHAVED, OURS = "right", "wrong", "misbehaved", "our failure"


@dataclass(frozen=True)
class TaskVerdict:
    """What came of one task.

    Attributes:
        outcome: "right", "wrong", "misbehaved" or "our failure".
        message: for the learner; no hidden case in it.
        mistakes: names of the known mistakes that were found.
    """

    outcome: str
    message: str
    mistakes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graded:
    """One submission, graded.

    Attributes:
        student: whose.
        tasks: verdicts by the name of the task.
        sources: of the solution cells, as they were taken.
        refused: why the file could not be graded; empty where it was.
        notes: what else was odd about it, for the learner as well.
        attention: by cell, what its source names that a person should look at; for the instructor alone.
        provenance: what the marks came from: hashes, seeds, seconds, bytes.
    """

    student: str
    tasks: dict[str, TaskVerdict]
    sources: dict[str, str]
    refused: str
    notes: tuple[str, ...]
    provenance: dict = field(default_factory=dict)
    attention: dict[str, list[str]] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether it is our failure, so that nothing may be recorded."""
        return any(t.outcome == OURS for t in self.tasks.values())


def seed_of(secret: bytes, student: str, task: str) -> int:
    """The seed of a student's cases of a task: reproducible with the course's secret, unknown without it."""
    digest = hmac.new(secret, f"{student}\0{task}".encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big")


def grade(
    student: str,
    taken: intake.Intake,
    release: nbformat.NotebookNode,
    name: str,
    secret: bytes,
    limits: Limits | None = None,
    trusted: bool = False,
) -> Graded:
    """Run the solution cells in the sandbox, and judge here what they returned.

    It reads no file of the course, so that it can run on any machine that has the package.

    Args:
        student: whose submission; it draws the cases.
        taken: from the submitted file.
        release: what learners were given.
        name: of the problem set, such as "ps02".
        secret: of the course.
        limits: of the sandbox.
        trusted: run without a sandbox.
    """
    limits = limits or Limits()
    problem_set = find_problem_set(name)
    seeds = {task: seed_of(secret, student, task) for task in problem_set.checks}
    provenance = {
        "submission": taken.hash,
        "checks": hash_of_checks(name),
        "environment": environment(),
        "seeds": seeds,
        "graded": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    if taken.refused:
        verdicts = {task: TaskVerdict(WRONG, f"Not graded. {taken.refused}") for task in problem_set.checks}
        return Graded(student, verdicts, {}, taken.refused, taken.notes, provenance)
    cases = {task: check.cases(seeds[task], HIDDEN_CASES) for task, check in problem_set.checks.items()}
    # a trusted submission is this user's own process, and shares the limits of all of theirs
    resources = {} if trusted else limits.resources()
    seed = seed_of(secret, student, "")
    job = _job(taken, release, problem_set, cases, seed, limits.task_seconds, resources)
    ended = sandbox.run(job, limits, trusted)
    frames = _frames(ended.output)
    verdicts = {
        task: _verdict(check, cases[task], frames.get(task), ended, limits)
        for task, check in problem_set.checks.items()
    }
    attention = {
        task: found
        for task, check in problem_set.checks.items()
        if (found := mentions(taken.sources.get(task, ""), check.forbidden))
    }
    provenance |= {
        "seconds": round(ended.seconds, 2),
        "cpu_seconds": round(ended.cpu_seconds, 2),
        "memory": ended.memory,
    }
    return Graded(student, verdicts, taken.sources, "", taken.notes, provenance, attention)


@cache
def hash_of_checks(name: str) -> str:
    """SHA-256 of the file that defines a problem set's checks."""
    source = Path(importlib.import_module(f"normcore.checks.{name}").__file__)
    return hashlib.sha256(source.read_bytes()).hexdigest()


@cache
def environment() -> dict[str, str]:
    """What a verdict may depend on beside the submission and the checks.

    "packages" is the SHA-256 of the names and versions of all installed ones, "normcore" that of this
    package's own files.
    """
    installed = sorted({f"{d.name}=={d.version}" for d in importlib.metadata.distributions()})
    own = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        own.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "packages": hashlib.sha256("\n".join(installed).encode()).hexdigest(),
        "normcore": own.hexdigest(),
    }


def _job(
    taken,
    release,
    problem_set: ProblemSet,
    cases,
    seed: int,
    task_seconds: float,
    resources: dict[str, int],
) -> bytes:
    """What the sandbox is given: cells and inputs; no reference, no judge."""
    cells, arrays, tasks = [], {}, []
    for cell in release.cells:
        marks = cell.metadata.get("nbgrader", {})
        if cell.cell_type != "code" or marks.get("grade") or cell.id == "setup":
            continue
        source = taken.sources.get(cell.id, "") if marks.get("solution") else cell.source
        cells.append((cell.id, source))
    for name, check in problem_set.checks.items():
        described = []
        for number, case in enumerate(cases[name]):
            entry = {}
            for key, value in case.inputs.items():
                if isinstance(value, np.ndarray):
                    arrays[f"{name}/{number}/{key}"] = value
                    entry[key] = {"array": True}
                else:
                    entry[key] = {"tuple": list(value)} if isinstance(value, tuple) else value
            described.append(entry)
        tasks.append(
            {
                "name": name,
                "run": check.run,
                "outputs": list(check.outputs),
                "forbidden": sorted(check.forbidden),
                "cases": described,
            }
        )
    job = {
        "cells": cells,
        "tasks": tasks,
        "checks": f"normcore.checks.{problem_set.name}",
        "seed": seed % 2**32,
        "limits": {"task_seconds": task_seconds, "resources": resources},
    }
    text, archive = json.dumps(job).encode(), io.BytesIO()
    np.savez(archive, **arrays)
    return struct.pack(">I", len(text)) + text + archive.getvalue()


def _frames(output: bytes) -> dict[str, tuple[dict, bytes]]:
    """The first frame of each task; what comes after something unreadable is not read."""
    found: dict[str, tuple[dict, bytes]] = {}
    position = 0
    while len(output) - position >= 4:
        (length,) = struct.unpack_from(">I", output, position)
        position += 4
        if length > 65536 or position + length > len(output):
            break
        try:
            header = json.loads(output[position : position + length])
            name, size = header["task"], header["bytes"]
        except (ValueError, KeyError, TypeError, RecursionError):
            break
        position += length
        if not isinstance(name, str) or not isinstance(size, int) or not 0 <= size <= len(output) - position:
            break
        found.setdefault(name, (header, output[position : position + size]))
        position += size
    return found


def _verdict(check: Check, cases, frame, ended: sandbox.Ended, limits: Limits) -> TaskVerdict:
    name = check.name
    if frame is None:
        return _unanswered(name, ended, limits)
    header, body = frame
    if "late" in header:
        return TaskVerdict(MISBEHAVED, f"{name}: stopped after {limits.task_seconds:.0f} seconds.")
    if "ended" in header:
        return TaskVerdict(MISBEHAVED, f"{name}: its process ended before it had answered.")
    if "error" in header:
        said = str(header["error"])[:2000]
        if said == "not written":
            return TaskVerdict(WRONG, f"{name}: not written yet.")
        return TaskVerdict(WRONG, f"{name} raised an error.\n{said}")
    seen = header.get("seen")
    if not isinstance(seen, list) or seen:
        called = " and ".join(str(s)[:80] for s in seen[:3]) if isinstance(seen, list) else "what it may not"
        return TaskVerdict(
            WRONG, f"{name}: it calls {called}, which does the task. Write out the formula instead."
        )
    try:
        outputs = _outputs(check, len(cases), body)
    except ValueError as error:
        return TaskVerdict(MISBEHAVED, f"{name}: {error}")
    verdict = Judge(check, cases).judge(outputs)
    return TaskVerdict(RIGHT if verdict.passed else WRONG, verdict.message, verdict.mistakes)


def _unanswered(name: str, ended: sandbox.Ended, limits: Limits) -> TaskVerdict:
    if ended.failed:
        return TaskVerdict(OURS, f"{name}: {ended.failed}")
    killed = {
        "time": f"the notebook was stopped after {limits.seconds:.0f} seconds.",
        "output": "the notebook wrote more than it may.",
        "memory": f"the notebook used more than {limits.memory / 2**30:.0f} GiB of memory.",
        "": "the notebook's process ended before it had answered.",
    }
    return TaskVerdict(MISBEHAVED, f"{name}: {killed[ended.reason]}")


def _outputs(check: Check, count: int, body: bytes) -> list[dict[str, np.ndarray]]:
    """Plain arrays of numbers, and nothing else.

    Raises:
        ValueError: anything else; says what.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
        if any(size > MAX_ARRAY_BYTES for size in sizes.values()):
            raise ValueError("it returned an array that is far too large")
        found = np.load(io.BytesIO(body), allow_pickle=False)
        outputs = []
        for number in range(count):
            outputs.append({key: found[f"{number}/{key}"] for key in check.outputs})
    except (zipfile.BadZipFile, KeyError, EOFError, OSError, OverflowError, MemoryError) as error:
        raise ValueError("what it returned cannot be read") from error
    for arrays in outputs:
        for key, value in arrays.items():
            if not isinstance(value, np.ndarray) or value.dtype.kind not in "fb" or value.dtype.itemsize > 8:
                raise ValueError(f"{key} is no array of numbers")
            arrays[key] = value.astype(np.float64) if value.dtype.kind == "f" else value
    return outputs
