"""Runs a learner's cells, and sends what their functions return. It judges nothing.

It needs numpy, torch, and `runner.py` and `refusal.py` beside it, and nothing else of the course. A job comes
as one frame, and what each task returned goes back as one: 4 bytes of length of a JSON header, the header,
and as many bytes of an .npz archive as it says. What a learner's code writes there itself is at worst a wrong
answer.

In the sandbox `nursery.py` calls `work`; as a program it reads a job from its standard input.
"""

import builtins
import contextlib
import io
import json
import os
import random
import re
import resource
import select
import signal
import struct
import sys
import time
import traceback
import types

import numpy as np
import refusal
import runner
import torch


class TooLong(BaseException):
    """A cell's time is over. TimeoutError is an OSError, which much code takes for a missing file."""


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


def work(data: bytes, channel: int) -> None:
    """Run a job's cells, then each task in a process of its own.

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
    forbidden = {name for task in job["tasks"] for name in task["forbidden"]}
    refusal.take_away(forbidden)
    _pretend(job["checks"])
    # a notebook has display()
    namespace = {"__name__": "__main__", "__builtins__": builtins, "display": lambda *_, **__: None}
    errors = {}
    for name, source in job["cells"]:
        try:
            with _alarm(limits["task_seconds"]):
                exec(_compiled(source, name), namespace)
        except BaseException as error:  # a cell may raise anything; the others still run
            errors[name] = _explain(error)
    for task in job["tasks"]:
        _isolated(task, namespace, inputs, errors, channel, limits["task_seconds"])


def _pretend(checks: str) -> None:
    """A `check` that does nothing, where the notebook imports its own from."""
    parts = checks.split(".")
    for count in range(1, len(parts) + 1):
        module = types.ModuleType(".".join(parts[:count]))
        module.__path__ = []
        sys.modules[module.__name__] = module
    module.check = lambda function: None


def _compiled(source: str, name: str):
    """The cell's code; IPython's magics and shell lines, which are no Python, do nothing."""
    try:
        return compile(source, f"<{name}>", "exec")
    except SyntaxError:
        plain = re.sub(r"^([ \t]*)[%!].*$", r"\1pass", source, flags=re.M)
        return compile(plain, f"<{name}>", "exec")


def _isolated(task: dict, namespace: dict, inputs, errors: dict, channel: int, seconds: float) -> None:
    """One task in a process of its own, ended when its time is over."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            _send(writing, *_run(task, namespace, inputs, errors))
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
        _send(channel, {"task": task["name"], "late": seconds}, b"")
    elif not data:
        _send(channel, {"task": task["name"], "ended": os.waitstatus_to_exitcode(status)}, b"")
    else:
        _write(channel, data)


def _run(task: dict, namespace: dict, inputs, errors: dict) -> tuple[dict, bytes]:
    name = task["name"]
    function = namespace.get(name)
    if function is None:
        return {"task": name, "error": errors.get(name, f"NameError: {name} is not defined")}, b""
    refusal.called.clear()  # a cell may compare itself with the built-in; a task may not call it
    outputs = {}
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
            return {"task": name, "error": _explain(error)}, b""
        if seen := refusal.called | watch.seen:
            return {"task": name, "seen": sorted(seen)}, b""
        outputs |= {f"{number}/{key}": value for key, value in found.items()}
    archive = io.BytesIO()
    np.savez(archive, allow_pickle=False, **outputs)
    return {"task": name, "seen": []}, archive.getvalue()


def _decoded(value: object) -> object:
    return tuple(value["tuple"]) if isinstance(value, dict) else value


def _explain(error: BaseException) -> str:
    """The learner's own lines and the error, short."""
    if isinstance(error, NotImplementedError) and not str(error):
        return "not written"
    lines = []
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename.startswith("<") and frame.filename != runner.SOURCE_NAME:
            lines.append(f"  line {frame.lineno} of {frame.name}")
    if isinstance(error, SyntaxError) and error.lineno:
        lines.append(f"  line {error.lineno}: {(error.text or '').strip()}")
    try:
        said = str(error)
    except Exception:
        said = "(an error that cannot be shown)"
    return "\n".join([*lines[-8:], f"{type(error).__name__}: {said}"])[:2000]


@contextlib.contextmanager
def _alarm(seconds: float):
    def ring(*_):
        raise TooLong(f"the cell took longer than {seconds:.0f} seconds")

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _send(channel: int, header: dict, body: bytes) -> None:
    text = json.dumps({**header, "bytes": len(body)}).encode()
    _write(channel, struct.pack(">I", len(text)) + text + body)


def _write(channel: int, data: bytes) -> None:
    view = memoryview(bytes(data))
    while view:
        view = view[os.write(channel, view) :]


if __name__ == "__main__":
    main()
