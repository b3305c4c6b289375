"""Honest work is never punished: what learners write in other ways than we do gets full marks in the sandbox."""

import copy
import inspect
import json
import subprocess
import sys

import nbformat
import pytest

from normcore.checks.catalogue import find_problem_set, names
from normcore.grading.grade import RIGHT, grade
from normcore.grading.intake import read
from normcore.grading.limits import Limits
from tests.checks.styles import ANSWERS
from tests.commands import ROOT
from tests.grading import sandboxed, styles

pytestmark = sandboxed
LIMITS = Limits(seconds=60, task_seconds=15)


def notebooks(name):
    return (
        nbformat.read(ROOT / f"{kind}/{name}/{name}.ipynb", as_version=4)
        for kind in ("exercises", "solutions")
    )


def solved(name):
    """The released notebook with every task solved."""
    release, solution = notebooks(name)
    answers = {cell.id: cell.source for cell in solution.cells}
    for cell in release.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = answers[cell.id]
    return release


def check(tmp_path, name, changes, edit=lambda notebook: None, limits=LIMITS):
    release, notebook = notebooks(name)
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        cell.source = changes.get(cell.id, cell.source)
    edit(notebook)
    path = tmp_path / f"{name}.ipynb"
    nbformat.write(notebook, path)
    result = grade("someone", read(path, release), release, name, b"secret", limits)
    for task, verdict in result.tasks.items():
        assert verdict.outcome == RIGHT, (task, verdict.message)


@pytest.mark.parametrize("name", list(ANSWERS))
def test_other_styles_of_every_task(tmp_path, name):
    """numpy, float32, loops, in place: every task."""
    head = "import math\nimport numpy as np\n\n"
    tasks = find_problem_set(name).checks
    check(tmp_path, name, {task: head + inspect.getsource(getattr(ANSWERS[name], task)) for task in tasks})


@pytest.mark.parametrize("name", names())
def test_the_solutions_as_they_are(tmp_path, name):
    check(tmp_path, name, {})


# PS02's normalize, written as people write it
BODY = "    mean = x.mean(dim, keepdim=True)\n    var = x.var(dim, correction=0, keepdim=True)\n"
END = "    return (x - mean) / torch.sqrt(var + eps)\n"
DEF = "def normalize(x, dim, eps):\n"
NORMALIZE = {
    "prints": DEF + "    print('x' * 100_000)\n" + BODY + END,
    "writes to stderr": DEF + "    import sys\n    print('hm', file=sys.stderr)\n" + BODY + END,
    "warns": DEF + "    import warnings\n    warnings.warn('careful')\n" + BODY + END,
    "is slow": DEF + "    import time\n    time.sleep(0.2)\n" + BODY + END,
    "is a lambda": "normalize = lambda x, dim, eps: (x - x.mean(dim, keepdim=True)) / torch.sqrt("
    "x.var(dim, unbiased=False, keepdim=True) + eps)\n",
    "is an object": "class N:\n    def __call__(self, x, dim, eps):\n        m = x.mean(dim, keepdim=True)\n"
    "        return (x - m) * (((x - m) ** 2).mean(dim, keepdim=True) + eps) ** -0.5\nnormalize = N()\n",
    "is a partial": "from functools import partial\ndef general(extra, x, dim, eps):\n" + BODY + END
    + "normalize = partial(general, None)\n",
    "has a helper": "def moments(x, dim):\n    m = x.mean(dim, keepdim=True)\n    return m, (x - m).pow(2).mean(dim, keepdim=True)\n"
    + DEF + "    mean, var = moments(x, dim)\n" + END,
    "has types": "from typing import Tuple\ndef normalize(x: torch.Tensor, dim: Tuple[int, ...], eps: float = 1e-5) -> torch.Tensor:\n"
    + BODY + END,
    "uses numpy": "import numpy as np\n" + DEF + "    a = x.numpy()\n    m = a.mean(axis=tuple(dim), keepdims=True)\n"
    "    return torch.from_numpy((a - m) / np.sqrt(a.var(axis=tuple(dim), keepdims=True) + eps))\n",
    "returns numpy": DEF + "    a = x.numpy()\n    m = a.mean(tuple(dim), keepdims=True)\n"
    "    return (a - m) / (a.var(tuple(dim), keepdims=True) + eps) ** 0.5\n",
    "computes in float32": DEF + "    x = x.float()\n" + BODY + END,
    "computes in float64": DEF + "    x = x.double()\n" + BODY + END,
    "works in place": DEF + BODY + "    x = x.clone()\n    x -= mean\n    x /= (var + eps).sqrt_()\n    return x\n",
    "needs gradients": DEF + "    x = x.clone().requires_grad_()\n" + BODY + END,
    "without gradients": "@torch.no_grad()\n" + DEF + BODY + END,
    "changes the defaults": "torch.set_default_dtype(torch.float64)\ntorch.manual_seed(3)\n" + DEF + BODY + END,
    "asks for threads": "torch.set_num_threads(2)\n" + DEF + BODY + END,
    "works in a thread": "from concurrent.futures import ThreadPoolExecutor\n" + DEF + BODY
    + "    with ThreadPoolExecutor(2) as pool:\n        return pool.submit(lambda: (x - mean) / torch.sqrt(var + eps)).result()\n",
    "has magics": "%matplotlib inline\n!echo hello\n" + DEF + "    %time 1\n" + BODY + END,
    "displays": "display('hello')\n" + DEF + BODY + END,
    "plots": "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\n" + DEF + BODY + END,
    "speaks another language": "def normalisierung(größe, achsen, ε):\n    μ = größe.mean(achsen, keepdim=True)\n"
    "    return (größe - μ) / torch.sqrt(((größe - μ) ** 2).mean(achsen, keepdim=True) + ε)\nnormalize = normalisierung\n",
    "tests itself": DEF + BODY + END + "assert normalize(torch.ones(3, 2), (0,), 0.1).abs().max() == 0\n",
    "compares itself with the built-in": DEF + BODY + END
    + "x = torch.randn(8, 3)\nprint(torch.nn.functional.batch_norm(x, None, None, training=True))\n",
    "has a wrong attempt left over": "try:\n    undefined_name\nexcept NameError:\n    pass\n" + DEF + BODY + END,
    "with tabs and CRLF": (DEF + BODY + END).replace("    ", "\t").replace("\n", "\r\n"),
    "a long docstring": DEF + '    """' + "words " * 5000 + '"""\n' + BODY + END,
    "uses a vector's norm": DEF + "    c = x - x.mean(dim, keepdim=True)\n    m = x.numel() / c.sum(dim).numel()\n"
    "    return c / torch.sqrt(torch.linalg.vector_norm(c, dim=dim, keepdim=True) ** 2 / m + eps)\n",
    "uses torch.norm": DEF + "    c = x - x.mean(dim, keepdim=True)\n    m = x.numel() / c.sum(dim).numel()\n"
    "    return c / torch.sqrt(torch.norm(c, 2, dim, True).pow(2).div(m) + eps)\n",
    "draws normal numbers": DEF + "    torch.normal(0.0, 1.0, (3,)); torch.nn.init.normal_(torch.empty(3))\n" + BODY + END,
    "differentiates itself": DEF + BODY + END + "z = torch.randn(4, 2).requires_grad_()\n"
    "normalize(z, (0,), 0.1).square().sum().backward()\nassert z.grad is not None\n",
    "recursion": DEF + "    if eps < 0:\n        return normalize(x, dim, -eps)\n" + BODY + END,
    "caught interrupts": DEF + "    try:\n    " + BODY.replace("\n    ", "\n        ").rstrip() + "\n    " + END
    + "    except Exception:\n        return None\n",
    "a subprocess": "import subprocess\nsubprocess.run(['true'])\n" + DEF + BODY + END,
}  # fmt: skip


