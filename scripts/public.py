"""Writes the tree that students get: book, package and released problem sets, without the answers.

    python -m scripts.public FOLDER

What git tracks is copied, without solutions/ and without the tests, which hold answers in many styles; the
answers that checks need are sealed. It is made anew each time; a .git in FOLDER stays, so that FOLDER can be
the clone of a public repository. A wheel for students is built there.

Model answers to questions in words are in it, sealed, for those who learn by themselves; --graded leaves them
out, for a course in which a person grades these answers.
"""

import argparse
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

from normcore.checks.answers import sealed
from scripts.problem_set_text import read

ROOT = Path(__file__).resolve().parent.parent
MODEL_ANSWERS = "normcore/checks/model_answers.json"
LEFT_OUT = ("solutions/", "tests/", ".ci/", ".github/workflows/tests.yml", "scripts/grading_speed.py")
CHECKS = re.compile(r"normcore/checks/ps\d\d\.py")


def main() -> int:
    """Write the tree, and look through it for answers; 1 where one is found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="a new or empty one, or one that this command has made")
    parser.add_argument("--graded", action="store_true", help="without model answers to questions in words")
    options = parser.parse_args()
    folder = options.folder.resolve()
    if folder == ROOT or folder in ROOT.parents or (ROOT in folder.parents and not _ignored(folder)):
        parser.error(f"{folder} is part of this repository; name a folder outside it, or below _build/")
    there = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
    ours = {"book", "exercises", "normcore", "_toc.yml"} <= there
    if there - {".git"} and (not ours or there & {"solutions", "grading"}):
        # its files would be removed: an instructor's own clone has the answers and all marks
        parser.error(f"{folder} has other files in it; name a new folder")
    count = write(folder, options.graded)
    if found := answers_in(folder):
        print("\n".join(f"{path} holds the answer to {task}" for path, task in found), file=sys.stderr)
        return 1
    print(f"{count} files in {folder}, and no answer among them")
    return 0


def write(folder: Path, graded: bool = False) -> int:
    """Copy what students may see; how many files.

    Args:
        folder: whose other files are removed.
        graded: without the model answers to questions in words.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    left_out = (*LEFT_OUT, MODEL_ANSWERS) if graded else LEFT_OUT
    chosen = [name for name in tracked if name and not name.startswith(left_out)]
    for name in chosen:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
        if CHECKS.fullmatch(name):
            target.write_text(sealed(target.read_text("utf-8")), "utf-8")
    return len(chosen)


def answers_in(folder: Path) -> list[tuple[Path, str]]:
    """Files that contain an answer in plain text, and whose it is."""
    code, words = {}, {}
    for path in sorted((ROOT / "solutions").glob("*/*.md")):
        for section in read(path).sections:
            name = f"{path.stem}, {section.name}"
            if section.graded_by:
                words |= dict.fromkeys(_pieces(section.solution), name)
                continue
            for body in re.findall(r"### BEGIN SOLUTION\n(.*?)\s*### END SOLUTION", section.solution, re.S):
                if body.count("\n"):  # a single line is the formula itself, which the chapter has
                    code[_plain(body)] = name
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and ".git" not in p.parts):
        text = path.read_text("utf-8", errors="replace").replace("\\n", "\n")
        plain = _plain(text)
        holds = {task for body, task in code.items() if body in plain}
        holds |= {task for piece, task in words.items() if piece in text}
        found += [(path.relative_to(folder), task) for task in sorted(holds)]
    return found


def _pieces(answer: str) -> list[str]:
    """Of an answer in words, what stands in any file as it does here: no formulas, no quotes."""
    return [piece for line in answer.splitlines() for piece in re.split(r'[$"\\]', line) if len(piece) > 40]


def _plain(code: str) -> str:
    """Without indentation, so that it is found at any depth, and inside a notebook's JSON."""
    lines = (line.strip(' \t",') for line in inspect.cleandoc(code).splitlines())
    return "\n".join(line for line in lines if line)


def _ignored(folder: Path) -> bool:
    return subprocess.run(["git", "check-ignore", "-q", folder], cwd=ROOT).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
