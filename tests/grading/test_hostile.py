"""No point is gained, nothing is left running, nothing outside is touched."""

import contextlib
import copy
import json
import os
import signal
import threading
import time
from pathlib import Path

import nbformat
import pytest
import torch

from normcore.checks.catalogue import find_problem_set, names
from normcore.checks.notebook import attempt
from normcore.gradients import batch_norm_backward
from normcore.grading import bubblewrap, sandbox
from normcore.grading.grade import RIGHT, grade
from normcore.grading.intake import read
from normcore.grading.limits import Limits
from normcore.grading.sandbox import FIRST_UID
from tests.commands import ROOT
from tests.grading import corpus, routes, sandboxed

pytestmark = sandboxed

RELEASE = nbformat.read(ROOT / "exercises/ps02/ps02.ipynb", as_version=4)
SOLUTION = nbformat.read(ROOT / "solutions/ps02/ps02.ipynb", as_version=4)
LIMITS = Limits(seconds=7, task_seconds=2)
SECRET = b"a secret of the course"


def notebooks(name):
    folders = ("exercises", "solutions")
    return [nbformat.read(ROOT / f"{folder}/{name}/{name}.ipynb", as_version=4) for folder in folders]


def graded(tmp_path, changes, base=None, limits=LIMITS, name="ps02"):
    release, _ = notebooks(name)
    notebook = copy.deepcopy(base or release)
    for cell in notebook.cells:
        cell.source = changes.get(cell.id, cell.source)
    path = tmp_path / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return grade("someone", read(path, release), release, name, SECRET, limits)


def right(result):
    return {name for name, verdict in result.tasks.items() if verdict.outcome == RIGHT}


def _process(pid):
    """Parent, user and command of a process; None where it has ended."""
    try:
        folder = Path("/proc") / str(pid)
        parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        return parent, folder.stat().st_uid, (folder / "cmdline").read_bytes().replace(b"\0", b" ")
    except (OSError, ValueError, IndexError):
        return None


def _stays(process):
    """Whether it is the sandbox itself: bubblewrap, its first process, or the fork server."""
    parent = _process(process[0])
    return b"bwrap" in process[2] or (
        b"inside.forkserver" in process[2] and bool(parent) and b"bwrap" in parent[2]
    )


def left_behind():
    """Processes of a sandbox whose starter is this one, or has gone; other tests run beside this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        first = process = _process(pid)
        if not first or _stays(first):
            continue
        while process and (FIRST_UID <= process[1] < FIRST_UID + 1000 or b"inside.forkserver" in process[2]):
            pid, process = process[0], _process(process[0])
        if first is not process and pid in (0, 1, os.getpid()):
            found.append(first)
    return found


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    for _ in range(50):
        if not left_behind():
            break
        time.sleep(0.1)
    assert not left_behind()
    assert not Path("/tmp/pwned-by-pickle").exists() and not Path("/pwned").exists()


def test_the_solution_has_every_task_right(tmp_path):
    result = graded(tmp_path, {}, SOLUTION)
    assert right(result) == set(result.tasks), [v.message for v in result.tasks.values()]
    assert result.provenance["seconds"] < LIMITS.seconds


def test_the_release_has_none(tmp_path):
    result = graded(tmp_path, {})
    assert not right(result)
    assert all("not written yet" in v.message for v in result.tasks.values())


# each on one problem set, on one of its tasks
TASKS = {name: list(find_problem_set(name).checks) for name in names()}
PLACES = [(n, tasks[k]) for k in range(len(names())) for n, tasks in TASKS.items() if k < len(tasks)]
ATTACKS = {
    name: (source, *PLACES[number % len(PLACES)])
    for number, (name, source) in enumerate((corpus.FORGERIES | corpus.ESCAPES).items())
} | {name: (source, "ps02", "normalize") for name, source in corpus.FORBIDDEN.items()}


def aimed(source, task):
    """An attack at `normalize`, at another task."""
    source = source.replace(
        "def normalize(x, dim, eps):\n    ", f"def {task}(*given):\n    x = given[0]\n    "
    )
    return source.replace("'task': 'normalize'", f"'task': '{task}'")


@pytest.mark.parametrize("name", ATTACKS)
def test_no_point_is_gained(tmp_path, name):
    source, problem_set, task = ATTACKS[name]
    result = graded(tmp_path, {task: aimed(source, task)}, limits=LIMITS, name=problem_set)
    assert not right(result) and not result.failed
    assert result.provenance["seconds"] < LIMITS.seconds + 8


WAYS = {
    name: f"def batch_norm(x, gamma, beta, eps):\n    {body}\n" for name, body in corpus.BUILT_IN.items()
} | routes.ROUTES


@pytest.mark.parametrize("name", WAYS)
def test_the_built_in_gains_nothing(tmp_path, name):
    result = graded(tmp_path, {"batch_norm": WAYS[name]})
    assert "batch_norm" not in right(result), result.tasks["batch_norm"]
    assert not result.failed


@pytest.mark.parametrize("name", routes.GRADIENTS)
def test_no_other_way_to_a_gradient_gains_anything(tmp_path, name):
    result = graded(tmp_path, {"batch_norm_backward": routes.GRADIENTS[name]}, name="ps03")
    assert not right(result) and not result.failed, result.tasks["batch_norm_backward"]


def test_there_are_more_than_a_hundred_and_fifty():
    assert len(ATTACKS) + len(WAYS) + len(routes.GRADIENTS) + len(GRADIENTS) * len(HIDDEN) > 150
    assert {place for _, place, _ in ATTACKS.values()} == set(names())


# what no formula gives, of the shape of what is right: y is the right value, x the first argument
ODD = {
    "true": "torch.ones_like(y).bool()",
    "false": "torch.zeros_like(y).bool()",
    "a comparison": "y == y",
    "zeros": "torch.zeros_like(y).double()",
    "ones": "torch.ones_like(y).double()",
    "nan": "torch.full_like(y.double(), float('nan'))",
    "inf": "torch.full_like(y.double(), float('inf'))",
    "empty": "torch.empty(0)",
    "its own input": "x",
}
REPLACED = """
_answer = NAME
def _odd(y, x):
    if isinstance(y, tuple): return tuple(_odd(v, x) for v in y)
    y = torch.as_tensor(y)
    return VALUE
