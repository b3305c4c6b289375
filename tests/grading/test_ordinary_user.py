"""What root grades, an ordinary user does, too: another user namespace, and none of root's rights in it."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.commands import ROOT
from tests.grading import sandboxed

pytestmark = sandboxed

USER = 12345
SCRIPT = """
import os
from pathlib import Path
from tests.grading.test_hostile import *
folder = Path(os.environ["HOME"])
assert os.geteuid() == USER
bubblewrap.check()
everything = graded(folder, {}, SOLUTION)
assert right(everything) == set(everything.tasks), everything.tasks
for attack in ("kills-everybody", "fork-bomb", "memory-bomb"):
    result = graded(folder, {"normalize": corpus.ESCAPES[attack]}, SOLUTION)
    assert not result.failed and "normalize" not in right(result), attack
after = graded(folder, {}, SOLUTION)
assert right(after) == set(after.tasks), after.tasks
print("graded")
"""
# In mounts of its own: Python where the user can read it, if it lies in root's home.
SHOW = """
set -e
kept=$(mktemp -d)
mount --bind "$1" "$kept"
mount -t tmpfs -o mode=755 none "$2"
mkdir -p "$1"
mount --bind "$kept" "$1"
"""


def closed_to_others(path):
    """The first folder on the way to it that others may not go through."""
    ways = [p for p in [*reversed(Path(path).resolve().parents), Path(path)] if not p.stat().st_mode & 0o001]
    return ways[0] if ways else None


@pytest.mark.skipif(os.geteuid() != 0, reason="all other tests run as an ordinary user")
def test_an_ordinary_user_grades_as_root_does():
    if any(shutil.which(command) is None for command in ("unshare", "setpriv", "mount")):
        pytest.skip("no util-linux")
    if any(map(closed_to_others, (ROOT, sys.prefix))):
        pytest.skip("others may not read the repository or its environment")
    home = Path(tempfile.mkdtemp(prefix="ordinary-"))
    try:
        os.chown(home, USER, USER)
        closed = closed_to_others(sys.base_prefix)
        show = SHOW if closed else ""
        user = f'exec setpriv --reuid {USER} --regid {USER} --clear-groups "$3" -c "$4"'
        python = Path(sys.prefix, "bin/python")
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", show + user, "sh", os.path.realpath(sys.base_prefix), str(closed),
             str(python), f"USER = {USER}\n{SCRIPT}"],
            cwd=ROOT, capture_output=True, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(home), "TMPDIR": str(home),
                              "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    finally:
        shutil.rmtree(home)
    assert done.stdout == "graded\n", done.stdout + done.stderr
