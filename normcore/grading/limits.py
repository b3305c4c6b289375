"""What one submission may use."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Limits"]


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