def _wrapped(f):
    return lambda *a, **k: None if (y := f(*a, **k)) is None else _odd(y, a[-1] if isinstance(a[-1], torch.Tensor) else a[0])
if isinstance(_answer, type):
    NAME = type("NAME", (_answer,), {n: _wrapped(m) for n, m in vars(_answer).items() if callable(m) and n[0] != "_"})
else:
    NAME = _wrapped(_answer)
"""


@pytest.mark.parametrize("problem_set", names())
@pytest.mark.parametrize("odd", ODD)
def test_odd_values_are_never_right(tmp_path, problem_set, odd):
    """The answers of every task, each replaced on its way out."""
    _, solution = notebooks(problem_set)
    tasks = find_problem_set(problem_set).checks
    wrap = REPLACED.replace("VALUE", ODD[odd])
    changes = {
        cell.id: cell.source + wrap.replace("NAME", cell.id).replace("_answer", f"_answer_{cell.id}").replace("_odd", f"_odd_{cell.id}").replace("_wrapped", f"_wrapped_{cell.id}")
        for cell in solution.cells
        if cell.id in tasks
    }  # fmt: skip
    result = graded(tmp_path, changes, limits=Limits(seconds=60, task_seconds=15), name=problem_set)
    assert not right(result) and not result.failed, {t: result.tasks[t].message for t in right(result)}


def test_whoever_learns_of_their_cases_gets_others(tmp_path):
    """An error may say what the inputs were; a table of answers to them is another file."""
    source = "def normalize(x, dim, eps):\n    raise RuntimeError(x.sum().item())\n"
    said = [
        graded(tmp_path, {"normalize": source + more}).tasks["normalize"].message for more in ("", "#", "")
    ]
    assert said[0] != said[1] and said[0] == said[2]


@pytest.mark.parametrize(
    "does, starved", [("__import__('time').sleep(60)", True), ("while True: pass", False)]
)
def test_a_task_that_waits_is_told_from_one_that_computes(tmp_path, does, starved):
    result = graded(tmp_path, {"normalize": f"def normalize(x, dim, eps):\n    {does}"})
    assert "stopped after 2 seconds" in result.tasks["normalize"].message
    assert result.starved is starved


def test_what_was_called_has_the_names_that_a_learner_writes(tmp_path):
    """Those of the visible check, and no operator's."""
    source = "def normalize(x, dim, eps):\n    return torch.nn.functional.layer_norm(x, x.shape, eps=eps)"
    namespace = {"torch": torch}
    exec(source, namespace)
    visible = find_problem_set("ps02").checks["normalize"]
    said = attempt(visible, namespace["normalize"], seed=0, count=1).message
    assert "it calls torch.nn.functional.layer_norm, which does the task" in said
    assert graded(tmp_path, {"normalize": source}).tasks["normalize"].message == said


