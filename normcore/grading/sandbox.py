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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from normcore.grading import bubblewrap
from normcore.grading.limits import Limits

__all__ = ["Ended", "run"]

FIRST_UID = 61_000  # of the slots, where the grader is root
SLOTS = 1000
START_SECONDS = 120.0  # for Python and torch to be read from a slow disk
GRACE_SECONDS = 10.0  # for a killed submission to end


@dataclass(frozen=True)
class Ended:
    """How a submission ended.

    Attributes:
        output: what it sent, at most `Limits.output_bytes`.
        reason: why it was killed: "time", "output", "memory", "processes" (they could not be watched) or "".
        failed: why it could not be run, which is our failure; or "".
        seconds: that it took.
        cpu_seconds: of its processes that have ended in order.
        memory: bytes, the largest that were seen.
    """

    output: bytes
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


def run(job: bytes, limits: Limits, trusted: bool = False) -> Ended:
    """Run a job for `worker.py`, and collect what it answers.

    The first call of a process starts a sandbox with a warmed-up Python, which stays; each call forks it.

    Args:
        job: one frame, as `worker.py` describes it.
        limits: after which it is killed, with all that it started.
        trusted: run it as an ordinary process instead, with the same limits on time and output.
    """
    if trusted:
        return _trusted(job, limits)
    global _nursery
    with _starting:
        if _nursery is None or not _nursery.alive():
            try:
                _nursery = _Nursery()
            except OSError as error:
                return Ended(b"", "", f"the sandbox did not start: {error}", 0.0)
        nursery = _nursery
    return nursery.run(job, limits)


class _Nursery:
    """A sandbox of this process, in which `nursery.py` waits to fork.

    Raises:
        OSError: it did not start; with what it said.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 as long as the process
        program = [sys.executable, "-B", "nursery.py", str(theirs.fileno())]
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

    def run(self, job: bytes, limits: Limits) -> Ended:
        """One submission, in a fork."""
        start = time.monotonic()
        line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reading, writing = os.pipe()
        file = os.memfd_create("job")
        try:
            with _slot() as slot, line, open(reading, "rb", buffering=0) as answers:
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
                    descriptors = [file, writing, theirs.fileno()]
                    socket.send_fds(self._control, [json.dumps(request).encode()], descriptors)
                finally:
                    theirs.close()
                    os.close(writing)
                    os.close(file)
                output, reason = _collect(answers, start, limits)
                told = _told(line)
        except BrokenPipeError:
            told, output, reason = {}, b"", ""
        if not told:  # it never ends without a word, so it was killed, or the machine is at its end
            self.close()
            told = {"failed": f"the sandbox ended: {self._last_words() or 'nobody knows why'}"}
        return Ended(
            output,
            reason or told.get("reason", ""),
            told.get("failed", ""),
            time.monotonic() - start,
            told.get("cpu_seconds", 0.0),
            told.get("memory", 0),
        )

    def _last_words(self) -> str:
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace").strip()[-1000:]


_nursery: _Nursery | None = None
_starting = threading.Lock()


def _collect(answers, start: float, limits: Limits) -> tuple[bytes, str]:
    """What comes until nobody can write any more, or until it is enough, and then why."""
    output = bytearray()
    while (left := start + limits.seconds - time.monotonic()) > 0:
        if not select.select([answers], [], [], left)[0]:
            break
        chunk = answers.read(65536)
        if not chunk:
            return bytes(output), ""
        output += chunk[: limits.output_bytes - len(output)]
        if len(output) >= limits.output_bytes:
            return bytes(output), "output"
    return bytes(output), "time"


def _told(line: socket.socket) -> dict:
    """How the submission ended, which it does now if it has not; empty where nobody says."""
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_WR)  # the sign to kill it
        line.settimeout(GRACE_SECONDS)
        if said := line.recv(4096):
            return json.loads(said)
    return {}


def _trusted(job: bytes, limits: Limits) -> Ended:
    """In an ordinary process, on any system that has fork."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="normcore-grade-") as folder, tempfile.TemporaryFile() as file:
        for source in bubblewrap.INSIDE:
            shutil.copy(source, folder)
        file.write(job)
        file.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-B", "worker.py"],
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,  # or reading would wait for more, beyond the time
            cwd=folder,
            env=bubblewrap.environment(),
            start_new_session=True,
        )
        output, reason = _collect(process.stdout, start, limits)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    return Ended(output, reason, "", time.monotonic() - start)
