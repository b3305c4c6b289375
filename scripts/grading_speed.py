"""Times `normcore grade` beside `nbgrader autograde` on the same submissions to a problem set, in one run.

    python -m scripts.grading_speed                            # 64 submissions to ps02, both
    python -m scripts.grading_speed ps04 --submissions 30
    python -m scripts.grading_speed --submissions 1000 --alone # time and memory as the number grows

Half of the submissions are right, a quarter lacks the last task, and a quarter is unchanged. Both start from
an empty gradebook that knows the assignment. Both are timed as commands, start included, and the marks of
both must be equal.
"""

import argparse
import copy
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook

from normcore.checks.catalogue import find_problem_set, names
from normcore.grading.batch import grade_all
from normcore.grading.course import Course
from normcore.grading.limits import cores
from normcore.grading.trust import VARIABLE

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Make the courses, grade them, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("problem_set", nargs="?", default="ps02", choices=names())
    parser.add_argument("--submissions", type=int, default=64)
    parser.add_argument("--alone", action="store_true", help="without nbgrader")
    options = parser.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    name = options.problem_set
    print(f"{options.submissions} submissions to {name}, {cores()} cores")
    with tempfile.TemporaryDirectory() as folder:
        ours = _course(Path(folder) / "ours", name, options.submissions)
        if options.alone:
            _grow(ours, name, options.submissions)
            return
        theirs = _course(Path(folder) / "theirs", name, options.submissions)
        seconds = _timed(ours, options.submissions, "normcore", "grade", name)
        reference = _timed(theirs, options.submissions, "nbgrader", "autograde", name, "--log-level=ERROR")
        print(f"ratio {reference / seconds:.1f}")
        if _marks(ours, name) != _marks(theirs, name):
            sys.exit("the marks differ")
        print("marks equal")


def _timed(course: Course, count: int, *command: str) -> float:
    """Seconds of a command in the course's folder."""
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", *command],
        cwd=course.root,
        env={**os.environ, "PYTHONPATH": str(ROOT), VARIABLE: "1"},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    seconds = time.monotonic() - start
    print(f"{' '.join(command[:2])}: {seconds:.1f} s, {seconds / count:.2f} s each")
    return seconds


def _grow(course: Course, name: str, count: int) -> None:
    """Prints time and memory of our own as the number of submissions grows."""
    start = time.monotonic()

    def report(graded, done: int, total: int) -> None:
        if done % max(count // 4, 1) == 0:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"  {done:5} after {time.monotonic() - start:6.1f} s, peak memory {memory:.0f} MB")

    summary = grade_all(course, name, report=report)
    if summary.graded != count:
        sys.exit(f"{summary.graded} of {count} were graded")
    print(f"{time.monotonic() - start:.1f} s, without the command's own start")


def _course(root: Path, name: str, count: int) -> Course:
    root.mkdir()
    shutil.copy(ROOT / "nbgrader_config.py", root)
    shutil.copytree(ROOT / "solutions" / name, root / "solutions" / name)
    solution, release = (
        nbformat.read(ROOT / folder / name / f"{name}.ipynb", as_version=4)
        for folder in ("solutions", "exercises")
    )
    last = list(find_problem_set(name).checks)[-1]
    unwritten = next(cell.source for cell in release.cells if cell.id == last)
    for number in range(count):
        notebook = copy.deepcopy(release if number % 4 == 2 else solution)
        for cell in notebook.cells:
            if cell.id == last and number % 4 == 1:
                cell.source = unwritten
        path = root / "grading/submitted" / f"s{number:05}" / name / f"{name}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)
    course = Course(root)
    course.release(name)
    return course


def _marks(course: Course, name: str) -> dict[tuple[str, str], float | None]:
    with Gradebook(course.db_url) as gradebook:
        return {
            (submission.student.id, grade.name): grade.auto_score
            for submission in gradebook.assignment_submissions(name)
            for notebook in submission.notebooks
            for grade in notebook.grades
        }


if __name__ == "__main__":
    main()
