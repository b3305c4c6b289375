"""Wrong answers as learners write them, by problem set and task, each an edit of the solution.

psNN.py holds WRONG: task → {what is wrong: edits}. Edits are "before → after", separated by "; "; a text without
an arrow is a whole answer.
"""

import importlib
from pathlib import Path

# problem set → its wrong answers
WRONG = {
    path.stem: importlib.import_module(f"{__name__}.{path.stem}").WRONG
    for path in sorted(Path(__file__).parent.glob("ps[0-9][0-9].py"))
}
