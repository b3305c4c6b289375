"""The filter of system calls: its numbers are the kernel's, and it holds."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from normcore.inside import seccomp

HEADERS = {
    0: [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")],
    1: [Path("/usr/include/asm-generic/unistd.h")],
}


@pytest.mark.parametrize("column", HEADERS)
def test_the_numbers_are_those_of_the_kernels_headers(column):
    header = next((path for path in HEADERS[column] if path.is_file()), None)
    if header is None:
        pytest.skip("the kernel's headers are not installed")
    known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text()))
    ours = {name: numbers[column] for name, numbers in seccomp.DENIED.items()}
    for name in ("clone", "clone3", "prctl", "socketpair"):
        ours[name] = getattr(seccomp, name.upper())[column]
    assert {name: int(known[name]) for name in ours if name in known} == {
        name: number for name, number in ours.items() if name in known
    }
    assert len(set(ours) & set(known)) > 35


def run(source):
    """What a process says that has put the filter on."""
    start = f"""
import ctypes, os, sys
sys.path.insert(0, {str(Path(seccomp.__file__).parent)!r})
import seccomp
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, ctypes.c_ulong(1), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))
seccomp.deny()
def call(number, *arguments):
    return 0 if libc.syscall(number, *arguments) >= 0 else ctypes.get_errno()
column, _ = seccomp.MACHINES[os.uname().machine]
clone, clone3, prctl, pair = (
    numbers[column] for numbers in (seccomp.CLONE, seccomp.CLONE3, seccomp.PRCTL, seccomp.SOCKETPAIR)
)
"""
    return subprocess.run(
        [sys.executable, "-c", start + source], capture_output=True, text=True, check=True
    ).stdout


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's filters")


@linux
def test_every_call_of_the_list_is_refused():
    found = run("print({n: call(numbers[column], 0, 0, 0, 0) for n, numbers in seccomp.DENIED.items()})")
    assert eval(found) == dict.fromkeys(seccomp.DENIED, 1)  # EPERM


@linux
def test_new_namespaces_and_programs_are_refused_and_processes_and_threads_are_not():
    found = run("""
import subprocess, threading
flags = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]
spaces = [call(clone, flag | 17, 0, 0, 0, 0) for flag in flags]
threads = []
thread = threading.Thread(target=threads.append, args=(1,)); thread.start(); thread.join()
pid = os.fork()
if pid == 0: os._exit(7 + call(seccomp.DENIED["ptrace"][column], 0, 0, 0, 0))
_, status = os.waitpid(pid, 0)
started = []
for start in (lambda: subprocess.run(["echo"]), lambda: os.posix_spawn("/bin/echo", ["echo"], {}), lambda: os.execv("/bin/echo", ["echo"])):
    try: started.append(start())
    except OSError as error: started.append(error.errno)
print((spaces, call(clone3, 0, 0), threads, os.waitstatus_to_exitcode(status), started))
""")  # fmt: skip
    spaces, clone3, threads, status, started = eval(found)
    assert spaces == [1] * 7 and clone3 == 38  # EPERM, ENOSYS
    assert threads == [1] and status == 8  # it stays on in what is forked
    assert started == [1] * 3


@linux
def test_no_family_of_sockets_but_pairs_within_a_process():
    """Families are not all part of a network namespace: AF_VSOCK leads out of a virtual machine."""
    found = run("""
import socket
families = []
for family in range(64):
    try: socket.socket(family, socket.SOCK_STREAM).close()
    except OSError as error: families.append(error.errno)
one, other = socket.socketpair()
one.send(b"within")
print((families, other.recv(6), [call(pair, family, 1, 0, 0) for family in (0, 2, 16, 30, 40)]))
""")
    families, within, pairs = eval(found)
    assert set(families) == {1} and len(families) == 64 and within == b"within"
    assert pairs == [1] * 5


@linux
def test_a_process_does_not_open_its_memory_again():
    """PR_SET_DUMPABLE is refused, and other options of prctl are not."""
    assert run("print(call(prctl, 4, 1, 0, 0, 0), call(prctl, 3, 0, 0, 0, 0))") == "1 0\n"


@linux
def test_another_set_of_calls_is_refused():
    assert run("print(call(0x40000000 | 39))") == "38\n"
