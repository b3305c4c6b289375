"""Where a course keeps its things."""

import os
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook, MissingEntry
from traitlets.config import Config, PyFileConfigLoader

__all__ = ["Course"]


@dataclass(frozen=True)
class Course:
    """Where a course keeps its things, as nbgrader_config.py has them.

    Attributes:
        root: the folder of nbgrader_config.py.
        course_id: in the gradebook.
    """

    root: Path
    course_id: str = "normcore"

    @property
    def db_url(self) -> str:
        return f"sqlite:///{self.root}/grading/gradebook.db"

    def autograded(self, student: str, assignment: str) -> Path:
        """The notebook with the verdicts, which nbgrader reads."""
        return self.root / "grading/autograded" / student / assignment / f"{assignment}.ipynb"

    def provenance(self, student: str, assignment: str) -> Path:
        """What a mark came from; not beside the notebook: nbgrader copies what is there into the feedback."""
        return self.root / "grading/provenance" / student / f"{assignment}.json"

    def submissions(self, assignment: str) -> dict[str, Path]:
        """By student, the file to grade: psNN.ipynb, or the only notebook that is there."""
        found = {}
        for folder in sorted((self.root / "grading" / "submitted").glob(f"*/{assignment}")):
            expected = folder / f"{assignment}.ipynb"
            others = sorted(p for p in folder.glob("*.ipynb") if not p.is_symlink())
            found[folder.parent.name] = (
                expected if expected.exists() or expected.is_symlink() or len(others) != 1 else others[0]
            )
        return found

    def release(self, assignment: str) -> nbformat.NotebookNode:
        """What learners were given; made, and put into the gradebook, where it is missing there."""
        released = self.root / "grading" / "release" / assignment / f"{assignment}.ipynb"
        with Gradebook(self.db_url, self.course_id) as gradebook:
            try:
                gradebook.find_assignment(assignment)
                known = True
            except MissingEntry:
                known = False
        if not known or not released.is_file():
            # nbgrader runs `alembic` by name, which lies beside this Python
            beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
            subprocess.run(
                [sys.executable, "-m", "nbgrader", "generate_assignment", assignment, "--create", "--force",
                 "--CourseDirectory.release_directory=grading/release"],
                cwd=self.root, env={**os.environ, "PATH": beside}, check=True, capture_output=True,
            )  # fmt: skip
        return nbformat.read(released, as_version=4)

    def config(self) -> Config:
        """nbgrader's, of this course: penalties for late submissions are set there."""
        path = self.root / "nbgrader_config.py"
        return PyFileConfigLoader(path.name, str(self.root)).load_config() if path.is_file() else Config()

    def secret(self) -> bytes:
        """The seed of all hidden cases, made once; whoever has it knows them."""
        path = self.root / "grading" / "secret"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(32), "ascii")
        return bytes.fromhex(path.read_text("ascii"))
