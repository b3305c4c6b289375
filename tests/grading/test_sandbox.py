"""Limits and slots of the sandbox, where no submission is needed to show them."""

import os
import types

import pytest

from normcore.grading import limits, sandbox
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