@pytest.mark.parametrize("style", NORMALIZE)
def test_normalize_as_people_write_it(tmp_path, style):
    check(tmp_path, "ps02", {"normalize": NORMALIZE[style]})


def shuffled(notebook):
    notebook.cells.reverse()


def doubled(notebook):
    notebook.cells += copy.deepcopy(notebook.cells)


@pytest.mark.parametrize("edit", [shuffled, doubled], ids=lambda f: f.__name__)
def test_notebooks_in_another_order(tmp_path, edit):
    check(tmp_path, "ps02", {}, edit)


@pytest.mark.parametrize("name", names())
def test_what_is_right_in_the_notebook_is_right_in_the_grader(tmp_path, name):
    """Every style, on one task of each problem set: as Jupyter runs it and as the grader does."""
    release, _ = notebooks(name)
    tasks = list(find_problem_set(name).checks)
    paths, said = {}, {}
    waiting = [*styles.IN_CELL, *styles.OF_NOTEBOOK]
    waiting = waiting[7 * names().index(name) :] + waiting[: 7 * names().index(name)]  # on other tasks
    while waiting:
        notebook, chosen = solved(name), dict(zip(tasks, waiting, strict=False))
        waiting = waiting[len(tasks) :]
        for task, style in chosen.items():
            if style in styles.OF_NOTEBOOK:
                styles.OF_NOTEBOOK[style](notebook, task)
            else:
                cell = notebook.cells[styles.place(notebook, task)]
                cell.source = styles.in_cell(style, cell.source, task)
        path = tmp_path / f"{len(paths)}.ipynb"
        nbformat.write(notebook, path)
        paths[str(path)] = chosen
        result = grade("someone", read(path, release), release, name, b"secret", LIMITS)
        said[str(path)] = {t: v.message for t, v in result.tasks.items() if v.outcome != RIGHT}
    program = [sys.executable, "-m", "tests.grading.visible", *paths]
    printed = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    seen = dict(json.loads(line) for line in printed.stdout.splitlines())
    wrong = {}
    for path, chosen in paths.items():
        for task in tasks:
            if (task in (seen[path] or [])) != (task not in said[path]):
                wrong[chosen.get(task, task), task] = said[path].get(task, "right in the grader alone")
            elif task in said[path]:
                wrong[chosen.get(task, task), task] = "wrong in both: " + said[path][task]
    assert not wrong, (wrong, printed.stderr[-2000:])


def test_there_are_at_least_seventy():
    assert len(styles.IN_CELL) + len(styles.OF_NOTEBOOK) >= 70


@pytest.mark.parametrize("decorator", ["@torch.compile", "@torch.compile(fullgraph=True)"])
def test_a_compiled_answer_is_right(tmp_path, decorator):
    """In a notebook as well, where it takes a compiler and half a minute."""
    check(tmp_path, "ps02", {"normalize": f"{decorator}\n{DEF}{BODY}{END}"})


def test_a_cell_that_takes_too_long_costs_no_definition(tmp_path):
    """Neither in its own cell, nor when all the time for cells is over."""

    def slow(notebook):
        cell = notebook.cells[styles.place(notebook, "normalize")]
        cell.source = "import time\ntime.sleep(100)\n" + cell.source
        for _ in range(5):
            notebook.cells.insert(1, styles.code("while True:\n    pass"))

    check(tmp_path, "ps02", {}, slow, Limits(seconds=16, task_seconds=3))