def test_neighbouring_slots_have_cores_of_their_own(tmp_path, monkeypatch):
    """As many at a time as there are cores: each has one. Slots of the test's own, as others grade meanwhile."""
    cores = sorted(os.sched_getaffinity(0))
    source = "import os\nraise RuntimeError(sorted(os.sched_getaffinity(0)))"
    found = []
    for slot in range(500, 500 + len(cores)):
        monkeypatch.setattr(sandbox, "_slot", lambda slot=slot: contextlib.nullcontext(slot))
        message = graded(tmp_path, {"normalize": source}).tasks["normalize"].message
        found.append(message.partition("RuntimeError: ")[2])
    assert sorted(found) == [f"[{core}]" for core in cores], found


def test_a_hostile_task_does_not_take_the_others_down(tmp_path):
    for attack in ("never-ends-in-the-task", "exits-in-the-task"):
        result = graded(tmp_path, {"identity_parameters": corpus.ESCAPES[attack].replace(
            "normalize(x, dim, eps)", "identity_parameters(x, eps)")}, SOLUTION)  # fmt: skip
        assert right(result) == set(result.tasks) - {"identity_parameters"}


def test_the_sandbox_sees_neither_the_course_nor_the_network(tmp_path):
    """What a submission can look at, as it sees it itself."""
    source = f"""
import os, socket
found = [p for p in ({str(ROOT)!r} + "/normcore", {str(tmp_path)!r}, "/root/.ssh") if os.path.exists(p)]
for folder, folders, files in os.walk("/"):
    folders[:] = [f for f in folders if f not in ("proc", "torch", "nbgrader")]
    found += [f for f in files if f.endswith("ps02.ipynb") or f == "gradebook.db"]
    found += [folder] * (folder.endswith("normcore/functional") or (folder.endswith("/sklearn") and bool(files)))
interfaces = [line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line]
raise RuntimeError(f"{{found}} {{interfaces}} {{os.getuid()}} {{sorted(os.listdir('/job/inside'))}} {{sorted(os.environ)}}")
"""
    limits = Limits(seconds=60, task_seconds=50)  # it walks the whole disk
    message = graded(tmp_path, {"normalize": source}, limits=limits).tasks["normalize"].message
    seen = message.split("RuntimeError: ")[1]
    assert seen.startswith("[] ['lo'] "), seen
    assert str(sorted(path.name for path in bubblewrap.INSIDE)) in seen
    assert "SECRET" not in seen and "HOME" in seen
    if os.geteuid() == 0:
        assert FIRST_UID <= int(seen.split("] ")[2].split()[0]) < FIRST_UID + 1000


def said(tmp_path, source):
    """What a submission finds out: it says so in an error."""
    limits = Limits(seconds=60, task_seconds=20)
    message = graded(tmp_path, {"normalize": source}, limits=limits).tasks["normalize"].message
    assert "RuntimeError: " in message, message
    return json.loads(message.split("RuntimeError: ")[1])


DEVICES = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")}
LOOK = """
import glob, json, numpy, os, re, socket, subprocess
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
mount = [line.split()[1] for line in open("/proc/self/mounts") if line.split()[3].startswith("rw")]
class At:
    def __init__(self, low, high):
        self.__array_interface__ = dict(data=(low, True), shape=(high - low,), typestr="|u1", version=3)
def holds(pattern):
    for line in open("/proc/self/maps"):
        words = line.split()
        low, high = (int(n, 16) for n in words[0].split("-"))
        if words[1].startswith("r") and (len(words) < 6 or words[5] in ("[heap]", "[stack]")):
            if re.search(pattern, numpy.asarray(At(low, high)).tobytes()): return True
    return False
def refused(call):
    try: call()
    except OSError as error: return error.errno
"""


def test_a_forked_process_has_no_more_rights_than_a_fresh_one(tmp_path):
    found = said(tmp_path, LOOK + """
raise RuntimeError(json.dumps({
    "capabilities": [status[k].strip() for k in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "no new": status["NoNewPrivs"].strip(), "pid": os.getpid(), "parent": os.getppid(), "uid": status["Uid"].split(),
    "groups": os.getgroups(), "descriptors": sorted(int(f) for f in os.listdir("/proc/self/fd"))[:4],
    "open": [os.readlink(f"/proc/self/fd/{f}") for f in (0, 1, 2)], "threads": status["Threads"].strip(),
    "processes": [p for p in os.listdir("/proc") if p.isdigit()], "writable": mount,
    "environment": sorted(os.environ)}))""")  # fmt: skip
    assert found["capabilities"] == ["0" * 16] * 5 and found["no new"] == "1"
    assert found["pid"] == 1 and found["parent"] == 0 and found["processes"] == ["1"]
    assert found["descriptors"][:4] == [0, 1, 2, 3] and found["open"] == ["/dev/null"] * 3
    assert found["threads"] == "1" and found["groups"] == []
    assert set(found["writable"]) <= {"/scratch", "/dev/shm", "/proc", "/dev/pts"} | DEVICES
    if os.geteuid() == 0:
        (uid,) = set(found["uid"])
        assert FIRST_UID <= int(uid) < FIRST_UID + 1000


