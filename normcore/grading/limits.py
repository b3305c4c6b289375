"""What one submission may use."""

import contextlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Limits", "cores"]


MOST_MEMORY, LEAST_MEMORY = 4 * 2**30, 2**30  # torch alone takes a quarter of the least


def cores() -> int:
    """Of this machine's, those that we may use: taskset and a cluster's scheduler give a part."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _share() -> int:
    """Bytes of this machine's memory for each of its cores: as many submissions are run at the same time."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
        whole = min(whole, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(MOST_MEMORY, max(LEAST_MEMORY, whole // cores()))


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    Attributes:
        seconds: of wall-clock time, all tasks together.
        task_seconds: for one task, and for one cell.
        memory: bytes of all its processes together, and of each one's address space; by default a core's
            share of this machine's, at least 1 GiB, at most 4.
        processes: at once.
        file_bytes: the largest file, and the size of each writable folder.
        output_bytes: what it may send.
    """

    seconds: float = 120.0
    task_seconds: float = 20.0
    memory: int = field(default_factory=_share)
    processes: int = 64
    file_bytes: int = 64 * 2**20
    output_bytes: int = 64 * 2**20

    def resources(self) -> dict[str, int]:
        """As the worker sets them for itself and all that it starts, before it runs a learner's line."""
        return {
            "RLIMIT_AS": self.memory,
            "RLIMIT_NPROC": self.processes + _counted_too(),
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_NOFILE": 64,  # a socket's buffers are in no process: at most 1 GiB of them
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
