"""Implementations that a learner's test is given are run outside the sandbox, and nothing of them is inside."""

import pytest

from normcore.checks.tell_apart import TellApart
from normcore.grading.grade import MAX_CALLS
from normcore.grading.limits import Limits
from tests.checks.problem_sets import TASKS, check_of
from tests.grading import sandboxed
from tests.grading.test_hostile import graded, notebooks, right

pytestmark = sandboxed
TELLING = [(n, t) for n, t in TASKS if isinstance(check_of(n, t), TellApart)]
telling = pytest.mark.parametrize(("name", "task"), TELLING, ids=[f"{n}-{t}" for n, t in TELLING])
LIMITS = Limits(seconds=12, task_seconds=4)

# each is the body of the learner's test, of one candidate `f`
ATTACKS = {
    "accepts all": "return True",
    "by its name": "return 'right' in repr(f) + str(getattr(f, '__name__', '')) + str(f.__doc__)",
    "by what it closes over": "return any(getattr(c.cell_contents, 'right', False) for c in f.__closure__ or ())",
    "by a search of all objects": """import gc
    return any(getattr(o, 'right', None) is True for o in gc.get_objects() if type(o).__name__ == 'Implementation')""",
    "by the frames": """import sys
    frame = sys._getframe()
    while frame:
        for value in list(frame.f_locals.values()):
            if getattr(value, 'right', None) is True: return True
        frame = frame.f_back
    return False""",
    "by its number": "return [c.cell_contents for c in f.__closure__ if isinstance(c.cell_contents, int)][0] % 2 == 0",
    "by the check's own file": "from normcore.checks.tell_apart import _behind\n    return _behind[f].right",
    "by asking for another task's": """import json, os, struct
    text = json.dumps({'task': 'nothing', 'call': 0, 'given': [], 'named': {}, 'bytes': 0}).encode()
    os.write(3, struct.pack('>I', len(text)) + text)
    return b'error' not in os.read(4, 1000)""",
    "by an answer of its own": """import json, os, struct
    text = json.dumps({'task': f.__name__, 'seen': [], 'accepted': True, 'bytes': 0}).encode()
    os.write(3, struct.pack('>I', len(text)) + text)
    return True""",
    "by asking and not listening": """import json, os, struct
    text = json.dumps({'task': TASK, 'call': 0, 'given': [], 'named': {}, 'bytes': 0}).encode()
    for _ in range(100000): os.write(3, struct.pack('>I', len(text)) + text)
    return True""",
    "by odd calls": """import json, os, struct
    for odd in (None, -1, 1e9, "x", [], {}, 2**70):
        for given in (None, 5, [{'array': True}], [{'function': 0}], [[[[[[1]]]]]], {'a': 1}):
            text = json.dumps({'task': TASK, 'call': odd, 'given': given, 'named': given, 'bytes': 0}).encode()
            os.write(3, struct.pack('>I', len(text)) + text)
            os.read(4, 65536)
    return True""",
    "by many calls": "for _ in range(10**6): f()\n    return True",
    "by large arguments": "f(*[torch.zeros(10**6)] * 9)\n    return True",
    "by its own words": "return 'yes'",
}  # fmt: skip


@telling
@pytest.mark.parametrize("way", ATTACKS)
def test_no_point_is_gained_by_what_is_no_test(tmp_path, way, name, task):
    source = f"import torch\nTASK = {task!r}\ndef {task}(f):\n    {ATTACKS[way]}"
    _, solution = notebooks(name)
    result = graded(tmp_path, {task: source}, solution, LIMITS, name)
    assert not result.failed
    assert task not in right(result)
    # what the others did stays theirs
    assert len(right(result)) >= len(result.tasks) - 1 or way == "by asking and not listening"


@telling
def test_a_test_that_asks_often_is_answered(tmp_path, name, task):
    """As many as somebody would who looks at several inputs; and one call too many says so."""
    _, solution = notebooks(name)
    twice = (
        f"\n_first = {task}\ndef {task}(candidate):\n    return all([_first(candidate) for _ in range(20)])"
    )
    (source,) = [c.source for c in solution.cells if c.id == task]
    assert task in right(graded(tmp_path, {task: source + twice}, solution, name=name, limits=LIMITS))


@telling
def test_what_a_candidate_cannot_take_is_said_inside_as_outside(tmp_path, name, task):
    _, solution = notebooks(name)
    result = graded(tmp_path, {task: f"def {task}(f):\n    return f(1, 2)"}, solution, LIMITS, name)
    assert "call it as" in result.tasks[task].message and "raised an error" in result.tasks[task].message


def test_the_number_of_calls_has_room_for_honest_work():
    assert 100 * max(len(check_of(n, t).implementations) for n, t in TELLING) <= MAX_CALLS
