"""What a reader should look at is named with its line; ordinary answers name nothing."""

import inspect
import time

import nbformat
import pytest

from normcore.checks.audit import solution_sources
from normcore.checks.catalogue import find_problem_set, names
from normcore.checks.forbidden import AUTOGRAD, NORMALIZATIONS
from normcore.checks.tell_apart import TellApart
from normcore.grading.scan import mentions, steps
from tests.checks.styles import ANSWERS
from tests.commands import ROOT
from tests.grading.corpus import BUILT_IN, FORBIDDEN

FOUND = {
    "import torch.nn.functional as F\ny = F.batch_norm(x)": ["torch.nn.functional.batch_norm (line 2)"],
    "from torch.nn.functional import layer_norm as helper\nhelper(x)": [
        "torch.nn.functional.layer_norm (line 1)"
    ],
    "y = nn.GroupNorm(2, 4)(x)": ["torch.nn.GroupNorm (line 1)"],
    "\n\ntorch.ops.aten.native_batch_norm(x)": ["torch.ops.aten.native_batch_norm (line 3)"],
    "import sys\nsys.setprofile(None)": ["sys.setprofile (line 2)"],
    "from sys import _getframe as f\nf()": ["sys._getframe (line 1)"],
    "x.__array_interface__": ["x.__array_interface__ (line 1)"],
    "import torch.multiprocessing._fork": ["torch.multiprocessing._fork (line 1)"],
    "import ctypes": ["ctypes (line 1)"],
    "import gc\nfor o in gc.get_objects(): pass": ["gc (line 1)", "gc.get_objects (line 2)"],
    "eval('1')": ["eval (line 1)"],
    "from sklearn.preprocessing import StandardScaler": ["sklearn.preprocessing.StandardScaler (line 1)"],
    "%time\nimport os\nos.fork()": ["os.fork (line 3)"],
    "import os\nos.posix_spawn('x', [], {})": ["os.posix_spawn (line 2)"],
    "from numpy.ctypeslib import ctypes as c\nc.CDLL(None)": [
        "numpy.ctypeslib.ctypes (line 1)",
        "numpy.ctypeslib.ctypes.CDLL (line 2)",
    ],
    "torch.nested.nested_tensor([x])": ["torch.nested.nested_tensor (line 1)"],
    "from scipy.stats import zscore": ["scipy.stats.zscore (line 1)"],
    "def f(x): pass\nf.__globals__['a']": ["f.__globals__ (line 2)"],
    "torch.testing.assert_close(x, x)\ncode = scale = 1": [],
}


@pytest.mark.parametrize("source", FOUND)
def test_names_are_found_under_any_alias(source):
    assert mentions(source, NORMALIZATIONS) == FOUND[source]


def test_autograd_counts_where_it_is_forbidden():
    source = "y.sum().backward()"
    assert mentions(source, NORMALIZATIONS) == []
    assert mentions(source, NORMALIZATIONS | AUTOGRAD) == ["(…).backward (line 1)"]
    complex_step = "(f(x + 1e-20j * torch.ones(3, dtype=torch.complex128)).imag / 1e-20)"
    assert mentions(complex_step, NORMALIZATIONS) == []
    assert mentions(complex_step, AUTOGRAD) == ["(…).imag (line 1)", "torch.complex128 (line 1)"]


@pytest.mark.parametrize("source", ["", "this is no Python (", "x = '\\0'", "\0", "(" * 10_000])
def test_what_is_no_python_names_nothing(source):
    assert mentions(source, NORMALIZATIONS) == []


@pytest.mark.parametrize("name", names())
def test_answers_name_nothing(name):
    checks = find_problem_set(name).checks
    sources = solution_sources(ROOT / f"solutions/{name}/{name}.ipynb")
    for task, check in checks.items():
        assert mentions(sources[task], check.forbidden) == [], task
        assert mentions(inspect.getsource(getattr(ANSWERS[name], task)), check.forbidden) == [], task
        if check.forbidden >= AUTOGRAD and not isinstance(check, TellApart):
            assert steps(sources[task]) == steps(inspect.getsource(getattr(ANSWERS[name], task))) == [], task


# of f at x, and of x's entries one by one, with a step for all or one for each feature
DIFFERENCES = {
    "central": "def b(dy, x):\n    return (f(x + h) - f(x - h)) / (2 * h)",
    "one-sided": "y = f(x)\nd = (f(x + 1e-6) - y) / 1e-6",
    "in two lines": "up = f(x + h[i] * e, gamma)\ndown = f(x - h[i] * e, gamma)",
    "entry by entry": "p, q = x.clone(), x.clone()\np[i] += h\nq[i] -= h\nd = (f(p) - f(q)) / (2 * h)",
    "four points": "d = (8 * (f(x + h) - f(x - h)) - f(x + 2 * h) + f(x - 2 * h)) / (12 * h)",
}


@pytest.mark.parametrize("source", DIFFERENCES.values(), ids=DIFFERENCES)
def test_numerical_derivatives_are_seen(source):
    (said, *_) = steps(source)
    assert "at two points a step apart (line" in said


def test_counting_is_no_derivative_and_deep_sources_take_no_time():
    assert steps("for i in range(n):\n    for j in range(n - 1): k += 1\nprint(max(a), max(a - b))") == []
    start = time.process_time()
    assert steps("f(" + "+".join(["x"] * 5000) + ")\n" + "f(g(" * 50 + "x" + "))" * 50) == []
    assert time.process_time() - start < 10


def test_the_release_names_nothing():
    for path in ROOT.glob("exercises/*/*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.metadata.get("nbgrader", {}).get("solution") and cell.cell_type == "code":
                assert mentions(cell.source, NORMALIZATIONS | AUTOGRAD) == []


def test_most_of_the_forbidden_ways_are_named():
    """Not all can be: a name may be put together at run time. That is what taking the operators away is for."""
    ways = {n: f"def batch_norm(x, gamma, beta, eps):\n    {s}\n" for n, s in BUILT_IN.items()} | FORBIDDEN
    unnamed = {name for name, source in ways.items() if not mentions(source, NORMALIZATIONS)}
    assert unnamed <= {"by-name", "in-a-thread", "solutions-on-disk"}


def test_names_are_cut_and_counted():
    """A long name may stand for itself in thousands of others: what is told of a cell has a bound."""
    long = "ctypes." + ".".join(["a" * 50] * 1000)
    source = f"import {long} as z\n" + "\n".join(f"z.b{number}" for number in range(4000))
    start = time.process_time()
    found = mentions(source, NORMALIZATIONS)
    assert time.process_time() - start < 10
    assert len(found) <= 11 and all(len(name) < 120 for name in found)
    names = [f"os.fork{number}" for number in range(15)]
    told = mentions("import os\n" + "\n".join(names), NORMALIZATIONS)
    assert told == [f"{name} (line {line})" for line, name in enumerate(names[:10], 2)] + ["and 5 more"]
    deep = "z = torch" + ".a" * 500 + ".batch_norm"
    assert mentions(deep, NORMALIZATIONS)[0].endswith("… (line 1)")