def test_a_submission_finds_nothing_of_the_one_before(tmp_path):
    """Both are forks of one process. What looks for the marker does not hold it."""
    namespaces = (
        "{n: os.readlink('/proc/self/ns/' + n) for n in ('pid', 'mnt', 'ipc', 'net', 'uts', 'cgroup')}"
    )
    first = said(tmp_path, LOOK + f"""
import signal
marker = "".join(["rem", "nant", "-of-", "somebody"])
kept = [marker * 1000 for _ in range(100)]
open("/scratch/left", "w").write(marker); open("/dev/shm/left", "w").write(marker)
os.environ["LEFT"] = marker
torch.sqrt = torch.sum = lambda *a, **k: torch.zeros(1)
from inside import runner; runner.run = None
torch.library.define("left::over", "(Tensor x) -> Tensor")
if os.fork() == 0:
    os.setsid()
    while True: signal.pause()
raise RuntimeError(json.dumps({{
    "denied": [refused(lambda: open("/proc/self/mem", "rb")), refused(lambda: os.chmod("/dev/pts", 0o700)),
               refused(socket.socket), refused(lambda: subprocess.run(["true"])), refused(lambda: os.sched_setaffinity(0, [0, 1]))],
    "terminals": os.listdir("/dev/pts"), "cores": len(os.sched_getaffinity(0)),
    "namespaces": {namespaces}, "marker": holds(rb"[n]ant[-]of[-]som")}}))""")  # fmt: skip
    assert first["marker"]  # it can be found where it is
    assert first["denied"] == [13, 30, 1, 1, 1] and first["terminals"] == [] and first["cores"] == 1
    server = sandbox._server
    second = said(tmp_path, LOOK + f"""
raise RuntimeError(json.dumps({{
    "namespaces": {namespaces}, "marker": holds(rb"[n]ant[-]of[-]som"),
    "files": glob.glob("/scratch/*") + glob.glob("/dev/shm/*"), "env": "LEFT" in os.environ,
    "torch": torch.sqrt(torch.tensor(4.0)).item(), "operator": hasattr(torch.ops.left, "over"),
    "processes": [p for p in os.listdir("/proc") if p.isdigit()]}}))""")  # fmt: skip
    assert sandbox._server is server and server.alive()
    assert not second["marker"] and not second["files"] and not second["env"]
    assert second["torch"] == 2 and not second["operator"] and second["processes"] == ["1"]
    # the first one's are gone, and their numbers may be given again: new are those that the fork server has not
    (pid,) = [
        p.name
        for p in Path("/proc").glob("[0-9]*")
        if (q := _process(p.name))
        and b"inside.forkserver" in q[2]
        and _process(q[0])[0] == server._process.pid
    ]
    for name, namespace in second["namespaces"].items():
        assert namespace != os.readlink(f"/proc/{pid}/ns/{name}"), name


# each process its own; or what all have in common, which each takes for itself by writing to it
HOARDS = {
    "of its own": ("", 'hoard = b"x" * (1 << 29)'),
    "in common": (
        'hoard = bytearray(b"x" * (1 << 29))',
        "time.sleep(2)\n        for i in range(0, 1 << 29, 4096): hoard[i] = 1",
    ),
}


@pytest.mark.parametrize("before, after", HOARDS.values(), ids=HOARDS)
def test_the_memory_of_all_processes_together_is_limited(tmp_path, before, after):
    source = f"""
import os, time
{before}
for _ in range(8):
    if os.fork() == 0:
        {after}
        while True: time.sleep(1)
while True: time.sleep(1)
"""
    limits = Limits(seconds=60, task_seconds=50, memory=3 * 2**30)
    result = graded(tmp_path, {"normalize": source}, limits=limits)
    assert result.provenance["seconds"] < 30
    assert "used more than 3 GiB of memory" in result.tasks["normalize"].message
    assert result.provenance["memory"] < 4 * 2**30


