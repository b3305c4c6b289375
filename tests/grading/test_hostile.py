"""No point is gained, nothing is left running, nothing outside is touched."""

import copy
import os
import time
from pathlib import Path

import nbformat
import pytest

from normcore.grading.grade import RIGHT, grade
from normcore.grading.intake import read
from normcore.grading.sandbox import FIRST_UID, Limits
from tests.commands import ROOT
from tests.grading import corpus, sandboxed

pytestmark = sandboxed

RELEASE = nbformat.read(ROOT / "exercises/ps02/ps02.ipynb", as_version=4)
SOLUTION = nbformat.read(ROOT / "solutions/ps02/ps02.ipynb", as_version=4)
LIMITS = Limits(seconds=7, task_seconds=2)
SECRET = b"a secret of the course"


def graded(tmp_path, changes, base=RELEASE, limits=LIMITS):
    notebook = copy.deepcopy(base)
    for cell in notebook.cells:
        cell.source = changes.get(cell.id, cell.source)
    path = tmp_path / "ps02.ipynb"
    nbformat.write(notebook, path)
    return grade("someone", read(path, RELEASE), RELEASE, "ps02", SECRET, limits)


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


def left_behind():
    """Processes of a sandbox whose starter is this process, or has gone; other tests run beside this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        first = process = _process(pid)
        while process and (FIRST_UID <= process[1] < FIRST_UID + 1000 or b"worker.py" in process[2]):
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


ATTACKS = corpus.FORGERIES | corpus.FORBIDDEN | corpus.ESCAPES


@pytest.mark.parametrize("name", ATTACKS)
def test_no_point_is_gained(tmp_path, name):
    started = time.monotonic()
    result = graded(tmp_path, {"normalize": ATTACKS[name]})
    assert not right(result) and not result.failed
    assert time.monotonic() - started < LIMITS.seconds + 8


@pytest.mark.parametrize("name", corpus.BUILT_IN)
def test_the_built_in_gains_nothing(tmp_path, name):
    source = f"def batch_norm(x, gamma, beta, eps):\n    {corpus.BUILT_IN[name]}\n"
    result = graded(tmp_path, {"batch_norm": source})
    assert "batch_norm" not in right(result), result.tasks["batch_norm"]
    assert not result.failed


def test_there_are_more_than_sixty():
    assert len(ATTACKS) + len(corpus.BUILT_IN) >= 60


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
interfaces = [name for _, name in socket.if_nameindex()]
raise RuntimeError(f"{{found}} {{interfaces}} {{os.getuid()}} {{sorted(os.listdir('/job'))}} {{sorted(os.environ)}}")
"""
    limits = Limits(seconds=60, task_seconds=2)
    message = graded(tmp_path, {"normalize": source}, limits=limits).tasks["normalize"].message
    seen = message.split("RuntimeError: ")[1]
    assert seen.startswith("[] ['lo'] "), seen
    assert "['inputs.npz', 'job.json', 'normcore', 'runner.py', 'worker.py']" in seen
    assert "SECRET" not in seen and "HOME" in seen
    if os.geteuid() == 0:
        assert f" {FIRST_UID} " in seen
