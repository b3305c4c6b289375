"""The filter of system calls: its numbers are the kernel's, and it holds."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from normcore.grading import syscalls

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
    ours = {name: numbers[column] for name, numbers in syscalls.DENIED.items()}
    machine = next(m for m in syscalls.MACHINES.values() if m[0] == column)
    ours |= {"clone": machine[2], "clone3": machine[3]}
    assert {name: int(known[name]) for name in ours if name in known} == {
        name: number for name, number in ours.items() if name in known
    }
    assert len(set(ours) & set(known)) > 35


def run(source):
    """What a process says that has put the filter on."""
    start = f"""
import ctypes, os, sys
sys.path.insert(0, {str(Path(syscalls.__file__).parent)!r})
import syscalls
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, ctypes.c_ulong(1), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))
syscalls.deny()
def call(number, *arguments):
    return 0 if libc.syscall(number, *arguments) >= 0 else ctypes.get_errno()
column, _, clone, clone3 = syscalls.MACHINES[os.uname().machine]
"""
    return subprocess.run(
        [sys.executable, "-c", start + source], capture_output=True, text=True, check=True
    ).stdout


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's filters")


@linux
def test_every_call_of_the_list_is_refused():
    found = run("print({n: call(numbers[column], 0, 0, 0, 0) for n, numbers in syscalls.DENIED.items()})")
    assert eval(found) == dict.fromkeys(syscalls.DENIED, 1)  # EPERM


@linux
def test_new_namespaces_are_refused_and_processes_and_threads_are_not():
    found = run("""
import subprocess, threading
flags = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]
spaces = [call(clone, flag | 17, 0, 0, 0, 0) for flag in flags]
threads = []
thread = threading.Thread(target=threads.append, args=(1,)); thread.start(); thread.join()
pid = os.fork()
if pid == 0: os._exit(7)
_, status = os.waitpid(pid, 0)
said = subprocess.run(["echo", "hello"], capture_output=True, text=True).stdout
child = subprocess.run([sys.executable, "-c", f"import ctypes; print(ctypes.CDLL(None).syscall({syscalls.DENIED['ptrace'][column]}, 0, 0, 0, 0))"], capture_output=True, text=True).stdout
print((spaces, call(clone3, 0, 0), threads, os.waitstatus_to_exitcode(status), said, child))
""")  # fmt: skip
    spaces, clone3, threads, status, said, child = eval(found)
    assert spaces == [1] * 7 and clone3 == 38  # EPERM, ENOSYS
    assert threads == [1] and status == 7 and said == "hello\n"
    assert child == "-1\n"  # it stays on in what is started


@linux
def test_another_set_of_calls_is_refused():
    assert run("print(call(0x40000000 | 39))") == "38\n"
