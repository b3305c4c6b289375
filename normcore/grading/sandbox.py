"""Submissions in the sandbox: started, watched, killed from outside."""

import atexit
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from normcore.grading import bubblewrap
from normcore.grading.limits import Limits
from normcore.inside import wire

__all__ = ["Ended", "run"]

FIRST_UID = 61_000  # of the slots, where the grader is root
SLOTS = 1000
START_SECONDS = 120.0  # for Python and torch to be read from a slow disk
GRACE_SECONDS = 10.0  # for a killed submission to end


@dataclass(frozen=True)
class Ended:
    """How a submission ended.

    Attributes:
        answers: by task, the first frame that it sent; all that it sent is at most `Limits.output_bytes`.
        reason: why it was killed: "time", "output", "memory", "processes" (they could not be watched) or "".
        failed: why it could not be run, which is our failure; or "".
        seconds: that it took.
        cpu_seconds: of its processes that have ended in order.
        memory: bytes, the largest that were seen.
    """

    answers: dict[str, wire.Frame]
    reason: str
    failed: str
    seconds: float
    cpu_seconds: float = 0.0
    memory: int = 0


@contextlib.contextmanager
def _slot() -> Iterator[int]:
    """A number that no other run on this machine has, for a user of its own; given back in any case."""
    import fcntl  # not on Windows, where nothing is run

    folder = Path(tempfile.gettempdir()) / f"normcore-slots-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise RuntimeError(f"{folder} belongs to somebody else; remove it")
    for number in range(SLOTS):
        with open(folder / str(number), "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield number
            return
    raise RuntimeError(f"{SLOTS} submissions are being run on this machine already")


# What answers a call of a submission: the call's frame in, the reply's frame out.
Reply = Callable[[dict, bytes], bytes]


def run(job: bytes, limits: Limits, reply: Reply, trusted: bool = False) -> Ended:
    """Run a job for `inside/execute.py`, and collect what it answers.

    The first call of a process starts a sandbox with a warmed-up Python, which stays; each call forks it.

    Args:
        job: one frame, as `inside/wire.py` describes it.
        limits: after which it is killed, with all that it started.
        reply: called here, with each call that comes; it raises nothing, whatever came.
        trusted: run it as an ordinary process instead, with the same limits on time and output.
    """
    if trusted:
        return _trusted(job, limits, reply)
    global _server
    with _starting:
        if _server is None or not _server.alive():
            try:
                _server = _ForkServer()
            except OSError as error:
                return Ended({}, "", f"the sandbox did not start: {error}", 0.0)
        server = _server
    return server.run(job, limits, reply)


class _ForkServer:
    """A sandbox of this process, in which `inside/forkserver.py` waits to fork.

    Raises:
        OSError: it did not start; with what it said.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 as long as the process
        program = [sys.executable, "-B", "-m", "inside.forkserver", str(theirs.fileno())]
        self._process = subprocess.Popen(
            [*bubblewrap.command(), *program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            env=bubblewrap.environment(),
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        atexit.register(self.close)
        self._control.settimeout(START_SECONDS)
        try:
            said = self._control.recv(5)
        except TimeoutError:
            said = b""
        if said != b"ready":
            self.close()
            raise OSError(self._last_words() or f"it said nothing for {START_SECONDS:.0f} seconds")
        self._control.settimeout(None)

    def alive(self) -> bool:
        """Whether it can be used by this process."""
        return self._pid == os.getpid() and self._process.poll() is None

    def close(self) -> None:
        """End it, and all that runs in it."""
        if self._pid != os.getpid():
            return
        atexit.unregister(self.close)
        self._control.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def run(self, job: bytes, limits: Limits, reply: Reply) -> Ended:
        """One submission, in a fork."""
        start = time.monotonic()
        line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reading, writing = os.pipe()  # what it sends
        hearing, telling = os.pipe()  # what it is told
        file = os.memfd_create("job")
        try:
            with (
                _slot() as slot,
                line,
                open(reading, "rb", buffering=0) as out,
                open(telling, "wb", buffering=0) as back,
            ):
                try:
                    with open(file, "wb", buffering=0, closefd=False) as whole:
                        whole.write(job)
                        whole.seek(0)
                    request = {
                        "uid": FIRST_UID + slot if os.geteuid() == 0 else None,
                        "slot": slot,
                        "memory": limits.memory,
                        "writable_bytes": limits.file_bytes,
                    }
                    descriptors = [file, writing, hearing, theirs.fileno()]
                    socket.send_fds(self._control, [json.dumps(request).encode()], descriptors)
                finally:
                    theirs.close()
                    for descriptor in (writing, hearing, file):
                        os.close(descriptor)
                answers, reason = _collect(out, back, start, limits, reply)
                told = _told(line)
        except BrokenPipeError:
            told, answers, reason = {}, {}, ""
        if not told:  # it never ends without a word, so it was killed, or the machine is at its end
            self.close()
            told = {"failed": f"the sandbox ended: {self._last_words() or 'nobody knows why'}"}
        return Ended(
            answers,
            reason or told.get("reason", ""),
            told.get("failed", ""),
            time.monotonic() - start,
            told.get("cpu_seconds", 0.0),
            told.get("memory", 0),
        )

    def _last_words(self) -> str:
        """Of what it wrote the last line: of a traceback the error."""
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").split("\n")
        return next((line.strip()[-500:] for line in reversed(lines) if line.strip()), "")


_server: _ForkServer | None = None
_starting = threading.Lock()


def _collect(out, back, start: float, limits: Limits, reply: Reply) -> tuple[dict[str, wire.Frame], str]:
    """What comes until nobody can write any more, or until it is enough, and then why."""
    os.set_blocking(back.fileno(), False)
    answers: dict[str, wire.Frame] = {}
    frames, end, left = wire.Frames(), start + limits.seconds, limits.output_bytes
    while (wait := end - time.monotonic()) > 0:
        if not select.select([out], [], [], wait)[0]:
            break
        chunk = out.read(65536)
        if not chunk:
            return answers, ""
        for header, body in frames.feed(chunk[:left]):
            if "call" not in header:
                answers.setdefault(header["task"], (header, body))
            elif not _send(back, reply(header, body), end):
                return answers, "time"
        left -= len(chunk)
        if left <= 0:
            return answers, "output"
    return answers, "time"


def _send(back, data: bytes, end: float) -> bool:
    """Whether it went out in time; to whom nobody listens any more, nothing is sent."""
    view = memoryview(data)
    with contextlib.suppress(BrokenPipeError):
        while view:
            if not select.select([], [back], [], max(end - time.monotonic(), 0))[1]:
                return False
            view = view[back.write(view) or 0 :]
    return True


def _told(line: socket.socket) -> dict:
    """How the submission ended, which it does now if it has not; empty where nobody says."""
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_WR)  # the sign to kill it
        line.settimeout(GRACE_SECONDS)
        if said := line.recv(4096):
            return json.loads(said)
    return {}


def _trusted(job: bytes, limits: Limits, reply: Reply) -> Ended:
    """In an ordinary process, on any system that has fork."""
    start = time.monotonic()
    hearing, telling = os.pipe()
    with tempfile.TemporaryDirectory(prefix="normcore-grade-") as folder, tempfile.TemporaryFile() as file:
        inside = Path(folder, "inside")
        inside.mkdir()
        for source in bubblewrap.INSIDE:
            shutil.copy(source, inside)
        file.write(job)
        file.seek(0)
        with open(telling, "wb", buffering=0) as back:
            process = subprocess.Popen(
                [sys.executable, "-B", "-m", "inside.execute", str(hearing)],
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,  # or reading would wait for more, beyond the time
                cwd=folder,
                env=bubblewrap.environment(),
                start_new_session=True,
                pass_fds=[hearing],
            )
            os.close(hearing)
            assert process.stdout is not None  # a pipe
            answers, reason = _collect(process.stdout, back, start, limits, reply)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    return Ended(answers, reason, "", time.monotonic() - start)
