"""Submissions in bubblewrap: no network, nothing of the course in sight, capped, killed from outside."""

import atexit
import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from normcore.checks import runner

__all__ = ["Ended", "Limits", "SandboxMissing", "check", "run"]

HERE = Path(__file__).parent
FIRST_UID = 61_000  # of the slots, where the grader is root
SLOTS = 1000
START_SECONDS = 120.0  # for Python and torch to be read from a slow disk
GRACE_SECONDS = 10.0  # for a killed submission to end


class SandboxMissing(RuntimeError):
    """There is no sandbox here, and submissions are not trusted."""


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    Attributes:
        seconds: of wall-clock time, all tasks together.
        task_seconds: for one task, and for one cell.
        memory: bytes of all its processes together, and of each one's address space.
        processes: at once.
        file_bytes: the largest file, and the size of each writable folder.
        output_bytes: what it may send.
    """

    seconds: float = 120.0
    task_seconds: float = 20.0
    memory: int = 4 * 2**30
    processes: int = 64
    file_bytes: int = 64 * 2**20
    output_bytes: int = 64 * 2**20

    def resources(self) -> dict[str, int]:
        """As the worker sets them for itself and all that it starts, before it runs a learner's line."""
        return {
            "RLIMIT_AS": self.memory,
            "RLIMIT_NPROC": self.processes + _counted_too(),
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_NOFILE": 256,
            "RLIMIT_CORE": 0,
            "RLIMIT_CPU": int(self.seconds) + 5,
        }


def _counted_too() -> int:
    """Processes of this user that count towards the limit of a submission's, though they are none of its own.

    The submission of a grader who is root has a user of its own. That of another has a user namespace of its
    own, which Linux before 5.14 does not count apart.
    """
    version = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    if os.geteuid() == 0 or version >= (5, 14):
        return 0
    mine = (p for p in Path("/proc").glob("[0-9]*/task/*") if _owner(p) == os.geteuid())
    return sum(1 for _ in mine)


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None


@dataclass(frozen=True)
class Ended:
    """How a submission ended.

    Attributes:
        output: what it sent, at most `Limits.output_bytes`.
        reason: why it was killed: "time", "output", "memory" or "".
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


def check(trusted: bool = False) -> None:
    """Refuse to go on without a sandbox, unless submissions are trusted.

    Raises:
        SandboxMissing: no bubblewrap, or one that cannot start; says what to do.
    """
    if not hasattr(os, "fork"):
        raise SandboxMissing(
            "Submissions cannot be run on this system, in a sandbox or without. Grade in a Linux machine or "
            "container; on Windows, in WSL."
        )
    if trusted:
        return
    advice = (
        "Submissions are run in a sandbox, bubblewrap. {why} Install it (Debian, Ubuntu: apt install "
        "bubblewrap; Fedora: dnf install bubblewrap). It needs Linux: elsewhere grade in a Linux machine or "
        "container. If you trust every submission as you trust your own code, add --trust-submissions."
    )
    if not sys.platform.startswith("linux") or shutil.which("bwrap") is None:
        raise SandboxMissing(advice.format(why="It is not here."))
    # as the nursery does for each submission
    inner = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--net", "--cgroup", "--fork", "true"]
    tried = subprocess.run([*_command(), *inner], capture_output=True, text=True)
    if tried.returncode:
        raise SandboxMissing(advice.format(why=f"It does not start here: {tried.stderr.strip()}."))


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
            [*_command(), *program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            env=_environment(),
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
        for source in (HERE / "worker.py", Path(runner.__file__)):
            shutil.copy(source, folder)
        file.write(job)
        file.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-B", "worker.py"],
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=_environment(),
            start_new_session=True,
        )
        output, reason = _collect(process.stdout, start, limits)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    return Ended(output, reason, "", time.monotonic() - start)


def _environment() -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/scratch",
        "TMPDIR": "/scratch",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
    }


def _readable() -> list[Path]:
    """What Python, numpy and torch need."""
    system = [Path(p) for p in ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/alternatives")]
    python = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent.parent}
    return [p for p in (*system, *sorted(python)) if p.exists()]


def _hidden() -> list[Path]:
    """Packages that would do a task: the course's own, and those whose work a task is."""
    folder = Path(sysconfig.get_path("purelib"))
    names = ("normcore", "sklearn", "keras", "torchvision", "tensorflow", "jax", "flax")
    return [p for p in (folder / name for name in names) if p.is_dir()]


def _command() -> list[str]:
    """Bubblewrap, with the rights that `nursery.py` needs to make namespaces, and gives up in them."""
    command = [
        "bwrap",
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
        "--unshare-cgroup-try",
        "--cap-drop", "ALL",
        "--cap-add", "CAP_SYS_ADMIN",
        "--cap-add", "CAP_SETPCAP",
        "--cap-add", "CAP_SYS_PTRACE",  # to read the memory that a submission uses
        "--cap-add", "CAP_KILL",
    ]  # fmt: skip
    if os.geteuid() == 0:
        # a user a submission, so that the number of processes can be limited: root's is not
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-user"]
    command += ["--new-session", "--die-with-parent", "--hostname", "sandbox"]
    readable = _readable()
    # folders on the way, which bwrap would make for its own user alone
    for parent in dict.fromkeys(p for path in readable for p in reversed(path.parents[:-1])):
        if not any(parent.is_relative_to(path) for path in readable):
            command += ["--perms", "0755", "--dir", str(parent)]
    for path in readable:
        command += ["--ro-bind", str(path), str(path)]
    for path in _hidden():
        command += ["--tmpfs", str(path), "--remount-ro", str(path)]
    command += ["--proc", "/proc", "--dev", "/dev"]
    # /scratch and /dev/shm are made anew for each submission
    command += ["--dir", "/scratch", "--perms", "0755", "--dir", "/job"]
    for source in (HERE / "nursery.py", HERE / "syscalls.py", HERE / "worker.py", Path(runner.__file__)):
        command += ["--ro-bind", str(source), f"/job/{source.name}"]
    return [*command, "--chdir", "/job", "--remount-ro", "/dev", "--remount-ro", "/", "--"]
