"""Times `normcore grade` beside `nbgrader autograde` on the same submissions of PS02, in one run.

    python -m scripts.grading_speed                            # 64 submissions, both
    python -m scripts.grading_speed --submissions 1000 --alone # time and memory as the number grows

A quarter of the submissions is right, a quarter has one known mistake, a quarter is unchanged, and a quarter
is right in another style. Both start from an empty gradebook that knows the assignment, and the marks of both
must be equal.
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

from normcore.grading.batch import grade_all
from normcore.grading.course import Course
from normcore.grading.trust import VARIABLE

ROOT = Path(__file__).parents[1]
UNBIASED = """def normalize(x, dim, eps):
    return (x - x.mean(dim, keepdim=True)) / torch.sqrt(x.var(dim, keepdim=True) + eps)
"""
IN_PLACE = """def normalize(x, dim, eps):
    centred = x - x.mean(dim, keepdim=True)
    var = (centred * centred).mean(dim, keepdim=True)
    centred /= (var + eps).sqrt_()
    return centred
"""


def main() -> None:
    """Make the courses, grade them, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--submissions", type=int, default=64)
    parser.add_argument("--alone", action="store_true", help="without nbgrader")
    options = parser.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    print(f"{options.submissions} submissions of PS02, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        ours = _course(Path(folder) / "ours", options.submissions)
        seconds = _ours(ours, options.submissions)
        if options.alone:
            return
        theirs = _course(Path(folder) / "theirs", options.submissions)
        start = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "nbgrader", "autograde", "ps02", "--log-level=ERROR"],
            cwd=theirs.root,
            env={**os.environ, VARIABLE: "1"},
            check=True,
        )
        reference = time.monotonic() - start
        print(f"nbgrader autograde: {reference:.1f} s, {reference / options.submissions:.2f} s each")
        print(f"ratio {reference / seconds:.1f}")
        if _marks(ours) != _marks(theirs):
            sys.exit("the marks differ")
        print("marks equal")


def _ours(course: Course, count: int) -> float:
    """Seconds, from the start of the cluster to the last mark; prints them, and what memory it took."""
    start = time.monotonic()

    def report(graded, done: int, total: int) -> None:
        if done % max(count // 4, 1) == 0:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"  {done:5} after {time.monotonic() - start:6.1f} s, peak memory {memory:.0f} MB")

    summary = grade_all(course, "ps02", report=report)
    seconds = time.monotonic() - start
    if summary.graded != count:
        sys.exit(f"{summary.graded} of {count} were graded")
    print(f"normcore grade: {seconds:.1f} s, {seconds / count:.2f} s each, sandbox on")
    return seconds


def _course(root: Path, count: int) -> Course:
    root.mkdir()
    shutil.copy(ROOT / "nbgrader_config.py", root)
    shutil.copytree(ROOT / "solutions/ps02", root / "solutions/ps02")
    solution, release = (
        nbformat.read(ROOT / folder / "ps02/ps02.ipynb", as_version=4)
        for folder in ("solutions", "exercises")
    )
    for number in range(count):
        notebook = copy.deepcopy(release if number % 4 == 2 else solution)
        for cell in notebook.cells:
            if cell.id == "normalize" and number % 4 in (1, 3):
                cell.source = UNBIASED if number % 4 == 1 else IN_PLACE
        path = root / "grading/submitted" / f"s{number:05}" / "ps02/ps02.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)
    course = Course(root)
    course.release("ps02")
    return course


def _marks(course: Course) -> dict[tuple[str, str], float | None]:
    with Gradebook(course.db_url) as gradebook:
        return {
            (submission.student.id, grade.name): grade.auto_score
            for submission in gradebook.assignment_submissions("ps02")
            for notebook in submission.notebooks
            for grade in notebook.grades
        }


if __name__ == "__main__":
    main()
