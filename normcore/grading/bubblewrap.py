"""The sandbox's walls: what bubblewrap lets a program see."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

__all__ = ["INSIDE", "SandboxMissing", "check", "command", "environment"]

# All of our own that is inside.
INSIDE = tuple(sorted((Path(__file__).parents[1] / "inside").glob("*.py")))


class SandboxMissing(RuntimeError):
    """There is no sandbox here, and submissions are not trusted."""


def check(trusted: bool = False, course: Path | None = None) -> None:
    """Refuse to go on without a sandbox, unless submissions are trusted.

    Args:
        trusted: do without.
        course: the folder of marks, secret and other submissions, which must lie outside.

    Raises:
        SandboxMissing: no bubblewrap, one that cannot start, or one that the course lies in; says what to do.
    """
    if not hasattr(os, "fork"):
        raise SandboxMissing(
            "Submissions cannot be run on this system, in a sandbox or without. Grade in a Linux machine or "
            "container; on Windows, in WSL."
        )
    if trusted:
        return
    inside = [p for p in _readable() if course and course.resolve().is_relative_to(p.resolve())]
    if inside:
        raise SandboxMissing(
            f"The course lies in {course}, and submissions can read all of {inside[0]}, where Python and its "
            "packages are. Move the course to another folder."
        )
    advice = (
        "Submissions are run in a sandbox, bubblewrap. {why} Install it (Debian, Ubuntu: apt install "
        "bubblewrap; Fedora: dnf install bubblewrap). It needs Linux: elsewhere grade in a Linux machine or "
        "container. If you trust every submission as you trust your own code, add --trust-submissions."
    )
    if not sys.platform.startswith("linux") or shutil.which("bwrap") is None:
        raise SandboxMissing(advice.format(why="It is not here."))
    # as the fork server does for each submission
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
    """What Python, numpy and torch need, and no more of the folders that it is in."""
    system = "/usr/bin /usr/lib /usr/lib32 /usr/lib64 /usr/share"
    local = "/usr/local/bin /usr/local/lib /usr/local/lib64"
    links = "/lib /lib64 /bin /etc/ld.so.cache /etc/alternatives"
    python = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent.parent}
    own = [prefix / part for prefix in sorted(python) for part in ("bin", "lib", "lib64", "pyvenv.cfg")]
    return [p for p in dict.fromkeys([*map(Path, f"{system} {local} {links}".split()), *own]) if p.exists()]


# Packages that would do a task: the course's own, those whose work a task is, and what calls native code.
HIDDEN = (
    "normcore", "sklearn", "scipy/stats", "statsmodels", "skimage", "cv2", "keras", "torchvision",
    "torchaudio", "tensorflow", "jax", "flax", "onnx", "onnxruntime", "timm", "transformers", "mxnet",
    "paddle", "autograd", "tinygrad", "cffi", "_cffi_backend*", "numba", "llvmlite", "cupy", "triton",
)  # fmt: skip


def _hidden() -> list[Path]:
    """Where they are, in every folder of packages that Python in the sandbox could be told to look in."""
    folders = {Path(p) for p in (*sys.path, *map(sysconfig.get_path, ("purelib", "platlib"))) if p}
    folders |= {p for root in _readable() for p in root.glob("python3*/*-packages")}
    readable = [p.resolve() for p in _readable()]
    found = {p for f in folders for name in HIDDEN for p in f.glob(name)}
    return sorted(p for p in found if any(p.resolve().is_relative_to(r) for r in readable))


def command() -> list[str]:
    """Bubblewrap, to stand before a program; with the rights that `forkserver.py` needs, and gives up."""
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
        if path.is_dir():
            words += ["--tmpfs", str(path), "--remount-ro", str(path)]
        else:
            words += ["--ro-bind", os.devnull, str(path)]
    words += ["--proc", "/proc", "--dev", "/dev"]
    # /scratch and /dev/shm are made anew for each submission
    words += [
        "--dir",
        "/scratch",
        "--perms",
        "0755",
        "--dir",
        "/job",
        "--perms",
        "0755",
        "--dir",
        "/job/inside",
    ]
    for source in INSIDE:
        words += ["--ro-bind", str(source), f"/job/inside/{source.name}"]
    return [*words, "--chdir", "/job", "--remount-ro", "/dev", "--remount-ro", "/", "--"]
