"""Where a course keeps its things."""

import contextlib
import glob
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import nbformat
from jupyter_core.paths import jupyter_config_path
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.coursedir import CourseDirectory
from sqlalchemy.engine import make_url
from traitlets.config import Config, ConfigFileNotFound, PyFileConfigLoader
from traitlets.config.loader import JSONFileConfigLoader

__all__ = ["Course"]

# Ours, beside what nbgrader keeps where its configuration says.
OURS = "grading"
ANYBODY = "\x1f"  # stands for a student's name, in which it cannot be


class Course:
    """Where a course keeps its things: nbgrader's own as nbgrader's configuration has them, ours in grading/.

    Args:
        folder: of nbgrader_config.py.

    Attributes:
        config: nbgrader's, as its own commands would read it in that folder.
        root: the course's folder; the same one, unless the configuration names another.
        course_id: in the gradebook.
        db_url: of the gradebook, with an absolute path.
    """

    def __init__(self, folder: Path) -> None:
        self.config = _config(folder)
        if "root" not in self.config.CourseDirectory:
            self.config.CourseDirectory.root = os.path.abspath(folder)
        self._directory = CourseDirectory(config=self.config)
        self.root = Path(self._directory.root)
        self.course_id = self._directory.course_id
        url = make_url(self._directory.db_url)
        self._kept_in = {self.root / OURS}
        if url.get_backend_name() == "sqlite" and url.database:
            file = self.root / url.database
            url = url.set(database=str(file))
            self._kept_in.add(file.parent)
        self.db_url = url.render_as_string(hide_password=False)

    def submitted(self, student: str, assignment: str) -> Path:
        """The folder of what was handed in."""
        return Path(self._place(self._directory.submitted_directory, student, assignment))

    def autograded(self, student: str, assignment: str) -> Path:
        """The notebook with the verdicts, which nbgrader reads."""
        folder = self._place(self._directory.autograded_directory, student, assignment)
        return Path(folder, f"{assignment}.ipynb")

    def feedback(self, student: str, assignment: str) -> Path:
        """The folder of a learner's feedback."""
        return Path(self._place(self._directory.feedback_directory, student, assignment))

    def provenance(self, student: str, assignment: str) -> Path:
        """What a mark came from; not beside the notebook: nbgrader copies what is there into the feedback."""
        return self.root / OURS / "provenance" / student / f"{assignment}.json"

    def again(self, assignment: str) -> Path:
        """There while all submissions are graded anew; it holds the name of that run."""
        return self.root / OURS / f"again-{assignment}"

    def submissions(self, assignment: str) -> dict[str, Path]:
        """By student, the folder of what was handed in."""
        place = self._place(self._directory.submitted_directory, ANYBODY, assignment)
        name = re.compile(re.escape(place).replace(ANYBODY, "([^/]+)"))
        folders = glob.iglob(glob.escape(place).replace(ANYBODY, "*"))
        found = {m[1]: Path(p) for p in folders if os.path.isdir(p) and (m := name.fullmatch(p))}
        return dict(sorted(found.items()))

    def release(self, assignment: str) -> nbformat.NotebookNode:
        """What learners were given; made, and put into the gradebook, where it is missing there.

        Raises:
            ValueError: nbgrader cannot make it; says why.
        """
        for folder in self._kept_in:
            folder.mkdir(exist_ok=True)
        step = f"{OURS}/release"
        released = Path(self._place(step, ".", assignment), f"{assignment}.ipynb")
        with Gradebook(self.db_url, self.course_id) as gradebook:
            try:
                gradebook.find_assignment(assignment)
                known = True
            except MissingEntry:
                known = False
        if not known or not released.is_file():
            # nbgrader runs `alembic` by name, which lies beside this Python
            beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
            done = subprocess.run(
                [sys.executable, "-m", "nbgrader", "generate_assignment", assignment, "--create", "--force",
                 f"--CourseDirectory.release_directory={step}"],
                cwd=self.root, env={**os.environ, "PATH": beside}, capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode:
                said = [
                    line for line in done.stderr.splitlines() if "ERROR" in line
                ] or done.stderr.splitlines()
                raise ValueError(
                    f"nbgrader cannot make the release of {assignment} from "
                    f"{self._place(self._directory.source_directory, '.', assignment)}: {' '.join(said[-1:])}"
                )
        return nbformat.read(released, as_version=4)

    def secret(self) -> bytes:
        """The seed of all hidden cases, made once; whoever has it knows them.

        Raises:
            ValueError: it is damaged, or gone although marks were given with it.
        """
        path = self.root / OURS / "secret"
        if not path.exists():
            if any((self.root / OURS / "provenance").glob("*/*.json")):
                raise ValueError(
                    f"{path} is missing, but there are marks whose cases came from it. Put it back from your "
                    "backup; or, to grade everybody anew on other cases, remove grading/provenance."
                )
            _write_once(path, secrets.token_hex(32))
        text = path.read_text("ascii", errors="replace").strip()
        if not re.fullmatch("[0-9a-f]{64}", text):
            raise ValueError(
                f"{path} must hold 64 hexadecimal digits, but it has {len(text)} characters. Put it back "
                "from your backup; where no mark was given with it yet, remove it."
            )
        return bytes.fromhex(text)

    def _place(self, step: str, student: str, assignment: str) -> str:
        return os.path.normpath(self._directory.format_path(step, student, assignment))


def _config(folder: Path) -> Config:
    """The user's and the system's, then the course's."""
    config = Config()
    for place in [*reversed(jupyter_config_path()), os.path.abspath(folder)]:
        for loader, ending in ((JSONFileConfigLoader, "json"), (PyFileConfigLoader, "py")):
            with contextlib.suppress(ConfigFileNotFound):
                config.merge(loader(f"nbgrader_config.{ending}", place).load_config())
    return config


def _write_once(path: Path, text: str) -> None:
    """There in full, or not at all; where two write at once, the first one's stays."""
    path.parent.mkdir(exist_ok=True)
    whole = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(whole, path)
    finally:
        whole.unlink(missing_ok=True)
