"""Wrong answers of every task: none passes, and most are told what is wrong with them."""

import pytest

from normcore.checks.catalogue import HIDDEN_CASES, VISIBLE_CASES, VISIBLE_SEED
from normcore.checks.judge import Judge
from tests.checks.problem_sets import IDS, TASKS, check_of, judged, namespace, solutions
from tests.checks.wrong import WRONG


def edited(source, edits):
    if " → " not in edits:
        return edits
    for edit in edits.split("; "):
        before, after = edit.split(" → ")
        assert before in source, f"the solution has no {before!r}"
        source = source.replace(before, after)
    return source


def verdicts(name, task, seed, count, diagnose):
    check = check_of(name, task)
    judge = Judge(check, check.cases(seed, count), visible=True)
    for what, edits in WRONG.get(name, {}).get(task, {}).items():
        answer = namespace(name, edited(solutions(name)[task], edits))[task]
        yield what, judged(judge, answer, diagnose)


def helps(verdict):
    """A hint, a sentence on what is off, or a message that says it by itself: a shape, a kind, an error."""
    words = (
        "Hint:",
        "has shape",
        "must be a tensor",
        "raised an error",
        "not written yet",
        "is False",
        "is True",
    )
    return any(word in verdict.message for word in words) or any(said in verdict.message for said in SAID)


SAID = (
    "is the order of the outputs right?",
    ", unchanged.",
    "right but for its sign",
    "Every entry is off by",
    "times what it should be",
    "by a factor",
    "by one and the same number",
    "by a number of its own",
)


@pytest.mark.parametrize(("name", "task"), TASKS, ids=IDS)
def test_no_wrong_answer_passes(name, task):
    for what, verdict in verdicts(name, task, 11, HIDDEN_CASES, diagnose=False):
        assert not verdict.passed, what


def test_most_wrong_answers_get_a_hint():
    counts = {}
    for name, task in TASKS:
        for what, verdict in verdicts(name, task, VISIBLE_SEED, VISIBLE_CASES, diagnose=True):
            assert not verdict.passed, (name, task, what)
            kind = "hint" if verdict.mistakes else "words" if helps(verdict) else "nothing"
            counts.setdefault(kind, []).append(f"{name} {task}: {what}")
    total = sum(map(len, counts.values()))
    print({kind: len(found) for kind, found in counts.items()}, "of", total)
    print("\n".join(counts.get("nothing", [])))
    assert len(counts["hint"]) >= 0.75 * total
    assert len(counts.get("nothing", [])) <= 0.05 * total
