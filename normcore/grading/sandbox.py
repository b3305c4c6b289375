"""A program in bubblewrap: no network, nothing of the course in sight, capped, killed from outside."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Ended", "Limits", "SandboxMissing", "check", "run"]

FIRST_UID = 61_000  # of the slots, where the grader is root
SLOTS = 1000


class SandboxMissing(RuntimeError):
    """There is no sandbox here, and submissions are not trusted."""


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    Attributes:
        seconds: of wall-clock time, all tasks together, start included.
        task_seconds: for one task.
        memory: bytes of address space of each process.
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
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_NOFILE": 256,
            "RLIMIT_CORE": 0,
            "RLIMIT_CPU": int(self.seconds) + 5,
        }


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        output: what it wrote to its standard output, at most `Limits.output_bytes`.
        code: its exit code, negative for a signal; None where it was killed from outside.
        reason: why it was killed: "time", "output" or "".
        log: the last of its standard error.
        seconds: that it took.
    """

    output: bytes
    code: int | None
    reason: str
    log: str
    seconds: float


def check(trusted: bool = False) -> None:
    """Refuse to go on without a sandbox, unless submissions are trusted.

    Raises:
        SandboxMissing: no bubblewrap, or one that cannot start; says what to do.
    """
    if trusted:
        return
    advice = (
        "Submissions are run in a sandbox, bubblewrap. {why} Install it (Debian, Ubuntu: apt install "
        "bubblewrap; Fedora: dnf install bubblewrap). It needs Linux: elsewhere grade in a Linux machine or "
        "container. If you trust every submission as you trust your own code, add --trust-submissions."
    )
    if not sys.platform.startswith("linux") or shutil.which("bwrap") is None:
        raise SandboxMissing(advice.format(why="It is not here."))
    tried = subprocess.run([*_command(0, [], []), "/bin/true"], capture_output=True, text=True)
    if tried.returncode:
        raise SandboxMissing(advice.format(why=f"It does not start here: {tried.stderr.strip()}."))


@contextlib.contextmanager
def _slot():
    """A number that no other run on this machine has, for a user of its own; given back in any case."""
    folder = Path(tempfile.gettempdir()) / f"normcore-slots-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for number in range(SLOTS):
        with open(folder / str(number), "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield number
            return
    raise RuntimeError(f"{SLOTS} submissions are being run on this machine already")


def run(program: list[str], folder: Path, limits: Limits, trusted: bool = False) -> Ended:
    """Run a program with one folder to read, and collect what it writes.

    Args:
        program: after this Python's executable, such as ["worker.py"].
        folder: what it sees as its working folder, read-only.
        limits: after which it is killed, with all that it started.
        trusted: run it as an ordinary process instead, with the same limits on time and output.
    """
    python = [sys.executable, "-B"]
    if trusted:
        return _watched([*python, *program], folder, limits)
    with _slot() as slot:
        return _watched([*_command(slot, _readable(), [folder]), *python, *program], None, limits)


def _watched(command: list[str], where: Path | None, limits: Limits) -> Ended:
    """Run a command, and kill it when it has had enough."""
    start = time.monotonic()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=where,
        env=_environment(),
        start_new_session=True,
    )
    output, log = bytearray(), bytearray()
    overflow = threading.Event()

    def collect(stream, into: bytearray, most: int) -> None:
        while chunk := stream.read1(65536):
            into += chunk[: max(most - len(into), 0)]
            if len(into) >= most:
                overflow.set()
                return

    readers = [
        threading.Thread(target=collect, args=(process.stdout, output, limits.output_bytes), daemon=True),
        threading.Thread(target=collect, args=(process.stderr, log, 2**20), daemon=True),
    ]
    for reader in readers:
        reader.start()
    reason = ""
    while process.poll() is None:
        if overflow.is_set():
            reason = "output"
        elif time.monotonic() - start > limits.seconds:
            reason = "time"
        if reason:
            break
        time.sleep(0.01)
    # with bwrap ends its process namespace, and all that runs in it
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for reader in readers:
        reader.join(timeout=5)
    code = None if reason else process.returncode
    text = bytes(log[-4000:]).decode("utf-8", "replace")
    return Ended(bytes(output), code, reason, text, time.monotonic() - start)


def _environment() -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/scratch",
        "TMPDIR": "/scratch",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


def _readable() -> list[Path]:
    """What Python, numpy and torch need."""
    system = [Path(p) for p in ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/alternatives")]
    python = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent.parent}
    return [p for p in (*system, *sorted(python)) if p.exists()]


def _hidden() -> list[Path]:
    """Packages that would do a task: the course's own, and those whose work a task is."""
    folder = Path(sysconfig.get_path("purelib"))
    return [
        p for p in (folder / name for name in ("normcore", "sklearn", "keras", "torchvision")) if p.is_dir()
    ]


def _command(slot: int, readable: list[Path], folders: list[Path]) -> list[str]:
    size = str(Limits().file_bytes)
    root = os.geteuid() == 0
    command = [
        "bwrap",
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
        "--unshare-cgroup-try",
    ]
    if root:
        # a user of its own, so that the number of processes can be limited: root's is not
        command += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
    command += ["--new-session", "--die-with-parent", "--hostname", "sandbox"]
    readable = readable or _readable()
    # folders on the way, which bwrap would make for its own user alone
    for parent in dict.fromkeys(p for path in readable for p in reversed(path.parents[:-1])):
        if not any(parent.is_relative_to(path) for path in readable):
            command += ["--perms", "0755", "--dir", str(parent)]
    for path in readable:
        command += ["--ro-bind", str(path), str(path)]
    for path in _hidden():
        command += ["--tmpfs", str(path)]
    command += ["--proc", "/proc", "--dev", "/dev"]
    command += ["--perms", "1777", "--size", size, "--tmpfs", "/scratch"]
    command += ["--perms", "1777", "--size", size, "--tmpfs", "/dev/shm"]
    for folder in folders:
        command += ["--ro-bind", str(folder), "/job", "--chdir", "/job"]
    command += ["--remount-ro", "/dev", "--remount-ro", "/", "--"]
    if root:
        uid = str(FIRST_UID + slot)
        command += ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--bounding-set=-all"]
    return command
