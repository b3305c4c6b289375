"""The sandbox's walls: what bubblewrap lets a program see."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from normcore.checks import runner

__all__ = ["INSIDE", "SandboxMissing", "check", "command", "environment"]

HERE = Path(__file__).parent
# Our own files that are inside.
INSIDE = (
    *(HERE / name for name in ("nursery.py", "syscalls.py", "worker.py", "refusal.py")),
    Path(runner.__file__),
)


class SandboxMissing(RuntimeError):
    """There is no sandbox here, and submissions are not trusted."""


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
    tried = subprocess.run([*command(), *inner], capture_output=True, text=True)
    if tried.returncode:
        raise SandboxMissing(advice.format(why=f"It does not start here: {tried.stderr.strip()}."))


def environment() -> dict[str, str]:
    """What a submission finds in its environment, and nothing else."""
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


def command() -> list[str]:
    """Bubblewrap, to stand before a program; with the rights that `nursery.py` needs, and gives up."""
    words = [
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
        words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        words += ["--unshare-user"]
    words += ["--new-session", "--die-with-parent", "--hostname", "sandbox"]
    readable = _readable()
    # folders on the way, which bwrap would make for its own user alone
    for parent in dict.fromkeys(p for path in readable for p in reversed(path.parents[:-1])):
        if not any(parent.is_relative_to(path) for path in readable):
            words += ["--perms", "0755", "--dir", str(parent)]
    for path in readable:
        words += ["--ro-bind", str(path), str(path)]
    for path in _hidden():
        words += ["--tmpfs", str(path), "--remount-ro", str(path)]
    words += ["--proc", "/proc", "--dev", "/dev"]
    # /scratch and /dev/shm are made anew for each submission
    words += ["--dir", "/scratch", "--perms", "0755", "--dir", "/job"]
    for source in INSIDE:
        words += ["--ro-bind", str(source), f"/job/{source.name}"]
    return [*words, "--chdir", "/job", "--remount-ro", "/dev", "--remount-ro", "/", "--"]
