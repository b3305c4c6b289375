"""Limits and slots of the sandbox, where no submission is needed to show them."""

import os
import sys
import types
from pathlib import Path

import pytest

from normcore.grading import bubblewrap, limits, sandbox
from normcore.grading.limits import Limits


def test_processes_of_the_same_user_are_allowed_for_where_linux_counts_them(monkeypatch):
    """A submission may start as many as it may, on a machine where its user has hundreds already."""
    own = Limits().processes

    def limit(release, uid):
        monkeypatch.setattr(os, "uname", lambda: types.SimpleNamespace(release=release))
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        return Limits().resources()["RLIMIT_NPROC"]

    user = os.getuid()
    assert limit("5.10.0-28-amd64", 0) == limit("6.1.0", 1000) == limit("5.14.0-427.el9", 1000) == own
    if user:
        assert limit("5.10.0-28-amd64", user) > own
    monkeypatch.setattr(limits, "_owner", lambda path: 1000)
    assert limit("4.18.0-553.el8", 1000) >= own + len(os.listdir("/proc/self/task"))


def test_a_folder_of_slots_that_is_somebody_elses_is_not_used(tmp_path, monkeypatch):
    """Whoever else may write to it could have a file of the grader's overwritten."""
    monkeypatch.setattr(sandbox.tempfile, "gettempdir", lambda: str(tmp_path))
    with sandbox._slot() as first, sandbox._slot() as second:
        assert (first, second) == (0, 1)
    folder = tmp_path / f"normcore-slots-{os.geteuid()}"
    elsewhere = folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(elsewhere)
    with pytest.raises(RuntimeError, match="belongs to somebody else"), sandbox._slot():
        pass


@pytest.mark.parametrize("memory, cores, share", [(64, 4, 4.0), (6, 4, 1.5), (2, 8, 1.0), (23, 2, 4.0)])
def test_a_submission_has_a_cores_share_of_the_memory(monkeypatch, memory, cores, share):
    page = os.sysconf("SC_PAGE_SIZE")
    pages = {"SC_PAGE_SIZE": page, "SC_PHYS_PAGES": memory * 2**30 // page}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr(Path, "read_text", lambda self, *_: "max\n")
    assert Limits().memory == share * 2**30
    monkeypatch.setattr(Path, "read_text", lambda self, *_: str(cores * 2**30))
    assert Limits().memory == 2**30


def test_a_course_where_submissions_can_read_is_refused(tmp_path, monkeypatch):
    course = Path(sys.prefix) / "lib/course"
    with pytest.raises(bubblewrap.SandboxMissing, match="Move the course to another folder"):
        bubblewrap.check(course=course)
    for folder in (Path("/usr/lib"), Path("/usr/share/course"), Path(sys.base_prefix) / "lib"):
        with pytest.raises(bubblewrap.SandboxMissing, match="can read all of"):
            bubblewrap.check(course=folder)
    # a virtual environment may be made in the course's folder, as `python -m venv .` does
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (tmp_path / "lib").mkdir()
    assert tmp_path / "lib" in bubblewrap._readable() and tmp_path not in bubblewrap._readable()
    assert not any((tmp_path / "grading").is_relative_to(p) for p in bubblewrap._readable())


def test_packages_that_do_a_task_are_hidden_wherever_they_are(tmp_path, monkeypatch):
    """Below a prefix's other folders as well, such as a distribution's dist-packages."""
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    folders = [tmp_path / "lib" / part for part in ("python3/dist-packages", "python3.11/site-packages")]
    for folder in folders:
        (folder / "sklearn").mkdir(parents=True)
        (folder / "scipy/stats").mkdir(parents=True)
        (folder / "_cffi_backend.cpython-311.so").touch()
        (folder / "numpy").mkdir()
    hidden = bubblewrap._hidden()
    for folder in folders:
        assert {folder / "sklearn", folder / "scipy/stats", folder / "_cffi_backend.cpython-311.so"} <= set(
            hidden
        )
        assert folder / "numpy" not in hidden
    words = " ".join(bubblewrap.command())
    assert f"--tmpfs {folders[0]}/sklearn" in words
    assert f"--ro-bind {os.devnull} {folders[0]}/_cffi_backend" in words
