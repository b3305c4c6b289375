"""The sandbox's first process: it has imported torch once, and forks for each submission.

It runs inside bubblewrap, which has taken away everything that is common to all submissions. What one
submission could leave to another, it makes anew for each: namespaces for processes, mounts, IPC, network and
host name, /proc, the two writable folders, a user. It holds no submission: a job is read after the fork.

Over the socket whose number is its argument it says that it is ready, then receives requests: a JSON object
with four descriptors: of a file with the job, of a pipe for what it sends, of one for what it is told, and of
a socket. There it tells how the submission ended; when the other side closes it, the submission is killed.
"""

import ctypes
import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys
import time

import torch

from . import execute, native, seccomp

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = (
    0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x20000000, 0x40000000,
)  # fmt: skip
NEW_NAMESPACES = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 0x4000, 0x40000
PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 4, 24, 38
CAPABILITY_VERSION_3 = 0x20080522
MOST_FILES = 10_000  # in each writable folder; an empty file takes memory, too
LOOK_SECONDS = 0.1  # at the memory of all processes together
WANTED = {b"PPid", b"RssAnon", b"RssShmem", b"Pss", b"MemAvailable"}
# Torch's Python that holds a normalization or its gradient, and could be run again under another name. What
# is needed of it has been imported when the folder disappears.
SOURCES = (
    "_decomp", "_inductor", "_native", "_prims", "_refs", "_subclasses/complex_tensor", "_vendor", "include",
    "nested/_internal", "nn/utils/_expanded_weights", "onnx", "testing/_internal",
)  # fmt: skip

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    _warm_up()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that watch a submission
    control.send(b"ready")
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 4096, 4)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            try:
                _watch(json.loads(message), *descriptors)
            finally:
                os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _warm_up() -> None:
    """What torch and others do at their first step only."""
    # where the grader is an ordinary user, bubblewrap's own namespace is not this process's to mount in
    _call("unshare", CLONE_NEWNS)
    _call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    _call("mount", b"tmpfs", b"/scratch", b"tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, b"size=1m")
    torch.set_num_threads(1)
    execute.warm_up()
    native.close_interpreters()
    for folder in SOURCES:
        if os.path.isdir(path := os.path.join(torch.__path__[0], folder)):
            _call("mount", b"tmpfs", path.encode(), b"tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV, b"size=4k")
    gc.collect()
    gc.freeze()  # so that a fork's collector does not touch, and copy, every page


def _watch(request: dict, job: int, answers: int, replies: int, line: int) -> None:
    """Make the namespaces, start the submission in them, and wait for its end, or make it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    told = socket.socket(fileno=line)
    processes = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)  # this one's view, which is of all
    try:
        _separate(request["writable_bytes"])
    except OSError as error:
        told.send(json.dumps({"failed": f"the sandbox did not start: {error}"}).encode())
        return
    child = os.fork()
    if child == 0:
        try:
            _give_up_rights(request["uid"], request["slot"])
            with open(job, "rb") as file:
                data = file.read()
        except BaseException as error:
            told.send(json.dumps({"failed": f"the sandbox did not start: {error}"}).encode())
            os._exit(1)
        try:
            vars(_libc).clear()
            execute.silence()
            # out of the way first: each may stand where the other is to be
            pipes = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 16) for descriptor in (answers, replies)]
            for number, pipe in enumerate(pipes, 3):
                os.dup2(pipe, number)
            os.closerange(5, os.sysconf("SC_OPEN_MAX"))
            execute.work(data, 3, 4)
        finally:
            os._exit(0)
    for descriptor in (job, answers, replies):
        os.close(descriptor)
    reason, most = "", 0
    ended, held = os.pidfd_open(child), _Memory(processes, child, request["memory"])
    while not select.select([ended, told], [], [], LOOK_SECONDS)[0]:
        try:
            memory = held.look()
        except Exception:  # whatever its processes look like: none runs that cannot be watched
            reason = "processes"
            break
        most = max(most, memory)
        if memory > request["memory"]:
            reason = "memory"
            break
    os.kill(child, signal.SIGKILL)  # the first of its namespace: with it all others end
    _, _, used = os.wait4(child, 0)
    told.send(
        json.dumps(
            {
                "reason": reason,
                "cpu_seconds": used.ru_utime + used.ru_stime,
                "memory": max(most, used.ru_maxrss * 1024),
            }
        ).encode()
    )


def _separate(writable_bytes: int) -> None:
    """Namespaces of the submission's own, and in them empty writable folders."""
    _call("unshare", NEW_NAMESPACES)
    for folder in (b"/scratch", b"/dev/shm"):
        options = f"size={writable_bytes},nr_inodes={MOST_FILES},mode=1777".encode()
        _call("mount", b"tmpfs", folder, b"tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)
    # of terminals, whose owner and times would stay as one submission leaves them
    flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
    _call("mount", b"tmpfs", b"/dev/pts", b"tmpfs", flags, b"size=4k")


def _give_up_rights(uid: int | None, slot: int) -> None:
    """In the first process of the new namespaces: what the submission sees and may do from now on."""
    # a core of its own, as far as they go: however many processes it starts, its neighbours have theirs
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[slot % len(cores)]})
    _call("mount", b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None)
    os.setsid()
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    for capability in range(last + 1):
        _call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    _call("capset", header, (ctypes.c_uint32 * 6)())
    _call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)  # it cannot open /proc/self/mem
    seccomp.deny()
    os.chdir("/scratch")


class _Memory:
    """Bytes in memory of a submission's processes, the first and all below it; pages in common counted once.

    The exact sum takes milliseconds a process, and of many would take a neighbour's core. It is made only
    where the quick one, which counts common pages again and again, is over the limit, and then again when
    the machine has lost so much memory that it may be reached, or after thirty times as long as it took.
    """

    def __init__(self, processes: int, first: int, limit: int):
        self.processes, self.first, self.limit = processes, first, limit
        self.exact, self.free, self.again = 0, 0, 0.0

    def look(self) -> int:
        fields = {
            n: _fields(self.processes, f"{n}/status") for n in os.listdir(self.processes) if n.isdigit()
        }
        below, more = {self.first}, True
        while more:
            more = {int(n) for n, f in fields.items() if f.get(b"PPid") in below} - below
            below |= more
        held = [fields.get(str(number), {}) for number in below]
        quick = sum(f.get(key, 0) for f in held for key in (b"RssAnon", b"RssShmem")) * 1024
        if quick <= self.limit:
            return quick
        free = _fields(self.processes, "meminfo")[b"MemAvailable"] * 1024
        now = time.monotonic()
        if now >= self.again or self.exact + self.free - free > self.limit:
            rollups = (_fields(self.processes, f"{number}/smaps_rollup") for number in below)
            self.exact = sum(f.get(b"Pss", 0) for f in rollups) * 1024
            self.free, self.again = free, now + 30 * (time.monotonic() - now)
        return self.exact


def _fields(processes: int, path: str) -> dict[bytes, int]:
    """Of a file of /proc, those that are wanted; none where the process has ended.

    A process gives itself its name, any bytes but a line feed, which the kernel writes as two characters.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY, dir_fd=processes)
    except OSError:
        return {}
    try:
        with open(descriptor, "rb") as file:
            pairs = [line.partition(b":") for line in file.read().split(b"\n")]
    except OSError:
        return {}
    return {key: int(value.split()[0]) for key, _, value in pairs if key in WANTED}


def _call(name: str, *arguments) -> None:
    words = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    if getattr(_libc, name)(*words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments[:2]}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
