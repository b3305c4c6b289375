"""One submission, from its file to a verdict on each task."""

import datetime
import hashlib
import hmac
import importlib
import importlib.metadata
import io
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import nbformat
import numpy as np
import torch

from normcore.checks.catalogue import HIDDEN_CASES, ProblemSet, find_problem_set
from normcore.checks.check import Case, Check
from normcore.checks.forbidden import AUTOGRAD, spoken
from normcore.checks.judge import Judge
from normcore.checks.tell_apart import TellApart
from normcore.grading import intake, sandbox
from normcore.grading.limits import Limits
from normcore.grading.pictures import Pictures
from normcore.grading.scan import mentions, steps
from normcore.inside import wire

__all__ = ["Graded", "TaskVerdict", "environment", "grade", "hash_of_checks", "seed_of"]

MAX_CALLS = 5000  # of functions that are inputs, by one submission

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
        attention: by cell, the learner's own ones too, what its source names that a person should look at;
            for the instructor alone.
        provenance: what the marks came from: hashes, seeds, seconds, bytes.
        pictures: by cell, those of the answers in words.
        starved: whether a task was stopped that had the processor for less than half of its time: it waited,
            perhaps for its neighbours.
    """

    student: str
    tasks: dict[str, TaskVerdict]
    sources: dict[str, str]
    refused: str
    notes: tuple[str, ...]
    provenance: dict = field(default_factory=dict)
    attention: dict[str, list[str]] = field(default_factory=dict)
    pictures: dict[str, Pictures] = field(default_factory=dict)
    starved: bool = False

    @property
    def failed(self) -> bool:
        """Whether it is our failure, so that nothing may be recorded."""
        return any(t.outcome == OURS for t in self.tasks.values())


def seed_of(secret: bytes, student: str, task: str, submission: str) -> int:
    """The seed of a submission's cases of a task: reproducible with the course's secret, unknown without it.

    Args:
        secret: of the course.
        student: whose.
        task: the name of the task.
        submission: hash of the submitted file. Whoever learns of their cases hands in other ones with them.
    """
    words = "\0".join((student, task, submission)).encode("utf-8", "surrogateescape")
    return int.from_bytes(hmac.new(secret, words, hashlib.sha256).digest()[:8], "big")


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
    seeds = {task: seed_of(secret, student, task, taken.hash) for task in problem_set.checks}
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
    seed = seed_of(secret, student, "", taken.hash)
    job = _job(taken, release, problem_set, cases, seed, limits, resources)
    ended = sandbox.run(job, limits, _replies(cases), trusted)
    verdicts = {
        task: _verdict(check, cases[task], ended, limits) for task, check in problem_set.checks.items()
    }
    provenance |= {
        "seconds": round(ended.seconds, 2),
        "cpu_seconds": round(ended.cpu_seconds, 2),
        "memory": ended.memory,
    }
    attention = _attention(taken, release, problem_set)
    starved = any(_waited(header) for header, _ in ended.answers.values())
    return Graded(
        student, verdicts, taken.sources, "", taken.notes, provenance, attention, taken.pictures, starved
    )


def _waited(header: dict) -> bool:
    late, cpu = header.get("late"), header.get("cpu")
    return isinstance(late, int | float) and isinstance(cpu, int | float) and cpu < late / 2


def _attention(
    taken: intake.Intake, release: nbformat.NotebookNode, problem_set: ProblemSet
) -> dict[str, list[str]]:
    """By cell that is not as it was released, what its source names; in an own cell, for any task."""
    released = {cell.source for cell in release.cells}
    checks = problem_set.checks
    any_task = frozenset().union(*(check.forbidden for check in checks.values()))
    found = {
        name: mentions(source, checks[name].forbidden if name in checks else any_task)
        + (steps(source) if name in checks and _is_derivation(checks[name]) else [])
        for name, source in taken.cells
        if source not in released
    }
    # what is below normcore.checks does nothing here
    named = {
        cell: [n for n in names if not n.startswith("normcore.checks.")] for cell, names in found.items()
    }
    return {cell: names for cell, names in named.items() if names}


def _is_derivation(check: Check) -> bool:
    """Whether a gradient is to be derived. A test of one may take steps."""
    return check.forbidden >= AUTOGRAD and not isinstance(check, TellApart)


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
    taken: intake.Intake,
    release: nbformat.NotebookNode,
    problem_set: ProblemSet,
    cases: dict[str, list[Case]],
    seed: int,
    limits: Limits,
    resources: dict[str, int],
) -> bytes:
    """What the sandbox is given: cells and inputs; no reference, no judge."""
    body, tasks = io.BytesIO(), []
    imports = [
        cell
        for cell in release.cells
        if cell.cell_type == "code" and cell.id != "setup" and _marks(cell).isdisjoint(("grade", "solution"))
    ]
    steps = [("cell", cell.id, cell.source) for cell in imports]
    released = {name: source for _, name, source in steps}
    for name, source in taken.cells:
        if released.get(name) != source:
            steps.append(("cell", name, source))
        if (task := name.removesuffix("-check")) != name and task in problem_set.checks:
            steps.append(("task", task, ""))
    for name, check in problem_set.checks.items():
        functions = _functions(cases[name])
        described = [
            {key: wire.pack(value, body, functions) for key, value in case.inputs.items()}
            for case in cases[name]
        ]
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
        "steps": steps,
        "tasks": tasks,
        "seed": seed % 2**32,
        "limits": {
            "seconds": limits.seconds,
            "task_seconds": limits.task_seconds,
            "resources": resources,
        },
    }
    return wire.frame(job, body.getvalue())


def _marks(cell: nbformat.NotebookNode) -> set[str]:
    return {name for name, value in cell.metadata.get("nbgrader", {}).items() if value is True}


def _functions(cases: Sequence[Case]) -> list[Callable]:
    """Those that are inputs: they are run here, when the sandbox calls."""
    return [value for case in cases for value in case.inputs.values() if callable(value)]


def _replies(cases: Mapping[str, Sequence[Case]]) -> sandbox.Reply:
    """What answers the calls of one submission."""
    functions = {task: _functions(drawn) for task, drawn in cases.items()}
    left = MAX_CALLS

    def reply(header: dict, body: bytes) -> bytes:
        nonlocal left
        left -= 1
        out = io.BytesIO()
        try:
            if left < 0:
                raise ValueError(f"it was called more than {MAX_CALLS} times")
            function = functions.get(header["task"], [])[int(header["call"])]
            arrays = wire.Arrays(body)
            given = [_tensors(wire.unpack(v, arrays)) for v in list(header["given"])]
            named = {str(k): _tensors(wire.unpack(v, arrays)) for k, v in dict(header["named"]).items()}
            returned = function(*given, **named)
            return wire.frame({"returned": wire.pack(_arrays(returned), out)}, out.getvalue())
        except Exception as error:  # whatever was sent; what a function of ours says of it is for the learner
            return wire.frame({"error": _shown(error, 500)})

    return reply


def _tensors(value: object) -> object:
    return torch.tensor(value) if isinstance(value, np.ndarray) else value


def _arrays(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(map(_arrays, value))
    return value.numpy() if isinstance(value, torch.Tensor) else value


def _verdict(check: Check, cases: Sequence[Case], ended: sandbox.Ended, limits: Limits) -> TaskVerdict:
    name = check.name
    if name not in ended.answers:
        return _unanswered(name, ended, limits)
    header, body = ended.answers[name]
    if "late" in header:
        return TaskVerdict(MISBEHAVED, f"{name}: stopped after {limits.task_seconds:.0f} seconds.")
    if "ended" in header:
        return TaskVerdict(MISBEHAVED, f"{name}: its process ended before it had answered.")
    if "error" in header:
        said = _shown(header["error"], 2000)
        if said == "not written":
            return TaskVerdict(WRONG, f"{name}: not written yet.")
        return TaskVerdict(WRONG, f"{name} raised an error.\n{said}")
    seen = header.get("seen")
    if not isinstance(seen, list) or seen:
        called = "what it may not"
        if isinstance(seen, list):  # in the words of the visible check
            called = " and ".join(_shown(s, 80) for s in spoken({str(s) for s in seen})[:3])
        return TaskVerdict(
            WRONG, f"{name}: it calls {called}, which does the task. Write out the formula instead."
        )
    try:
        outputs = wire.read_outputs(check.outputs, len(cases), body)
    except wire.WireError as error:
        return TaskVerdict(MISBEHAVED, f"{name}: {error}")
    verdict = Judge(check, cases).judge(outputs)
    return TaskVerdict(RIGHT if verdict.passed else WRONG, verdict.message, verdict.mistakes)


def _shown(value: object, length: int) -> str:
    """In characters that can be written down: JSON holds others, too."""
    return str(value)[:length].encode("utf-8", "replace").decode("utf-8")


def _unanswered(name: str, ended: sandbox.Ended, limits: Limits) -> TaskVerdict:
    if ended.failed:
        return TaskVerdict(OURS, ended.failed)  # the same for every task
    killed = {
        "time": f"the notebook was stopped after {limits.seconds:.0f} seconds.",
        "output": "the notebook wrote more than it may.",
        "memory": f"the notebook used more than {limits.memory / 2**30:.3g} GiB of memory.",
        "processes": "the notebook's processes could not be watched.",
        "": "the notebook's process ended before it had answered.",
    }
    return TaskVerdict(MISBEHAVED, f"{name}: {killed[ended.reason]}")
