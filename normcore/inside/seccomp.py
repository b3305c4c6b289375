"""A filter of system calls that no answer to a task needs: it keeps the kernel's rarer doors shut.

Some hold memory that is in no process (memory files, shared segments, rings, sockets), some look into other
processes or change what a process sees, some have often been the way out of a sandbox. Another program is not
started at all: a fresh Python would have all of torch. A call of these gets an error. It is put on by a
process for itself and all that it starts, and cannot be taken off.
"""

import ctypes
import errno
import platform
import struct

__all__ = ["DENIED", "deny"]

# name → number on x86-64, number on 64-bit ARM
DENIED = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "delete_module": (176, 106),
    "execve": (59, 221),
    "execveat": (322, 281),
    "finit_module": (313, 273),
    "fsopen": (430, 430),
    "init_module": (175, 105),
    "io_uring_setup": (425, 425),
    "kcmp": (312, 272),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "request_key": (249, 218),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "sched_setscheduler": (144, 119),
    "semget": (64, 190),
    "setns": (308, 268),
    "setsockopt": (54, 208),
    "shmat": (30, 196),
    "shmget": (29, 194),
    "socket": (41, 198),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vmsplice": (278, 75),
}
# name → column above, AUDIT_ARCH
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
CLONE, CLONE3, PRCTL, SOCKETPAIR = (56, 220), (435, 435), (157, 167), (53, 199)
NAMESPACES = 0x7E020000  # of clone's flags: new user, pid, net, ipc, uts, cgroup, mount
PR_SET_DUMPABLE, AF_UNIX = 4, 1
X32 = 0x40000000  # numbers of another set of calls to the same kernel

LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # where they are in what the filter sees
ALLOW, KILL, ERROR = 0x7FFF0000, 0x80000000, 0x00050000
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def deny() -> None:
    """Put the filter on. The process must not be able to gain rights (PR_SET_NO_NEW_PRIVS).

    Raises:
        OSError: the kernel has no filters, or this machine's calls are not known here.
    """
    machine = platform.machine()
    if machine not in MACHINES:
        raise OSError(errno.ENOSYS, f"no filter of system calls is known for {machine}")
    program = _program(*MACHINES[machine])
    text = b"".join(struct.pack("=HBBI", *step) for step in program)
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    pointer = ctypes.byref(_Program(len(program), text))
    if libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), pointer, zero, zero):
        raise OSError(ctypes.get_errno(), "the filter of system calls was refused")


def _program(column: int, architecture: int) -> list[tuple[int, ...]]:
    """Steps for the kernel's filter machine: operation, how far to jump if true, if false, operand."""
    refused = (RETURN, 0, 0, ERROR | errno.EPERM)
    steps = [
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        (JUMP_AT_LEAST, 0, 1, X32),
        (RETURN, 0, 0, ERROR | errno.ENOSYS),
        # its flags lie in memory, where a filter cannot read; callers fall back on clone
        (JUMP_EQUAL, 0, 1, CLONE3[column]),
        (RETURN, 0, 0, ERROR | errno.ENOSYS),
    ]
    for numbers in DENIED.values():
        steps += [(JUMP_EQUAL, 0, 1, numbers[column]), refused]
    # by the first argument: (call, how it is compared, with what, whether that is what is refused)
    for call, compare, operand, refuse in (
        (CLONE, JUMP_ANY_BIT, NAMESPACES, True),
        (PRCTL, JUMP_EQUAL, PR_SET_DUMPABLE, True),
        (SOCKETPAIR, JUMP_EQUAL, AF_UNIX, False),
    ):
        steps += [
            (JUMP_EQUAL, 0, 4, call[column]),
            (LOAD, 0, 0, FIRST_ARGUMENT),
            (compare, *((0, 1) if refuse else (1, 0)), operand),
            refused,
            (RETURN, 0, 0, ALLOW),
        ]
    return [*steps, (RETURN, 0, 0, ALLOW)]
