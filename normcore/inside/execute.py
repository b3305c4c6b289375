"""Runs a learner's notebook, and sends what their functions return. It judges nothing.

A job comes as one frame, and what each task returned goes back as one. What a learner's code writes there
itself is at worst a wrong answer. In the sandbox `forkserver.py` calls `work`; as a program it reads a job
from its standard input.
"""

import contextlib
import io
import os
import random
import resource
import select
import signal
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from . import absent, blocklist, native, runner, wire
from .cells import Cells, explain

CELLS_SHARE = 0.5  # of the time of all, for the cells: the other half is for the tasks


def main() -> None:
    """A job from the standard input; frames to the standard output, which a learner's code does not see; what
    they call outside is answered on the descriptor that is the argument.
    """
    job = sys.stdin.buffer.read()
    channel = os.dup(1)
    silence()
    work(job, channel, int(sys.argv[1]))


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


def work(data: bytes, channel: int, replies: int) -> None:
    """Run a notebook's cells in their order, each task at its check, in a process of its own.

    What does a task for the learner is taken away before the first line of theirs: there is no moment at
    which it could be kept, or the inputs be read and answered.

    Args:
        data: the job, as one frame.
        channel: where answers and calls go.
        replies: where replies to calls come from.
    """
    job, body = wire.read(data)
    arrays = wire.Arrays(body)

    def outside(task: str, number: int) -> Callable:
        return lambda *given, **named: _call(task, number, given, named, channel, replies)

    tasks = {}
    for task in job["tasks"]:
        name = task["name"]
        function = lambda number, name=name: outside(name, number)  # noqa: E731
        cases = [{k: wire.unpack(v, arrays, function) for k, v in case.items()} for case in task["cases"]]
        tasks[name] = {**task, "cases": cases}
    limits = job["limits"]
    for name, value in limits["resources"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    torch.set_num_threads(1)
    # what a learner draws without a seed is drawn again when the submission is graded again
    random.seed(job["seed"])
    np.random.seed(job["seed"])
    torch.manual_seed(job["seed"])
    blocklist.take_away({name for task in job["tasks"] for name in task["forbidden"]})
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
            found = _isolated(tasks[name], cells, limits["task_seconds"])
            if not _is_error(found):
                wire.write(channel, found)
                del tasks[name]
            errors.setdefault(name, found)
    # where it raised an error, what it needs may stand further below
    for name, task in tasks.items():
        found = _isolated(task, cells, limits["task_seconds"])
        wire.write(channel, errors.get(name, found) if _is_error(found) else found)


def _uncompiled(model=None, **_):
    """What `torch.compile` makes computes the same, and there is no compiler here."""
    return model if model is not None else lambda function: function


def _is_error(frame: bytes) -> bool:
    return any("error" in header for header, _ in wire.Frames().feed(frame))


def _isolated(task: dict, cells: Cells, seconds: float) -> bytes:
    """What one task answers, in a process of its own, ended when its time is over."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            torch.set_num_threads(1)  # others of this process's are not in its fork
            wire.write(writing, wire.frame(*_run(task, cells)))
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
    _, status, used = os.wait4(child, 0)
    if late:
        return wire.frame({"task": task["name"], "late": seconds, "cpu": used.ru_utime + used.ru_stime})
    if not data:
        return wire.frame({"task": task["name"], "ended": os.waitstatus_to_exitcode(status)})
    return bytes(data)


def _run(task: dict, cells: Cells) -> tuple[dict, bytes]:
    name = task["name"]
    function = cells.namespace.get(name)
    if function is None:
        return {"task": name, "error": cells.errors.get(name, f"NameError: {name} is not defined")}, b""
    blocklist.called.clear()  # a cell may compare itself with the built-in; a task may not call it
    body = io.BytesIO()
    for inputs in task["cases"]:
        watch = runner.WatchModules(frozenset(task["forbidden"]))
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), watch:
                found = runner.run(task["run"], name, function, inputs, tuple(task["outputs"]))
        except BaseException as error:
            if seen := blocklist.called | watch.seen:
                return {"task": name, "seen": sorted(seen)}, b""
            return {"task": name, "error": explain(error)}, b""
        if seen := blocklist.called | watch.seen:
            return {"task": name, "seen": sorted(seen)}, b""
        for output in task["outputs"]:
            wire.write_array(body, found[output])
    return {"task": name, "seen": []}, body.getvalue()


def _call(task: str, number: int, given: tuple, named: dict, channel: int, replies: int) -> object:
    """Have a function run outside that is not here: tensors and numbers go out, tensors come back.

    Raises:
        ValueError: what the function raised, in words.
    """
    body = io.BytesIO()
    header = {
        "task": task,
        "call": number,
        "given": [wire.pack(_numbers(v), body) for v in given],
        "named": {key: wire.pack(_numbers(v), body) for key, v in named.items()},
    }
    wire.write(channel, wire.frame(header, body.getvalue()))
    answer, arrays = wire.receive(replies)
    if "error" in answer:
        raise ValueError(answer["error"])
    return _tensors(wire.unpack(answer["returned"], wire.Arrays(arrays)))


def _numbers(value: object) -> object:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value


def _tensors(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(map(_tensors, value))
    return torch.tensor(value) if isinstance(value, np.ndarray) else value


if __name__ == "__main__":
    main()
