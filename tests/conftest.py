import os
import re
import sys
from functools import cache

# One thread a worker, and a kernel that a test starts: tensors are small, and workers share the cores.
# Several processes with several threads each wait for one another a hundred times longer than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

# Triton's kernels run on a CPU too, interpreted; it asks for that when it is first imported.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.commands import ROOT

# Deterministic examples: a red run is red again, on every machine.
settings.register_profile("course", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("course")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fresh_compiler():
    """Each test compiles from nothing: what earlier ones compiled counts towards a limit of torch's."""
    yield
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


class Spread(LoadScopeScheduling):
    """Each test goes to the worker that is free; files whose tests belong together go first, whole.

    Those are the files with a fixture of their own that is made once, those of figures to play with, which share a
    browser, and the grader's, whose tests share the machine's slots.
    """

    def _split_scope(self, nodeid):
        file = nodeid.partition("::")[0]
        together = "/grading/" in file or "/widgets/" in file or _makes_something_once(file)
        return file if together else nodeid


@cache
def _makes_something_once(file):
    return re.search(r"fixture\(scope=\"(module|session)\"", (ROOT / file).read_text("utf-8")) is not None


def pytest_xdist_make_scheduler(config, log):
    return Spread(config, log)
