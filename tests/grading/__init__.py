import pytest

from normcore.grading import sandbox


def _missing() -> str:
    try:
        sandbox.check()
    except sandbox.SandboxMissing as error:
        return str(error)
    return ""


sandboxed = pytest.mark.skipif(bool(_missing()), reason="no sandbox here: " + _missing()[:80])
