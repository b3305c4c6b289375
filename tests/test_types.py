"""The annotations hold: what the package says of its types, a checker finds in its code and in torch's."""

import sys

from tests.commands import run


def test_the_annotations_hold():
    run("pyrefly", "check", "--python-interpreter-path", sys.executable)
