"""Runs a learner's notebook, and sends what their functions return. It judges nothing.

It needs numpy, torch and IPython, the files beside it and `runner.py`, and nothing else of the course. A job
comes as one frame, and what each task returned goes back as one: 4 bytes of length of a JSON header, the
header, and as many bytes as it says, of arrays in NumPy's format, one after the other. What a learner's code
writes there itself is at worst a wrong answer.

In the sandbox `nursery.py` calls `work`; as a program it reads a job from its standard input.
"""

import contextlib
import io
import json
import os
import random
import resource
import select
import signal
import struct
import sys
import time

import absent
import native
import numpy as np
import refusal
import runner
import torch
from cells import Cells, explain

CELLS_SHARE = 0.5  # of the time of all, for the cells: the other half is for the tasks


def main() -> None:
    """A job from the standard input; frames to the standard output, which a learner's code does not see."""
    job = sys.stdin.buffer.read()
    channel = os.dup(1)
    silence()
    work(job, channel)


def silence() -> None:
    """Standard input is empty from now on, and what is written to output and error is dropped."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def warm_up() -> None:
    """What torch imports at its first step only, and what is taken away must be there."""
    import torch._decomp.decompositions_for_jvp
    import torch._refs.nn.functional
    import torch.nested._internal.ops

    with contextlib.suppress(ImportError):
        import scipy.linalg
        import scipy.special  # noqa: F401 it needs ctypes at its import
    weight = torch.nn.Parameter(torch.randn(4, 4))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    x = torch.randn(4, 4, requires_grad=True)
    (torch.nn.functional.linear(x, weight) / x.var(0).sqrt()).sum().backward()
    optimizer.step()
    torch.func.hessian(lambda v: v.square().sum())(torch.ones(2))


def work(data: bytes, channel: int) -> None:
    """Run a notebook's cells in their order, each task at its check, in a process of its own.

    What does a task for the learner is taken away before the first line of theirs: there is no moment at
    which it could be kept, or the inputs be read and answered.

    Args:
        data: the job, as one frame.
        channel: where the answers go.
    """
    (length,) = struct.unpack_from(">I", data)
    job = json.loads(data[4 : 4 + length])
    inputs = np.load(io.BytesIO(data[4 + length :]), allow_pickle=False)
    limits = job["limits"]
    for name, value in limits["resources"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    torch.set_num_threads(1)
    # what a learner draws without a seed is drawn again when the submission is graded again
    random.seed(job["seed"])
    np.random.seed(job["seed"])
    torch.manual_seed(job["seed"])
    tasks = {task["name"]: task for task in job["tasks"]}
    refusal.take_away({name for task in job["tasks"] for name in task["forbidden"]})
    absent.pretend()
    native.close_ctypes()
    torch.compile = _uncompiled
    sys.path[0] = ""  # the working folder, as in a notebook
    cells = Cells(limits["seconds"] * CELLS_SHARE, limits["task_seconds"])
    errors = {}
    for kind, name, source in job["steps"]:
        if kind == "cell":
            cells.run(name, source)
        else:
            found = _isolated(tasks[name], cells, inputs, limits["task_seconds"])
            if not _is_error(found):
                _write(channel, found)
                del tasks[name]
            errors.setdefault(name, found)
    # where it raised an error, what it needs may stand further below
    for name, task in tasks.items():
        found = _isolated(task, cells, inputs, limits["task_seconds"])
        _write(channel, errors.get(name, found) if _is_error(found) else found)


def _uncompiled(model=None, **_):
    """What `torch.compile` makes computes the same, and there is no compiler here."""
    return model if model is not None else lambda function: function


def _is_error(frame: bytes) -> bool:
    with contextlib.suppress(ValueError, KeyError, TypeError, struct.error, RecursionError):
        (length,) = struct.unpack_from(">I", frame)
        return "error" in json.loads(frame[4 : 4 + length])
    return False


def _isolated(task: dict, cells: Cells, inputs, seconds: float) -> bytes:
    """What one task answers, in a process of its own, ended when its time is over."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            torch.set_num_threads(1)  # others of this process's are not in its fork
            _write(writing, _frame(*_run(task, cells, inputs)))
        finally:
            os._exit(0)
    os.close(writing)
    data, deadline, late = bytearray(), time.monotonic() + seconds, False
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reading], [], [], left)[0]:
            late = True
            break
        chunk = os.read(reading, 65536)
        if not chunk:
            break
        data += chunk
    os.close(reading)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if late:
        return _frame({"task": task["name"], "late": seconds}, b"")
    if not data:
        return _frame({"task": task["name"], "ended": os.waitstatus_to_exitcode(status)}, b"")
    return bytes(data)


def _run(task: dict, cells: Cells, inputs) -> tuple[dict, bytes]:
    name = task["name"]
    function = cells.namespace.get(name)
    if function is None:
        return {"task": name, "error": cells.errors.get(name, f"NameError: {name} is not defined")}, b""
    refusal.called.clear()  # a cell may compare itself with the built-in; a task may not call it
    body = io.BytesIO()
    for number, case in enumerate(task["cases"]):
        arguments = {
            key: inputs[f"{name}/{number}/{key}"] if value == {"array": True} else _decoded(value)
            for key, value in case.items()
        }
        watch = runner.WatchModules(frozenset(task["forbidden"]))
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), watch:
                found = runner.run(task["run"], name, function, arguments, tuple(task["outputs"]))
        except BaseException as error:
            if seen := refusal.called | watch.seen:
                return {"task": name, "seen": sorted(seen)}, b""
            return {"task": name, "error": explain(error)}, b""
        if seen := refusal.called | watch.seen:
            return {"task": name, "seen": sorted(seen)}, b""
        for output in task["outputs"]:
            np.lib.format.write_array(body, found[output], version=(1, 0), allow_pickle=False)
    return {"task": name, "seen": []}, body.getvalue()


def _decoded(value: object) -> object:
    return tuple(value["tuple"]) if isinstance(value, dict) else value


def _frame(header: dict, body: bytes) -> bytes:
    text = json.dumps({**header, "bytes": len(body)}).encode()
    return struct.pack(">I", len(text)) + text + body


def _write(channel: int, data: bytes) -> None:
    view = memoryview(bytes(data))
    while view:
        view = view[os.write(channel, view) :]


if __name__ == "__main__":
    main()
