"""The six commonest wrong batch norms are known in every task in which they can be made, by one sentence each."""

import pytest

from normcore.checks.check import Mistake
from normcore.checks.mistakes import COMMONEST
from normcore.checks.slips import Slip, slips
from normcore.checks.tell_apart import TellApart
from tests.checks.problem_sets import TASKS, check_of
from tests.checks.test_answers import module

HINTS = {slip.name: slip.hint for slip in COMMONEST}
SIX = set(HINTS)
PAIRS = {
    "ps02 normalize": SIX - {"wrong axis", "gamma and beta swapped"},  # dim is an argument; nothing scales
    "ps02 batch_norm": SIX,
    "ps02 batch_norm_train": SIX,
    "ps02 identity_parameters": SIX - {"not centred", "gamma and beta swapped"},
    "ps02 hidden_layer": SIX,
    "ps03 batch_norm_forward": SIX,
    "ps03 batch_norm_backward": SIX - {"gamma and beta swapped"},  # no beta
    "ps03 eval_backward": {"eps left out", "divided by the variance", "not centred"},  # no batch statistics
    "ps04 BatchNorm": SIX,
    "ps04 fold": {"eps left out", "divided by the variance", "gamma and beta swapped"},
}
OWN_WORDS = {
    # gamma is to undo the division: sentences on what divides would mislead
    ("identity_parameters", "eps left out"),
    ("identity_parameters", "divided by the variance"),
    ("BatchNorm", "wrong axis"),  # of images: the right ones are others, too
}
NORMALIZING = [(name, task) for name, task in TASKS if "eps" in check_of(name, task).cases(0, 1)[0].inputs]


def test_every_task_that_has_an_eps_knows_them():
    found = {
        f"{name} {task}": {m.name for m in check_of(name, task).mistakes} & SIX for name, task in NORMALIZING
    }
    assert found == PAIRS


COMPUTING = [(n, t) for n, t in TASKS if not isinstance(check_of(n, t), TellApart)]  # an answer, not a test


@pytest.mark.parametrize(("name", "task"), COMPUTING, ids=[f"{n}-{t}" for n, t in COMPUTING])
def test_where_the_line_stands_the_mistake_and_its_sentence_are(name, task):
    source = getattr(module(name), f"_{task}").source
    hints = {m.name: m.hint for m in check_of(name, task).mistakes}
    for slip in COMMONEST:
        if slip.applied(source) is not None:
            assert slip.name in hints, f"{task} has the line of {slip.name!r}"
        if slip.name in hints and (name, task) in NORMALIZING and (task, slip.name) not in OWN_WORDS:
            assert hints[slip.name] == slip.hint


def plain(x):
    y = x + 1
    return y


plain.source = "def plain(x):\n    y = x + 1\n    return y\n"


def test_a_slip_changes_its_places_and_nothing_else():
    (mistake,) = slips(plain, [Slip("minus", "+ 1 → - 1; return y → return 2 * y", "You subtracted.")])
    assert isinstance(mistake, Mistake) and mistake.function(3) == 4 and plain(3) == 4


def test_a_shared_slip_without_a_place_is_left_out_and_an_own_one_is_an_error():
    elsewhere = Slip("elsewhere", "+ 2 → + 3", "")
    assert slips(plain, shared=[elsewhere, elsewhere.at("+ 1 → + 3")])[0].function(0) == 3
    with pytest.raises(ValueError, match="plain has no place for: elsewhere"):
        slips(plain, [elsewhere])


def test_a_tasks_own_slip_goes_before_the_familys_of_its_name():
    family = Slip("minus", "+ 1 → - 1", "the family's")
    (mistake,) = slips(plain, [Slip("minus", "+ 1 → - 1", "its own")], [family])
    assert mistake.hint == "its own"