def test_a_killed_sandbox_is_our_failure_and_the_next_starts_another(tmp_path):
    assert right(graded(tmp_path, {}, SOLUTION))
    timer = threading.Timer(1, os.killpg, (sandbox._server._process.pid, signal.SIGKILL))
    timer.start()
    result = graded(
        tmp_path, {"normalize": "import time\ntime.sleep(30)"}, limits=Limits(seconds=60, task_seconds=50)
    )
    assert result.failed and not right(result)
    assert right(graded(tmp_path, {}, SOLUTION))


# the gradient of a task by torch's own means, in the body of work(dy, f, a, b, c) with y = f(a, b, c)
GRADIENTS = {
    "backward": "y.backward(dy); return a.grad, b.grad, c.grad",
    "grad": "return torch.autograd.grad(y, (a, b, c), dy)",
    "engine": "return torch.autograd.Variable._execution_engine.run_backward((y,), (dy,), False, False, (a, b, c), True, False)",
    "operator": "m = x.mean(0); s = (x.var(0, correction=0) + eps).rsqrt(); "
    "return tuple(torch.ops.aten.native_batch_norm_backward(dy, x, gamma, None, None, m, s, True, eps, [True] * 3))",
    "func": "return torch.func.vjp(f, a, b, c)[1](dy)",
    "jacobian": "return tuple((j * dy.reshape(dy.shape + (1,) * (j.dim() - 2))).sum((0, 1)) for j in torch.func.jacrev(f, (0, 1, 2))(a, b, c))",
    "forward": "return tuple((j * dy.reshape(dy.shape + (1,) * (j.dim() - 2))).sum((0, 1)) for j in torch.func.jacfwd(f, (0, 1, 2))(a, b, c))",
}
HIDDEN = {
    "as it is": "return work(*arguments)",
    "unwatched": "import sys; sys.setprofile(None); return work(*arguments)",
    "in a thread": "out = []; t = threading.Thread(target=lambda: out.append(work(*arguments))); t.start(); t.join(); return out[0]",
}


def by_autograd(way, hidden):
    return f"""
import threading
def work(dy, x, gamma, eps):
    def f(a, b, c):
        m = a.mean(0)
        return b * (a - m) / ((a - m).square().mean(0) + eps).sqrt() + c
    a, b, c = (v.clone().requires_grad_() for v in (x, gamma, torch.zeros_like(gamma)))
    y = f(a, b, c)
    {GRADIENTS[way]}
def batch_norm_backward(*arguments):
    {HIDDEN[hidden]}
"""


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("way", GRADIENTS)
def test_autograd_does_no_gradient_task(tmp_path, way, hidden):
    folders = ("exercises", "solutions")
    release, notebook = (nbformat.read(ROOT / f / "ps03/ps03.ipynb", as_version=4) for f in folders)
    (cell,) = [c for c in notebook.cells if c.id == "batch_norm_backward"]
    cell.source = by_autograd(way, hidden)
    path = tmp_path / "ps03.ipynb"
    nbformat.write(notebook, path)
    limits = Limits(seconds=60, task_seconds=20)
    result = grade("someone", read(path, release), release, "ps03", SECRET, limits)
    assert right(result) == set(result.tasks) - {"batch_norm_backward"}


@pytest.mark.parametrize("way", GRADIENTS)
def test_the_same_gradients_are_right_where_autograd_is_there(way):
    namespace = {"torch": torch}
    exec(by_autograd(way, "as it is"), namespace)
    x, dy, gamma = torch.randn(6, 3).double(), torch.randn(6, 3).double(), torch.randn(3).double()
    found = namespace["batch_norm_backward"](dy, x, gamma, 0.1)
    for p, q in zip(found, batch_norm_backward(dy, x, gamma, eps=0.1), strict=True):
        torch.testing.assert_close(p, q)


def test_a_trusted_submission_is_stopped_as_well(tmp_path):
    """Also where it has sent something before it hangs, and no alarm stops it."""
    source = """
import os
for fd in range(3, 32):
    try: os.write(fd, b"0123456789")
    except OSError: pass
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
while True: pass
"""
    notebook = copy.deepcopy(RELEASE)
    for cell in notebook.cells:
        cell.source = source if cell.id == "normalize" else cell.source
    path = tmp_path / "ps02.ipynb"
    nbformat.write(notebook, path)
    limits = Limits(seconds=5, task_seconds=2)
    result = grade("someone", read(path, RELEASE), RELEASE, "ps02", SECRET, limits, trusted=True)
    assert not right(result) and "stopped after 5 seconds" in result.tasks["normalize"].message
    assert result.provenance["seconds"] < 10
